//! The pixel loss against the plain one in f64.

use candle_core::Tensor;
use longmae_ops::reference;

use crate::buffer::Buffer;
use crate::common::{Draw, assert_all_near, numbers, oracle, within};
use crate::emulator::Emulator;
use crate::orders::on_kernels;

/// On the loss.
const SLOPE: f32 = 0.75;

fn loss(e: &Emulator, inputs: [&Tensor; 3], norm_pix: bool) -> Vec<Tensor> {
    let (samples, rows, pixels) = inputs[1].dims3().unwrap();
    let all = inputs[0].dim(1).unwrap();
    let [pred, patches, weights] = inputs.map(Buffer::<f32>::from);
    let [pred, patches, weights] = [pred.pointer(), patches.pointer(), weights.pointer()];
    let errors = Buffer::<f32>::unset(samples * rows);
    let (total, dloss) = (Buffer::<f32>::unset(2), Buffer::<f32>::of([SLOPE]));
    let slopes = Buffer::<f32>::unset(samples * all * pixels);
    let (s, f, r) = (samples as i32, (all - rows) as i32, rows as i32);
    let (p, norm) = (pixels as i32, i32::from(norm_pix));
    let forward = (pred, patches, weights, errors.pointer(), s, f, r, p, norm);
    e.launch("pixel_errors", [(samples * rows).div_ceil(4), 1, 1], 128, forward);
    let sum = (errors.pointer(), weights, total.pointer(), s * r);
    e.launch("pixel_loss_total", [1, 1, 1], 256, sum);
    let [total_at, dloss, out] = [total.pointer(), dloss.pointer(), slopes.pointer()];
    let backward = (pred, patches, weights, total_at, dloss, out, s, f, r, p, norm);
    e.launch("pixel_backward", [(samples * all).div_ceil(4), 1, 1], 128, backward);
    vec![total.tensor(2).get(0).unwrap(), slopes.tensor((samples, all, pixels))]
}

#[test]
fn loss_and_gradient() {
    for (samples, front, rows, pixels) in
        [(1, 0, 1, 1), (2, 1, 5, 12), (3, 0, 150, 3), (3, 2, 7, 27), (2, 1, 3, 768)]
    {
        for norm_pix in [false, true] {
            let pred = Draw::Full.tensor((samples, front + rows, pixels), 1);
            let patches = Draw::Full.tensor((samples, rows, pixels), 2);
            let weights: Vec<f32> = (0..samples * rows).map(|i| [1.0, 0.0, 0.5][i % 3]).collect();
            let weights = Tensor::from_vec(weights, (samples, rows), pred.device()).unwrap();
            let wide = |x: &Tensor| x.to_dtype(candle_core::DType::F64).unwrap();
            let expected = oracle(Draw::Full, std::slice::from_ref(&pred), |x| {
                let own = x[0].narrow(1, front, rows)?;
                reference::pixel_loss(&own, &wide(&patches), &wide(&weights), norm_pix)
            });
            // The oracle weighs its loss, a single number, by one of its own.
            let weight = numbers(&Draw::Full.tensor((), 99))[0];
            let slope = (&expected[1] * (f64::from(SLOPE) / weight)).unwrap();
            let Some(found) = on_kernels(|e| loss(e, [&pred, &patches, &weights], norm_pix)) else {
                return;
            };
            let what =
                format!("{samples} samples of {front} + {rows} rows of {pixels}, {norm_pix}");
            assert_all_near(&what, &found, &[expected[0].clone(), slope], within(2e-6, 1e-7));
        }
    }
}

#[test]
fn what_has_no_weight_does_not_matter_whatever_it_is() {
    let pred =
        Tensor::new(&[[[f32::NAN, f32::INFINITY], [1.0, 3.0]]], &candle_core::Device::Cpu).unwrap();
    let patches = Tensor::new(&[[[f32::NAN, 0.0], [0.0, 0.0]]], pred.device()).unwrap();
    let weights = Tensor::new(&[[0.0_f32, 2.0]], pred.device()).unwrap();
    let Some(found) = on_kernels(|e| loss(e, [&pred, &patches, &weights], false)) else { return };
    assert_eq!(numbers(&found[0]), [5.0]);
    assert_eq!(numbers(&found[1]), [0.0, 0.0, 0.75, 2.25]);
}

#[test]
fn no_weight_at_all_leaves_nothing_to_average() {
    let zeros = Draw::Full.tensor((1, 2, 4), 1).zeros_like().unwrap();
    let weights = zeros.narrow(2, 0, 1).unwrap().squeeze(2).unwrap();
    let Some(found) = on_kernels(|e| loss(e, [&zeros, &zeros, &weights], true)) else { return };
    assert!(numbers(&found[0])[0].is_nan());
    assert_eq!(numbers(&found[1]), [0.0; 8]);
}
