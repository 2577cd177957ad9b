//! The average of weights against PyTorch's `AveragedModel` with `get_ema_multi_avg_fn`.

use candle_core::{Device, Tensor, Var};
use longmae_train::{Ema, NamedParam};
use serde_json::Value;

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

fn tensor(value: &Value) -> Tensor {
    Tensor::new(numbers(value), &Device::Cpu).unwrap()
}

#[test]
fn five_updates_are_pytorchs() {
    let cases: Value = serde_json::from_str(include_str!("../fixtures/ema.json")).unwrap();
    for case in cases.as_array().unwrap() {
        let (weights, averages) = (&case["weights"], case["averages"].as_array().unwrap());
        let var = Var::from_tensor(&tensor(&weights[0])).unwrap();
        let param =
            NamedParam { name: "weight".to_owned(), var: var.clone(), lr_scale: 1.0, decay: true };
        let ema = Ema::new(&[param], case["decay"].as_f64().unwrap()).unwrap();
        for (step, expected) in averages.iter().enumerate() {
            var.set(&tensor(&weights[step + 1])).unwrap();
            ema.update().unwrap();
            let found = ema.state()[0].1.to_vec1::<f32>().unwrap();
            for (found, expected) in found.iter().zip(numbers(expected)) {
                assert!((found - expected).abs() < 1e-6, "step {step}: {found} {expected}");
            }
        }
        assert_eq!(averages.len(), 5);
    }
}
