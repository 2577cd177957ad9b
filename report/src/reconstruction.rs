//! From a model's prediction back to pixels that can be shown.

use crate::error::check_length;
use crate::{Error, Result};

/// Added to a variance before its root is taken, as in the training target.
const VARIANCE_EPS: f64 = 1e-6;
/// What stands in for hidden pixels, in the display range.
const HIDDEN_GREY: f32 = 0.5;

/// The images of a picture: their sizes, their patches and how they were normalised.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageSpec {
    /// Channels (bands) of an image.
    pub channels: usize,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// Side in pixels of the square patches that the mask speaks of.
    pub patch_size: usize,
    /// Side of the square of patches that is predicted as one; 1 for none.
    pub pred_downsampling: usize,
    /// Mean that was subtracted from each channel, `[channels]`; zeros for none.
    pub mean: Vec<f32>,
    /// Standard deviation each channel was divided by, `[channels]`; ones for none.
    pub std: Vec<f32>,
}

/// What a prediction's numbers mean, and where the missing statistics are taken from.
///
/// A model trained with normalised targets (`norm_pix_loss`) predicts
/// `(x - mean) / sqrt(variance + 1e-6)` with mean and unbiased variance over all values of the
/// patch, channels together, *after* the input was normalised. It never learns brightness and
/// contrast of a patch: to show its prediction they must come from somewhere, and the picture
/// says from where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistics {
    /// The prediction is pixels (in the normalised space of the input): nothing is missing.
    Raw,
    /// Mean and std of the original patch in the predicted one's place: the usual picture, though
    /// it leaks part of the answer.
    HiddenPatches,
    /// Of visible patches only, the same for every prediction of an image: the mean of their
    /// pixels, and the root mean square of their standard deviations. Leaks nothing.
    /// Without any visible patch: the training data's, 0 and 1.
    VisiblePatches,
}

impl Statistics {
    /// One plain sentence for the header of a picture.
    pub fn description(self) -> &'static str {
        match self {
            Self::Raw => "Prediction: pixels just as the model gives them.",
            Self::HiddenPatches => {
                "Prediction: the pattern is the model's; \
                 mean and std of each patch are taken from the original."
            }
            Self::VisiblePatches => {
                "Prediction: the pattern is the model's; \
                 one mean and std for all patches, taken from the visible ones."
            }
        }
    }
}

/// One image, its mask and what the model made of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reconstruction {
    /// The image as the model saw it, normalised: `[channels, height, width]`.
    pub image: Vec<f32>,
    /// For each patch, row by row: whether it was removed (hidden from the encoder).
    pub mask: Vec<bool>,
    /// The prediction for every predicted patch, row by row: `[patches, side * side * channels]`
    /// with `side = patch_size * pred_downsampling`, values in (row, column, channel) order.
    pub pred: Vec<f32>,
}

/// An image as a model sees it, and which of its patches are hidden.
#[derive(Debug, Clone, PartialEq)]
pub struct MaskedImage {
    /// Normalised: `[channels, height, width]`.
    pub image: Vec<f32>,
    /// For each patch, row by row: whether it is removed.
    pub mask: Vec<bool>,
}

/// The four columns of a picture: `[channels, height, width]` each, in the display range, where
/// 0 is black and 1 is white. Predictions may lie outside of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Planes {
    /// The image.
    pub original: Vec<f32>,
    /// The image with its hidden patches grey.
    pub masked: Vec<f32>,
    /// The prediction alone, of visible patches too.
    pub prediction: Vec<f32>,
    /// The image with its hidden pixels replaced by the prediction.
    pub pasted: Vec<f32>,
}

/// Undoes `(x - mean) / std` channel by channel on `planar`, `[channels, ...]`.
///
/// # Errors
///
/// [`Error::Length`] if `std` is not as long as `mean`; [`Error::Shape`] if `planar` does not
/// divide into that many channels.
pub fn denormalize(planar: &[f32], mean: &[f32], std: &[f32]) -> Result<Vec<f32>> {
    check_length("std", std, mean.len())?;
    if mean.is_empty() || !planar.len().is_multiple_of(mean.len()) {
        return Err(Error::Shape(format!(
            "{} values do not divide into {} channels",
            planar.len(),
            mean.len()
        )));
    }
    let channels = planar.chunks(usize::max(planar.len() / mean.len(), 1));
    let scaled = channels
        .zip(mean.iter().zip(std))
        .flat_map(|(channel, (mean, std))| channel.iter().map(move |x| x * std + mean));
    Ok(scaled.collect())
}

impl ImageSpec {
    /// Brings a prediction back to pixels.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the sizes here do not divide; [`Error::Length`] if a part of `row` does
    /// not have the length that they ask for.
    pub fn reconstruct(&self, row: &Reconstruction, statistics: Statistics) -> Result<Planes> {
        self.check()?;
        self.check_row(row)?;
        let prediction = self.unpatchify(row, statistics);

        let mut pasted = row.image.clone();
        let hidden: Vec<usize> = self.hidden_values(&row.mask).collect();
        for &i in &hidden {
            pasted[i] = prediction[i];
        }

        let [original, masked] = self.masked(&row.image, &row.mask)?;
        let display = |planar: &[f32]| denormalize(planar, &self.mean, &self.std);
        Ok(Planes {
            original,
            masked,
            prediction: display(&prediction)?,
            pasted: display(&pasted)?,
        })
    }

    /// An image, `[channels, height, width]` as the model sees it, brought to the display range: as it is, and with the
    /// patches that `mask` removes grey.
    ///
    /// # Errors
    ///
    /// See [`reconstruct`](Self::reconstruct).
    pub fn masked(&self, image: &[f32], mask: &[bool]) -> Result<[Vec<f32>; 2]> {
        self.check()?;
        self.check_image(image, mask)?;
        let original = denormalize(image, &self.mean, &self.std)?;
        let mut masked = original.clone();
        for i in self.hidden_values(mask) {
            masked[i] = HIDDEN_GREY;
        }
        Ok([original, masked])
    }

    fn check(&self) -> Result<()> {
        let Self { channels, height, width, patch_size, pred_downsampling, .. } = *self;
        if [channels, height, width, patch_size, pred_downsampling].contains(&0) {
            return Err(Error::Shape(format!(
                "an image of {channels} x {height} x {width} in patches of {patch_size} and \
                 predictions of {pred_downsampling} patches: every size must be at least 1"
            )));
        }
        let side = patch_size.saturating_mul(pred_downsampling);
        if !height.is_multiple_of(side) || !width.is_multiple_of(side) {
            return Err(Error::Shape(format!(
                "predicted patches of {side} x {side} pixels do not divide an image of \
                 {height} x {width}"
            )));
        }
        check_length("mean", &self.mean, channels)?;
        check_length("std", &self.std, channels)
    }

    fn check_row(&self, row: &Reconstruction) -> Result<()> {
        self.check_image(&row.image, &row.mask)?;
        check_length("prediction", &row.pred, row.image.len())
    }

    fn check_image(&self, image: &[f32], mask: &[bool]) -> Result<()> {
        let values = self.channels.saturating_mul(self.height).saturating_mul(self.width);
        check_length("image", image, values)?;
        check_length("mask", mask, self.patches(self.patch_size))
    }

    /// Side of a predicted patch in pixels.
    fn prediction_side(&self) -> usize {
        self.patch_size * self.pred_downsampling
    }

    /// Number of patches with the given side.
    fn patches(&self, side: usize) -> usize {
        (self.height / side) * (self.width / side)
    }

    /// Where the values of a patch are in a planar image, in (row, column, channel) order.
    fn patch_values(
        &self,
        side: usize,
        patch: usize,
    ) -> impl Iterator<Item = usize> + Clone + use<> {
        let Self { channels, height, width, .. } = *self;
        let columns = width / side;
        let (top, left) = (patch / columns * side, patch % columns * side);
        (top..top + side).flat_map(move |y| {
            (left..left + side)
                .flat_map(move |x| (0..channels).map(move |c| (c * height + y) * width + x))
        })
    }

    /// Where the values of all hidden patches are in a planar image.
    fn hidden_values(&self, mask: &[bool]) -> impl Iterator<Item = usize> {
        let hidden = (0..mask.len()).filter(|&patch| mask[patch]);
        hidden.flat_map(|patch| self.patch_values(self.patch_size, patch))
    }

    /// The prediction as a planar image in the normalised space of the input.
    fn unpatchify(&self, row: &Reconstruction, statistics: Statistics) -> Vec<f32> {
        let side = self.prediction_side();
        let visible = self.visible_moments(row);
        let mut planar = vec![0.0; row.image.len()];
        for (patch, pred) in row.pred.chunks(side * side * self.channels).enumerate() {
            let (mean, std) = match statistics {
                Statistics::Raw => (0.0, 1.0),
                Statistics::HiddenPatches => self.patch_moments(row, side, patch).mean_and_std(),
                Statistics::VisiblePatches => visible.mean_and_std(),
            };
            for (i, &value) in self.patch_values(side, patch).zip(pred) {
                planar[i] = (f64::from(value) * std + mean) as f32;
            }
        }
        planar
    }

    fn patch_moments(&self, row: &Reconstruction, side: usize, patch: usize) -> Moments {
        Moments::of(self.patch_values(side, patch).map(|i| f64::from(row.image[i])))
    }

    /// Mean, and mean variance, of the visible patches.
    fn visible_moments(&self, row: &Reconstruction) -> Moments {
        let (mut count, mut mean, mut variance) = (0.0, 0.0, 0.0);
        for patch in (0..row.mask.len()).filter(|&patch| !row.mask[patch]) {
            let moments = self.patch_moments(row, self.patch_size, patch);
            count += 1.0;
            mean += moments.mean;
            variance += moments.variance;
        }
        if count == 0.0 {
            return Moments { mean: 0.0, variance: 1.0 };
        }
        Moments { mean: mean / count, variance: variance / count }
    }
}

#[derive(Debug, Clone, Copy)]
struct Moments {
    mean: f64,
    variance: f64,
}

impl Moments {
    /// Mean and unbiased variance; a single value has no variance.
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let count = values.clone().count() as f64;
        let mean = values.clone().sum::<f64>() / count;
        let squares: f64 = values.map(|x| (x - mean).powi(2)).sum();
        Self { mean, variance: squares / f64::max(count - 1.0, 1.0) }
    }

    fn mean_and_std(self) -> (f64, f64) {
        (self.mean, (self.variance + VARIANCE_EPS).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> ImageSpec {
        ImageSpec {
            channels: 2,
            height: 4,
            width: 8,
            patch_size: 2,
            pred_downsampling: 1,
            mean: vec![0.5, 0.25],
            std: vec![0.2, 0.5],
        }
    }

    /// An image of distinct values around zero, half of it hidden; the prediction is the image
    /// itself in patches, through `target`.
    fn perfect(spec: &ImageSpec, target: impl Fn(&[f32]) -> Vec<f32>) -> Reconstruction {
        let values = spec.channels * spec.height * spec.width;
        let image: Vec<f32> = (0..values).map(|i| ((i * 37) % 64) as f32 / 32.0 - 1.0).collect();
        let mask = (0..spec.patches(spec.patch_size)).map(|patch| patch % 2 == 0).collect();
        let side = spec.prediction_side();
        let patch = |n| spec.patch_values(side, n).map(|i| image[i]).collect::<Vec<_>>();
        let pred = (0..spec.patches(side)).flat_map(|n| target(&patch(n))).collect();
        Reconstruction { image, mask, pred }
    }

    fn normalised(patch: &[f32]) -> Vec<f32> {
        let n = patch.len() as f32;
        let mean = patch.iter().sum::<f32>() / n;
        let variance = patch.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / (n - 1.0);
        patch.iter().map(|x| (x - mean) / (variance + 1e-6).sqrt()).collect()
    }

    fn assert_close(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        for (i, (a, b)) in found.iter().zip(expected).enumerate() {
            assert!((a - b).abs() < 1e-5, "value {i}: {a} instead of {b}");
        }
    }

    #[test]
    fn patches_are_in_row_column_channel_order() {
        let indices: Vec<usize> = spec().patch_values(2, 5).collect();
        // Second patch of the second row; the second channel is 32 further.
        assert_eq!(indices, [18, 50, 19, 51, 26, 58, 27, 59]);
    }

    #[test]
    fn a_perfect_raw_prediction_gives_the_image() {
        for pred_downsampling in [1, 2] {
            let spec = ImageSpec { pred_downsampling, ..spec() };
            let row = perfect(&spec, <[f32]>::to_vec);
            let planes = spec.reconstruct(&row, Statistics::Raw).unwrap();
            assert_close(&planes.prediction, &planes.original);
            assert_close(&planes.pasted, &planes.original);
            // The first value of each channel by hand: -1 and 0, times std, plus mean.
            assert_close(&[planes.original[0], planes.original[32]], &[0.3, 0.25]);
        }
    }

    #[test]
    fn a_perfect_normalised_prediction_gives_the_image_with_its_own_statistics() {
        for pred_downsampling in [1, 2] {
            let spec = ImageSpec { pred_downsampling, ..spec() };
            let row = perfect(&spec, normalised);
            let planes = spec.reconstruct(&row, Statistics::HiddenPatches).unwrap();
            assert_close(&planes.prediction, &planes.original);
        }
    }

    #[test]
    fn statistics_of_visible_patches_never_look_at_hidden_ones() {
        let spec = spec();
        let row = perfect(&spec, normalised);
        let mut other = row.clone();
        for i in spec.hidden_values(&row.mask) {
            other.image[i] = 100.0;
        }
        let shown = |row| spec.reconstruct(row, Statistics::VisiblePatches).unwrap().prediction;
        assert_eq!(shown(&row), shown(&other));

        // A prediction of zero is the visible mean everywhere.
        let flat = Reconstruction { pred: vec![0.0; row.pred.len()], ..row.clone() };
        let visible: Vec<f32> = (0..64)
            .filter(|&i| !spec.hidden_values(&row.mask).any(|hidden| hidden == i))
            .map(|i| row.image[i])
            .collect();
        let mean = visible.iter().sum::<f32>() / visible.len() as f32;
        assert_close(&shown(&flat)[..32], &[mean * 0.2 + 0.5; 32]);

        // A prediction of one lies one std above: the root of the visible patches' mean variance.
        let variance = |patch: &[f32]| {
            let mean = patch.iter().sum::<f32>() / 8.0;
            patch.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 7.0
        };
        let patch = |n| spec.patch_values(2, n).map(|i| row.image[i]).collect::<Vec<_>>();
        let std = ([1, 3, 5, 7].map(|n| variance(&patch(n))).iter().sum::<f32>() / 4.0).sqrt();
        let one = Reconstruction { pred: vec![1.0; row.pred.len()], ..row.clone() };
        assert_close(&shown(&one)[..32], &[(mean + std) * 0.2 + 0.5; 32]);
    }

    #[test]
    fn with_nothing_visible_the_data_sets_statistics_serve() {
        let spec = spec();
        let mut row = perfect(&spec, <[f32]>::to_vec);
        row.mask.fill(true);
        let planes = spec.reconstruct(&row, Statistics::VisiblePatches).unwrap();
        assert!(planes.prediction.iter().zip(&planes.original).all(|(a, b)| (a - b).abs() < 1e-5));
    }

    #[test]
    fn only_hidden_pixels_are_replaced() {
        // Predicted patches of 2 x 2 patches: each is partly visible.
        let spec = ImageSpec { pred_downsampling: 2, ..spec() };
        let mut row = perfect(&spec, <[f32]>::to_vec);
        row.pred.fill(9.0);
        let planes = spec.reconstruct(&row, Statistics::Raw).unwrap();
        let hidden: Vec<usize> = spec.hidden_values(&row.mask).collect();
        assert_eq!(hidden.len(), 32);
        for i in 0..64 {
            let (pasted, masked) = if hidden.contains(&i) {
                (planes.prediction[i], HIDDEN_GREY)
            } else {
                (planes.original[i], planes.original[i])
            };
            assert_eq!(planes.pasted[i], pasted);
            assert_eq!(planes.masked[i], masked);
        }
    }

    #[test]
    fn wrong_sizes_are_named() {
        let row = perfect(&spec(), <[f32]>::to_vec);
        let message = |spec: ImageSpec, row: &Reconstruction| {
            spec.reconstruct(row, Statistics::Raw).unwrap_err().to_string()
        };
        assert_eq!(
            message(spec(), &Reconstruction { mask: vec![true; 7], ..row.clone() }),
            "mask: expected 8 values, found 7"
        );
        assert_eq!(
            message(spec(), &Reconstruction { pred: vec![], ..row.clone() }),
            "prediction: expected 64 values, found 0"
        );
        assert!(message(ImageSpec { patch_size: 3, ..spec() }, &row).contains("3 x 3 pixels"));
        assert!(message(ImageSpec { pred_downsampling: 0, ..spec() }, &row).contains("at least 1"));
        assert!(message(ImageSpec { mean: vec![0.0], ..spec() }, &row).starts_with("mean"));
        let huge = ImageSpec { channels: usize::MAX, mean: vec![], ..spec() };
        assert!(message(huge, &row).starts_with("mean"));
    }

    #[test]
    fn denormalising_goes_channel_by_channel() {
        let planar = denormalize(&[1.0, 2.0, 3.0, 4.0], &[10.0, 20.0], &[1.0, 2.0]).unwrap();
        assert_eq!(planar, [11.0, 12.0, 26.0, 28.0]);
        assert!(denormalize(&[1.0; 3], &[0.0; 2], &[1.0; 2]).is_err());
        assert!(denormalize(&[1.0; 4], &[0.0; 2], &[1.0; 3]).is_err());
        assert!(denormalize(&[], &[], &[]).is_err());
        assert_eq!(denormalize(&[], &[0.0], &[1.0]).unwrap(), [0.0; 0]);
    }
}
