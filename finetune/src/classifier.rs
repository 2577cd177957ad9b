use std::fmt;
use std::str::FromStr;

use candle_core::Tensor;
use longmae_ops::{Compute, Init, Params, linear, mean_tokens};
use longmae_vit::{Backbone, DropPath, Norm, Vit, VitConfig, VitOptions};

use crate::{Error, Result};

/// Standard deviation of a new head, as MAE's fine-tuning starts it: all classes begin alike.
const HEAD_STD: f64 = 2e-5;

/// Which tokens tell the class of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pool {
    /// The mean of the patch tokens, the class token left out, then a norm of its own (`fc_norm`); timm's `avg`.
    #[default]
    Mean,
    /// The class token after the encoder's norm (`norm`); timm's `token`.
    Class,
}

impl Pool {
    /// Both, the default first.
    pub const ALL: [Self; 2] = [Self::Mean, Self::Class];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Class => "class",
        }
    }

    /// What the norm before the head is called in a checkpoint.
    fn norm_name(self) -> &'static str {
        match self {
            Self::Mean => "fc_norm",
            Self::Class => "norm",
        }
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Pool {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|pool| pool.name() == name).ok_or_else(|| Error::Setting {
            name: "pool",
            found: format!("`{name}`"),
            expected: Self::ALL.map(Self::name).join(" or "),
        })
    }
}

/// A classifier over one grid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassifierConfig {
    /// The encoder.
    pub vit: VitConfig,
    /// How many classes there are.
    pub classes: usize,
    /// Which tokens tell the class.
    pub pool: Pool,
}

/// A Vision Transformer with a linear head, as MAE's fine-tuning has it (arXiv 2111.06377, A.1).
///
/// Its parameters have timm's names: those of [`Vit`], `pos_embed` trainable among them, then `fc_norm` (or `norm`, where
/// the class token is taken) and `head`.
#[derive(Debug, Clone)]
pub struct Classifier {
    config: ClassifierConfig,
    vit: Vit,
    norm: Norm,
    head: Tensor,
    head_bias: Tensor,
    compute: Compute,
}

impl Classifier {
    /// Defines the parameters: the encoder's as it starts, the head's truncated normal of deviation 2e-5, without bias.
    ///
    /// # Errors
    /// When there are fewer than two classes, the sizes make no transformer or a parameter's name is taken.
    pub fn new(config: ClassifierConfig, params: &Params) -> Result<Self> {
        let ClassifierConfig { vit, classes, pool } = config;
        if classes < 2 {
            return Err(Error::Setting {
                name: "classes",
                found: classes.to_string(),
                expected: "at least 2".to_owned(),
            });
        }
        let (dim, eps) = (vit.tower.dim, vit.tower.layer_norm_eps);
        // The head's norm sees pooled tokens alone. Of the class token that is the same as the encoder's own norm.
        let options = VitOptions { final_norm: false, trainable_positions: true };
        let vit = Vit::new_with(vit, options, params)?;
        let norm = Norm::new(dim, eps, &params.pp(pool.norm_name()))?;
        let head = params.pp("head");
        let init = Init::TruncatedNormal { std: HEAD_STD };
        Ok(Self {
            config,
            vit,
            norm,
            head_bias: head.weight("bias", classes, Init::Zeros)?,
            head: head.weight("weight", (classes, dim), init)?,
            compute: params.compute(),
        })
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &ClassifierConfig {
        &self.config
    }

    /// The encoder. Its tokens are those of the last block, without a norm.
    pub fn backbone(&self) -> &Vit {
        &self.vit
    }

    /// Images `[batch, channels, height, width]` as vectors `[batch, dim]`: pooled tokens after the norm.
    ///
    /// # Errors
    /// When images or drop path do not fit the model.
    pub fn pooled(&self, images: &Tensor, drop: Option<&DropPath>) -> Result<Tensor> {
        let tokens = self.vit.encode(images, None, drop)?;
        let (start, count) = match self.config.pool {
            Pool::Mean => (1, self.vit.grid().len()),
            Pool::Class => (0, 1),
        };
        let pooled = mean_tokens(&tokens, start, count, self.compute)?;
        Ok(self.norm.forward(&pooled)?)
    }

    /// The logits `[batch, classes]` of images `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// When images or drop path do not fit the model.
    pub fn forward(&self, images: &Tensor, drop: Option<&DropPath>) -> Result<Tensor> {
        self.logits(&self.pooled(images, drop)?)
    }

    /// The logits `[batch, classes]` of what [`Classifier::pooled`] gave.
    ///
    /// # Errors
    /// When the vectors are not of the encoder's width.
    pub fn logits(&self, pooled: &Tensor) -> Result<Tensor> {
        Ok(linear(pooled, &self.head, Some(&self.head_bias), self.compute)?)
    }
}
