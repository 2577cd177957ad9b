//! LARS with two groups against a PyTorch implementation over ten steps, momentum included.

use std::collections::BTreeMap;

use candle_core::Var;
use longmae_tests::{Fixture, assert_relative, fixtures};
use longmae_train::{Gradients, LarsConfig, NamedParam, Optimizer};
use serde_json::Value;

const TOLERANCE: f64 = 1e-6;

fn parameters(fixture: &Fixture, case: &Value) -> Vec<NamedParam> {
    let mut params = Vec::new();
    for group in case["groups"].as_array().unwrap() {
        for name in group["names"].as_array().unwrap() {
            let name = name.as_str().unwrap().to_owned();
            let var = Var::from_tensor(fixture.get(&format!("before.{name}"))).unwrap();
            let decay = group["weight_decay"].as_f64().unwrap() > 0.0;
            let lr_scale = group["lr_scale"].as_f64().unwrap();
            params.push(NamedParam { name, var, lr_scale, decay });
        }
    }
    params
}

/// The fixture's gradients of a step, twice as large, as a backward pass would give them.
fn doubled(fixture: &Fixture, optimizer: &Optimizer, step: usize) -> Gradients {
    let mut gradients = Gradients::empty(optimizer.parameters().len());
    for param in optimizer.parameters() {
        let gradient = (fixture.get(&format!("grad.{step}.{}", param.name)) * 2.0).unwrap();
        let loss = (param.var.as_tensor() * gradient).unwrap().sum_all().unwrap();
        let store = longmae_ops::backward(&loss).unwrap();
        gradients.accumulate(optimizer.parameters(), store).unwrap();
    }
    gradients
}

#[test]
fn ten_steps_are_pytorchs() {
    for fixture in fixtures("lars") {
        let case: Value = serde_json::from_str(&fixture.case).unwrap();
        let number = |name: &str| case[name].as_f64().unwrap();
        let config = LarsConfig {
            momentum: number("momentum"),
            trust_coefficient: number("trust_coefficient"),
            weight_decay: case["groups"][0]["weight_decay"].as_f64().unwrap(),
        };
        let mut optimizer = Optimizer::new(parameters(&fixture, &case), config.into()).unwrap();
        let lrs: Vec<f64> = fixture.get("lr").to_vec1().unwrap();
        assert_eq!((lrs.len(), optimizer.parameters().len()), (10, 9));
        for (step, lr) in lrs.iter().enumerate() {
            if step == 5 {
                optimizer = reopened(&optimizer, config);
            }
            // Clipped by half, gradients twice as large are what they were.
            let gradients = doubled(&fixture, &optimizer, step + 1);
            optimizer.step(&gradients, 0.5, *lr).unwrap();
            for param in optimizer.parameters() {
                let what = format!("{} after step {}", param.name, step + 1);
                let expected = fixture.get(&format!("after.{}.{}", step + 1, param.name));
                assert_relative(&what, param.var.as_tensor(), expected, TOLERANCE);
            }
        }
        for (name, var) in optimizer.state() {
            assert_relative(&name, var.as_tensor(), fixture.get(&name), TOLERANCE);
        }
    }
}

/// The optimiser after its state went through a checkpoint.
fn reopened(optimizer: &Optimizer, config: LarsConfig) -> Optimizer {
    let params = optimizer.parameters().to_vec();
    let mut fresh = Optimizer::new(params, config.into()).unwrap();
    let state: BTreeMap<_, _> = optimizer
        .state()
        .into_iter()
        .map(|(name, var)| (name, var.as_tensor().copy().unwrap()))
        .collect();
    fresh.restore(&state, optimizer.step_count()).unwrap();
    fresh
}
