use candle_core::{DType, Tensor};

use crate::Result;
use crate::probes::BatchNorm;
use crate::probes::batch_norm::EPS;

/// What is taken off features, and what they are divided by the root of: `[dim]` each.
#[derive(Debug, Clone)]
pub(super) struct Standard {
    mean: Tensor,
    variance: Tensor,
}

/// Samples that are summed up together.
const ROWS: usize = 4096;

impl Standard {
    /// Mean and biased variance of features `[samples, dim]`; or 0 and what makes the divisor 1.
    pub fn of(features: &Tensor, wanted: bool) -> Result<Self> {
        let (samples, dim) = features.dims2()?;
        if !wanted {
            let mean = features.narrow(0, 0, 1)?.squeeze(0)?.zeros_like()?;
            let variance = (mean.ones_like()? - EPS)?;
            return Ok(Self { mean, variance });
        }
        // In f64, piece by piece: a mean far from zero takes no digits from the variance.
        let mean = sum(features, |rows| Ok(rows.sum(0)?))?;
        let mean = (mean / samples as f64)?;
        let squares = sum(features, |rows| Ok(rows.broadcast_sub(&mean)?.sqr()?.sum(0)?))?;
        let variance = (squares / samples as f64)?;
        debug_assert_eq!(mean.dims(), [dim]);
        Ok(Self { mean: mean.to_dtype(DType::F32)?, variance: variance.to_dtype(DType::F32)? })
    }

    /// Features `[samples, dim]` standardised.
    pub fn apply(&self, features: &Tensor) -> Result<Tensor> {
        let deviation = (&self.variance + EPS)?.sqrt()?;
        Ok(features.broadcast_sub(&self.mean)?.broadcast_div(&deviation)?)
    }

    /// The same as running statistics.
    pub fn copy_to(&self, norm: &BatchNorm) -> Result<()> {
        norm.set(&self.mean, &self.variance)
    }
}

/// The sum of what each piece gives, in f64.
fn sum(features: &Tensor, of: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let (samples, dim) = features.dims2()?;
    let mut sum = Tensor::zeros(dim, DType::F64, features.device())?;
    for start in (0..samples).step_by(ROWS) {
        let rows = features.narrow(0, start, ROWS.min(samples - start))?;
        sum = (sum + of(&rows.to_dtype(DType::F64)?)?)?;
    }
    Ok(sum)
}
