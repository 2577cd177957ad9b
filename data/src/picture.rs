//! An image that is decoded when it is looked at.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;

use bytes::Bytes;

use crate::decode::{DecodeOptions, Probe, decode, decode_part, partial_size, probe};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::transform::{CropBox, Size};

/// The image of a sample, decoded when it is looked at and only once.
///
/// Reading a sample costs no decoding this way, and a transform that takes a part of the image can say so
/// ([`region`](Self::region)) before anything is decoded.
#[derive(Clone)]
pub struct Picture {
    encoded: Option<(Bytes, DecodeOptions)>,
    image: OnceCell<Image>,
    /// The size, if a part of the picture can be decoded alone.
    partial_size: OnceCell<Option<Size>>,
}

/// A part of a picture.
#[derive(Clone, Debug)]
pub struct Region<'a> {
    /// An image that holds the part; it may be the whole picture.
    pub image: Cow<'a, Image>,
    /// Where in it the part lies.
    pub area: CropBox,
}

impl fmt::Debug for Picture {
    /// Sizes, no pixels.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.image.get(), &self.encoded) {
            (Some(image), _) => write!(f, "Picture({} x {} pixels)", image.height, image.width),
            (None, Some((bytes, _))) => write!(f, "Picture({} bytes)", bytes.len()),
            (None, None) => f.write_str("Picture"),
        }
    }
}

impl From<Image> for Picture {
    fn from(image: Image) -> Self {
        Self { encoded: None, image: OnceCell::from(image), partial_size: OnceCell::new() }
    }
}

impl Picture {
    /// A picture of an image file's bytes, see [`decode`].
    pub fn encoded(bytes: impl Into<Bytes>, options: DecodeOptions) -> Self {
        let (image, partial_size) = (OnceCell::new(), OnceCell::new());
        Self { encoded: Some((bytes.into(), options)), image, partial_size }
    }

    /// What the file says of itself, without decoding it; `None` if the picture is no file.
    ///
    /// # Errors
    /// See [`probe`].
    pub fn probe(&self) -> Option<Result<Probe>> {
        self.encoded.as_ref().map(|(bytes, options)| probe(bytes, options))
    }

    /// The whole image.
    ///
    /// # Errors
    /// What [`decode`] refuses, and [`Error::SinglePixel`]: an image of one pixel is what is left of a lost one.
    pub fn image(&self) -> Result<&Image> {
        if let (None, Some((bytes, options))) = (self.image.get(), &self.encoded) {
            let image = decode(bytes, options)?;
            if (image.width, image.height) == (1, 1) {
                return Err(Error::SinglePixel);
            }
            return Ok(self.image.get_or_init(|| image));
        }
        self.image.get().ok_or(Error::UnknownFormat { found: "the picture is empty".into() })
    }

    /// The whole image, without a copy.
    ///
    /// # Errors
    /// See [`image`](Self::image).
    pub fn into_image(self) -> Result<Image> {
        self.image()?;
        self.image.into_inner().ok_or(Error::UnknownFormat { found: "the picture is empty".into() })
    }

    /// Rows and columns of the upright image.
    ///
    /// # Errors
    /// See [`image`](Self::image).
    pub fn size(&self) -> Result<Size> {
        if let (None, Some((bytes, options))) = (self.image.get(), &self.encoded)
            && let Some(size) = *self.partial_size.get_or_init(|| partial_size(bytes, options))
        {
            return Ok(size);
        }
        let image = self.image()?;
        Size::new(image.height, image.width)
    }

    /// The pixels of `area`, decoding no more than is needed for them where the format and the decoder allow it.
    /// `wanted` is the size that they will be brought to: with [`DecodeOptions::scaled`] they may have fewer pixels
    /// than the picture, but not fewer than that.
    ///
    /// # Errors
    /// See [`image`](Self::image); [`Error::Crop`] if the area is empty or reaches out of the image.
    pub fn region(&self, area: CropBox, wanted: Size) -> Result<Region<'_>> {
        if let (None, Some((bytes, options))) = (self.image.get(), &self.encoded)
            && let Some(size) = *self.partial_size.get_or_init(|| partial_size(bytes, options))
        {
            area.check_inside(size)?;
            if let Some((image, area)) = decode_part(bytes, options, area, wanted)? {
                return Ok(Region { image: Cow::Owned(image), area });
            }
        }
        let image = self.image()?;
        area.check(image)?;
        Ok(Region { image: Cow::Borrowed(image), area })
    }
}
