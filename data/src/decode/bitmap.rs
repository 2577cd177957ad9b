//! What the decoders give, and its conversion to the channels asked for.

use ::image::metadata::Orientation;

use crate::error::{Error, Result};
use crate::image::{Image, Pixels};

/// A picture as its file has it.
pub(super) struct Bitmap {
    pub width: usize,
    pub height: usize,
    pub colour: Colour,
    /// `[height, width, bands]`.
    pub samples: Samples,
    pub orientation: Orientation,
}

/// What the bands of a picture mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Grey,
    GreyAlpha,
    Rgb,
    Rgba,
    /// 255 is full ink, as in Pillow.
    Cmyk,
    /// Bands without a meaning known here.
    Bands(usize),
}

pub(super) enum Samples {
    U8(Vec<u8>),
    U16(Vec<u16>),
    F32(Vec<f32>),
}

impl Samples {
    /// The first `width` pixels of each of `height` rows of `stored` pixels.
    pub fn cut(self, stored: usize, width: usize, height: usize) -> Self {
        match self {
            Self::U8(v) => Self::U8(first_columns(v, stored, width, height)),
            Self::U16(v) => Self::U16(first_columns(v, stored, width, height)),
            Self::F32(v) => Self::F32(first_columns(v, stored, width, height)),
        }
    }

    /// Each sample `times` times.
    pub fn repeated(self, times: usize) -> Self {
        match self {
            Self::U8(v) => Self::U8(each_repeated(v, times)),
            Self::U16(v) => Self::U16(each_repeated(v, times)),
            Self::F32(v) => Self::F32(each_repeated(v, times)),
        }
    }

    /// Both, or `None` if they are of different types.
    pub fn followed_by(mut self, more: Self) -> Option<Self> {
        match (&mut self, more) {
            (Self::U8(all), Self::U8(more)) => all.extend(more),
            (Self::U16(all), Self::U16(more)) => all.extend(more),
            (Self::F32(all), Self::F32(more)) => all.extend(more),
            _ => return None,
        }
        Some(self)
    }

    /// `[planes, pixels]` to `[pixels, planes]`.
    pub fn interleaved(self, planes: usize) -> Self {
        match self {
            Self::U8(v) => Self::U8(interleaved(v, planes)),
            Self::U16(v) => Self::U16(interleaved(v, planes)),
            Self::F32(v) => Self::F32(interleaved(v, planes)),
        }
    }
}

fn each_repeated<T: Copy>(samples: Vec<T>, times: usize) -> Vec<T> {
    samples.into_iter().flat_map(|sample| std::iter::repeat_n(sample, times)).collect()
}

fn first_columns<T: Copy>(samples: Vec<T>, stored: usize, width: usize, height: usize) -> Vec<T> {
    let row = samples.len() / height.max(1);
    if stored == width || row == 0 {
        return samples;
    }
    samples.chunks_exact(row).flat_map(|row| &row[..row.len() / stored * width]).copied().collect()
}

/// `[planes, pixels]` to `[pixels, planes]`.
pub(super) fn interleaved<T: Copy>(samples: Vec<T>, planes: usize) -> Vec<T> {
    if planes <= 1 {
        return samples;
    }
    let pixels = samples.len() / planes;
    (0..pixels)
        .flat_map(|pixel| (0..planes).map(move |plane| plane * pixels + pixel))
        .map(|i| samples[i])
        .collect()
}

impl Colour {
    pub fn bands(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::GreyAlpha => 2,
            Self::Rgb => 3,
            Self::Rgba | Self::Cmyk => 4,
            Self::Bands(n) => n,
        }
    }
}

impl Bitmap {
    pub fn into_image(self, channels: usize) -> Result<Image> {
        let (width, height) = (self.width, self.height);
        let pixels = match channels {
            3 => self.into_rgb()?,
            1 => self.into_grey()?,
            _ => self.into_bands(channels)?,
        };
        Image::new(width, height, channels, pixels)
    }

    /// The samples as they are, if there are `channels` bands of them.
    fn into_bands(self, channels: usize) -> Result<Pixels> {
        if self.colour.bands() != channels {
            return Err(self.wrong_channels(channels));
        }
        Ok(match self.samples {
            Samples::U8(samples) => Pixels::U8(samples),
            Samples::U16(samples) => {
                Pixels::F32(samples.iter().map(|&v| f32::from(v) / 65535.0).collect())
            }
            Samples::F32(samples) => Pixels::F32(samples),
        })
    }

    /// Pillow's `convert('RGB')`.
    fn into_rgb(self) -> Result<Pixels> {
        let colour = self.colour;
        if matches!((colour, &self.samples), (Colour::Rgb, Samples::F32(_)) | (Colour::Bands(_), _))
        {
            // Pillow does not read these; losing their precision would help nobody.
            return self.into_bands(3);
        }
        let samples = self.into_8_bit()?;
        Ok(Pixels::U8(match colour {
            Colour::Grey => samples.iter().flat_map(|&v| [v; 3]).collect(),
            Colour::GreyAlpha => samples.chunks_exact(2).flat_map(|p| [p[0]; 3]).collect(),
            Colour::Rgb | Colour::Bands(_) => samples,
            Colour::Rgba => samples.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect(),
            Colour::Cmyk => samples.chunks_exact(4).flat_map(cmyk_to_rgb).collect(),
        }))
    }

    /// Pillow's `convert('L')`, save that grey of more than 8 bits is kept.
    fn into_grey(self) -> Result<Pixels> {
        match (self.colour, &self.samples) {
            (Colour::Grey | Colour::Bands(1), _) => self.into_bands(1),
            (Colour::GreyAlpha, Samples::U16(samples)) => Ok(Pixels::F32(
                samples.chunks_exact(2).map(|p| f32::from(p[0]) / 65535.0).collect(),
            )),
            (Colour::GreyAlpha, Samples::F32(samples)) => {
                Ok(Pixels::F32(samples.chunks_exact(2).map(|p| p[0]).collect()))
            }
            _ => match self.into_rgb()? {
                Pixels::U8(rgb) => Ok(Pixels::U8(rgb.chunks_exact(3).map(luma).collect())),
                Pixels::F32(rgb) => Ok(Pixels::F32(
                    rgb.chunks_exact(3)
                        .map(|p| 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2])
                        .collect(),
                )),
            },
        }
    }

    /// What Pillow holds after opening: the high byte of 16-bit colour; grey of 16 bits or of floats, clipped.
    fn into_8_bit(self) -> Result<Vec<u8>> {
        Ok(match self.samples {
            Samples::U8(samples) => samples,
            Samples::U16(samples) if self.colour == Colour::Grey => {
                samples.iter().map(|&v| v.min(255) as u8).collect()
            }
            Samples::U16(samples) => samples.iter().map(|&v| (v >> 8) as u8).collect(),
            Samples::F32(samples) if self.colour == Colour::Grey => {
                samples.iter().map(|&v| v as u8).collect()
            }
            Samples::F32(_) => {
                return Err(Error::Decode {
                    format: "TIFF",
                    reason: format!(
                        "floating-point samples of colour {:?} cannot become 8-bit RGB",
                        self.colour
                    ),
                });
            }
        })
    }

    fn wrong_channels(&self, expected: usize) -> Error {
        Error::Channels { found: self.colour.bands(), expected }
    }
}

/// ITU-R 601-2 luma in Pillow's fixed-point arithmetic.
fn luma(rgb: &[u8]) -> u8 {
    let [r, g, b] = [rgb[0], rgb[1], rgb[2]].map(u32::from);
    ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16) as u8
}

/// Pillow's conversion: no colour profile, `(255 - k) * (255 - ink) / 255`.
fn cmyk_to_rgb(cmyk: &[u8]) -> [u8; 3] {
    let paper = 255 - i32::from(cmyk[3]);
    [cmyk[0], cmyk[1], cmyk[2]].map(|ink| {
        let product = i32::from(ink) * paper + 128;
        (paper - (((product >> 8) + product) >> 8)).clamp(0, 255) as u8
    })
}

/// YCbCr (ITU-R 601, full range) in libjpeg's fixed-point arithmetic.
pub(super) fn ycc_to_rgb([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let fixed = |value: f64| (value * 65536.0 + 0.5) as i32;
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let red = y + ((fixed(1.402) * cr + 32768) >> 16);
    let green = y + ((-fixed(0.344_14) * cb - fixed(0.714_14) * cr + 32768) >> 16);
    let blue = y + ((fixed(1.772) * cb + 32768) >> 16);
    [red, green, blue].map(|value| value.clamp(0, 255) as u8)
}
