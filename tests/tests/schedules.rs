//! Learning rates and layer decay against the published formulas.

use std::path::Path;

use candle_core::Device;
use longmae_ops::Params;
use longmae_patching::PatchGrid;
use longmae_train::{Schedule, layer_scales};
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
    let schedule = Schedule { lr: 2.4e-3, min_lr: 0.0, warmup_epochs: 40.0, epochs: 800.0 };
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
