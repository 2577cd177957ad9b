use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use longmae_ops::{lerp_in_place, swap_in_place};

use crate::tensors::{set_all, shared_tensors};
use crate::{NamedParam, Result};

/// An exponential moving average of the weights, as PyTorch's `swa_utils.get_ema_multi_avg_fn` and timm's `ModelEmaV3`
/// without warm-up compute it: `average += (weight - average) * (1 - decay)` after each update.
#[derive(Debug)]
pub struct Ema {
    decay: f64,
    pairs: Vec<Pair>,
}

#[derive(Debug)]
struct Pair {
    name: String,
    weight: Var,
    average: Var,
}

impl Ema {
    /// An average that begins with the weights as they are. `decay` is below 1, such as 0.9999.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn new(params: &[NamedParam], decay: f64) -> Result<Self> {
        let pairs = params.iter().map(|param| {
            let average = Var::from_tensor(&param.var.as_detached_tensor().copy()?)?;
            Ok(Pair { name: param.name.clone(), weight: param.var.clone(), average })
        });
        Ok(Self { decay, pairs: pairs.collect::<Result<_>>()? })
    }

    /// Takes the weights after an update in.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn update(&self) -> Result<()> {
        for Pair { weight, average, .. } in &self.pairs {
            lerp_in_place(average, weight.as_tensor(), 1.0 - self.decay)?;
        }
        Ok(())
    }

    /// The averages by the weights' names.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        shared_tensors(&self.vars())
    }

    /// Goes back to averages that [`Ema::state`] gave, or begins again with the weights as they are where there are none.
    ///
    /// # Errors
    /// When names or shapes differ; nothing is changed then.
    pub fn restore(&self, state: Option<&BTreeMap<String, Tensor>>) -> Result<()> {
        if let Some(state) = state {
            return set_all("averaged weights", &self.vars(), state);
        }
        for Pair { weight, average, .. } in &self.pairs {
            average.set(&weight.as_detached_tensor())?;
        }
        Ok(())
    }

    /// Runs with the averages in the weights' place, which come back afterwards, bit for bit.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn in_place_of_weights<R>(&self, run: impl FnOnce() -> R) -> Result<R> {
        self.swap()?;
        let result = run();
        self.swap()?;
        Ok(result)
    }

    fn swap(&self) -> Result<()> {
        for Pair { weight, average, .. } in &self.pairs {
            swap_in_place(weight, average)?;
        }
        Ok(())
    }

    pub(crate) fn vars(&self) -> Vec<(String, Var)> {
        self.pairs.iter().map(|pair| (pair.name.clone(), pair.average.clone())).collect()
    }
}
