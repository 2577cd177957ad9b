use candle_core::{DType, Tensor, Var};
use longmae_ops::Params;

use crate::{Error, Result};

/// Which statistics a [`BatchNorm`] normalises by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The batch's own, which are then added to the running ones.
    Train,
    /// The running ones.
    Evaluate,
}

/// Batch normalisation (arXiv 1502.03167) without scale and shift: what a linear probe puts before its layer, so that
/// features of any size are learnt from at one learning rate (arXiv 2111.06377, A.1).
///
/// As `torch.nn.BatchNorm1d(dim, affine=False, eps=1e-6)`: a batch is divided by the root of its biased variance, the
/// running variance is the unbiased one, and a batch's share in running statistics is 0.1.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    mean: Var,
    variance: Var,
    batches: Var,
}

/// Added to variances.
pub(super) const EPS: f64 = 1e-6;
/// The share of a batch in the running statistics.
const MOMENTUM: f64 = 0.1;

impl BatchNorm {
    /// Defines `running_mean` and `running_var` `[dim]`, at 0 and 1, and `num_batches_tracked`, which are saved and not
    /// trained.
    ///
    /// # Errors
    /// When a parameter's name is taken.
    pub fn new(dim: usize, params: &Params) -> Result<Self> {
        let device = params.device();
        let fixed = |name: &str, value: Tensor| -> Result<Var> {
            params.fixed(name, &value)?;
            // It was defined just now, under a prefix that only the list knows.
            let defined = params.all().into_iter().rfind(|param| param.name.ends_with(name));
            defined.map(|param| param.var).ok_or_else(|| Error::Setting {
                name: "parameters",
                found: "none".to_owned(),
                expected: name.to_owned(),
            })
        };
        Ok(Self {
            mean: fixed("running_mean", Tensor::zeros(dim, DType::F32, &device)?)?,
            variance: fixed("running_var", Tensor::ones(dim, DType::F32, &device)?)?,
            batches: fixed("num_batches_tracked", Tensor::zeros((), DType::I64, &device)?)?,
        })
    }

    /// The running mean, `[dim]`.
    pub fn mean(&self) -> &Tensor {
        self.mean.as_tensor()
    }

    /// The running variance, `[dim]`.
    pub fn variance(&self) -> &Tensor {
        self.variance.as_tensor()
    }

    /// Sets the running statistics, `[dim]` each and on any device, such as those of all training data.
    ///
    /// # Errors
    /// When their shapes are others.
    pub fn set(&self, mean: &Tensor, variance: &Tensor) -> Result<()> {
        self.mean.set(&mean.to_device(self.mean.device())?)?;
        Ok(self.variance.set(&variance.to_device(self.variance.device())?)?)
    }

    /// Normalises `x` `[batch, dim]`.
    ///
    /// # Errors
    /// When the shape does not fit, or a batch of one sample is to be trained on.
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let (mean, variance) = match mode {
            Mode::Train => self.of_batch(x)?,
            Mode::Evaluate => (self.mean().clone(), self.variance().clone()),
        };
        let deviation = (variance + EPS)?.sqrt()?;
        Ok(x.broadcast_sub(&mean)?.broadcast_div(&deviation)?)
    }

    /// A batch's mean and biased variance, which the running ones take in.
    fn of_batch(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let (batch, _) = x.dims2()?;
        if batch < 2 {
            let (name, found) = ("batch", batch.to_string());
            let expected = "at least 2 samples, to have a variance".to_owned();
            return Err(Error::Setting { name, found, expected });
        }
        let mean = x.mean(0)?;
        let variance = x.broadcast_sub(&mean)?.sqr()?.mean(0)?;
        let unbiased = (variance.detach() * (batch as f64 / (batch as f64 - 1.0)))?;
        for (running, now) in [(&self.mean, mean.detach()), (&self.variance, unbiased)] {
            let kept = (running.as_detached_tensor() * (1.0 - MOMENTUM))?;
            running.set(&(kept + (now * MOMENTUM)?)?)?;
        }
        self.batches.set(&(self.batches.as_detached_tensor() + 1.0)?)?;
        Ok((mean, variance))
    }
}
