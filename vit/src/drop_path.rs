use candle_core::{Device, Tensor};
use rand::{Rng, RngCore};

use crate::{Error, Result};

/// Stochastic depth (arXiv 1603.09382): for each sample, which residual branches are skipped.
///
/// Like a mask this is data, drawn outside the model. The rate grows linearly from 0 at the first block to
/// `rate` at the last, and branches that stay are scaled by `1 / (1 - rate)`, as in timm.
#[derive(Debug, Clone)]
pub struct DropPath {
    /// Scale of each branch, two a block: attention, MLP. Each `[batch, 1, 1]`.
    scales: Vec<Tensor>,
}

impl DropPath {
    /// Draws the branch scales of one sample: `2 * depth` numbers.
    ///
    /// # Errors
    /// When the rate is not from 0 to below 1.
    pub fn draw(rate: f64, depth: usize, rng: &mut dyn RngCore) -> Result<Vec<f32>> {
        if !(0.0..1.0).contains(&rate) {
            return Err(Error::DropPathRate(rate));
        }
        let last = (depth.max(2) - 1) as f64;
        let branch = |i: usize| rate * (i / 2) as f64 / last;
        let mut scale =
            |drop: f64| if rng.random::<f64>() < drop { 0.0 } else { 1.0 / (1.0 - drop) };
        Ok((0..2 * depth).map(|i| scale(branch(i)) as f32).collect())
    }

    /// Stacks the draws of a batch.
    ///
    /// # Errors
    /// When they differ in length.
    pub fn stack(samples: &[Vec<f32>], device: &Device) -> Result<Self> {
        let branches = samples.first().map_or(0, Vec::len);
        let table = Tensor::from_vec(samples.concat(), (samples.len(), branches), device)?;
        let scales = (0..branches)
            .map(|i| table.narrow(1, i, 1)?.unsqueeze(2))
            .collect::<candle_core::Result<_>>()?;
        Ok(Self { scales })
    }

    /// The scales of a block's two branches, one for each sample.
    pub(crate) fn scales(&self, block: usize) -> Result<[Vec<f32>; 2]> {
        let attention = self.branch(2 * block)?.flatten_all()?.to_vec1()?;
        let mlp = self.branch(2 * block + 1)?.flatten_all()?.to_vec1()?;
        Ok([attention, mlp])
    }

    fn branch(&self, branch: usize) -> Result<&Tensor> {
        let (drawn, needed) = (self.scales.len(), branch + 1);
        self.scales.get(branch).ok_or(Error::DropPathDepth { drawn, needed })
    }

    /// Scales a residual branch `[batch, tokens, dim]`: `branch` counts two a block.
    pub(crate) fn apply(&self, branch: usize, x: &Tensor) -> Result<Tensor> {
        Ok(x.broadcast_mul(self.branch(branch)?)?)
    }
}
