//! What predictions cost.

use candle_core::Tensor;

use super::boxes::{Corners, giou_loss, tensor};
use super::coding::BoxCoding;
use crate::Result;

/// How differences of boxes are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BoxLoss {
    /// The absolute difference, below `beta` its square over `2 * beta` (arXiv 1504.08083); 0 is the absolute difference alone.
    SmoothL1 {
        /// Where the square ends.
        beta: f64,
    },
    /// 1 less the generalised intersection over union of the boxes themselves (arXiv 1902.09630).
    GeneralisedIou,
}

impl BoxLoss {
    /// The sum over boxes: `differences` `[n, 4]` from `from` are to lead to `to`.
    ///
    /// # Errors
    /// When there are not as many of each.
    pub fn sum(
        self,
        coding: BoxCoding,
        from: &[Corners],
        differences: &Tensor,
        to: &[Corners],
    ) -> Result<Tensor> {
        match self {
            Self::SmoothL1 { beta } => {
                let pairs = from.iter().zip(to);
                let expected: Vec<_> = pairs.map(|(from, to)| coding.encode(*from, *to)).collect();
                smooth_l1(&(differences - tensor(&expected, differences)?)?, beta)
            }
            Self::GeneralisedIou => {
                giou_loss(&coding.decode_tensor(from, differences)?, &tensor(to, differences)?)
            }
        }
    }
}

/// The sum of fvcore's `smooth_l1_loss`.
fn smooth_l1(difference: &Tensor, beta: f64) -> Result<Tensor> {
    let size = difference.abs()?;
    if beta < 1e-5 {
        return Ok(size.sum_all()?);
    }
    let square = (difference.sqr()? * (0.5 / beta))?;
    let line = (&size - 0.5 * beta)?;
    Ok(size.lt(beta)?.where_cond(&square, &line)?.sum_all()?)
}

/// The sum of binary cross-entropies of logits with targets from 0 to 1, in a form that no logit overflows.
///
/// # Errors
/// When the shapes differ.
pub(super) fn binary_cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let linear = (logits.relu()? - (logits * targets)?)?;
    let curved = (logits.abs()?.neg()?.exp()? + 1.0)?.log()?;
    Ok((linear + curved)?.sum_all()?)
}

/// The mean cross-entropy of logits `[n, classes]` with classes.
///
/// # Errors
/// When a class is not below their number.
pub(super) fn cross_entropy(logits: &Tensor, classes: &[u32]) -> Result<Tensor> {
    let (samples, count) = logits.dims2()?;
    let shift = logits.detach().max_keepdim(1)?;
    let logits = logits.broadcast_sub(&shift)?;
    let total = logits.exp()?.sum_keepdim(1)?.log()?;
    if let Some(class) = classes.iter().find(|class| **class as usize >= count) {
        return Err(crate::Error::label(*class, count));
    }
    let classes = Tensor::from_slice(classes, (samples, 1), logits.device())?;
    let own = logits.gather(&classes, 1)?;
    Ok((total - own)?.mean_all()?)
}

/// A zero that depends on `x`, so that its variables get gradients where there is nothing to compare.
pub(super) fn nothing(x: &Tensor) -> Result<Tensor> {
    // candle leaves out the gradient of a product with the number 0.
    let sum = x.sum_all()?;
    Ok((&sum * sum.zeros_like()?)?)
}

/// The losses of a detector, each a scalar, by detectron2's names.
#[derive(Debug, Clone, Default)]
pub struct Losses {
    /// Names and values, in a fixed order.
    pub parts: Vec<(String, Tensor)>,
}

impl Losses {
    pub(super) fn add(&mut self, name: impl Into<String>, value: Tensor) {
        self.parts.push((name.into(), value));
    }

    /// Their sum.
    ///
    /// # Errors
    /// When there are none.
    pub fn total(&self) -> Result<Tensor> {
        let values: Vec<&Tensor> = self.parts.iter().map(|(_, value)| value).collect();
        Ok(Tensor::stack(&values, 0)?.sum_all()?)
    }
}
