//! What a GPU would run, launched as it would be, by the emulator: against the CPU's fused kernels, gradients included.

use candle_core::{Device, Tensor, Var};

use super::emulated::is_there;
use super::{gather_tokens, pixel_loss, prepend_class, primitives, restore_tokens};
use crate::device::tests::{Draws, FP32, close, compare, layers_agree, passes, towers_agree};
use crate::{AdamWStep, AdamWTensor, Compute, Precision};

/// How far two ways of rounding to bf16 may be apart, as a share of the largest number.
const BF16: f32 = 3e-2;

fn compute(precision: Precision) -> Compute {
    Compute { precision, ..Compute::default() }
}

fn ids(rows: &[&[u32]]) -> Tensor {
    Tensor::new(rows.iter().map(|row| row.to_vec()).collect::<Vec<_>>(), &Device::Cpu).unwrap()
}

#[test]
fn towers_are_those_of_the_cpu() {
    if !is_there() {
        return;
    }
    let of = Draws::new().tensor(&[1]);
    for (precision, share) in [(Precision::Fp32, FP32), (Precision::Bf16, BF16)] {
        let gpu = primitives(&of, precision).unwrap();
        for tokens in [5, 70] {
            towers_agree(&gpu, tokens, compute(precision), share);
        }
        let again = Compute { grad_checkpoint: true, ..compute(precision) };
        towers_agree(&gpu, 5, again, share);
    }
}

#[test]
fn layers_are_those_of_the_cpu() {
    if !is_there() {
        return;
    }
    let of = Draws::new().tensor(&[1]);
    for (precision, share) in [(Precision::Fp32, FP32), (Precision::Bf16, BF16)] {
        layers_agree(&primitives(&of, precision).unwrap(), compute(precision), share);
    }
}

#[test]
fn tokens_go_where_those_of_the_cpu_go() {
    if !is_there() {
        return;
    }
    let (mut draws, plain) = (Draws::new(), Compute::default());
    let dim = 12;
    let tokens = draws.tensor(&[2, 4, dim]);
    let (class, positions) = (draws.tensor(&[1, 1, dim]), draws.tensor(&[1, 7, dim]));
    let picked = ids(&[&[5, 0, 3, 3], &[2, 2, 1, 0]]);
    let direction = draws.tensor(&[2, 5, dim]).detach();

    let source = draws.tensor(&[2, 6, dim]);
    let four = direction.narrow(1, 0, 4).unwrap().contiguous().unwrap();
    let of = [source.clone()];
    let expected = passes(&of, &four, || crate::gather_tokens(&source, &picked, plain));
    compare(passes(&of, &four, || gather_tokens(&source, &picked)), expected, FP32);

    let of = [tokens.clone(), class.clone(), positions.clone()];
    let expected = passes(&of, &direction, || {
        crate::prepend_class(&tokens, &class, &positions, Some(&picked), plain)
    });
    let found =
        passes(&of, &direction, || prepend_class(&tokens, &class, &positions, Some(&picked)));
    compare(found, expected, FP32);

    // Positions that are no variable, of patches that are all there.
    let fixed = positions.detach().narrow(1, 0, 5).unwrap();
    let of = [tokens.clone(), class.clone()];
    let expected =
        passes(&of, &direction, || crate::prepend_class(&tokens, &class, &fixed, None, plain));
    let found = passes(&of, &direction, || prepend_class(&tokens, &class, &fixed, None));
    compare(found, expected, FP32);

    let (visible, mask_token) = (draws.tensor(&[2, 3, dim]), draws.tensor(&[1, 1, dim]));
    let restore = ids(&[&[3, 0, 2, 1, 5, 4], &[1, 4, 5, 0, 2, 3]]);
    let all = draws.tensor(&[2, 7, dim]).detach();
    let fixed = positions.detach();
    let of = [visible.clone(), mask_token.clone()];
    for positions in [Some(&fixed), None] {
        let expected = passes(&of, &all, || {
            crate::restore_tokens(&visible, &mask_token, &restore, positions, plain)
        });
        let found =
            passes(&of, &all, || restore_tokens(&visible, &mask_token, &restore, positions));
        compare(found, expected, FP32);
    }
}

#[test]
fn the_loss_is_that_of_the_cpu() {
    if !is_there() {
        return;
    }
    let mut draws = Draws::new();
    let (pred, patches) = (draws.tensor(&[2, 6, 27]), draws.tensor(&[2, 5, 27]).detach());
    let weights = [[1.0_f32, 0.0, 1.0, 0.25, 1.0], [0.0, 1.0, 1.0, 1.0, 0.5]];
    let weights = Tensor::new(&weights, &Device::Cpu).unwrap();
    let direction = Tensor::new(1.5_f32, &Device::Cpu).unwrap();
    let of = [pred.clone()];
    for norm_pix in [false, true] {
        let expected = passes(&of, &direction, || {
            crate::pixel_loss(&pred, &patches, &weights, norm_pix, Compute::default())
        });
        let found = passes(&of, &direction, || pixel_loss(&pred, &patches, &weights, norm_pix));
        compare(found, expected, FP32);
    }
}

fn copies(of: &[Var]) -> Vec<Var> {
    of.iter().map(|var| Var::from_tensor(&var.as_tensor().copy().unwrap()).unwrap()).collect()
}

#[test]
fn updates_are_those_of_the_cpu() {
    if !is_there() {
        return;
    }
    let mut draws = Draws::new();
    let own: Vec<Var> = (0..2).map(|_| draws.var(&[37, 29])).collect();
    let second = Var::from_tensor(&draws.tensor(&[37, 29]).abs().unwrap()).unwrap();
    let own = [own, vec![second]].concat();
    let gradient = draws.tensor(&[37, 29]).detach();
    let step = AdamWStep { beta1: 0.9, beta2: 0.95, eps: 1e-8, step: 3, gradient_scale: 0.5 };
    let [of_cpu, of_gpu] = [copies(&own), copies(&own)];
    let tensor = AdamWTensor {
        value: &of_cpu[0],
        first: &of_cpu[1],
        second: &of_cpu[2],
        gradient: &gradient,
        lr: 0.01,
        weight_decay: 0.05,
    };
    crate::adamw(&[tensor], &step).unwrap();
    let factors = crate::adamw::factors(&tensor, &step);
    super::adamw(&of_gpu[0], &of_gpu[1], &of_gpu[2], &gradient, &factors).unwrap();
    for (found, expected) in of_gpu.iter().zip(&of_cpu) {
        close(found.as_tensor(), expected.as_tensor(), 1e-6, "an update");
    }
    // And candle's operations.
    let [of_others] = [copies(&own)];
    let tensor =
        AdamWTensor { value: &of_others[0], first: &of_others[1], second: &of_others[2], ..tensor };
    crate::reference::adamw(&tensor, &step).unwrap();
    for (found, expected) in of_others.iter().zip(&of_cpu) {
        close(found.as_tensor(), expected.as_tensor(), 1e-6, "an update");
    }
}

#[test]
fn sums_and_averages_are_those_of_the_cpu() {
    if !is_there() {
        return;
    }
    let mut draws = Draws::new();
    let (a, b) = (draws.var(&[150, 211]), draws.var(&[150, 211]));
    let squares = super::squares(&[a.as_tensor(), b.as_tensor()]).unwrap();
    for (found, of) in squares.into_iter().zip([&a, &b]) {
        let expected = crate::gradient_norm([of.as_tensor()]).unwrap().powi(2);
        assert!((found / expected - 1.0).abs() < 1e-6, "{found} {expected}");
    }
    let [of_cpu, of_gpu] = [copies(&[a.clone(), b.clone()]), copies(&[a, b])];
    crate::lerp_in_place(&of_cpu[0], of_cpu[1].as_tensor(), 0.25).unwrap();
    super::lerp(&of_gpu[0], &of_gpu[1], 0.25).unwrap();
    crate::add_in_place(&of_cpu[1], of_cpu[0].as_tensor()).unwrap();
    super::add_in_place(&of_gpu[1], &of_gpu[0]).unwrap();
    crate::swap_in_place(&of_cpu[0], &of_cpu[1]).unwrap();
    super::swap(&of_gpu[0], &of_gpu[1]).unwrap();
    for (found, expected) in of_gpu.iter().zip(&of_cpu) {
        close(found.as_tensor(), expected.as_tensor(), 1e-6, "averaged, added, exchanged");
    }
}
