//! What a model costs before anything is run: sequence lengths, parameters, floating-point work.
//!
//! Every count is made in `f64`, which is exact up to 2^53 and cannot overflow.

use crate::{Error, Result};

/// A stack of transformer blocks, as the encoder and the decoder are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tower {
    /// Width of a token.
    pub dim: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Number of attention heads.
    pub heads: usize,
    /// Width of the hidden layer of the MLP, in multiples of `dim` (4 in every published model).
    pub mlp_ratio: f64,
}

/// The sizes of a masked autoencoder: all that its cost depends on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModelShape {
    /// Patches of an image: (rows, columns).
    pub grid: (usize, usize),
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Channels (bands) of an image.
    pub channels: usize,
    /// Patches that stay visible and reach the encoder.
    pub kept: usize,
    /// The encoder, which sees only visible patches.
    pub encoder: Tower,
    /// The decoder, which sees the whole grid.
    pub decoder: Tower,
    /// Side of the square of patches that becomes one decoder token; 1 for none.
    pub decoder_downsampling: usize,
    /// Side of the square of patches that is predicted as one; 1 for none.
    pub pred_downsampling: usize,
    /// Whether the keys of attention have a bias, as in the original MAE.
    pub key_bias: bool,
}

/// What one image, and the model itself, costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Patches of an image, L.
    pub patches: usize,
    /// Tokens of an image in the encoder, class token included.
    pub encoder_tokens: usize,
    /// Tokens of an image in the decoder, class token included.
    pub decoder_tokens: usize,
    /// Trainable parameters of the encoder: patch embedding, class token, blocks, final norm.
    pub encoder_parameters: u64,
    /// Trainable parameters of the decoder: everything else.
    pub decoder_parameters: u64,
    /// Values of the fixed position embeddings, which are in neither count above.
    pub position_values: u64,
    /// Floating-point operations of one forward pass of one image: 2 x the multiply-adds of
    /// every matrix product, attention's two included; element-wise work is left out.
    pub forward_flops: f64,
    /// Floating-point operations of one training step of one image: 3 x forward.
    pub training_flops: f64,
}

impl ModelShape {
    /// Counts what this model costs.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if sizes are zero or do not divide where they must.
    pub fn cost(&self) -> Result<Cost> {
        self.check()?;
        let forward_flops = self.encoder_flops() + self.decoder_flops();
        Ok(Cost {
            patches: self.patches(),
            encoder_tokens: self.kept + 1,
            decoder_tokens: self.decoder_grid_tokens() + 1,
            encoder_parameters: self.encoder_parameters() as u64,
            decoder_parameters: self.decoder_parameters() as u64,
            position_values: self.position_values() as u64,
            forward_flops,
            training_flops: 3.0 * forward_flops,
        })
    }

    /// Counts what the encoder alone costs, as a classifier has it: its positions are trained. Heads are left out, which
    /// are small.
    ///
    /// # Errors
    ///
    /// As [`Self::cost`].
    pub fn encoder_cost(&self) -> Result<Cost> {
        let whole = self.cost()?;
        let forward_flops = self.encoder_flops();
        let positions = ((self.patches() + 1) * self.encoder.dim) as u64;
        Ok(Cost {
            decoder_tokens: 0,
            encoder_parameters: whole.encoder_parameters + positions,
            decoder_parameters: 0,
            position_values: 0,
            forward_flops,
            training_flops: 3.0 * forward_flops,
            ..whole
        })
    }

    /// Work of a training step of `images` images by kind, as [`Speed`](crate::Speed) tells them apart.
    pub(crate) fn work(&self, images: usize) -> Result<[f64; 4]> {
        let cost = self.cost()?;
        let towers = [
            (&self.encoder, cost.encoder_tokens as f64),
            (&self.decoder, cost.decoder_tokens as f64),
        ];
        let attention: f64 =
            towers.iter().map(|(tower, tokens)| 3.0 * tower.attention_flops(*tokens)).sum();
        let values: f64 = towers.iter().map(|(tower, tokens)| tower.values(*tokens)).sum();
        let images = images as f64;
        let parameters = (cost.encoder_parameters + cost.decoder_parameters) as f64;
        let products = cost.training_flops - attention;
        Ok([images * products, images * attention, images * values, parameters])
    }

    pub(crate) fn check(&self) -> Result<()> {
        let (rows, columns) = self.grid;
        for (name, size) in [
            ("grid rows", rows),
            ("grid columns", columns),
            ("patch size", self.patch_size),
            ("channels", self.channels),
            ("kept patches", self.kept),
            ("decoder downsampling", self.decoder_downsampling),
            ("prediction downsampling", self.pred_downsampling),
        ] {
            if size == 0 {
                return shape(format!("{name} must be at least 1"));
            }
        }
        self.encoder.check("encoder")?;
        self.decoder.check("decoder")?;

        let Some(patches) = rows.checked_mul(columns).filter(|&n| n < u32::MAX as usize) else {
            return shape(format!("a grid of {rows} x {columns} patches is too large"));
        };
        if self.kept > patches {
            return shape(format!("{} patches kept of only {patches}", self.kept));
        }
        let (down, pred) = (self.decoder_downsampling, self.pred_downsampling);
        if !rows.is_multiple_of(down) || !columns.is_multiple_of(down) {
            return shape(format!(
                "decoder downsampling {down} does not divide the grid of {rows} x {columns} patches"
            ));
        }
        if !down.is_multiple_of(pred) {
            return shape(format!(
                "prediction downsampling {pred} does not divide decoder downsampling {down}"
            ));
        }
        Ok(())
    }

    fn patches(&self) -> usize {
        self.grid.0 * self.grid.1
    }

    /// Decoder tokens of the grid, without the class token.
    pub(crate) fn decoder_grid_tokens(&self) -> usize {
        (self.grid.0 / self.decoder_downsampling) * (self.grid.1 / self.decoder_downsampling)
    }

    /// Values of one image.
    pub(crate) fn image_values(&self) -> f64 {
        self.patches() as f64 * self.patch_values()
    }

    /// Values of one patch.
    fn patch_values(&self) -> f64 {
        (self.patch_size as f64).powi(2) * self.channels as f64
    }

    /// Values of one predicted patch.
    fn prediction_values(&self) -> f64 {
        self.patch_values() * (self.pred_downsampling as f64).powi(2)
    }

    /// Kernel and stride of the transposed convolution that undoes what is left of the decoder's
    /// downsampling; 1 where there is none.
    fn upsampling(&self) -> usize {
        self.decoder_downsampling / self.pred_downsampling
    }

    fn encoder_parameters(&self) -> f64 {
        let dim = self.encoder.dim as f64;
        let class_token = dim;
        linear(self.patch_values(), dim)
            + class_token
            + self.encoder.parameters(self.key_bias)
            + layer_norm(dim)
    }

    fn decoder_parameters(&self) -> f64 {
        let dim = self.decoder.dim as f64;
        let mask_token = dim;
        linear(self.encoder.dim as f64, dim)
            + mask_token
            + convolution(self.decoder_downsampling, dim)
            + convolution(self.upsampling(), dim)
            + self.decoder.parameters(self.key_bias)
            + layer_norm(dim)
            + linear(dim, self.prediction_values())
    }

    fn position_values(&self) -> f64 {
        let encoder = (self.patches() as f64 + 1.0) * self.encoder.dim as f64;
        let decoder = (self.decoder_grid_tokens() as f64 + 1.0) * self.decoder.dim as f64;
        encoder + decoder
    }

    fn encoder_flops(&self) -> f64 {
        let kept = self.kept as f64;
        let embed = 2.0 * kept * self.patch_values() * self.encoder.dim as f64;
        embed + self.encoder.forward_flops(kept + 1.0)
    }

    fn decoder_flops(&self) -> f64 {
        let dim = self.decoder.dim as f64;
        let grid_tokens = self.decoder_grid_tokens() as f64;
        let predictions = grid_tokens * (self.upsampling() as f64).powi(2);
        let embed = 2.0 * (self.kept as f64 + 1.0) * self.encoder.dim as f64 * dim;
        let predict = 2.0 * predictions * dim * self.prediction_values();
        embed
            + convolution_flops(self.decoder_downsampling, dim, grid_tokens)
            + convolution_flops(self.upsampling(), dim, grid_tokens)
            + self.decoder.forward_flops(grid_tokens + 1.0)
            + predict
    }
}

impl Tower {
    fn check(&self, name: &str) -> Result<()> {
        if self.dim == 0 || self.heads == 0 {
            return shape(format!("{name}: width and heads must be at least 1"));
        }
        if !self.dim.is_multiple_of(self.heads) {
            return shape(format!(
                "{name}: {} heads do not divide a width of {}",
                self.heads, self.dim
            ));
        }
        if !(self.mlp_ratio.is_finite() && self.hidden() >= 1.0) {
            return shape(format!("{name}: no MLP has {} x the width", self.mlp_ratio));
        }
        Ok(())
    }

    /// Width of the MLP's hidden layer.
    pub(crate) fn hidden(&self) -> f64 {
        (self.dim as f64 * self.mlp_ratio).floor()
    }

    fn parameters(&self, key_bias: bool) -> f64 {
        let dim = self.dim as f64;
        let qkv = 3.0 * dim * dim + if key_bias { 3.0 * dim } else { 2.0 * dim };
        let block = 2.0 * layer_norm(dim)
            + qkv
            + linear(dim, dim)
            + linear(dim, self.hidden())
            + linear(self.hidden(), dim);
        self.depth as f64 * block
    }

    fn forward_flops(&self, tokens: f64) -> f64 {
        let dim = self.dim as f64;
        let layers = tokens * (4.0 * dim * dim + 2.0 * dim * self.hidden());
        self.depth as f64 * 2.0 * layers + self.attention_flops(tokens)
    }

    /// Scores, and the values that they weigh.
    fn attention_flops(&self, tokens: f64) -> f64 {
        self.depth as f64 * 4.0 * tokens * tokens * self.dim as f64
    }

    /// Values of tokens and hidden layers in all blocks.
    fn values(&self, tokens: f64) -> f64 {
        self.depth as f64 * tokens * (self.dim as f64 + self.hidden())
    }
}

fn shape<T>(message: String) -> Result<T> {
    Err(Error::Shape(message))
}

/// Parameters of a linear layer with a bias.
fn linear(inputs: f64, outputs: f64) -> f64 {
    (inputs + 1.0) * outputs
}

/// Parameters of a layer norm.
fn layer_norm(dim: f64) -> f64 {
    2.0 * dim
}

/// Parameters of a `dim` to `dim` convolution with kernel and stride `side`, absent when that is 1.
fn convolution(side: usize, dim: f64) -> f64 {
    if side == 1 { 0.0 } else { linear(dim * (side as f64).powi(2), dim) }
}

/// Work of such a convolution, or of its transpose, with `tokens` on the coarse side.
fn convolution_flops(side: usize, dim: f64, tokens: f64) -> f64 {
    if side == 1 { 0.0 } else { 2.0 * tokens * (dim * side as f64).powi(2) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tower(dim: usize, depth: usize, heads: usize) -> Tower {
        Tower { dim, depth, heads, mlp_ratio: 4.0 }
    }

    /// ViT-B as MAE trains it: 224 x 224 pixels in patches of 16, three quarters hidden.
    fn base() -> ModelShape {
        ModelShape {
            grid: (14, 14),
            patch_size: 16,
            channels: 3,
            kept: 49,
            encoder: tower(768, 12, 12),
            decoder: tower(512, 8, 16),
            decoder_downsampling: 1,
            pred_downsampling: 1,
            key_bias: true,
        }
    }

    fn small() -> ModelShape {
        ModelShape {
            grid: (8, 8),
            patch_size: 8,
            kept: 16,
            encoder: tower(48, 3, 3),
            decoder: tower(32, 2, 4),
            decoder_downsampling: 2,
            ..base()
        }
    }

    /// Counted in PyTorch on timm's blocks, with `torch.utils.flop_counter`: parameters of encoder
    /// and decoder, values of the position embeddings, and the forward pass, which embeds every
    /// patch there and only the visible ones here.
    #[test]
    fn counts_equal_pytorchs() {
        let large = ModelShape { encoder: tower(1024, 24, 16), ..base() };
        let many_bands = ModelShape {
            grid: (16, 16),
            patch_size: 4,
            channels: 13,
            kept: 64,
            encoder: tower(128, 6, 4),
            decoder: tower(64, 2, 4),
            decoder_downsampling: 4,
            pred_downsampling: 2,
            key_bias: false,
        };
        let grey = ModelShape { channels: 1, pred_downsampling: 2, ..small() };
        for (shape, encoder, decoder, positions, forward) in [
            (base(), 85_647_360, 26_008_320, 252_160, 19_561_480_192_u64),
            (large, 303_099_904, 26_139_392, 302_592, 41_510_780_928),
            (many_bands, 1_216_000, 244_416, 33_984, 193_957_376),
            (small(), 94_224, 41_664, 3_664, 6_176_576),
            (grey, 88_080, 39_648, 3_664, 4_734_784),
        ] {
            let cost = shape.cost().unwrap();
            assert_eq!(cost.encoder_parameters, encoder, "{shape:?}");
            assert_eq!(cost.decoder_parameters, decoder, "{shape:?}");
            assert_eq!(cost.position_values, positions, "{shape:?}");
            let values = shape.patch_size.pow(2) * shape.channels * shape.encoder.dim;
            let hidden_embedding = 2 * (cost.patches - shape.kept) * values;
            assert_eq!(cost.forward_flops as u64 + hidden_embedding as u64, forward, "{shape:?}");
            assert_eq!(cost.training_flops, 3.0 * cost.forward_flops);
        }
    }

    #[test]
    fn sequences_have_a_class_token() {
        let cost = small().cost().unwrap();
        assert_eq!((cost.patches, cost.encoder_tokens, cost.decoder_tokens), (64, 17, 17));
    }

    #[test]
    fn contradicting_sizes_are_refused_by_name() {
        for (shape, part) in [
            (ModelShape { grid: (0, 14), ..base() }, "grid rows"),
            (ModelShape { grid: (usize::MAX, 2), ..base() }, "too large"),
            (ModelShape { kept: 0, ..base() }, "kept patches"),
            (ModelShape { kept: 197, ..base() }, "197 patches kept of only 196"),
            (ModelShape { decoder_downsampling: 3, ..base() }, "decoder downsampling 3"),
            (ModelShape { pred_downsampling: 2, ..base() }, "prediction downsampling 2"),
            (ModelShape { encoder: tower(768, 12, 7), ..base() }, "encoder: 7 heads"),
            (ModelShape { decoder: tower(0, 8, 16), ..base() }, "decoder: width"),
            (
                ModelShape { decoder: Tower { mlp_ratio: f64::NAN, ..base().decoder }, ..base() },
                "decoder: no MLP",
            ),
        ] {
            let message = shape.cost().unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn absurd_sizes_do_not_overflow() {
        let huge = 1 << 60;
        let tower = tower(huge, huge, huge);
        let shape = ModelShape {
            patch_size: huge,
            channels: huge,
            encoder: tower,
            decoder: tower,
            ..base()
        };
        assert_eq!(shape.cost().unwrap().encoder_parameters, u64::MAX);
    }
}
