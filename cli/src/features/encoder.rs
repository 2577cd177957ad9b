//! An encoder from any weights.

use std::path::Path;

use anyhow::{Context, bail};
use longmae_data::{DecodeOptions, EvalTransform, Normalize, Size, transform::EvalCrop};
use longmae_ops::Params;
use longmae_patching::PatchGrid;
use longmae_vit::{Vit, VitConfig};
use longmae_weights::{Adapt, Checkpoint, ModelInfo};

use super::EncoderFlags;
use crate::run::weights::{new_norm, of_file, open_weights, tower_config, vars};
use crate::weights::{described, with_flags};

/// What only a decoder needs, and nobody is asked for.
const OF_THE_DECODER: [&str; 2] = ["decoder_heads", "norm_pix_loss"];

/// An encoder, and what is known of it.
pub struct Encoder {
    pub vit: Vit,
    /// What the file says, or what was typed instead; `image_size` is the model's own, `vit` may be for another.
    pub info: ModelInfo,
    /// What was adapted, a line a tensor.
    pub adapted: Vec<String>,
    shown: String,
}

impl Encoder {
    /// The encoder of the weights that a reference means: a whole model's, or one alone, in any layout.
    pub fn open(reference: &str, flags: &EncoderFlags) -> anyhow::Result<Self> {
        let checkpoint = open_weights(Path::new(reference))?;
        let info = info(&checkpoint, flags)?;
        let own = vit_config(&checkpoint, &info)?;
        let from = own.grid;
        let size = flags.image_size.map(|size| (size.height, size.width));
        let to = size.map_or(Ok(from), |size| PatchGrid::new(size, from.patch()))?;
        let params = Params::new(0, &flags.device()?.open()?).computing(flags.compute()?);
        let shown = checkpoint.path().display().to_string();
        let config = VitConfig { grid: to, ..own };
        let vit = Vit::new(config, &params).with_context(|| shown.clone())?;
        let (there, fresh) = of_file(&checkpoint, &params.all());
        let how = Adapt::to_grid([to.rows(), to.cols()]).grid_of_file([from.rows(), from.cols()]);
        let vars = vars(&there);
        let adaptation = checkpoint.adapt_encoder(&vars, &how)?;
        adaptation.load()?;
        let mut adapted: Vec<String> =
            adaptation.changes().iter().map(ToString::to_string).collect();
        adapted.extend(new_norm(&fresh));
        Ok(Self { vit, info, adapted, shown })
    }

    /// How files are decoded for it.
    pub fn decode(&self) -> DecodeOptions {
        DecodeOptions { channels: self.info.channels, ..DecodeOptions::default() }
    }

    /// The size of the images that it takes.
    pub fn size(&self) -> anyhow::Result<Size> {
        let (height, width) = self.vit.config().grid.image_size();
        Ok(Size::new(height, width)?)
    }

    /// What images become before they are encoded: the middle cut out, or the whole resized, and normalised.
    pub fn transform(&self, flags: &EncoderFlags) -> anyhow::Result<EvalTransform> {
        let crop = (flags.crop == "center").then(EvalCrop::default);
        Ok(EvalTransform { size: self.size()?, crop, normalize: self.normalize()? })
    }

    /// Mean and deviation of the images.
    pub fn normalize(&self) -> anyhow::Result<Normalize> {
        let narrow = |list: &[f64]| list.iter().map(|x| *x as f32).collect();
        Ok(Normalize::new(narrow(&self.info.mean), narrow(&self.info.std))?)
    }

    /// Where it is from, what it is, and what was adapted: one line, and one for each tensor.
    pub fn lines(&self) -> Vec<String> {
        let ModelInfo { channels, encoder, .. } = &self.info;
        let grid = self.vit.config().grid;
        let (height, width) = grid.image_size();
        let patch = grid.patch();
        let what = format!("image {height}x{width}, patch {patch}, {channels} channels, {encoder}");
        let mut lines = vec![format!("{} ({what})", self.shown)];
        lines.extend(self.adapted.iter().map(|change| format!("  adapted  {change}")));
        lines
    }
}

/// What is known of the encoder: by the file, what lies beside it, and what was typed, which goes before all else.
fn info(checkpoint: &Checkpoint, flags: &EncoderFlags) -> anyhow::Result<ModelInfo> {
    let typed = &flags.known;
    let known = flags.known();
    let described = described(checkpoint, &known, |unsaid| OF_THE_DECODER.contains(&unsaid));
    let mut info = described.map_err(with_flags)?.info;
    info.encoder.heads = typed.heads.unwrap_or(info.encoder.heads);
    info.layer_norm_eps = typed.layer_norm_eps.unwrap_or(info.layer_norm_eps);
    for (flag, typed, list) in
        [("--mean", &typed.mean, &mut info.mean), ("--std", &typed.std, &mut info.std)]
    {
        let Some(typed) = typed else { continue };
        if typed.len() != info.channels {
            let (place, channels) = (checkpoint.path().display(), info.channels);
            let found = typed.len();
            bail!(
                "{flag}: {found} numbers were given, {place} is for images of {channels} channels"
            );
        }
        list.clone_from(typed);
    }
    Ok(info)
}

/// The encoder that a file describes. Its tensors must be of the sizes that `info` gives, so that nothing large is made of
/// a file's numbers alone.
fn vit_config(file: &Checkpoint, info: &ModelInfo) -> anyhow::Result<VitConfig> {
    let place = file.path().display();
    let [height, width] = info.image_size;
    let grid = PatchGrid::new((height, width), info.patch_size)?;
    let tower = tower_config(&info.encoder, info);
    let (p, c) = (info.patch_size, info.channels);
    let positions = grid.rows().saturating_mul(grid.cols()).saturating_add(1);
    for (name, expected) in [
        ("patch_embed.proj.weight".to_owned(), vec![tower.dim, c, p, p]),
        ("pos_embed".to_owned(), vec![1, positions, tower.dim]),
        ("blocks.0.mlp.fc1.weight".to_owned(), vec![tower.hidden(), tower.dim]),
        (format!("blocks.{}.norm2.weight", tower.depth.wrapping_sub(1)), vec![tower.dim]),
    ] {
        match file.shape(&name) {
            Some(found) if found == expected => {}
            Some(found) => bail!(
                "{place}: `{name}` is {found:?}, by the model's sizes it should be {expected:?}"
            ),
            None => bail!("{place}: there is no `{name}`, which the encoder should have ({info})"),
        }
    }
    Ok(VitConfig { grid, channels: c, tower })
}
