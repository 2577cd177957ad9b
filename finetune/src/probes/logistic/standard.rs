use candle_core::{DType, Tensor};

use crate::Result;
use crate::probes::BatchNorm;
use crate::probes::batch_norm::EPS;

/// What is taken off features, and what they are divided by the root of: `[dim]` each.
#[derive(Debug, Clone)]
pub(super) struct Standard {
    mean: Tensor,
    variance: Tensor,
    /// Whether features are to be standardised; else the mean alone is taken off, and only while fitting.
    wanted: bool,
}

/// Samples that are summed up together.
const ROWS: usize = 4096;

impl Standard {
    /// Mean and biased variance of features `[samples, dim]`; or the mean and what makes the divisor 1.
    pub fn of(features: &Tensor, wanted: bool) -> Result<Self> {
        let samples = features.dims()[0] as f64;
        // In f64, piece by piece: a mean far from zero takes no digits from the variance.
        let mean = (sum(features, |rows| Ok(rows.sum(0)?))? / samples)?;
        let variance = if wanted {
            let squares = |rows: &Tensor| Ok(rows.broadcast_sub(&mean)?.sqr()?.sum(0)?);
            (sum(features, squares)? / samples)?
        } else {
            (mean.ones_like()? - EPS)?
        };
        let (mean, variance) = (mean.to_dtype(DType::F32)?, variance.to_dtype(DType::F32)?);
        Ok(Self { mean, variance, wanted })
    }

    /// For features as they are, if they were not to be standardised: the bias takes over what the mean did.
    pub fn outward(&self, weight: &Tensor, bias: Tensor) -> Result<(Self, Tensor)> {
        if self.wanted {
            return Ok((self.clone(), bias));
        }
        let shift = weight.matmul(&self.mean.unsqueeze(1)?)?.squeeze(1)?;
        Ok((Self { mean: self.mean.zeros_like()?, ..self.clone() }, (bias - shift)?))
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
