//! Mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899) of the images of a batch, as timm has them.
//!
//! What is drawn ([`Mixup::draw`]) is apart from what is done with it: [`mix_images`] and [`Targets::mixed`]. Image `i`
//! of `n` is mixed with image `n - 1 - i`.

mod draw;
mod images;
mod targets;

pub use draw::{MixMode, Mixup, MixupConfig, cut_box};
pub use images::{BatchShape, mix_images};
pub use targets::Targets;

use super::CropBox;

/// What becomes of one image of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    /// How much of its own target an image keeps, 0 to 1; the rest is its partner's.
    pub lambda: f64,
    /// The part of the image that is its partner's; if `None`, all pixels are mixed in the share `lambda`. It may be
    /// empty.
    pub cut: Option<CropBox>,
}

impl Mix {
    /// The image stays as it is.
    pub const NONE: Self = Self { lambda: 1.0, cut: None };

    /// With the share of the pixels that are the image's own, where a part is cut out; timm's `correct_lam`.
    pub fn corrected(self, height: usize, width: usize) -> Self {
        let Some(cut) = self.cut else { return self };
        let share = (cut.height as f64 * cut.width as f64) / (height as f64 * width as f64);
        Self { lambda: 1.0 - share, ..self }
    }
}
