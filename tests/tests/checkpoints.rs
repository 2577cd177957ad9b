//! Files of other packages load and compute what those packages compute (`fixtures/make_checkpoints.py`).

use std::path::{Path, PathBuf};

use candle_core::Tensor;
use longmae_mae::Mae;
use longmae_masking::{MaskBatch, MaskPlan};
use longmae_ops::Params;
use longmae_tests::{Fixture, assert_close, assert_relative, ids, mae_config};
use longmae_vit::{Backbone, TowerConfig, Vit};
use longmae_weights::{Checkpoint, Kind, Known, Layout, ModelInfo};

/// Largest absolute difference of outputs, which are of order one.
const OUTPUT: f64 = 2e-5;

/// The folders: the small one kept here, and the larger one when `LONGMAE_SHARED` names it.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn folders() -> Vec<PathBuf> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/checkpoints")];
    match std::env::var_os("LONGMAE_SHARED") {
        Some(shared) => folders.push(Path::new(&shared).join("fixtures/checkpoints")),
        None => eprintln!("LONGMAE_SHARED is not set: the larger checkpoints are skipped"),
    }
    folders
}

/// A model as large as the file, with the file's weights.
fn full(file: &Checkpoint, info: &ModelInfo) -> Mae {
    let params = Params::new(0, &candle_core::Device::Cpu);
    let mae = Mae::new(mae_config(info, TowerConfig::new(8, 1, 1)), &params).unwrap();
    let vars: Vec<_> = params.all().into_iter().map(|p| (p.name, p.var)).collect();
    let report = file.load_into(&vars).unwrap();
    assert_eq!((report.loaded, report.skipped, report.initial), (vars.len(), vec![], vec![]));
    mae
}

fn features(file: &Checkpoint, info: &ModelInfo, images: &Tensor) -> Tensor {
    let params = Params::new(0, &candle_core::Device::Cpu);
    let config = mae_config(info, TowerConfig::new(8, 1, 1));
    let vit = Vit::new(config.encoder, &params).unwrap();
    let vars: Vec<_> = params.all().into_iter().map(|p| (p.name, p.var)).collect();
    file.load_encoder_into(&vars).unwrap();
    vit.features(images).unwrap()
}

#[test]
fn every_file_computes_what_its_package_computes() {
    for folder in folders() {
        let expected = Fixture::open(&folder.join("expected.safetensors"));
        let images = expected.get("imgs");
        let hf = Checkpoint::open(folder.join("hf/model.safetensors")).unwrap();
        assert_eq!((hf.layout(), hf.kind()), (Some(Layout::HfVitMae), Some(Kind::Full)));
        let info = hf.model_info(&Known::default()).unwrap();
        check_transformers(&full(&hf, &info), &expected);
        // The encoder alone from the full file.
        let whole = full(&hf, &info).encoder().features(images).unwrap();
        assert_close("hf encoder", &features(&hf, &info, images), &whole, 0.0);

        // The files of the other layouts do not say how many heads there are.
        let known = Known {
            heads: Some(info.encoder.heads),
            decoder_heads: info.decoder.as_ref().map(|tower| tower.heads),
            norm_pix_loss: Some(true),
            ..Known::default()
        };
        for (name, layout, kind, key) in [
            ("mae.safetensors", Layout::Mae, Kind::Full, "mae_full_latent"),
            ("mae.pth", Layout::Mae, Kind::Full, "mae_full_latent"),
            ("timm.safetensors", Layout::Timm, Kind::Encoder, "timm_features"),
        ] {
            let file = Checkpoint::open(folder.join(name)).unwrap();
            assert_eq!((file.layout(), file.kind()), (Some(layout), Some(kind)), "{name}");
            let info = file.model_info(&known).unwrap();
            let name = format!("{} {name}", folder.display());
            assert_close(&name, &features(&file, &info, images), expected.get(key), OUTPUT);
            if kind == Kind::Full {
                let mae = full(&file, &info).encoder().features(images).unwrap();
                assert_close(&name, &mae, expected.get(key), OUTPUT);
            }
        }
    }
}

/// `ViTMAEForPreTraining` with the fixture's noise.
fn check_transformers(mae: &Mae, expected: &Fixture) {
    let restore = ids(expected.get("hf_ids_restore"));
    let plans: Vec<MaskPlan> = restore
        .iter()
        .map(|restore| {
            let mut order = vec![0; restore.len()];
            for (patch, place) in restore.iter().enumerate() {
                order[*place as usize] = patch as u32;
            }
            MaskPlan::from_order(&order, restore.len() / 4).unwrap()
        })
        .collect();
    for (row, plan) in plans.iter().enumerate() {
        let mask: Vec<Vec<f32>> = expected.get("hf_mask").to_vec2().unwrap();
        assert_eq!(plan.mask(), mask[row]);
    }
    let masks = MaskBatch::stack(&plans, &candle_core::Device::Cpu).unwrap();
    let output = mae.forward(expected.get("imgs"), &masks, None).unwrap();
    let name = expected.path.display();
    assert_close(&format!("{name} logits"), &output.pred, expected.get("hf_logits"), OUTPUT);
    let loss = output.loss.reshape(1).unwrap();
    assert_relative(&format!("{name} loss"), &loss, expected.get("hf_loss"), 1e-5);
}
