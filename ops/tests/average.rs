//! Running averages against the formula in f64.

mod common;

use candle_core::{Tensor, Var};
use common::{bits, numbers, random};
use longmae_ops::{lerp_in_place, swap_in_place};

#[test]
fn every_instruction_set() {
    common::child::on_every_instruction_set();
}

fn var(len: usize, seed: u64) -> Var {
    Var::from_tensor(&random(len, seed)).unwrap()
}

#[test]
fn an_average_follows_its_values() {
    for len in [1, 15, 33, 100_001] {
        let average = var(len, 1);
        let before = numbers(average.as_tensor());
        let x = random(len, 2);
        lerp_in_place(&average, &x, 0.05).unwrap();
        for ((after, before), x) in
            numbers(average.as_tensor()).iter().zip(&before).zip(numbers(&x))
        {
            let expected = before * 0.95 + x * 0.05;
            assert!((after - expected).abs() < 1e-6, "{after} {expected}");
        }
    }
}

#[test]
fn swapping_twice_changes_nothing() {
    let (a, b) = (var(1001, 1), var(1001, 2));
    let before = [bits(a.as_tensor()), bits(b.as_tensor())];
    swap_in_place(&a, &b).unwrap();
    assert_eq!([bits(b.as_tensor()), bits(a.as_tensor())], before);
    swap_in_place(&a, &b).unwrap();
    assert_eq!([bits(a.as_tensor()), bits(b.as_tensor())], before);
}

#[test]
fn what_does_not_fit_is_refused() {
    let a = var(4, 1);
    assert!(lerp_in_place(&a, &random(5, 2), 0.5).is_err());
    assert!(swap_in_place(&a, &var(5, 2)).is_err());
    // The same storage cannot be locked twice: an error, and no deadlock.
    assert!(swap_in_place(&a, &a).is_err());
    let same: &Tensor = a.as_tensor();
    assert!(lerp_in_place(&a, same, 0.5).is_err());
}
