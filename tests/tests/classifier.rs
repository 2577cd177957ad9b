//! The classifier against timm's: tokens, logits, loss, gradients; its parameter groups against MAE's; bf16 against fp32.

use candle_core::{Device, IndexOp, Tensor};
use longmae_finetune::{Classifier, ClassifierConfig, Pool, layer_decay, soft_cross_entropy};
use longmae_ops::{Compute, Kernels, Params, Precision};
use longmae_patching::PatchGrid;
use longmae_tests::{ClassifierCase, Fixture, assert_close, assert_relative, fixtures};
use longmae_train::layer_scales;
use longmae_vit::{Backbone, DropPath, Preset, TowerConfig, VitConfig};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

/// Largest absolute difference of outputs, which are of order one.
const OUTPUT: f64 = 2e-5;
/// Relative L2 distance of a gradient.
const GRADIENT: f64 = 1e-4;

const REFERENCE: Compute = Compute { kernels: Kernels::Reference, ..FUSED };
const FUSED: Compute =
    Compute { kernels: Kernels::Fused, precision: Precision::Fp32, grad_checkpoint: false };

/// The small fixtures of both kinds, and the larger one if it is there.
fn all() -> Vec<Fixture> {
    let all = fixtures("classifier");
    assert!(all.len() >= 2);
    all
}

#[test]
fn outputs_loss_and_gradients_are_timms() {
    for fixture in all() {
        for compute in [FUSED, REFERENCE, Compute { grad_checkpoint: true, ..FUSED }] {
            let case = ClassifierCase::new(&fixture, compute);
            let name = format!("{} {}", fixture.path.display(), compute.kernels);
            check_outputs(&name, &fixture, &case);
            check_gradients(&name, &fixture, &case);
        }
    }
}

fn check_outputs(name: &str, fixture: &Fixture, case: &ClassifierCase) {
    let expected = fixture.get("features");
    if case.model.config().pool == Pool::Mean {
        let tokens = case.model.backbone().features(&case.images).unwrap();
        assert_close(&format!("{name} features"), &tokens, expected, OUTPUT);
    } else {
        // timm norms all tokens, of which the class token is taken.
        let pooled = case.model.pooled(&case.images, None).unwrap();
        let expected = expected.i((.., 0)).unwrap();
        assert_close(&format!("{name} class token"), &pooled, &expected, OUTPUT);
    }
    let logits = case.model.forward(&case.images, None).unwrap();
    assert_close(&format!("{name} logits"), &logits, fixture.get("logits"), OUTPUT);
}

fn check_gradients(name: &str, fixture: &Fixture, case: &ClassifierCase) {
    let loss = case.loss();
    assert_relative(name, &loss.reshape(1).unwrap(), fixture.get("loss"), 1e-5);
    let gradients = longmae_ops::backward(&loss).unwrap();
    let trainable = case.params.trainable();
    assert_eq!(fixture.below("grad.").len(), trainable.len(), "{name}: gradients");
    for param in trainable {
        let found = trained(&param.name, gradients.get(&param.var).unwrap());
        let expected = trained(&param.name, fixture.get(&format!("grad.{}", param.name)));
        assert_relative(&format!("{name} {}", param.name), &found, &expected, GRADIENT);
    }
}

/// Without the keys' rows of `qkv.bias`: their true gradient is zero and what is computed is rounding.
fn trained(name: &str, tensor: &Tensor) -> Tensor {
    if !name.ends_with("attn.qkv.bias") {
        return tensor.clone();
    }
    let dim = tensor.dims()[0] / 3;
    Tensor::cat(&[tensor.i(..dim).unwrap(), tensor.i(2 * dim..).unwrap()], 0).unwrap()
}

/// All gradients, one after the other.
fn gradients(case: &ClassifierCase) -> Vec<f32> {
    let store = longmae_ops::backward(&case.loss()).unwrap();
    let trainable = case.params.trainable();
    let flat = |param: &longmae_ops::Param| -> Vec<f32> {
        store.get(&param.var).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    };
    trainable.iter().flat_map(flat).collect()
}

#[test]
fn computing_blocks_again_changes_no_bit() {
    for fixture in all() {
        for precision in [Precision::Fp32, Precision::Bf16] {
            let plain = Compute { precision, ..FUSED };
            let again = Compute { grad_checkpoint: true, ..plain };
            let [plain, again] =
                [plain, again].map(|compute| gradients(&ClassifierCase::new(&fixture, compute)));
            assert!(plain == again, "{}", fixture.path.display());
        }
    }
}

#[test]
fn bf16_stays_near() {
    for fixture in all() {
        let name = fixture.path.display();
        let full = ClassifierCase::new(&fixture, FUSED);
        let half = ClassifierCase::new(&fixture, Compute { precision: Precision::Bf16, ..FUSED });
        let [expected, found] =
            [&full, &half].map(|case| f64::from(case.loss().to_scalar::<f32>().unwrap()));
        assert!((found / expected - 1.0).abs() < 0.01, "{name}: loss {found}, fp32 {expected}");
        assert_ne!(found, expected, "{name}: bf16 that rounds nothing");
        let cosine = cosine(&gradients(&full), &gradients(&half));
        assert!(cosine > 0.999, "{name}: cosine of the gradients {cosine}");
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn classifier(
    pool: Pool,
    tower: TowerConfig,
    compute: Compute,
) -> Result<(Classifier, Params), longmae_finetune::Error> {
    let vit = VitConfig { grid: PatchGrid::new((8, 12), 4).unwrap(), channels: 1, tower };
    let params = Params::new(5, &Device::Cpu).computing(compute);
    let model = Classifier::new(ClassifierConfig { vit, classes: 3, pool }, &params)?;
    Ok((model, params))
}

#[test]
fn every_parameter_learns() {
    for (pool, key_bias, rate) in
        [(Pool::Mean, true, 0.0), (Pool::Class, true, 0.3), (Pool::Mean, false, 0.3)]
    {
        for compute in [FUSED, REFERENCE] {
            let tower = TowerConfig { key_bias, ..TowerConfig::new(16, 3, 2) };
            let (model, params) = classifier(pool, tower, compute).unwrap();
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let draws: Vec<_> =
                (0..4).map(|_| DropPath::draw(rate, 3, &mut rng).unwrap()).collect();
            let drop = DropPath::stack(&draws).unwrap();
            let images = Tensor::randn(0f32, 1.0, (4, 1, 8, 12), &Device::Cpu).unwrap();
            let targets = Tensor::new(
                &[[1f32, 0.0, 0.0], [0.0, 1.0, 0.0], [0.2, 0.3, 0.5], [0.0, 0.0, 1.0]],
                &Device::Cpu,
            );
            let logits = model.forward(&images, Some(&drop)).unwrap();
            let loss = soft_cross_entropy(&logits, &targets.unwrap()).unwrap();
            let gradients = longmae_ops::backward(&loss).unwrap();
            for param in params.trainable() {
                let gradient =
                    gradients.get(&param.var).unwrap_or_else(|| panic!("{}", param.name));
                let size = gradient.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
                assert!(size.is_finite() && size > 0.0, "{pool}: `{}`: {size}", param.name);
            }
        }
    }
}

#[test]
fn parameters_are_those_of_timm() {
    for (pool, norm) in [(Pool::Mean, "fc_norm"), (Pool::Class, "norm")] {
        let (_, params) = classifier(pool, TowerConfig::new(16, 1, 2), FUSED).unwrap();
        let names: Vec<String> = params.trainable().into_iter().map(|param| param.name).collect();
        assert_eq!(names.len(), params.all().len(), "every parameter is trained");
        assert_eq!(names[..2], ["cls_token", "pos_embed"]);
        let tail = names.iter().skip(names.len() - 4).cloned().collect::<Vec<_>>();
        let expected = ["weight", "bias"].map(|part| format!("{norm}.{part}"));
        assert_eq!(tail[..2], expected);
        assert_eq!(tail[2..], ["head.bias", "head.weight"]);
    }
    let vit = VitConfig {
        grid: PatchGrid::new((8, 8), 4).unwrap(),
        channels: 1,
        tower: TowerConfig::new(16, 1, 2),
    };
    let one = ClassifierConfig { vit, classes: 1, pool: Pool::Mean };
    let refused = Classifier::new(one, &Params::new(0, &Device::Cpu)).unwrap_err().to_string();
    assert_eq!(refused, "classes is 1: expected at least 2");
    assert!("max".parse::<Pool>().is_err() && "class".parse::<Pool>().unwrap() == Pool::Class);
}

/// Ids and scales of the fixture, and weight decay by dimensions and names.
#[test]
fn groups_are_those_of_mae() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/schedules.json");
    let text = std::fs::read_to_string(path).unwrap();
    let case = &serde_json::from_str::<Value>(&text).unwrap()["layer_decay"];
    let decay = case["decay"].as_f64().unwrap();
    let tower = TowerConfig { dim: 16, heads: 2, ..Preset::Base.tower() };
    let (model, params) = classifier(Pool::Mean, tower, FUSED).unwrap();
    let tuned = layer_decay(model.backbone(), &params.all(), decay).unwrap();
    assert_eq!(tuned.len(), params.all().len());
    let scales: Vec<f64> =
        case["scale_by_layer_id"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert_eq!(scales.len(), model.backbone().layers());
    for (name, id) in case["layer_id"].as_object().unwrap() {
        let found = tuned.iter().find(|param| param.name == *name).unwrap().lr_scale;
        assert!((found / scales[id.as_u64().unwrap() as usize] - 1.0).abs() < 1e-12, "{name}");
    }
    for (param, own) in tuned.iter().zip(params.all()) {
        assert_eq!(param.name, own.name);
        let id = model.backbone().layer_id(&param.name);
        assert_eq!(param.lr_scale, layer_scales(decay, 14)[id], "{}", param.name);
        let embedded = ["cls_token", "pos_embed"].contains(&param.name.as_str());
        assert_eq!(param.decay, own.var.rank() > 1 && !embedded, "{}", param.name);
    }
    let plain = layer_decay(model.backbone(), &params.all(), 1.0).unwrap();
    assert!(plain.iter().all(|param| param.lr_scale == 1.0));
    for wrong in [0.0, -0.5, 1.1, f64::NAN] {
        assert!(layer_decay(model.backbone(), &params.all(), wrong).is_err(), "{wrong}");
    }
}

/// A frozen encoder costs no gradients, and gives the same.
#[test]
fn inference_gives_the_same_logits() {
    let fixture = &all()[0];
    let case = ClassifierCase::new(fixture, FUSED);
    let logits = longmae_ops::inference(|| case.model.forward(&case.images, None)).unwrap();
    assert_close("logits", &logits, &case.model.forward(&case.images, None).unwrap(), 0.0);
}
