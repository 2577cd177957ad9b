//! Weights written here in every layout, loaded by the packages themselves (`interop/layouts.py`), and back again.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, IndexOp, Tensor, Var};
use longmae_mae::{DecoderConfig, Mae, MaeConfig};
use longmae_masking::{MaskBatch, MaskPlan};
use longmae_ops::Params;
use longmae_patching::PatchGrid;
use longmae_tests::{model_info, python, run_interop};
use longmae_vit::{Backbone, TowerConfig, VitConfig};
use longmae_weights::{Checkpoint, Kind, Known, Layout, Metadata, export, is_decoder, is_encoder};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

const CLASSES: usize = 5;

/// A small model whose every parameter is drawn at random, so that one that is lost shows.
struct Case {
    name: &'static str,
    config: MaeConfig,
    tensors: Vec<(String, Tensor)>,
    mae: Mae,
    rng: ChaCha8Rng,
}

impl Case {
    fn new(name: &'static str, change: impl Fn(&mut MaeConfig)) -> Self {
        let tower = TowerConfig::new;
        let grid = PatchGrid::new((32, 32), 8).unwrap();
        let mut config = MaeConfig {
            encoder: VitConfig { grid, channels: 3, tower: tower(48, 3, 3) },
            decoder: DecoderConfig::new(tower(32, 2, 4)),
            norm_pix_loss: true,
        };
        change(&mut config);
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let params = Params::new(0, &Device::Cpu);
        let mae = Mae::new(config, &params).unwrap();
        for param in params.trainable() {
            let shift = if param.name.contains("norm") && param.name.ends_with("weight") {
                1.0
            } else {
                0.0
            };
            param.var.set(&uniform(&mut rng, param.var.dims(), 0.2, shift)).unwrap();
        }
        let tensors =
            params.all().into_iter().map(|p| (p.name, p.var.as_tensor().copy().unwrap())).collect();
        Self { name, config, tensors, mae, rng }
    }

    fn metadata(&self, kind: Kind) -> Metadata {
        Metadata { kind, info: model_info(&self.config), recipe: None }
    }

    /// The encoder with a head on the class token, or on the mean of all tokens.
    fn classifier(&mut self, mean_pooled: bool) -> Vec<(String, Tensor)> {
        let dim = self.config.encoder.tower.dim;
        let mut tensors = self.tensors.clone();
        tensors.retain(|(name, _)| !is_decoder(name));
        if mean_pooled {
            for (name, _) in tensors.iter_mut().filter(|(name, _)| name.starts_with("norm.")) {
                *name = format!("fc_{name}");
            }
        }
        let mut head = |shape: &[usize]| uniform(&mut self.rng, shape, 0.2, 0.0);
        tensors.push(("head.weight".to_owned(), head(&[CLASSES, dim])));
        tensors.push(("head.bias".to_owned(), head(&[CLASSES])));
        tensors
    }

    /// Writes the case: layouts, sizes, and what the model computes.
    fn write(&mut self, folder: &Path) {
        let folder = folder.join(self.name);
        let encoder = self.config.encoder;
        let square = encoder.grid.rows() == encoder.grid.cols();
        let save = |tensors: &[(String, Tensor)], metadata: &Metadata, layout, name: &str| {
            let export = export(tensors, metadata, layout).unwrap();
            export.save_folder(folder.join(name)).unwrap();
        };
        let (full, alone) = (self.metadata(Kind::Full), self.metadata(Kind::Encoder));
        let tensors = self.tensors.clone();
        save(&tensors, &full, Layout::Mae, "mae");
        save(&tensors, &alone, Layout::Mae, "mae-encoder");
        save(&tensors, &alone, Layout::Timm, "timm");
        save(&tensors, &alone, Layout::HfVit, "hf-vit");
        save(&tensors, &alone, Layout::HfVitMae, "hf-vit-mae-encoder");
        if square {
            save(&tensors, &full, Layout::HfVitMae, "hf-vit-mae");
            save(&tensors, &alone, Layout::Detectron2, "detectron2");
        }
        let classifier = self.classifier(false);
        save(&classifier, &alone, Layout::Timm, "timm-classifier");
        save(&classifier, &alone, Layout::HfVit, "hf-vit-classifier");
        save(&self.classifier(true), &alone, Layout::Timm, "timm-mean-pooled");

        let head = classifier.iter().rev().take(2).map(|(_, tensor)| tensor).collect::<Vec<_>>();
        let expected = self.expected(head[1], head[0]);
        candle_core::safetensors::save(&expected, folder.join("expected.safetensors")).unwrap();
        let (height, width) = encoder.grid.image_size();
        let [tower, decoder] = [encoder.tower, self.config.decoder.tower];
        let config = json!({
            "image_size": [height, width], "patch_size": encoder.grid.patch(), "channels": encoder.channels,
            "dim": tower.dim, "depth": tower.depth, "heads": tower.heads, "decoder_dim": decoder.dim,
            "decoder_depth": decoder.depth, "decoder_heads": decoder.heads,
            "norm_pix_loss": self.config.norm_pix_loss, "key_bias": tower.key_bias,
        });
        let case = json!({ "config": config, "mean": full.info.mean, "std": full.info.std, "classes": CLASSES });
        std::fs::write(folder.join("case.json"), case.to_string()).unwrap();
    }

    /// Two images, two masks, and what this program computes from them.
    fn expected(&mut self, weight: &Tensor, bias: &Tensor) -> HashMap<&'static str, Tensor> {
        let VitConfig { grid, channels, .. } = self.config.encoder;
        let (height, width) = grid.image_size();
        let images = uniform(&mut self.rng, &[2, channels, height, width], 1.0, 0.0);
        let mut orders = Vec::new();
        for _ in 0..2 {
            let mut order: Vec<u32> = (0..grid.len() as u32).collect();
            order.shuffle(&mut self.rng);
            orders.push(order);
        }
        let kept = grid.len() / 4;
        let plans: Vec<_> =
            orders.iter().map(|order| MaskPlan::from_order(order, kept).unwrap()).collect();
        let masks = MaskBatch::stack(&plans, &Device::Cpu).unwrap();
        let output = self.mae.forward(&images, &masks, None).unwrap();
        let features = self.mae.encoder().features(&images).unwrap();
        let class = features.i((.., 0)).unwrap().contiguous().unwrap();
        let logits = class.matmul(&weight.t().unwrap()).unwrap().broadcast_add(bias).unwrap();
        let ids = |rows: Vec<&[u32]>| {
            let rows: Vec<Vec<i64>> =
                rows.into_iter().map(|row| row.iter().map(|id| i64::from(*id)).collect()).collect();
            Tensor::new(rows, &Device::Cpu).unwrap()
        };
        let mask: Vec<Vec<f32>> = plans.iter().map(MaskPlan::mask).collect();
        let restore = ids(plans.iter().map(MaskPlan::ids_restore).collect());
        HashMap::from([
            ("imgs", images.clone()),
            ("ids_keep", ids(plans.iter().map(MaskPlan::ids_keep).collect())),
            // Noise whose order is the mask's.
            ("noise", restore.to_dtype(candle_core::DType::F32).unwrap()),
            ("ids_restore", restore),
            ("mask", Tensor::new(mask, &Device::Cpu).unwrap()),
            ("latent", self.mae.encode(&images, &masks, None).unwrap()),
            ("pred", output.pred),
            ("loss", output.loss.reshape(1).unwrap()),
            ("features", features),
            ("logits", logits),
        ])
    }

    /// What the packages wrote has the same numbers under MAE's names, to the bit.
    fn read_back(&self, folder: &Path) -> usize {
        let mut files = 0;
        for path in std::fs::read_dir(folder.join(self.name).join("back")).unwrap() {
            let path = path.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            if name.contains("classifier") || name.contains("pooled") {
                // Heads are a transfer's; here the names are enough, and they were loaded strictly.
                continue;
            }
            let weights = if path.is_dir() { path.join("model.safetensors") } else { path.clone() };
            let file = Checkpoint::open(&weights).unwrap();
            let full = file.kind() == Some(Kind::Full);
            let wanted = self.tensors.iter().filter(|(parameter, _)| {
                let missing = name == "detectron2"
                    && (parameter == "cls_token" || parameter.starts_with("norm."));
                (full || is_encoder(parameter)) && !missing
            });
            let expected: Vec<_> = wanted.collect();
            let vars: Vec<(String, Var)> = expected
                .iter()
                .map(|(name, tensor)| {
                    (name.clone(), Var::from_tensor(&tensor.zeros_like().unwrap()).unwrap())
                })
                .collect();
            let report = if full { file.load_into(&vars) } else { file.load_encoder_into(&vars) };
            let report = report.unwrap_or_else(|e| panic!("{}: {e}", self.name));
            for ((name, expected), (_, found)) in expected.iter().zip(&vars) {
                assert_eq!(numbers(found), numbers(expected), "{} {name}", weights.display());
            }
            assert_eq!(
                report.skipped.len(),
                if name == "detectron2" { 4 } else { 0 },
                "{report:?}"
            );
            self.check_info(&file, path.is_dir());
            files += 1;
        }
        files
    }

    /// transformers' configuration beside the file tells all that the model needs.
    fn check_info(&self, file: &Checkpoint, config: bool) {
        if config {
            let model = model_info(&self.config);
            // A model's configuration does not say how its pictures were normalised.
            let [mean, std] = [&model.mean, &model.std].map(|values| Some(values.clone()));
            let said = file.model_info(&Known { mean, std, ..Known::default() }).unwrap();
            let decoder = model.decoder.filter(|_| file.kind() == Some(Kind::Full));
            assert_eq!((said.image_size, said.patch_size), (model.image_size, model.patch_size));
            assert_eq!((said.encoder, said.decoder), (model.encoder, decoder));
            assert_eq!(said.layer_norm_eps, 1e-6);
            let target =
                file.kind() == Some(Kind::Encoder) || said.norm_pix_loss == model.norm_pix_loss;
            assert!(target, "{:?}", file.path());
        }
    }
}

fn uniform(rng: &mut ChaCha8Rng, shape: &[usize], width: f32, shift: f32) -> Tensor {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| shift + rng.random_range(-width..width)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn packages_load_what_is_written_here_and_compute_the_same() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut cases = [
        Case::new("plain", |_| {}),
        Case::new("no-key-bias", |config| {
            config.encoder.tower.key_bias = false;
            config.decoder.tower.key_bias = false;
        }),
        Case::new("one-channel-raw-pixels", |config| {
            config.encoder.channels = 1;
            config.norm_pix_loss = false;
        }),
        Case::new("oblong", |config| {
            config.encoder.grid = PatchGrid::new((24, 40), 8).unwrap();
        }),
    ];
    for case in &mut cases {
        case.write(folder.path());
    }
    let printed = run_interop(&python, "layouts.py", folder.path());
    let checked = printed.lines().filter(|line| line.starts_with("checked ")).count();
    assert_eq!(checked, 3 * 10 + 8, "{printed}");
    for case in &cases {
        // mae.pth, timm, and two spellings of hf-vit and of hf-vit-mae's encoder; squares have detectron2 and two of
        // hf-vit-mae beside them.
        let expected = if case.name == "oblong" { 6 } else { 9 };
        assert_eq!(case.read_back(folder.path()), expected, "{}", case.name);
    }
}
