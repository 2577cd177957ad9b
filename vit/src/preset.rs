use std::fmt;
use std::str::FromStr;

use crate::{Error, Result, TowerConfig};

/// The named encoder sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// 128 wide, 6 deep, 4 heads: for demos and tests on two cores.
    Nano,
    /// 192 wide, 12 deep, 3 heads.
    Tiny,
    /// 384 wide, 12 deep, 6 heads.
    Small,
    /// 768 wide, 12 deep, 12 heads (ViT-B).
    Base,
    /// 1024 wide, 24 deep, 16 heads (ViT-L).
    Large,
    /// 1280 wide, 32 deep, 16 heads, patch size 14 (ViT-H).
    Huge,
}

impl Preset {
    /// Every preset, smallest first.
    pub const ALL: [Self; 6] =
        [Self::Nano, Self::Tiny, Self::Small, Self::Base, Self::Large, Self::Huge];

    /// The name, such as `vit-base`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nano => "vit-nano",
            Self::Tiny => "vit-tiny",
            Self::Small => "vit-small",
            Self::Base => "vit-base",
            Self::Large => "vit-large",
            Self::Huge => "vit-huge",
        }
    }

    /// The encoder's sizes.
    pub fn tower(self) -> TowerConfig {
        match self {
            Self::Nano => TowerConfig::new(128, 6, 4),
            Self::Tiny => TowerConfig::new(192, 12, 3),
            Self::Small => TowerConfig::new(384, 12, 6),
            Self::Base => TowerConfig::new(768, 12, 12),
            Self::Large => TowerConfig::new(1024, 24, 16),
            Self::Huge => TowerConfig::new(1280, 32, 16),
        }
    }

    /// The patch size that the model is published with.
    pub fn patch_size(self) -> usize {
        if self == Self::Huge { 14 } else { 16 }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Preset {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|preset| preset.name() == name).ok_or_else(|| {
            Error::UnknownPreset {
                found: name.to_owned(),
                expected: Self::ALL.map(Self::name).join(", "),
            }
        })
    }
}
