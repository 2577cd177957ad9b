//! What the shapes of a model's tensors say about it.

/// Sizes of one stack of blocks; the number of heads is in no shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TowerSizes {
    pub dim: usize,
    pub depth: usize,
    /// Width of the MLP's hidden layer.
    pub hidden: usize,
}

/// Sizes of a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DecoderSizes {
    pub tower: TowerSizes,
    /// Side of the squares of tokens that become one.
    pub downsampling: usize,
    /// Side of the squares of patches that are predicted as one.
    pub pred_downsampling: usize,
}

/// Sizes of a model, read off the shapes of its tensors under MAE's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub patch: usize,
    pub channels: usize,
    /// Patches of an image.
    pub patches: usize,
    pub encoder: TowerSizes,
    pub decoder: Option<DecoderSizes>,
    pub key_bias: bool,
    /// Classes of a classifier's head, if there is one.
    pub classes: Option<usize>,
}

impl Sizes {
    /// Reads the sizes; `shape` gives the shape of the tensor of a name.
    ///
    /// # Errors
    /// Which tensor is missing or has a shape that no such model has, as a sentence's end.
    pub fn of<'a>(shape: impl Fn(&str) -> Option<&'a [usize]>) -> Result<Self, String> {
        let (patch, channels) = match dims(&shape, "patch_embed.proj.weight")? {
            [_, channels, p, q] if p == q && p > 0 && channels > 0 => (p, channels),
            found => return Err(odd("patch_embed.proj.weight", &found, "[dim, channels, p, p]")),
        };
        let [_, tokens, _]: [usize; 3] = dims(&shape, "pos_embed")?;
        let patches = tokens
            .checked_sub(1)
            .filter(|patches| *patches > 0)
            .ok_or_else(|| odd("pos_embed", &[1, tokens], "[1, 1 + patches, dim]"))?;
        let decoder = shape("decoder_embed.weight").is_some();
        Ok(Self {
            patch,
            channels,
            patches,
            encoder: tower(&shape, "blocks")?,
            decoder: decoder.then(|| decoder_sizes(&shape, patch, channels)).transpose()?,
            key_bias: shape("blocks.0.attn.q_bias").is_none(),
            classes: shape("head.weight").and_then(|shape| shape.first().copied()),
        })
    }
}

fn decoder_sizes<'a>(
    shape: &impl Fn(&str) -> Option<&'a [usize]>,
    patch: usize,
    channels: usize,
) -> Result<DecoderSizes, String> {
    let downsampling = match shape("decoder_downsample.weight") {
        Some(&[_, _, factor, _]) => factor,
        Some(found) => return Err(odd("decoder_downsample.weight", found, "[dim, dim, d, d]")),
        None => 1,
    };
    let [pixels, _]: [usize; 2] = dims(shape, "decoder_pred.weight")?;
    let pred_downsampling = (pixels / channels).isqrt() / patch;
    let exact = pred_downsampling
        .checked_mul(patch)
        .and_then(|side| side.checked_mul(side)?.checked_mul(channels));
    if pred_downsampling == 0 || exact != Some(pixels) {
        return Err(format!(
            "predicts {pixels} numbers a token in `decoder_pred.weight`, which is no number of whole patches of \
             {patch}x{patch} with {channels} channels"
        ));
    }
    Ok(DecoderSizes { tower: tower(shape, "decoder_blocks")?, downsampling, pred_downsampling })
}

/// The sizes of `NAME.0`, `NAME.1`, ...
fn tower<'a>(
    shape: &impl Fn(&str) -> Option<&'a [usize]>,
    name: &str,
) -> Result<TowerSizes, String> {
    let [hidden, dim]: [usize; 2] = dims(shape, &format!("{name}.0.mlp.fc1.weight"))?;
    let depth =
        (0..).take_while(|n| shape(&format!("{name}.{n}.mlp.fc1.weight")).is_some()).count();
    if dim == 0 || hidden == 0 {
        return Err(odd(&format!("{name}.0.mlp.fc1.weight"), &[hidden, dim], "[hidden, dim]"));
    }
    Ok(TowerSizes { dim, depth, hidden })
}

/// The dimensions of a tensor that must have so many.
fn dims<'a, const N: usize>(
    shape: &impl Fn(&str) -> Option<&'a [usize]>,
    name: &str,
) -> Result<[usize; N], String> {
    let found = shape(name).ok_or_else(|| format!("has no `{name}`"))?;
    found.try_into().map_err(|_| odd(name, found, &format!("{N} dimensions")))
}

fn odd(name: &str, found: &[usize], expected: &str) -> String {
    format!("has `{name}` of shape {found:?}, expected {expected}")
}
