//! What other packages' JSON files beside the weights say about the model: transformers' `config.json` and
//! `preprocessor_config.json`, and timm's `config.json`.

use crate::stored::cannot;
use crate::{Error, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// The longest file of this kind that is read, in bytes; transformers' with a thousand classes have 70 kB.
const MAX_LEN: u64 = 4 << 20;

/// transformers' and timm's `config.json`, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Config {
    pub model_type: Option<String>,
    pub hidden_size: Option<usize>,
    pub num_attention_heads: Option<usize>,
    pub decoder_num_attention_heads: Option<usize>,
    pub image_size: Option<Sides>,
    pub layer_norm_eps: Option<f64>,
    pub hidden_act: Option<String>,
    pub mask_ratio: Option<f64>,
    pub norm_pix_loss: Option<bool>,
    /// timm's: how the model is built.
    #[serde(default)]
    pub model_args: ModelArgs,
    /// timm's: what the pictures should be.
    #[serde(default)]
    pub pretrained_cfg: PretrainedCfg,
}

/// A square's side, or height and width.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
pub(super) enum Sides {
    Square(usize),
    Oblong([usize; 2]),
}

impl Sides {
    /// Height and width.
    pub fn pair(self) -> [usize; 2] {
        match self {
            Self::Square(side) => [side, side],
            Self::Oblong(sides) => sides,
        }
    }
}

/// timm's arguments of a model.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ModelArgs {
    pub img_size: Option<Sides>,
    pub num_heads: Option<usize>,
}

/// timm's description of a model's input.
#[derive(Debug, Default, Deserialize)]
pub(super) struct PretrainedCfg {
    /// Channels, height, width.
    pub input_size: Option<[usize; 3]>,
    pub mean: Option<Vec<f64>>,
    pub std: Option<Vec<f64>>,
}

/// transformers' `preprocessor_config.json`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Preprocessor {
    pub image_mean: Option<Vec<f64>>,
    pub image_std: Option<Vec<f64>>,
}

impl Config {
    /// Whether it is transformers', whose keys have defaults.
    pub fn is_transformers(&self) -> bool {
        self.model_type.is_some() || self.hidden_size.is_some()
    }
}

/// The file `name` in the folder of `weights`; none if there is none.
///
/// # Errors
/// [`Error::Config`] if it cannot be understood, [`Error::Io`] if the disk refuses.
pub(super) fn read<T: DeserializeOwned>(weights: &Path, name: &str) -> Result<Option<T>> {
    let path = weights.with_file_name(name);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(cannot("open", &path, e)),
    };
    let mut json = Vec::new();
    file.take(MAX_LEN + 1).read_to_end(&mut json).map_err(|e| cannot("read", &path, e))?;
    if json.len() as u64 > MAX_LEN {
        let reason = format!("is longer than {MAX_LEN} bytes");
        return Err(Error::Config { path, reason });
    }
    let parsed = serde_json::from_slice(&json);
    parsed.map(Some).map_err(|e| Error::Config { path, reason: format!("cannot be read: {e}") })
}
