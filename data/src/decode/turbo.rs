//! JPEG by libjpeg-turbo, which can decode a part of a picture, and a smaller picture from fewer coefficients.

use std::ffi::{c_int, c_void};
use std::ptr::NonNull;

use turbojpeg_sys as tj;

use crate::transform::{CropBox, Size};

/// What is decoded, and where it lies in the picture.
pub(super) struct Decoded {
    /// `[rows, columns, channels]` of `area`.
    pub samples: Vec<u8>,
    /// The part that was decoded, in pixels of the scaled picture. It holds what was asked for.
    pub area: CropBox,
    /// Rows and columns of the whole scaled picture.
    pub whole: Size,
    /// Its size in eighths of the stored one's.
    pub eighths: usize,
}

/// How small a picture may be decoded: the part asked for keeps at least this size.
pub(super) type AtLeast = Option<Size>;

/// Decodes the part of a JPEG file of `size` that holds `area`, as grey or RGB. `None` if the library has anything to
/// complain of: the caller then asks the other decoder, which knows what to accept and what to say.
pub(super) fn decode(
    bytes: &[u8],
    size: Size,
    area: CropBox,
    grey: bool,
    at_least: AtLeast,
) -> Option<Decoded> {
    let decoder = Decoder::new()?;
    let mcu = decoder.read_header(bytes, size)?;
    let eighths = at_least.map_or(8, |least| eighths(area, least));
    decoder.scale(eighths)?;
    let whole = Size { height: scaled(size.height, eighths), width: scaled(size.width, eighths) };
    let mcu = (mcu * eighths).div_ceil(8);
    let area = with_margin(scaled_area(area, eighths, whole), mcu, whole);
    decoder.crop(area)?;
    let channels = if grey { 1 } else { 3 };
    let samples = decoder.decompress(bytes, area, channels)?;
    Some(Decoded { samples, area, whole, eighths })
}

/// The fewest eighths of the size that keep `area` at least as large as `least`.
fn eighths(area: CropBox, least: Size) -> usize {
    let fits = |n: usize| area.height * n >= least.height * 8 && area.width * n >= least.width * 8;
    [1, 2, 4].into_iter().find(|&n| fits(n)).unwrap_or(8)
}

fn scaled(len: usize, eighths: usize) -> usize {
    (len * eighths).div_ceil(8)
}

/// The area in the scaled picture: all pixels that it touches.
pub(super) fn scaled_area(area: CropBox, eighths: usize, whole: Size) -> CropBox {
    let (top, left) = (area.top * eighths / 8, area.left * eighths / 8);
    let bottom = scaled(area.top + area.height, eighths).min(whole.height);
    let right = scaled(area.left + area.width, eighths).min(whole.width);
    CropBox { top, left, height: bottom - top, width: right - left }
}

/// One block more on each side, since the colours of a pixel at the edge come from its neighbours too; on the left from
/// a block's first column on, as the library wants it.
fn with_margin(area: CropBox, mcu: usize, whole: Size) -> CropBox {
    let left = (area.left / mcu).saturating_sub(1) * mcu;
    let right = (area.left + area.width + mcu).min(whole.width);
    CropBox { left, width: right - left, ..area }
}

/// Columns of a block of all components; the header's table of them is no symbol of the library.
fn mcu_width(subsampling: c_int) -> Option<usize> {
    match subsampling {
        tj::TJSAMP_TJSAMP_444
        | tj::TJSAMP_TJSAMP_GRAY
        | tj::TJSAMP_TJSAMP_440
        | tj::TJSAMP_TJSAMP_441 => Some(8),
        tj::TJSAMP_TJSAMP_422 | tj::TJSAMP_TJSAMP_420 => Some(16),
        tj::TJSAMP_TJSAMP_411 => Some(32),
        _ => None,
    }
}

/// More scans than this are for the other decoder: each costs as much as a whole picture, however few bytes it has.
const MAX_SCANS: c_int = 500;

/// A handle of the library.
struct Decoder(NonNull<c_void>);

impl Decoder {
    fn new() -> Option<Self> {
        // SAFETY: makes a handle or gives null; nothing is asked of the caller.
        let handle = unsafe { tj::tj3Init(tj::TJINIT_TJINIT_DECOMPRESS as c_int) };
        let decoder = Self(NonNull::new(handle)?);
        // Anything that the library would only warn of is for the other decoder to judge.
        decoder.set(tj::TJPARAM_TJPARAM_STOPONWARNING as c_int, 1)?;
        decoder.set(tj::TJPARAM_TJPARAM_SCANLIMIT as c_int, MAX_SCANS)?;
        Some(decoder)
    }

    fn set(&self, param: c_int, value: c_int) -> Option<()> {
        // SAFETY: the handle is alive; parameter and value are checked by the library.
        done(unsafe { tj::tj3Set(self.0.as_ptr(), param, value) })
    }

    fn get(&self, param: c_int) -> c_int {
        // SAFETY: the handle is alive; the parameter is checked by the library.
        unsafe { tj::tj3Get(self.0.as_ptr(), param) }
    }

    /// Reads the header, which must agree with `size`; gives the columns of a block of all components.
    fn read_header(&self, bytes: &[u8], size: Size) -> Option<usize> {
        // SAFETY: the library reads `bytes.len()` bytes from the pointer and no more.
        done(unsafe {
            tj::tj3DecompressHeader(self.0.as_ptr(), bytes.as_ptr(), bytes.len() as _)
        })?;
        let width = usize::try_from(self.get(tj::TJPARAM_TJPARAM_JPEGWIDTH as c_int)).ok()?;
        let height = usize::try_from(self.get(tj::TJPARAM_TJPARAM_JPEGHEIGHT as c_int)).ok()?;
        let precision = self.get(tj::TJPARAM_TJPARAM_PRECISION as c_int);
        if (Size { height, width }) != size || precision != 8 {
            return None;
        }
        mcu_width(self.get(tj::TJPARAM_TJPARAM_SUBSAMP as c_int))
    }

    fn scale(&self, eighths: usize) -> Option<()> {
        // In lowest terms, as the library lists them; all of ours divide 8.
        let factor = tj::tjscalingfactor { num: 1, denom: (8 / eighths) as c_int };
        // SAFETY: the handle is alive; the factor is checked by the library.
        done(unsafe { tj::tj3SetScalingFactor(self.0.as_ptr(), factor) })
    }

    fn crop(&self, area: CropBox) -> Option<()> {
        let int = |value: usize| c_int::try_from(value).ok();
        let region = tj::tjregion {
            x: int(area.left)?,
            y: int(area.top)?,
            w: int(area.width)?,
            h: int(area.height)?,
        };
        // SAFETY: the handle is alive; the region is checked by the library against header and scale.
        done(unsafe { tj::tj3SetCroppingRegion(self.0.as_ptr(), region) })
    }

    /// Decodes the cropped area.
    fn decompress(&self, bytes: &[u8], area: CropBox, channels: usize) -> Option<Vec<u8>> {
        let len = area.height.checked_mul(area.width)?.checked_mul(channels)?;
        let mut samples = vec![0; len];
        let format = if channels == 1 { tj::TJPF_TJPF_GRAY } else { tj::TJPF_TJPF_RGB };
        // SAFETY: with pitch 0 the library writes `area.height` rows of `area.width * channels` bytes, the size of
        // `samples`: the region was accepted by `crop`, and a file that no longer fits it is refused.
        done(unsafe {
            tj::tj3Decompress8(
                self.0.as_ptr(),
                bytes.as_ptr(),
                bytes.len() as _,
                samples.as_mut_ptr(),
                0,
                format as c_int,
            )
        })?;
        Some(samples)
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: the handle is alive and not used again.
        unsafe { tj::tj3Destroy(self.0.as_ptr()) }
    }
}

fn done(code: c_int) -> Option<()> {
    (code == 0).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scans_are_bounded() {
        let decoder = Decoder::new().unwrap();
        assert_eq!(decoder.get(tj::TJPARAM_TJPARAM_SCANLIMIT as c_int), MAX_SCANS);
    }
}
