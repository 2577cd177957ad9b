//! A small model's tensors, variables and information, for the tests of this folder.

use candle_core::{DType, Device, Tensor, Var};
use longmae_weights::{Kind, Metadata, ModelInfo, TowerInfo};
use std::path::{Path, PathBuf};

/// Information of a model of 2 x 2 patches; what the tests do not look at has the papers' values.
pub fn info() -> ModelInfo {
    ModelInfo {
        image_size: [16, 16],
        patch_size: 8,
        channels: 1,
        mean: vec![0.45],
        std: vec![0.225],
        mask_unit: 1,
        mask_ratio: 0.75,
        mask_strategy: "random".into(),
        mask_count: "published".into(),
        encoder: TowerInfo { dim: 2, depth: 1, heads: 1, mlp_ratio: 4.0 },
        decoder: Some(TowerInfo { dim: 3, depth: 1, heads: 1, mlp_ratio: 4.0 }),
        decoder_downsampling: 1,
        pred_downsampling: 1,
        key_bias: true,
        norm_pix_loss: false,
        layer_norm_eps: 1e-6,
        steps: 10,
        epochs: None,
        loss: Some(0.7),
        code_version: "0.1.0".into(),
        classifier: None,
        detector: None,
    }
}

/// Metadata with a recipe.
pub fn metadata(kind: Kind) -> Metadata {
    Metadata {
        kind, info: info(), recipe: Some("patch_size = 8\n# \"quoted\" – ünïcode\n".into())
    }
}

/// Names and shapes of an encoder, as the published files have them (one block, cut down).
pub fn encoder() -> Vec<(&'static str, Vec<usize>)> {
    vec![
        ("cls_token", vec![1, 1, 2]),
        ("pos_embed", vec![1, 5, 2]),
        ("patch_embed.proj.weight", vec![2, 1, 8, 8]),
        ("blocks.0.attn.qkv.weight", vec![6, 2]),
        ("blocks.0.attn.qkv.bias", vec![6]),
        ("norm.bias", vec![2]),
    ]
}

/// The encoder with a decoder.
pub fn full() -> Vec<(&'static str, Vec<usize>)> {
    let decoder = [
        ("mask_token", vec![1, 1, 3]),
        ("decoder_embed.weight", vec![3, 2]),
        ("decoder_pos_embed", vec![1, 5, 3]),
    ];
    encoder().into_iter().chain(decoder).collect()
}

/// Tensor number n holds n, n + 1/8, n + 2/8, ... in f32.
pub fn tensors(shapes: &[(&str, Vec<usize>)]) -> Vec<(String, Tensor)> {
    let numbered = shapes.iter().enumerate();
    numbered
        .map(|(n, (name, shape))| {
            let count = shape.iter().product::<usize>();
            let values: Vec<f32> = (0..count).map(|i| n as f32 + i as f32 / 8.0).collect();
            ((*name).to_owned(), Tensor::from_vec(values, shape.as_slice(), &Device::Cpu).unwrap())
        })
        .collect()
}

/// Variables of zeros.
pub fn vars(shapes: &[(&str, Vec<usize>)], dtype: DType) -> Vec<(String, Var)> {
    let zeros = |shape: &Vec<usize>| Var::zeros(shape.as_slice(), dtype, &Device::Cpu).unwrap();
    shapes.iter().map(|(name, shape)| ((*name).to_owned(), zeros(shape))).collect()
}

/// All numbers of a tensor in f64.
pub fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// A file of `tests/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The folder of larger files that `LONGMAE_SHARED` names, if it does.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub fn shared(file: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("LONGMAE_SHARED");
    if folder.is_none() {
        eprintln!("skipped: set LONGMAE_SHARED to the folder that holds {file}");
    }
    folder.map(|folder| Path::new(&folder).join(file))
}
