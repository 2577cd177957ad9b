//! The settings of pre-training as they are written: flags on the command line and keys of a recipe are the same list.

use serde::{Deserialize, Serialize};

use crate::run::flags::{
    DataFlags, EncoderFlags, MachineFlags, OptimisationFlags, RunFlags, text_or_number,
};

/// Every setting, each optional: one layer of defaults, recipe, `--set` or flags. MAE's own spellings are aliases.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(default)]
pub struct Flags {
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub encoder: EncoderFlags,
    /// Width of the decoder
    #[arg(
        long,
        alias = "decoder_dim",
        alias = "decoder_embed_dim",
        value_name = "DIM",
        help_heading = "Model"
    )]
    pub decoder_dim: Option<usize>,
    /// Blocks of the decoder
    #[arg(long, alias = "decoder_depth", value_name = "N", help_heading = "Model")]
    pub decoder_depth: Option<usize>,
    /// Attention heads of the decoder
    #[arg(
        long,
        alias = "decoder_heads",
        alias = "decoder_num_heads",
        value_name = "N",
        help_heading = "Model"
    )]
    pub decoder_heads: Option<usize>,
    /// Shorten the decoder's sequence by a learned K x K convolution
    #[arg(long, alias = "decoder_downsampling", value_name = "K", help_heading = "Model")]
    pub decoder_downsampling: Option<usize>,
    /// Predict squares of K x K patches as one
    #[arg(long, alias = "pred_downsampling", value_name = "K", help_heading = "Model")]
    pub pred_downsampling: Option<usize>,

    /// Side of a mask unit in patches; 2 for sequences of 784 tokens
    #[arg(
        long,
        alias = "mask_unit",
        alias = "mask_downsampling",
        value_name = "K",
        help_heading = "Objective"
    )]
    pub mask_unit: Option<usize>,
    /// Share of the patches that is hidden
    #[arg(long, alias = "mask_ratio", value_name = "RATIO", help_heading = "Objective")]
    pub mask_ratio: Option<f64>,
    /// `random`, `block` or `grid`
    #[arg(long, alias = "mask_strategy", value_name = "NAME", help_heading = "Objective")]
    pub mask_strategy: Option<String>,
    /// `published` (rounds down, can cut a unit) or `units` (whole units)
    #[arg(long, alias = "mask_count", value_name = "RULE", help_heading = "Objective")]
    pub mask_count: Option<String>,
    /// Predict pixels normalised patch by patch (on by default; `--norm-pix-loss false` predicts raw pixels)
    #[arg(long, alias = "norm_pix_loss", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Objective")]
    pub norm_pix_loss: Option<bool>,

    #[command(flatten)]
    #[serde(flatten)]
    pub optimisation: OptimisationFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub machine: MachineFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub run: RunFlags,
    /// Draw reconstructions every N steps or epochs (2e) (default: a twentieth of the run), and at the end
    #[arg(long, alias = "pictures_every", value_name = "WHEN", help_heading = "Run")]
    #[serde(deserialize_with = "text_or_number")]
    pub pictures_every: Option<String>,
    /// Images with classes, on which the encoder's features are probed while it is trained: nearest neighbours, and a linear
    /// classifier (default: none)
    #[arg(long, alias = "probe_data", value_name = "SPEC", help_heading = "Run")]
    pub probe_data: Option<String>,
    /// Images with classes that the probe is tested on (default: a fifth of --probe-data)
    #[arg(long, alias = "probe_val_data", value_name = "SPEC", help_heading = "Run")]
    pub probe_val_data: Option<String>,
    /// Epochs between probes (default: a tenth of the run), and at the end
    #[arg(long, alias = "probe_every", value_name = "EPOCHS", help_heading = "Run")]
    pub probe_every: Option<u64>,
    /// The most images that a probe takes of each (default: 10000)
    #[arg(long, alias = "probe_images", value_name = "N", help_heading = "Run")]
    pub probe_images: Option<usize>,
}
