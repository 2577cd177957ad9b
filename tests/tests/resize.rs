//! Position and patch embeddings resized and adapted, against timm and PyTorch.

use candle_core::Tensor;
use longmae_patching::{
    PatchGrid, PatchResample, Resample, adapt_channels, resize_patch_embed, resize_positions,
};
use longmae_tests::{Fixture, assert_close, fixtures};

/// Of values of order one.
const TOLERANCE: f64 = 2e-5;

fn fixture() -> Fixture {
    fixtures("resize").remove(0)
}

fn grid(text: &str) -> PatchGrid {
    let (rows, cols) = text.split_once('x').unwrap();
    PatchGrid::new((rows.parse().unwrap(), cols.parse().unwrap()), 1).unwrap()
}

fn each(fixture: &Fixture, prefix: &str, found: impl Fn(&str, &str) -> Tensor) {
    let cases = fixture.below(prefix);
    assert!(cases.len() > 4, "{prefix}");
    for (name, expected) in cases {
        let (from, to) = name.split_once("_to_").unwrap();
        assert_close(&format!("{prefix}{name}"), &found(from, to), expected, TOLERANCE);
    }
}

#[test]
fn positions_are_resized_as_torch_and_timm_do() {
    let fixture = fixture();
    for (prefix, how) in
        [("plain.g", Resample::Bicubic), ("antialiased.g", Resample::BicubicAntialiased)]
    {
        each(&fixture, prefix, |from, to| {
            let source = fixture.get(&format!("positions.g{from}"));
            resize_positions(source, grid(from), grid(to), how).unwrap()
        });
    }
}

#[test]
fn patch_embeddings_are_resized_as_timm_and_torch_do() {
    let fixture = fixture();
    for (prefix, how) in [
        ("inverse.p", PatchResample::PseudoInverse),
        ("picture.p", PatchResample::Plain(Resample::Bicubic)),
    ] {
        each(&fixture, prefix, |from, to| {
            let source = fixture.get(&format!("patch.p{from}"));
            resize_patch_embed(source, to.parse().unwrap(), how).unwrap()
        });
    }
}

#[test]
fn channels_are_adapted_as_timm_does() {
    let fixture = fixture();
    let cases = fixture.below("channels.");
    assert_eq!(cases.len(), 5);
    for (channels, expected) in cases {
        let found = adapt_channels(fixture.get("patch.p4"), channels.parse().unwrap()).unwrap();
        assert_close(channels, &found, expected, TOLERANCE);
    }
}
