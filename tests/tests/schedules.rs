//! Learning rates and layer decay against the published formulas.

use std::path::Path;

use candle_core::Device;
use longmae_ops::Params;
use longmae_patching::PatchGrid;
use longmae_train::{Decay, Schedule, layer_scales};
use longmae_vit::{Backbone, TowerConfig, Vit, VitConfig};
use serde_json::Value;

fn files() -> Vec<Value> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/schedules.json");
    let mut paths = vec![own];
    if let Some(shared) = std::env::var_os("LONGMAE_SHARED") {
        paths.push(Path::new(&shared).join("fixtures/schedules.json"));
    }
    paths.iter().map(|p| serde_json::from_slice(&std::fs::read(p).unwrap()).unwrap()).collect()
}

#[test]
fn cosine_with_warm_up() {
    let schedule = Schedule {
        lr: 2.4e-3,
        min_lr: 0.0,
        warmup_epochs: 40.0,
        epochs: 800.0,
        decay: Decay::Cosine,
    };
    for file in files() {
        let points = file["cosine"].as_array().unwrap();
        assert!(points.len() > 10);
        for point in points {
            let (epoch, lr) = (point["epoch"].as_f64().unwrap(), point["lr"].as_f64().unwrap());
            assert!((schedule.at(epoch) - lr).abs() < 1e-12, "epoch {epoch}");
        }
    }
}

#[test]
fn steps_of_vitdet() {
    let (iterations, warmup) = (184_375.0, 250.0);
    let decay = Decay::Steps { at: [163_889.0, 177_546.0].map(|at| at / iterations) };
    // An epoch of so many iterations.
    let epochs = |iterations: f64| iterations / 1843.75;
    let (warmup_epochs, all) = (epochs(warmup), epochs(iterations));
    let schedule = Schedule { lr: 1e-4, min_lr: 0.0, warmup_epochs, epochs: all, decay };
    let points = files()[0]["steps"].as_array().unwrap().clone();
    assert!(points.len() > 10);
    for point in points {
        let (iteration, factor) =
            (point["iteration"].as_f64().unwrap(), point["factor"].as_f64().unwrap());
        let found = schedule.at(epochs(iteration)) / 1e-4;
        assert!((found - factor).abs() < 1e-9, "iteration {iteration}: {found} for {factor}");
    }
}

#[test]
fn layer_decay_and_layer_ids() {
    for file in files() {
        let reference = &file["layer_decay"];
        let depth = reference["depth"].as_u64().unwrap() as usize;
        let config = VitConfig {
            grid: PatchGrid::new((4, 4), 2).unwrap(),
            channels: 1,
            tower: TowerConfig::new(4, depth, 1),
        };
        let vit = Vit::new(config, &Params::new(0, &Device::Cpu)).unwrap();
        let scales = layer_scales(reference["decay"].as_f64().unwrap(), vit.layers());
        let expected: Vec<f64> =
            serde_json::from_value(reference["scale_by_layer_id"].clone()).unwrap();
        assert_eq!(scales.len(), expected.len());
        for (scale, expected) in scales.iter().zip(expected) {
            assert!((scale - expected).abs() < 1e-12);
        }
        for (name, id) in reference["layer_id"].as_object().unwrap() {
            assert_eq!(vit.layer_id(name) as u64, id.as_u64().unwrap(), "{name}");
        }
    }
}
