//! AdamW with two groups against `torch.optim.AdamW`, moments included.

use std::collections::BTreeMap;

use candle_core::Var;
use longmae_tests::{Fixture, assert_relative, fixtures};
use longmae_train::{AdamW, AdamWConfig, Gradients, NamedParam};
use serde_json::Value;

fn parameters(fixture: &Fixture, case: &Value) -> Vec<NamedParam> {
    let groups = case["groups"].as_array().unwrap();
    groups
        .iter()
        .flat_map(|group| {
            group["names"].as_array().unwrap().iter().map(|name| {
                let name = name.as_str().unwrap().to_owned();
                let var = Var::from_tensor(fixture.get(&format!("before.{name}"))).unwrap();
                let decay = group["weight_decay"].as_f64().unwrap() > 0.0;
                NamedParam { name, var, lr_scale: group["lr_scale"].as_f64().unwrap(), decay }
            })
        })
        .collect()
}

/// The fixture's gradients of a step, as a backward pass would give them; a parameter may have none.
fn gradients(fixture: &Fixture, optimizer: &AdamW, step: usize) -> Gradients {
    let mut gradients = Gradients::empty(optimizer.parameters().len());
    let known: BTreeMap<_, _> = fixture.below(&format!("grad.{step}.")).into_iter().collect();
    for param in optimizer.parameters() {
        if let Some(gradient) = known.get(param.name.as_str()) {
            let loss = (param.var.as_tensor() * *gradient).unwrap().sum_all().unwrap();
            gradients
                .accumulate(optimizer.parameters(), longmae_ops::backward(&loss).unwrap())
                .unwrap();
        }
    }
    gradients
}

#[test]
fn five_steps_are_pytorchs() {
    for fixture in fixtures("adamw") {
        let case: Value = serde_json::from_str(&fixture.case).unwrap();
        let config = AdamWConfig::default();
        let mut optimizer = AdamW::new(parameters(&fixture, &case), config).unwrap();
        let lrs: Vec<f64> = fixture.get("lr").to_vec1().unwrap();
        assert_eq!(lrs.len(), 5);
        for (step, lr) in lrs.iter().enumerate() {
            if step == 3 {
                optimizer = reopened(&optimizer, config);
            }
            let gradients = gradients(&fixture, &optimizer, step + 1);
            optimizer.step(&gradients, 1.0, *lr).unwrap();
            for param in optimizer.parameters() {
                let expected = fixture.get(&format!("after.{}.{}", step + 1, param.name));
                assert_relative(&param.name, param.var.as_tensor(), expected, 1e-6);
            }
        }
        for (name, var) in optimizer.state() {
            if fixture.below("").iter().any(|(known, _)| *known == name) {
                assert_relative(&name, var.as_tensor(), fixture.get(&name), 1e-6);
            }
        }
    }
}

/// The optimiser after its state went through a checkpoint.
fn reopened(optimizer: &AdamW, config: AdamWConfig) -> AdamW {
    let mut fresh = AdamW::new(optimizer.parameters().to_vec(), config).unwrap();
    let state = optimizer.state();
    let state = state.into_iter().map(|(name, var)| (name, var.as_detached_tensor())).collect();
    fresh.restore(&state, optimizer.step_count()).unwrap();
    fresh
}
