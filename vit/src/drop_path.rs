use candle_core::Tensor;
use rand::{Rng, RngCore};

use crate::{Error, Result};

/// Stochastic depth (arXiv 1603.09382): for each sample, which residual branches are skipped.
///
/// Like a mask this is data, drawn outside the model, and on any device it lies in the host's memory, where the fused blocks
/// read it. The rate grows linearly from 0 at the first block to
/// `rate` at the last, and branches that stay are scaled by `1 / (1 - rate)`, as in timm.
#[derive(Debug, Clone)]
pub struct DropPath {
    /// Scales of each branch, two a block: attention, MLP. Each has a number a sample.
    scales: Vec<Vec<f32>>,
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
    pub fn stack(samples: &[Vec<f32>]) -> Result<Self> {
        let expected = samples.first().map_or(0, Vec::len);
        if let Some(odd) = samples.iter().find(|sample| sample.len() != expected) {
            return Err(Error::DropPathDraws { found: odd.len(), expected });
        }
        let branch = |i: usize| samples.iter().map(|sample| sample[i]).collect();
        Ok(Self { scales: (0..expected).map(branch).collect() })
    }

    /// The scales of a block's two branches, one for each sample.
    pub(crate) fn scales(&self, block: usize) -> Result<[Vec<f32>; 2]> {
        Ok([self.branch(2 * block)?.to_vec(), self.branch(2 * block + 1)?.to_vec()])
    }

    fn branch(&self, branch: usize) -> Result<&[f32]> {
        let (drawn, needed) = (self.scales.len(), branch + 1);
        let scales = self.scales.get(branch).map(Vec::as_slice);
        scales.ok_or(Error::DropPathDepth { drawn, needed })
    }

    /// Scales a residual branch `[batch, tokens, dim]`: `branch` counts two a block.
    pub(crate) fn apply(&self, branch: usize, x: &Tensor) -> Result<Tensor> {
        let scales = self.branch(branch)?;
        let scales = Tensor::from_slice(scales, (scales.len(), 1, 1), x.device())?;
        Ok(x.broadcast_mul(&scales)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn each_sample_has_its_own_scales() {
        let drop = DropPath::stack(&[vec![1.0, 2.0], vec![0.0, 4.0]]).unwrap();
        assert_eq!(drop.scales(0).unwrap(), [vec![1.0, 0.0], vec![2.0, 4.0]]);
        let x = Tensor::ones((2, 1, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        let scaled = drop.apply(1, &x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(scaled, [2.0, 2.0, 4.0, 4.0]);
        assert!(matches!(drop.scales(1), Err(Error::DropPathDepth { drawn: 2, needed: 3 })));
    }

    #[test]
    fn draws_of_other_depths_are_refused() {
        let refused = DropPath::stack(&[vec![1.0; 4], vec![1.0; 6]]);
        assert!(matches!(refused, Err(Error::DropPathDraws { found: 6, expected: 4 })));
    }
}
