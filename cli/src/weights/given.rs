//! What the user says of a model whose file does not.

use anyhow::{anyhow, bail};
use longmae_weights::{Checkpoint, Error, Known, ModelInfo};

use super::described::described;
use crate::image_size::ImageSize;

/// What [`described`] calls what only a decoder needs.
const OF_THE_DECODER: [&str; 2] = ["decoder_heads", "norm_pix_loss"];

#[derive(clap::Args)]
#[command(next_help_heading = "What a file from elsewhere may not say")]
pub struct Given {
    /// Side of the images, or HEIGHTxWIDTH
    #[arg(long, value_name = "PIXELS")]
    image_size: Option<ImageSize>,
    /// Attention heads of the encoder
    #[arg(long, value_name = "N")]
    heads: Option<usize>,
    /// Attention heads of the decoder
    #[arg(long, value_name = "N")]
    decoder_heads: Option<usize>,
    /// Mean of each channel
    #[arg(long, value_name = "M,...", value_delimiter = ',')]
    mean: Option<Vec<f64>>,
    /// Standard deviation of each channel
    #[arg(long, value_name = "S,...", value_delimiter = ',')]
    std: Option<Vec<f64>>,
    /// Whether the model predicts pixels normalised patch by patch
    #[arg(long, value_name = "BOOL")]
    norm_pix_loss: Option<bool>,
    /// Epsilon of the layer norms
    #[arg(long, value_name = "EPS")]
    layer_norm_eps: Option<f64>,
}

impl Given {
    /// What the file says of its model, or what is given where it says nothing. With `encoder_only`, what only a decoder
    /// needs is not asked for.
    pub fn info(&self, checkpoint: &Checkpoint, encoder_only: bool) -> anyhow::Result<ModelInfo> {
        let known = self.known(checkpoint)?;
        let info = if encoder_only {
            let found = described(checkpoint, &known, |unsaid| OF_THE_DECODER.contains(&unsaid));
            found.map(|found| {
                let decoder = found.info.decoder.clone().filter(|_| found.says("decoder_heads"));
                ModelInfo { decoder, ..found.info }
            })
        } else {
            checkpoint.model_info(&known)
        };
        let info = info.map_err(with_flags)?;
        check(&known, &info)?;
        Ok(info)
    }

    /// As the library wants it; refused where the file speaks for itself.
    fn known(&self, checkpoint: &Checkpoint) -> anyhow::Result<Known> {
        let known = Known {
            image_size: self.image_size.map(|size| [size.height, size.width]),
            heads: self.heads,
            decoder_heads: self.decoder_heads,
            mean: self.mean.clone(),
            std: self.std.clone(),
            norm_pix_loss: self.norm_pix_loss,
            layer_norm_eps: self.layer_norm_eps,
        };
        if checkpoint.metadata().is_some() && known != Known::default() {
            let shown = checkpoint.path().display();
            bail!("{shown}: this file says what its model is; the command line cannot change that");
        }
        Ok(known)
    }
}

/// Names the flags that would say what nobody says.
fn with_flags(error: Error) -> anyhow::Error {
    let Error::Unsaid { keys, .. } = &error else { return error.into() };
    // A key is followed by what it means.
    let flag =
        |key: &String| format!("--{}", key.split(' ').next().unwrap_or(key).replace('_', "-"));
    let flags: Vec<String> = keys.iter().map(flag).collect();
    anyhow!("{error}: {}", flags.join(", "))
}

/// The library passes over what cannot be true of the tensors; what was typed must not be.
fn check(known: &Known, info: &ModelInfo) -> anyhow::Result<()> {
    let [rows, columns] = info.image_size;
    if known.image_size.is_some_and(|size| size != info.image_size) {
        bail!("--image-size: the file has positions for {rows}x{columns} or as many patches");
    }
    for (flag, given, used) in
        [("--mean", &known.mean, &info.mean), ("--std", &known.std, &info.std)]
    {
        if given.as_ref().is_some_and(|given| given != used) {
            bail!("{flag}: expected {} numbers, one a channel", info.channels);
        }
    }
    for (flag, given, tower) in [
        ("--heads", known.heads, Some(&info.encoder)),
        ("--decoder-heads", known.decoder_heads, info.decoder.as_ref()),
    ] {
        match (given, tower) {
            (Some(_), None) => bail!("{flag}: the file holds no decoder"),
            (Some(heads), Some(tower)) if heads == 0 || tower.dim % heads != 0 => {
                bail!("{flag} {heads}: expected a divisor of the width, {}", tower.dim)
            }
            _ => {}
        }
    }
    Ok(())
}
