use candle_core::{D, Tensor};

use crate::{Error, Result};

/// The cross-entropy of distributions over classes, a scalar: the mean over samples of `-sum(target * log_softmax(logits))`
/// (timm's `SoftTargetCrossEntropy`).
///
/// # Shapes
/// `logits` and `targets` `[batch, classes]`, f32. Gradients reach `logits`.
///
/// # Errors
/// When the shapes differ, or there is no sample or class.
pub fn soft_cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let fits = logits.rank() == 2 && logits.elem_count() > 0;
    if !fits || logits.dims() != targets.dims() {
        return Err(Error::Setting {
            name: "targets",
            found: format!("{:?}", targets.dims()),
            expected: format!("[batch, classes] as logits {:?}", logits.dims()),
        });
    }
    // The largest logit is taken off, so that no exponential overflows; it cancels, and needs no gradient.
    let logits = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    let logs = logits.broadcast_sub(&logits.exp()?.sum_keepdim(D::Minus1)?.log()?)?;
    let batch = logits.dim(0)? as f64;
    Ok(((targets * logs)?.sum_all()? * (-1.0 / batch))?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    /// By hand: two classes of odds 1 to 3, and logits that overflow an exponential.
    #[test]
    fn it_is_the_formula() {
        let logits = [[0.0_f32, 3.0_f32.ln()], [1e4, 1e4]];
        let logits = Var::from_tensor(&Tensor::new(&logits, &Device::Cpu).unwrap()).unwrap();
        let targets = Tensor::new(&[[0.25_f32, 0.75], [1.0, 0.0]], &Device::Cpu).unwrap();
        let loss = soft_cross_entropy(&logits, &targets).unwrap();
        let first = -(0.25 * 0.25_f64.ln() + 0.75 * 0.75_f64.ln());
        let expected = (first + 2.0_f64.ln()) / 2.0;
        let found = f64::from(loss.to_scalar::<f32>().unwrap());
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        // The gradient is (softmax - target) / batch.
        let gradient = longmae_ops::backward(&loss).unwrap();
        let gradient = gradient.get(&logits).unwrap().to_vec2::<f32>().unwrap();
        for (found, expected) in gradient.concat().iter().zip([0.0, 0.0, -0.25, 0.25]) {
            assert!((found - expected).abs() < 1e-6, "{gradient:?}");
        }
    }

    #[test]
    fn targets_of_another_shape_are_refused() {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu);
        for (logits, targets) in [
            (vec![2, 3], vec![2, 4]),
            (vec![2, 3], vec![3, 2]),
            (vec![2], vec![2]),
            (vec![0, 3], vec![0, 3]),
        ] {
            let refused = soft_cross_entropy(&zeros(&logits).unwrap(), &zeros(&targets).unwrap());
            assert!(refused.is_err(), "{logits:?} {targets:?}");
        }
    }
}
