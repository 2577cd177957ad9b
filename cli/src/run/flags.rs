//! The settings that all training runs have, as they are written: flags on the command line and keys of a recipe are the
//! same lists.

use clap::Args;
use serde::{Deserialize, Deserializer, Serialize};

use crate::image_size::ImageSize;

/// The images of a run, and what becomes of each.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct DataFlags {
    /// Training data: a folder, `list:FILE`, `wds:TARS`, `parquet:FILES`, `hf://datasets/ORG/NAME`, `coco:DIR`,
    /// `ade20k:DIR`, `mnist:DIR`, `fashion-mnist:DIR`, `cifar10:DIR`, `cifar100:DIR`, `demo`, `synthetic`; several with
    /// weights: `A;0.5*B`
    #[arg(long, alias = "data_path", value_name = "SPEC", help_heading = "Data")]
    pub data: Option<String>,
    /// Data for the validation loss, with fixed masks
    #[arg(long, alias = "val_data", value_name = "SPEC", help_heading = "Data")]
    pub val_data: Option<String>,
    /// Share of the training data held out for validation, such as 0.1 (instead of --val-data)
    #[arg(long, alias = "val_share", value_name = "SHARE", help_heading = "Data")]
    pub val_share: Option<f64>,
    /// Epochs between validations
    #[arg(long, alias = "val_every", value_name = "EPOCHS", help_heading = "Data")]
    pub val_every: Option<u64>,
    /// How often each image is drawn in an epoch, each time with another crop and mask
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub repeat: Option<usize>,
    /// How often each drawn image is taken in a row, decoded once, each time with another crop and mask
    #[arg(long, alias = "aug_repeats", value_name = "N", help_heading = "Data")]
    pub aug_repeats: Option<usize>,
    /// `full`, or `scaled`: JPEG decoded at a smaller size where that is enough, which changes pixels a little
    #[arg(long, value_name = "KIND", help_heading = "Data")]
    pub decode: Option<String>,
    /// Images of the `synthetic` data
    #[arg(long, alias = "synthetic_images", value_name = "N", help_heading = "Data")]
    pub synthetic_images: Option<usize>,
    /// Image size in pixels: 224, or 224x320 (height x width)
    #[arg(
        long,
        alias = "input_size",
        alias = "image_size",
        value_name = "SIZE",
        help_heading = "Data"
    )]
    pub image_size: Option<ImageSize>,
    /// Channels of an image: 3 reads everything as RGB, 1 as grey, other numbers keep a file's own bands
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub channels: Option<usize>,
    /// Mean of each channel in 0..1, such as 0.485,0.456,0.406 (default: ImageNet's for 3 channels, else 0.5)
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = trimmed, help_heading = "Data")]
    pub mean: Option<Vec<f64>>,
    /// Standard deviation of each channel (default: ImageNet's for 3 channels, else 0.5)
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = trimmed, help_heading = "Data")]
    pub std: Option<Vec<f64>>,
    /// `random` (torchvision's resized crop), `byol` (drawn in one try, as MAE's TPU code does), or `none` (the whole
    /// image is resized)
    #[arg(long, value_name = "KIND", help_heading = "Data")]
    pub crop: Option<String>,
    /// Smallest share of the image's area that a random crop covers
    #[arg(long, alias = "min_crop", value_name = "SHARE", help_heading = "Data")]
    pub min_crop: Option<f64>,
    /// Largest share of the image's area that a random crop covers
    #[arg(long, alias = "max_crop", value_name = "SHARE", help_heading = "Data")]
    pub max_crop: Option<f64>,
    /// Mirror half of the images
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Data")]
    pub flip: Option<bool>,
    /// Turn images upright as their EXIF orientation says (on by default)
    #[arg(long, alias = "exif_orientation", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Data")]
    pub exif_orientation: Option<bool>,
    /// Corrupt images that are put up with: a number, or a share such as 1% (default: 10, or 1% if that is more)
    #[arg(long, alias = "max_corrupt", value_name = "LIMIT", help_heading = "Data")]
    #[serde(deserialize_with = "text_or_number")]
    pub max_corrupt: Option<String>,
}

/// The encoder, and the weights it starts from.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct EncoderFlags {
    /// Encoder: vit-nano, vit-tiny, vit-small, vit-base, vit-large or vit-huge
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub model: Option<String>,
    /// Width of the encoder (default: the model's)
    #[arg(long, alias = "encoder_dim", value_name = "DIM", help_heading = "Model")]
    pub encoder_dim: Option<usize>,
    /// Blocks of the encoder (default: the model's)
    #[arg(long, alias = "encoder_depth", value_name = "N", help_heading = "Model")]
    pub encoder_depth: Option<usize>,
    /// Attention heads of the encoder (default: the model's)
    #[arg(long, alias = "encoder_heads", value_name = "N", help_heading = "Model")]
    pub encoder_heads: Option<usize>,
    /// Hidden width of the encoder's MLPs as a multiple of its width (default: 4)
    #[arg(long, alias = "mlp_ratio", value_name = "RATIO", help_heading = "Model")]
    pub mlp_ratio: Option<f64>,
    /// Added to the variance in layer norms (default: 1e-6)
    #[arg(long, alias = "layer_norm_eps", value_name = "EPS", help_heading = "Model")]
    pub layer_norm_eps: Option<f64>,
    /// Side of a patch in pixels (p); it divides the image's sides
    #[arg(long, alias = "patch_size", value_name = "P", help_heading = "Model")]
    pub patch_size: Option<usize>,
    /// Leave out the bias of attention's keys, as the published long-sequence code can
    #[arg(long, alias = "no_k_bias", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Model")]
    pub no_k_bias: Option<bool>,
    /// Stochastic depth of the encoder, at its last block
    #[arg(long, alias = "drop_path", value_name = "RATE", help_heading = "Model")]
    pub drop_path: Option<f64>,
    /// Weights to start from: a safetensors or PyTorch file in any layout, a checkpoint's or a run's folder, or
    /// hf://ORG/NAME[@REV][/FILE]
    #[arg(long, alias = "init_weights", value_name = "FILE|DIR|hf://...", help_heading = "Model")]
    pub init_weights: Option<String>,
    /// Start from weights that fit in part, such as an encoder's; what stays at its initial value is said
    #[arg(long, alias = "allow_partial", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Model")]
    pub allow_partial: Option<bool>,
}

/// How a model is optimised.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct OptimisationFlags {
    /// Passes over the data
    #[arg(long, value_name = "N", help_heading = "Optimisation")]
    pub epochs: Option<f64>,
    /// Epochs of linear warm-up (default: a twentieth of the run's length)
    #[arg(long, alias = "warmup_epochs", value_name = "N", help_heading = "Optimisation")]
    pub warmup_epochs: Option<f64>,
    /// End after so many optimiser steps, if epochs do not end before; the schedule spans the shorter run
    #[arg(long, alias = "max_steps", value_name = "N", help_heading = "Optimisation")]
    pub max_steps: Option<u64>,
    /// Images of a micro-batch
    #[arg(long, alias = "batch_size", value_name = "N", help_heading = "Optimisation")]
    pub batch_size: Option<usize>,
    /// Images of an optimiser step: batch size x accumulation
    #[arg(long, alias = "effective_batch_size", value_name = "N", help_heading = "Optimisation")]
    pub effective_batch_size: Option<usize>,
    /// Micro-batches of an optimiser step
    #[arg(long, alias = "accum_iter", value_name = "N", help_heading = "Optimisation")]
    pub accum_iter: Option<usize>,
    /// Base learning rate: the rate is blr x effective batch / 256
    #[arg(long, value_name = "RATE", help_heading = "Optimisation")]
    pub blr: Option<f64>,
    /// Learning rate; overrides --blr
    #[arg(long, value_name = "RATE", help_heading = "Optimisation")]
    pub lr: Option<f64>,
    /// Learning rate at the end
    #[arg(long, alias = "min_lr", value_name = "RATE", help_heading = "Optimisation")]
    pub min_lr: Option<f64>,
    /// Weight decay of tensors with two or more dimensions
    #[arg(long, alias = "weight_decay", value_name = "W", help_heading = "Optimisation")]
    pub weight_decay: Option<f64>,
    /// Largest norm of the gradient (default: no clipping)
    #[arg(long, alias = "clip_grad", value_name = "NORM", help_heading = "Optimisation")]
    pub clip_grad: Option<f64>,
    /// Keep an exponential moving average of the weights with this decay, such as 0.9999 (default: none)
    #[arg(long, value_name = "DECAY", help_heading = "Optimisation")]
    pub ema: Option<f64>,
    /// When the loss is above FACTOR times its running median in three steps in a row, go back to the last checkpoint's
    /// weights and on with new data (default: never)
    #[arg(long, value_name = "FACTOR", help_heading = "Optimisation")]
    pub rollback: Option<f64>,
}

/// What computes.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct MachineFlags {
    /// Precision of matrix products: fp32 or bf16 (weights, norms, loss and optimiser stay in fp32)
    #[arg(long, value_name = "NAME", help_heading = "Machine")]
    pub precision: Option<String>,
    /// `fused`, or `reference`: plain candle operations, slow, to compare with
    #[arg(long, value_name = "NAME", help_heading = "Machine")]
    pub kernels: Option<String>,
    /// Recompute blocks in the backward pass: less memory, more time, the same numbers
    #[arg(long, alias = "grad_checkpoint", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Machine")]
    pub grad_checkpoint: Option<bool>,
    /// Device: cpu, cuda or cuda:N (with the feature `cuda`), metal or metal:N (with the feature `metal`)
    #[arg(long, value_name = "NAME", help_heading = "Machine")]
    pub device: Option<String>,
    /// Threads of the model's computation (default: one a core)
    #[arg(long, value_name = "N", help_heading = "Machine")]
    pub threads: Option<usize>,
    /// Processes that train together: not typed, but what mpirun started.
    #[arg(skip)]
    pub ranks: Option<usize>,
    /// Threads that load and transform images; the run does not depend on their number
    #[arg(long, alias = "num_workers", value_name = "N", help_heading = "Machine")]
    pub workers: Option<usize>,
}

/// What is kept of a run, and said of it.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct RunFlags {
    /// Whose run it is: not typed, but the command that was.
    #[arg(skip)]
    pub command: Option<String>,
    /// Seed of everything random
    #[arg(long, value_name = "N", help_heading = "Run")]
    pub seed: Option<u64>,
    /// Save a checkpoint every N steps, epochs (2e) or minutes (10m)
    #[arg(long, alias = "save_every", value_name = "WHEN", help_heading = "Run")]
    #[serde(deserialize_with = "text_or_number")]
    pub save_every: Option<String>,
    /// Checkpoints kept, the newest
    #[arg(long, value_name = "N", help_heading = "Run")]
    pub keep: Option<usize>,
    /// Save and keep also the checkpoint with the smallest validation loss (on by default, where there is validation)
    #[arg(long, alias = "keep_best", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Run")]
    pub keep_best: Option<bool>,
    /// Steps between lines in log.txt (and on the terminal where there is no progress bar)
    #[arg(long, alias = "log_every", value_name = "STEPS", help_heading = "Run")]
    pub log_every: Option<u64>,
}

/// Reads `500` as well as `"10m"`.
pub fn text_or_number<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(u64),
        Text(String),
    }
    Ok(Some(match Written::deserialize(deserializer)? {
        Written::Number(number) => number.to_string(),
        Written::Text(text) => text,
    }))
}

/// A number of a list, which may have spaces after its commas.
fn trimmed(text: &str) -> Result<f64, std::num::ParseFloatError> {
    text.trim().parse()
}
