//! The layouts in which people keep the same numbers: who calls a parameter what, and how to get from one to another.

mod beside;
mod config;
mod export;
mod inferred;
mod key_bias;
mod mapping;
mod names;
mod sizes;

pub use export::{Export, export};
pub use inferred::Known;
pub(crate) use mapping::{Entry, Mapping};
pub use names::is_classifier;

use crate::Error;
use std::fmt;
use std::str::FromStr;

/// Names and shapes of a checkpoint's tensors, as a package has them.
///
/// | | names of an encoder | can hold |
/// |---|---|---|
/// | [`Mae`](Self::Mae) | `cls_token`, `blocks.N.attn.qkv.*` | everything |
/// | [`Timm`](Self::Timm) | the same | an encoder, with or without a classifier |
/// | [`HfVitMae`](Self::HfVitMae) | `vit.encoder.layer.N.attention.attention.query.*` | encoder and decoder on the same grid |
/// | [`HfVit`](Self::HfVit) | the same without `vit.` | an encoder, with or without a head on the class token |
/// | [`Detectron2`](Self::Detectron2) | `backbone.net.blocks.N.attn.qkv.*` | an encoder's patches: no class token, no final norm |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// The published MAE checkpoints', and what a run writes.
    Mae,
    /// timm's Vision Transformer.
    Timm,
    /// transformers' `ViTMAEForPreTraining` (`ViTMAEModel` for an encoder alone).
    HfVitMae,
    /// transformers' `ViTModel` (`ViTForImageClassification` with a head).
    HfVit,
    /// detectron2's ViTDet backbone.
    Detectron2,
}

impl Layout {
    /// Every layout.
    pub const ALL: [Self; 5] =
        [Self::Mae, Self::Timm, Self::HfVitMae, Self::HfVit, Self::Detectron2];

    /// Its name on the command line and in metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mae => "mae",
            Self::Timm => "timm",
            Self::HfVitMae => "hf-vit-mae",
            Self::HfVit => "hf-vit",
            Self::Detectron2 => "detectron2",
        }
    }

    /// The layout of a file with these tensor names; none if they are no layout's.
    ///
    /// MAE's and timm's names of an encoder are the same. A decoder or attention without key bias makes it MAE's;
    /// otherwise the names alone say timm.
    pub fn detect<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Option<Self> {
        names::detect(names)
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Layout {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|layout| layout.name() == name).ok_or_else(|| {
            Error::UnknownLayout {
                found: name.to_owned(),
                expected: Self::ALL.map(Self::name).join(", "),
            }
        })
    }
}
