//! Position embeddings, made and resized, against PyTorch.

use candle_core::{Device, Var};
use longmae_patching::{PatchGrid, Resample, resize_positions, sincos_positions};
use longmae_tests::{assert_close, fixtures};

const TOLERANCE: f64 = 2e-5;

fn grid(text: &str) -> PatchGrid {
    let (rows, cols) = text.split_once('x').unwrap_or((text, text));
    PatchGrid::new((rows.parse().unwrap(), cols.parse().unwrap()), 1).unwrap()
}

#[test]
fn sincos_is_mae() {
    for fixture in fixtures("pos_embed") {
        for (name, expected) in fixture.below("sincos.d") {
            let (dim, size) = name.split_once("_g").unwrap();
            let found = sincos_positions(dim.parse().unwrap(), grid(size), &Device::Cpu).unwrap();
            assert_close(name, &found.squeeze(0).unwrap(), expected, TOLERANCE);
        }
    }
}

#[test]
fn resizing_is_bicubic_without_antialias() {
    for fixture in fixtures("pos_embed") {
        for (name, expected) in fixture.below("resize") {
            let (from, rest) = name.split_once("_to_").unwrap();
            let (to, dim) = rest.split_once(".d").unwrap();
            let source = sincos_positions(dim.parse().unwrap(), grid(from), &Device::Cpu).unwrap();
            let found = resize_positions(&source, grid(from), grid(to), Resample::Bicubic).unwrap();
            assert_close(name, &found.squeeze(0).unwrap(), expected, TOLERANCE);
        }
    }
}

#[test]
fn resizing_keeps_gradients() {
    let (from, to) = (grid("4"), grid("6x5"));
    let source = Var::from_tensor(&sincos_positions(8, from, &Device::Cpu).unwrap()).unwrap();
    for how in [Resample::Bicubic, Resample::BicubicAntialiased] {
        let sum = resize_positions(source.as_tensor(), from, to, how).unwrap().sum_all().unwrap();
        let gradients = sum.backward().unwrap();
        let total = gradients.get(&source).unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
        // Each output's taps sum to one, so the gradients sum to the number of outputs.
        assert!((total - (31 * 8) as f32).abs() < 1e-3, "{how}: {total}");
    }
}
