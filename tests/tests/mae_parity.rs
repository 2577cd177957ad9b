//! The whole objective against PyTorch: masks, outputs, loss, gradients, ten AdamW steps.

use candle_core::{IndexOp, Tensor};
use longmae_masking::{MaskCount, MaskDesign, MaskPlan, MaskUnits};
use longmae_ops::{Compute, Kernels};
use longmae_tests::{Case, Fixture, assert_close, assert_relative, fixtures, ids};
use longmae_train::{AdamW, AdamWConfig, Gradients, NamedParam};

/// Largest absolute difference of outputs, which are of order one.
const OUTPUT: f64 = 2e-5;
/// Relative L2 distance of a gradient or weight.
const GRADIENT: f64 = 1e-4;

#[test]
fn masks_are_identical() {
    for fixture in fixtures("mae_") {
        let case = Case::new(&fixture, Compute::default());
        let grid = case.mae.config().encoder.grid;
        let count = MaskCount::Published;
        let design = MaskDesign { unit: case.mask_unit, ratio: case.mask_ratio, count };
        let (units, kept) = design.on(grid).unwrap();
        for (row, perm) in ids(fixture.get("unit_perm")).iter().enumerate() {
            let plan = plan(&units, perm, kept);
            let name = fixture.path.display();
            assert_eq!(plan.ids_keep(), ids(fixture.get("ids_keep"))[row], "{name}");
            assert_eq!(plan.ids_restore(), ids(fixture.get("ids_restore"))[row], "{name}");
            let mask: Vec<f32> = fixture.get("mask").i(row).unwrap().to_vec1().unwrap();
            assert_eq!(plan.mask(), mask, "{name}");
        }
    }
}

fn plan(units: &MaskUnits, perm: &[u32], kept: usize) -> MaskPlan {
    let order: Vec<usize> = perm.iter().map(|unit| *unit as usize).collect();
    MaskPlan::from_order(&units.expand(&order).unwrap(), kept).unwrap()
}

/// Every fixture with both kinds of kernels, and with blocks computed again in the backward pass.
fn runs() -> Vec<(Fixture, Compute, String)> {
    let plain = Compute::default();
    let computes = [
        plain,
        Compute { kernels: Kernels::Reference, ..plain },
        Compute { grad_checkpoint: true, ..plain },
    ];
    let with_all = |fixture: Fixture| {
        computes.map(|compute| {
            let name = format!("{} {}", fixture.path.display(), compute.kernels);
            (fixture.clone(), compute, name)
        })
    };
    fixtures("mae_").into_iter().flat_map(with_all).collect()
}

#[test]
fn outputs_loss_and_gradients_are_pytorchs() {
    for (fixture, compute, name) in runs() {
        let Case { mae, params, images, masks, .. } = Case::new(&fixture, compute);
        let latent = mae.encode(&images, &masks, None).unwrap();
        assert_close(&format!("{name} latent"), &latent, fixture.get("latent"), OUTPUT);
        let output = mae.forward(&images, &masks, None).unwrap();
        assert_close(&format!("{name} pred"), &output.pred, fixture.get("pred"), OUTPUT);
        let loss = output.loss.reshape(1).unwrap();
        assert_relative(&format!("{name} loss"), &loss, fixture.get("loss"), 1e-5);

        let gradients = longmae_ops::backward(&output.loss).unwrap();
        let trainable = params.trainable();
        assert_eq!(fixture.below("grad.").len(), trainable.len(), "{name}: gradients");
        for param in trainable {
            let found = gradients.get(&param.var).unwrap();
            let expected = fixture.get(&format!("grad.{}", param.name));
            let (found, expected) = (trained(&param.name, found), trained(&param.name, expected));
            assert_relative(&format!("{name} {}", param.name), &found, &expected, GRADIENT);
        }
    }
}

#[test]
fn ten_steps_follow_pytorchs_trajectory() {
    for (fixture, compute, name) in runs() {
        let Case { mae, params, images, masks, .. } = Case::new(&fixture, compute);
        let named: Vec<NamedParam> = params.trainable().iter().map(NamedParam::new).collect();
        let mut optimizer = AdamW::new(named, AdamWConfig::default()).unwrap();
        let expected: Vec<f64> = fixture.get("trajectory").to_vec1().unwrap();
        assert_eq!(expected.len(), 10);
        for (step, expected) in expected.iter().enumerate() {
            let loss = mae.forward(&images, &masks, None).unwrap().loss;
            let found = f64::from(loss.to_scalar::<f32>().unwrap());
            let off = (found / expected - 1.0).abs();
            assert!(off <= 1e-4, "{name}: loss {found} at step {step}, expected {expected}");
            let mut gradients = Gradients::empty(optimizer.parameters().len());
            gradients
                .accumulate(optimizer.parameters(), longmae_ops::backward(&loss).unwrap())
                .unwrap();
            optimizer.step(&gradients, 1.0, 1e-3).unwrap();
        }
        check_weights_after(&fixture, &params.trainable());
    }
}

fn check_weights_after(fixture: &Fixture, params: &[longmae_ops::Param]) {
    let name = fixture.path.display().to_string();
    for (param_name, expected) in fixture.below("step10.") {
        if let Some(param) = params.iter().find(|param| param.name == param_name) {
            let gradient = trained(param_name, fixture.get(&format!("grad.{param_name}")));
            let expected = trained(param_name, expected);
            let found = trained(param_name, param.var.as_tensor());
            let found = settle_rounding(&found, &expected, &gradient);
            assert_relative(&format!("{name} {param_name}"), &found, &expected, GRADIENT);
        }
    }
}

/// Replaces what only rounding decides: AdamW divides a gradient by its own size, so where the first gradient
/// is 10,000 times smaller than the tensor's others, its rounding error becomes a full step. (In the one such
/// entry of the larger fixtures a float64 run of the reference lies thirteen times nearer to this program's
/// value than to PyTorch's.) Such entries may differ by 1e-5, a thousandth of ten steps, and must be few.
fn settle_rounding(found: &Tensor, expected: &Tensor, gradient: &Tensor) -> Tensor {
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let gradients = flat(gradient);
    let squares: f32 = gradients.iter().map(|g| g * g).sum();
    let rounding = 1e-4 * (squares / gradients.len() as f32).sqrt();
    let mut values = flat(found);
    let mut settled = 0;
    for ((value, expected), gradient) in values.iter_mut().zip(flat(expected)).zip(gradients) {
        if gradient.abs() < rounding && (*value - expected).abs() < 1e-5 {
            settled += 1;
            *value = expected;
        }
    }
    assert!(settled <= 1 + values.len() / 100, "{settled} of {} entries", values.len());
    Tensor::from_vec(values, found.shape(), found.device()).unwrap()
}

/// A parameter's entries that the loss depends on: the keys' rows of `qkv.bias` are left out, since their true
/// gradient is zero and what is computed is rounding.
fn trained(name: &str, tensor: &Tensor) -> Tensor {
    if !name.ends_with("attn.qkv.bias") {
        return tensor.clone();
    }
    let dim = tensor.dims()[0] / 3;
    let parts = [tensor.i(..dim).unwrap(), tensor.i(2 * dim..).unwrap()];
    Tensor::cat(&parts, 0).unwrap()
}
