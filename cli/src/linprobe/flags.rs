//! The settings of a linear probe as they are written: flags and a recipe's keys are the same list.

use serde::{Deserialize, Serialize};

use crate::run::flags::{DataFlags, EncoderFlags, MachineFlags, OptimisationFlags, RunFlags};

/// Every setting, each optional. MAE's own spellings are aliases.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(default)]
pub struct Flags {
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataFlags,
    /// The probe looks at the `center` of an image, or at all of it (`none`)
    #[arg(long, alias = "eval_crop", value_name = "KIND", help_heading = "Data")]
    pub eval_crop: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    pub encoder: EncoderFlags,
    /// What the probe looks at, after the encoder's norm: the `class` token, or the `mean` of the patch tokens
    #[arg(long, value_name = "KIND", help_heading = "Model")]
    pub pool: Option<String>,
    /// Inverse of the penalty of --exact, as scikit-learn's; several are tried on a held-out tenth (default: 1e-4 to 1e2)
    #[arg(long, value_name = "C,...", value_delimiter = ',', help_heading = "Objective")]
    pub c: Option<Vec<f64>>,
    #[command(flatten)]
    #[serde(flatten)]
    pub optimisation: OptimisationFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub machine: MachineFlags,
    #[command(flatten)]
    #[serde(flatten)]
    pub run: RunFlags,
}
