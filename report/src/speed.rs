//! How long training steps take on a machine: measured on some models, expected of others.

use nalgebra::{DMatrix, DVector};

use crate::{Error, ModelShape, Result};

/// Kinds of work in a step: products with weights, attention's products, values that pass through memory, parameters that
/// are updated.
const KINDS: usize = 4;
/// What is left of a weighted problem's smallest directions before they are taken for rounding.
const EPSILON: f64 = 1e-10;

/// A training step whose time was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeasuredStep {
    /// The model.
    pub shape: ModelShape,
    /// Images of the step, over all micro-batches.
    pub images: usize,
    /// How long it took.
    pub seconds: f64,
}

/// What a machine takes for each kind of work, in one precision and with one number of threads.
///
/// A step of B images is expected to take
///
/// ```text
/// B * (a * flops of products with weights + b * flops of attention's products + c * values) + d * parameters
/// ```
///
/// where the values are those of tokens and hidden layers, `tokens * (width + hidden width) * depth` in both towers. `c` is
/// why narrow models reach fewer GFLOP/s: they do less with each value. The four numbers are never negative.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    seconds: [f64; KINDS],
}

impl Speed {
    /// The least squares of relative errors. One measured step gives GFLOP/s alone; different models give more.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] for sizes that contradict each other, and without a measured step that took any time.
    pub fn fit(steps: &[MeasuredStep]) -> Result<Self> {
        let steps: Vec<&MeasuredStep> =
            steps.iter().filter(|step| step.seconds.is_finite() && step.seconds > 0.0).collect();
        if steps.is_empty() {
            return Err(Error::Shape("no measured step to tell a machine's speed from".to_owned()));
        }
        // Each row over its time: what is fitted is 1 everywhere.
        let rows = steps
            .iter()
            .map(|step| Ok(step.shape.work(step.images)?.map(|work| work / step.seconds)))
            .collect::<Result<Vec<_>>>()?;
        let subsets = 1_u32..1 << KINDS;
        let fits = subsets
            .filter(|subset| subset.count_ones() as usize <= rows.len())
            // Without the products there is no training.
            .filter(|subset| subset & 1 == 1)
            .filter_map(|subset| fit_subset(&rows, subset));
        fits.min_by(|a, b| a.1.total_cmp(&b.1))
            .map(|(seconds, _)| Self { seconds })
            .ok_or_else(|| Error::Shape("the measured steps contradict each other".to_owned()))
    }

    /// Seconds that a step of `images` images is expected to take.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] for sizes that contradict each other.
    pub fn step_seconds(&self, shape: &ModelShape, images: usize) -> Result<f64> {
        let work = shape.work(images)?;
        Ok(work.iter().zip(self.seconds).map(|(work, seconds)| work * seconds).sum())
    }
}

/// Least squares with some kinds of work alone; none if a kind would give time back. Non-negative least squares is the best
/// of these (four kinds have eight subsets with the first).
fn fit_subset(rows: &[[f64; KINDS]], subset: u32) -> Option<([f64; KINDS], f64)> {
    let kinds: Vec<usize> = (0..KINDS).filter(|kind| subset >> kind & 1 == 1).collect();
    // Kinds differ by nine orders of magnitude.
    let scales: Vec<f64> =
        kinds.iter().map(|&kind| rows.iter().map(|row| row[kind]).fold(0.0, f64::max)).collect();
    let matrix = DMatrix::from_fn(rows.len(), kinds.len(), |row, column| {
        rows[row][kinds[column]] / scales[column]
    });
    let ones = DVector::from_element(rows.len(), 1.0);
    let found = matrix.clone().svd(true, true).solve(&ones, EPSILON).ok()?;
    let mut seconds = [0.0; KINDS];
    for ((&kind, scale), value) in kinds.iter().zip(&scales).zip(found.iter()) {
        seconds[kind] = value / scale;
    }
    let error = (matrix * found - ones).norm();
    seconds.iter().all(|value| value.is_finite() && *value >= 0.0).then_some((seconds, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tower;

    fn shape(dim: usize, side: usize) -> ModelShape {
        let tower = |dim, depth| Tower { dim, depth, heads: 4, mlp_ratio: 4.0 };
        ModelShape {
            grid: (side, side),
            patch_size: 4,
            channels: 3,
            kept: side * side / 4,
            encoder: tower(dim, 6),
            decoder: tower(dim / 2, 2),
            decoder_downsampling: 1,
            pred_downsampling: 1,
            key_bias: true,
        }
    }

    fn steps(seconds: [f64; KINDS]) -> Vec<MeasuredStep> {
        let sizes = [(64, 8), (128, 8), (128, 16), (256, 16), (384, 8), (128, 24)];
        let step = |(dim, side)| {
            let shape = shape(dim, side);
            let seconds = Speed { seconds }.step_seconds(&shape, 32).unwrap();
            MeasuredStep { shape, images: 32, seconds }
        };
        sizes.map(step).to_vec()
    }

    #[test]
    fn what_took_time_by_the_model_is_found_again() {
        let seconds = [2e-12, 5e-12, 1e-9, 3e-9];
        let found = Speed::fit(&steps(seconds)).unwrap();
        for (found, expected) in found.seconds.iter().zip(seconds) {
            assert!((found / expected - 1.0).abs() < 1e-6, "{found} {expected}");
        }
    }

    #[test]
    fn nothing_gives_time_back() {
        // Attention that costs less than nothing, as noise makes it look.
        let found = Speed::fit(&steps([2e-12, -1e-13, 1e-9, 0.0])).unwrap();
        assert!(found.seconds.iter().all(|seconds| *seconds >= 0.0), "{found:?}");
        assert!(found.seconds[1].abs() < 1e-20, "{found:?}");
    }

    #[test]
    fn one_step_gives_gflops() {
        let step = steps([4e-12, 0.0, 0.0, 0.0])[2];
        let found = Speed::fit(&[step]).unwrap();
        assert!((found.seconds[0] / 4e-12 - 1.0).abs() < 1e-9, "{found:?}");
        let twice = found.step_seconds(&step.shape, 64).unwrap();
        assert!((twice / step.seconds - 2.0).abs() < 1e-9);
    }

    #[test]
    fn steps_without_time_are_no_measurement() {
        assert!(Speed::fit(&[]).is_err());
        let step = MeasuredStep { shape: shape(64, 8), images: 1, seconds: f64::NAN };
        assert!(Speed::fit(&[step]).is_err());
    }
}
