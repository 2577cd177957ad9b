//! What the user says of a model whose file does not.

use anyhow::bail;
use longmae_weights::{Checkpoint, Known, ModelInfo};

use super::described::described;
use super::known::{KnownFlags, with_flags};
use crate::image_size::ImageSize;

/// What [`described`] calls what only a decoder needs.
const OF_THE_DECODER: [&str; 2] = ["decoder_heads", "norm_pix_loss"];

#[derive(clap::Args)]
pub struct Given {
    /// Side of the images, or HEIGHTxWIDTH
    #[arg(long, value_name = "PIXELS", help_heading = "What a file from elsewhere may not say")]
    image_size: Option<ImageSize>,
    #[command(flatten)]
    flags: KnownFlags,
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
        let known = self.flags.known(self.image_size.map(|size| [size.height, size.width]));
        if checkpoint.metadata().is_some() && known != Known::default() {
            let shown = checkpoint.path().display();
            bail!("{shown}: this file says what its model is; the command line cannot change that");
        }
        Ok(known)
    }
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
