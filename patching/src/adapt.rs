//! A learned patch embedding for other patches: of another size, of images with other channels.

use std::fmt;

use candle_core::Tensor;

use crate::resample::{LineMatrix, computing_type};
use crate::{Error, Resample, Result};

/// How a patch embedding is resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PatchResample {
    /// FlexiViT's way (arXiv 2212.08013, section 3.4): the pseudo-inverse of antialiased bicubic resizing. Where patches grow,
    /// tokens of a resized patch equal those of the patch itself. timm's `resample_patch_embed`.
    #[default]
    PseudoInverse,
    /// The weights are resized as if they were a picture. Tokens change their length with the number of pixels.
    Plain(Resample),
}

impl fmt::Display for PatchResample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PseudoInverse => f.write_str("pseudo-inverse"),
            Self::Plain(how) => how.fmt(f),
        }
    }
}

/// Resizes a patch embedding's weight to patches of `patch` x `patch` pixels. Computed in f32 (or f64), given in the
/// weight's own type.
///
/// # Shapes
/// `weight` `[dim, channels, p, p]`; the result is `[dim, channels, patch, patch]`.
///
/// # Errors
/// When the weight has another shape, or a size is zero.
pub fn resize_patch_embed(weight: &Tensor, patch: usize, how: PatchResample) -> Result<Tensor> {
    let [dim, channels, p] = patch_shape(weight)?;
    if patch == 0 {
        return Err(Error::NoPatch);
    }
    if patch == p {
        return Ok(weight.clone());
    }
    let line = match how {
        PatchResample::Plain(how) => LineMatrix::new(p, patch, how),
        // Rows and columns are resized by themselves, and so the inverse is that of each.
        PatchResample::PseudoInverse => LineMatrix::new(p, patch, Resample::BicubicAntialiased)
            .transpose_pseudo_inverse()
            .ok_or(Error::PatchRank { from: p, to: patch })?,
    };
    let computing = computing_type(weight.dtype());
    let line = line.tensor(computing, weight.device())?;
    let rows = weight.to_dtype(computing)?.reshape((dim * channels * p, p))?.matmul(&line.t()?)?;
    let rows = rows.reshape((dim * channels, p, patch))?;
    let resized = line.unsqueeze(0)?.broadcast_matmul(&rows)?;
    Ok(resized.reshape((dim, channels, patch, patch))?.to_dtype(weight.dtype())?)
}

/// Makes a patch embedding's weight one for images of `channels` channels, as timm's `adapt_input_conv`: for a single
/// channel all are summed, for others they are repeated in turn and scaled by `old / channels`, which keeps a token's
/// length for images that are alike in all channels.
///
/// timm does so from three channels. Here other numbers can be summed too, and repeated where `channels` is a multiple;
/// which of four bands five new ones are like, nobody can tell. (timm sums multiples of three by threes, for the stems
/// of other networks.)
///
/// # Shapes
/// `weight` `[dim, old, p, p]`; the result is `[dim, channels, p, p]`.
///
/// # Errors
/// When the weight has another shape, or the channels cannot be summed or repeated.
pub fn adapt_channels(weight: &Tensor, channels: usize) -> Result<Tensor> {
    let [_, old, _] = patch_shape(weight)?;
    if channels == old {
        return Ok(weight.clone());
    }
    let computing = weight.to_dtype(computing_type(weight.dtype()))?;
    let adapted = match channels {
        1 => computing.sum_keepdim(1)?,
        _ if channels > 0 && (old == 3 || channels.is_multiple_of(old)) => {
            let repeated = computing.repeat((1, channels.div_ceil(old), 1, 1))?;
            (repeated.narrow(1, 0, channels)? * (old as f64 / channels as f64))?
        }
        _ => return Err(Error::Channels { from: old, to: channels }),
    };
    Ok(adapted.to_dtype(weight.dtype())?)
}

/// Width, channels and side of a patch embedding's weight.
fn patch_shape(weight: &Tensor) -> Result<[usize; 3]> {
    match *weight.dims() {
        [dim, channels, rows, cols] if rows == cols && dim * channels * rows > 0 => {
            Ok([dim, channels, rows])
        }
        _ => Err(Error::PatchWeight { found: weight.dims().to_vec() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    fn weight(shape: &[usize]) -> Tensor {
        Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap()
    }

    #[test]
    fn a_larger_patch_gives_the_same_token() {
        let line = LineMatrix::new(4, 7, Resample::BicubicAntialiased)
            .tensor(DType::F32, &Device::Cpu)
            .unwrap();
        let patch = Tensor::rand(0f32, 1.0, (4, 4), &Device::Cpu).unwrap();
        let larger = line.matmul(&patch).unwrap().matmul(&line.t().unwrap()).unwrap();
        let small = Tensor::randn(0f32, 1.0, (1, 1, 4, 4), &Device::Cpu).unwrap();
        let large = resize_patch_embed(&small, 7, PatchResample::PseudoInverse).unwrap();
        let token = |weight: &Tensor, patch: &Tensor| {
            let product = (weight.squeeze(0).unwrap().squeeze(0).unwrap() * patch).unwrap();
            product.sum_all().unwrap().to_scalar::<f32>().unwrap()
        };
        let (found, expected) = (token(&large, &larger), token(&small, &patch));
        assert!((found - expected).abs() < 1e-4, "{found} and {expected}");
    }

    #[test]
    fn half_floats_stay_half_floats() {
        let half = weight(&[2, 3, 4, 4]).to_dtype(DType::BF16).unwrap();
        let resized = resize_patch_embed(&half, 2, PatchResample::default()).unwrap();
        assert_eq!((resized.dtype(), resized.dims()), (DType::BF16, &[2, 3, 2, 2][..]));
        let adapted = adapt_channels(&half, 5).unwrap();
        assert_eq!((adapted.dtype(), adapted.dims()), (DType::BF16, &[2, 5, 4, 4][..]));
    }

    #[test]
    fn channels_of_any_number_are_summed_and_repeated_by_multiples() {
        let ramp = Tensor::new(&[1f32, 2.0], &Device::Cpu).unwrap().reshape((1, 2, 1, 1)).unwrap();
        let adapted = |to| {
            adapt_channels(&ramp, to).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        assert_eq!(adapted(1), [3.0]);
        assert_eq!(adapted(2), [1.0, 2.0]);
        assert_eq!(adapted(4), [0.5, 1.0, 0.5, 1.0]);
        for (from, to) in [(2, 3), (4, 3), (4, 6), (13, 3), (3, 0)] {
            let text = adapt_channels(&weight(&[1, from, 1, 1]), to).unwrap_err().to_string();
            assert!(text.contains(&format!("{from} channels")), "{text}");
        }
    }

    #[test]
    fn what_is_no_patch_embedding_is_refused() {
        for shape in [&[2, 3, 4][..], &[2, 3, 4, 5], &[2, 3, 0, 0]] {
            let text = resize_patch_embed(&weight(shape), 2, PatchResample::default());
            assert!(text.unwrap_err().to_string().contains("[dim, channels, p, p]"));
            assert!(adapt_channels(&weight(shape), 1).is_err());
        }
        assert!(resize_patch_embed(&weight(&[2, 3, 4, 4]), 0, PatchResample::default()).is_err());
    }
}
