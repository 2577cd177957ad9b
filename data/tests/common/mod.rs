//! What several tests need.
#![allow(dead_code, reason = "each test file takes what it needs")]
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

pub mod packed;
pub mod shards;

use std::path::{Path, PathBuf};

use longmae_data::{Image, Pixels};
use safetensors::SafeTensors;
use serde_json::Value;

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

pub fn fixture_bytes(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap()
}

/// The folder with the large test set, or `None` after saying that the test is skipped.
pub fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("LONGMAE_SHARED").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: LONGMAE_SHARED does not name the folder of the large test set");
    }
    folder
}

/// The shape and the bytes of a tensor of bytes.
pub fn bytes_of<'a>(tensors: &SafeTensors<'a>, name: &str) -> (Vec<usize>, &'a [u8]) {
    let tensor = tensors.tensor(name).unwrap();
    (tensor.shape().to_vec(), tensor.data())
}

/// The cases of this name that a fixture file's metadata notes.
pub fn cases(file: &[u8], name: &str) -> Value {
    let (_, header) = SafeTensors::read_metadata(file).unwrap();
    let all: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["cases"]).unwrap();
    all[name].clone()
}

pub fn u8s(image: &Image) -> &[u8] {
    match &image.pixels {
        Pixels::U8(samples) => samples,
        Pixels::F32(_) => panic!("bytes expected"),
    }
}

/// How far apart two pictures are, in grey levels.
#[derive(Debug)]
pub struct Distance {
    pub mean: f64,
    pub max: u8,
    /// The distance that 99.9% of the samples keep.
    pub most: u8,
}

pub fn distance(a: &[u8], b: &[u8]) -> Distance {
    assert_eq!(a.len(), b.len());
    let mut differences: Vec<u8> = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).collect();
    differences.sort_unstable();
    let last = differences.len() - 1;
    Distance {
        mean: differences.iter().map(|&d| f64::from(d)).sum::<f64>() / differences.len() as f64,
        max: differences[last],
        most: differences[last * 999 / 1000],
    }
}
