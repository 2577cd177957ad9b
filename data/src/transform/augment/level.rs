//! timm's scales: from a magnitude, usually 0 to 10, to an operation's strength.

use super::Operation;

/// The magnitude that timm's scales are made for; all but the posterisations take more.
pub(super) const FULL: f64 = 10.0;

/// A scale by timm's name for it. `Increasing` ones change the image more, the larger the magnitude.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scale {
    /// [`Operation::AutoContrast`], whatever the magnitude.
    AutoContrast,
    /// [`Operation::Equalize`], whatever the magnitude.
    Equalize,
    /// [`Operation::Invert`], whatever the magnitude.
    Invert,
    /// Up to 30 degrees, either way.
    Rotate,
    /// 0 to 4 bits are kept.
    Posterize,
    /// 4 down to 0 bits are kept.
    PosterizeIncreasing,
    /// 4 to 8 bits are kept.
    PosterizeOriginal,
    /// Levels from 0 to 256 on are inverted.
    Solarize,
    /// Levels from 256 down to 0 on are inverted.
    SolarizeIncreasing,
    /// Up to 110 levels are added.
    SolarizeAdd,
    /// Saturation by 0.1 to 1.9.
    Color,
    /// Saturation by 1, up to 1.9 or down to 0.1.
    ColorIncreasing,
    /// Contrast by 0.1 to 1.9.
    Contrast,
    /// Contrast by 1, up to 1.9 or down to 0.1.
    ContrastIncreasing,
    /// Brightness by 0.1 to 1.9.
    Brightness,
    /// Brightness by 1, up to 1.9 or down to 0.1.
    BrightnessIncreasing,
    /// Sharpness by 0.1 to 1.9.
    Sharpness,
    /// Sharpness by 1, up to 1.9 or down to 0.1.
    SharpnessIncreasing,
    /// Up to 0.3 pixels a row, either way.
    ShearX,
    /// Up to 0.3 pixels a column, either way.
    ShearY,
    /// Up to 0.45 of the width, either way.
    TranslateXRel,
    /// Up to 0.45 of the height, either way.
    TranslateYRel,
}

impl Scale {
    /// Whether a coin decides on the direction.
    pub fn has_sign(self) -> bool {
        use Scale::*;
        match self {
            Rotate | ShearX | ShearY | TranslateXRel | TranslateYRel => true,
            ColorIncreasing | ContrastIncreasing | BrightnessIncreasing | SharpnessIncreasing => {
                true
            }
            AutoContrast | Equalize | Invert | Posterize | PosterizeIncreasing => false,
            PosterizeOriginal | Solarize | SolarizeIncreasing | SolarizeAdd => false,
            Color | Contrast | Brightness | Sharpness => false,
        }
    }

    /// The operation at a magnitude of 0 or more, in the other direction if `negative` (where there are two).
    pub fn at(self, magnitude: f64, negative: bool) -> Operation {
        let level = magnitude.max(0.0) / FULL;
        let signed = |v: f64| if negative { -v } else { v };
        let factor = level * 1.8 + 0.1;
        let increasing = (1.0 + signed(level * 0.9)).max(0.1);
        // The casts drop the fraction, as Python's int() does.
        let (bits, threshold) = ((level * 4.0) as u32, ((level * 256.0) as u32).min(256));
        match self {
            Self::AutoContrast => Operation::AutoContrast,
            Self::Equalize => Operation::Equalize,
            Self::Invert => Operation::Invert,
            Self::Rotate => Operation::Rotate(signed(level * 30.0)),
            Self::Posterize => Operation::Posterize(bits),
            Self::PosterizeIncreasing => Operation::Posterize(4_u32.saturating_sub(bits)),
            Self::PosterizeOriginal => Operation::Posterize(bits.saturating_add(4)),
            Self::Solarize => Operation::Solarize(threshold),
            Self::SolarizeIncreasing => Operation::Solarize(256 - threshold),
            Self::SolarizeAdd => Operation::SolarizeAdd(((level * 110.0) as u8).min(128)),
            Self::Color => Operation::Saturation(factor),
            Self::ColorIncreasing => Operation::Saturation(increasing),
            Self::Contrast => Operation::Contrast(factor),
            Self::ContrastIncreasing => Operation::Contrast(increasing),
            Self::Brightness => Operation::Brightness(factor),
            Self::BrightnessIncreasing => Operation::Brightness(increasing),
            Self::Sharpness => Operation::Sharpness(factor),
            Self::SharpnessIncreasing => Operation::Sharpness(increasing),
            Self::ShearX => Operation::ShearX(signed(level * 0.3)),
            Self::ShearY => Operation::ShearY(signed(level * 0.3)),
            Self::TranslateXRel => Operation::TranslateX(signed(level * 0.45)),
            Self::TranslateYRel => Operation::TranslateY(signed(level * 0.45)),
        }
    }
}
