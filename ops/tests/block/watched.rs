//! A watcher of a backward pass hears of every weight in the order in which gradients come, up to the last number.

use std::sync::{Arc, Mutex};

use candle_core::{Tensor, TensorId, Var};
use longmae_ops::{
    BlockWeights, GradientSum, GradientWatch, backward, backward_watched, transformer_block,
    transformer_blocks,
};

use super::common::block::SMALL;
use super::common::{Draw, FP32, weighed};

#[derive(Default)]
struct Heard(Mutex<Vec<(TensorId, Vec<f32>)>>);

impl GradientWatch for Heard {
    fn added(&self, weight: &Tensor, sum: GradientSum<'_>) {
        let GradientSum::Host(sum) = sum else { panic!("a gradient left the CPU") };
        self.0.lock().unwrap().push((weight.id(), sum.to_vec()));
    }
}

impl Heard {
    /// What was heard last of a tensor, and how often something was.
    fn of(&self, tensor: &Tensor) -> (usize, Vec<f32>) {
        let heard = self.0.lock().unwrap();
        let own: Vec<_> = heard.iter().filter(|(id, _)| *id == tensor.id()).collect();
        (own.len(), own.last().map(|(_, sum)| sum.clone()).unwrap_or_default())
    }

    fn first(&self, tensor: &Tensor) -> usize {
        self.0.lock().unwrap().iter().position(|(id, _)| *id == tensor.id()).unwrap()
    }
}

fn variables() -> Vec<Tensor> {
    SMALL.tensors().iter().map(|x| Var::from_tensor(x).unwrap().into_inner()).collect()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn the_last_block_of_a_tower_comes_first() {
    let (one, two) = (variables(), variables());
    let blocks = [&one, &two].map(|all| (SMALL.weights(all), None)).to_vec();
    let out = transformer_blocks(&SMALL.x(), blocks, FP32).unwrap();
    let heard = Arc::new(Heard::default());
    let store = backward_watched(&weighed(Draw::Full, &out).unwrap(), heard.clone()).unwrap();
    for weight in one.iter().chain(&two) {
        assert_eq!(heard.of(weight), (1, values(store.get(weight).unwrap())));
    }
    let last_of_two = two.iter().map(|weight| heard.first(weight)).max().unwrap();
    let first_of_one = one.iter().map(|weight| heard.first(weight)).min().unwrap();
    assert!(last_of_two < first_of_one, "{last_of_two} {first_of_one}");
}

/// The same block twice, and one of its weights in candle's graph too.
fn shared(weights: &BlockWeights) -> Tensor {
    let x = transformer_block(&SMALL.x(), weights, None, FP32).unwrap();
    let x = transformer_block(&x, weights, None, FP32).unwrap();
    let loss = weighed(Draw::Full, &x).unwrap();
    (loss + weights.norm1.weight.sqr().unwrap().sum_all().unwrap()).unwrap()
}

#[test]
fn shared_weights_are_heard_of_each_time_and_candle_s_part_last() {
    let all = variables();
    let weights = SMALL.weights(&all);
    let heard = Arc::new(Heard::default());
    let store = backward_watched(&shared(&weights), heard.clone()).unwrap();
    let plain = backward(&shared(&weights)).unwrap();
    for weight in &all {
        let (times, sum) = heard.of(weight);
        let expected = if weight.id() == weights.norm1.weight.id() { 3 } else { 2 };
        assert_eq!(times, expected);
        assert_eq!(sum, values(store.get(weight).unwrap()));
        assert_eq!(sum, values(plain.get(weight).unwrap()));
    }
}

#[test]
fn plain_operations_are_not_heard_of() {
    let x = Var::from_tensor(&SMALL.x()).unwrap();
    let heard = Arc::new(Heard::default());
    let store = backward_watched(&x.sqr().unwrap().sum_all().unwrap(), heard.clone()).unwrap();
    assert!(store.get(&x).is_some());
    assert_eq!(heard.of(&x).0, 0);
}
