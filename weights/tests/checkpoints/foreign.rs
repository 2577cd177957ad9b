//! Files that other software wrote.

use crate::common::{fixture, shared, values};
use candle_core::{Device, Tensor, Var};
use longmae_weights::{Checkpoint, Kind, is_decoder};

/// Variables for the names of a file, of a number that no file here holds.
fn vars_of(checkpoint: &Checkpoint, keep: impl Fn(&str) -> bool) -> Vec<(String, Var)> {
    let unset = |name: &str| {
        let shape = checkpoint.shape(name).unwrap();
        Var::from_tensor(&Tensor::full(-7.25f32, shape, &Device::Cpu).unwrap()).unwrap()
    };
    let names = checkpoint.names().filter(|name| keep(name));
    names.map(|name| (name.to_owned(), unset(name))).collect()
}

/// Written by Python's safetensors in four float types; tensor number n holds n, n + 0.5, n + 1, ...
#[test]
fn pythons_safetensors_in_four_float_types() {
    let file = Checkpoint::open(fixture("foreign.safetensors")).unwrap();
    assert_eq!((file.kind(), file.metadata()), (Some(Kind::Full), None));
    let model = vars_of(&file, |_| true);
    let report = file.load_into(&model).unwrap();
    assert_eq!(
        report.converted,
        ["blocks.0.attn.qkv.weight", "decoder_embed.weight", "mask_token", "norm.bias"]
    );
    for (n, (name, var)) in model.iter().enumerate() {
        let expected: Vec<f64> = (0..var.elem_count()).map(|i| n as f64 + 0.5 * i as f64).collect();
        assert_eq!(values(var), expected, "{name}");
    }
}

#[test]
fn a_published_layout_loads_full_and_as_an_encoder() {
    let Some(path) = shared("fixtures/checkpoints/mae.safetensors") else { return };
    let file = Checkpoint::open(path).unwrap();
    assert_eq!((file.kind(), file.metadata()), (Some(Kind::Full), None));

    let model = vars_of(&file, |_| true);
    let report = file.load_into(&model).unwrap();
    assert_eq!((report.loaded, report.skipped.len(), report.converted.len()), (74, 0, 0));

    let encoder = vars_of(&file, |name| !is_decoder(name));
    let report = file.load_encoder_into(&encoder).unwrap();
    assert_eq!((report.loaded, report.skipped.len()), (42, 32));

    // The same model in timm's layout is the encoder, number by number.
    let timm = Checkpoint::open(file.path().with_file_name("timm.safetensors")).unwrap();
    assert_eq!(timm.kind(), Some(Kind::Encoder));
    for (name, var) in &encoder {
        let theirs = timm.tensor(name, &Device::Cpu).unwrap();
        assert_eq!(values(var), values(&theirs), "{name}");
    }
    timm.load_encoder_into(&encoder).unwrap();
    let error = timm.load_into(&model).unwrap_err().to_string();
    assert!(
        error.contains("32 missing in the file") && error.contains("an encoder only"),
        "{error}"
    );
}
