//! The settings of fine-tuning a classifier as they are written: flags and a recipe's keys are the same list.

use serde::{Deserialize, Serialize};

use crate::run::flags::{DataFlags, EncoderFlags, MachineFlags, OptimisationFlags, RunFlags};

/// Every setting, each optional. MAE's own spellings are aliases.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(default)]
pub struct Flags {
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub encoder: EncoderFlags,
    /// What the classifier looks at: the `mean` of the patch tokens, or the `class` token
    #[arg(long, value_name = "KIND", help_heading = "Model")]
    pub pool: Option<String>,

    /// `none`, or timm's policies: `rand-m9-mstd0.5-inc1` (RandAugment), `original`, `originalr`, `v0`, `v0r`
    /// (AutoAugment)
    #[arg(
        long,
        alias = "auto_augment",
        alias = "aa",
        value_name = "POLICY",
        help_heading = "Data"
    )]
    pub auto_augment: Option<String>,
    /// Jitter of brightness, contrast and saturation, where there is no --auto-augment
    #[arg(long, alias = "color_jitter", value_name = "FACTOR", help_heading = "Data")]
    pub color_jitter: Option<f64>,
    /// Probability that a box of an image is erased
    #[arg(long, value_name = "P", help_heading = "Data")]
    pub reprob: Option<f64>,
    /// What erased boxes hold: `const` (zeros), `rand` (a colour) or `pixel` (noise)
    #[arg(long, value_name = "MODE", help_heading = "Data")]
    pub remode: Option<String>,
    /// Boxes that are erased of an image
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub recount: Option<usize>,
    /// Evaluation looks at the `center` of an image, or at all of it (`none`)
    #[arg(long, alias = "eval_crop", value_name = "KIND", help_heading = "Data")]
    pub eval_crop: Option<String>,

    /// Alpha of mixup; 0 is none
    #[arg(long, value_name = "ALPHA", help_heading = "Objective")]
    pub mixup: Option<f64>,
    /// Alpha of CutMix; 0 is none
    #[arg(long, value_name = "ALPHA", help_heading = "Objective")]
    pub cutmix: Option<f64>,
    /// Probability that a batch is mixed, where mixup or CutMix are on
    #[arg(long, alias = "mixup_prob", value_name = "P", help_heading = "Objective")]
    pub mixup_prob: Option<f64>,
    /// Probability of CutMix where both are on
    #[arg(long, alias = "mixup_switch_prob", value_name = "P", help_heading = "Objective")]
    pub mixup_switch_prob: Option<f64>,
    /// Mix a whole `batch` alike, each `pair`, or each image (`elem`)
    #[arg(long, alias = "mixup_mode", value_name = "MODE", help_heading = "Objective")]
    pub mixup_mode: Option<String>,
    /// Label smoothing
    #[arg(long, value_name = "SHARE", help_heading = "Objective")]
    pub smoothing: Option<f64>,

    #[command(flatten)]
    #[serde(flatten)]
    pub optimisation: OptimisationFlags,
    /// Each block's learning rate is that of the next times this; 1 is the same for all
    #[arg(long, alias = "layer_decay", value_name = "FACTOR", help_heading = "Optimisation")]
    pub layer_decay: Option<f64>,
    #[command(flatten)]
    #[serde(flatten)]
    pub machine: MachineFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub run: RunFlags,
}
