//! Pictures are decoded whole.

use super::DecodeOptions;
use crate::error::Result;
use crate::image::Image;
use crate::transform::{CropBox, Size};

/// No picture can be decoded in part.
pub(crate) fn partial_size(_bytes: &[u8], _options: &DecodeOptions) -> Option<Size> {
    None
}

/// No picture can be decoded in part.
pub(crate) fn decode_part(
    _bytes: &[u8],
    _options: &DecodeOptions,
    _area: CropBox,
    _wanted: Size,
) -> Result<Option<(Image, CropBox)>> {
    Ok(None)
}
