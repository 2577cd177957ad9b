//! Named parameters in the order of their definition.
//!
//! candle's `VarMap` has no order, and its initialisers draw from a generator that cannot be seeded on
//! the CPU. Here every parameter draws its start from a generator seeded by the run's seed and the
//! parameter's own name, so a model starts the same whatever is built before or beside it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{Device, Shape, Tensor, Var};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::{Compute, Error, Result};

/// How a parameter starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// All zero.
    Zeros,
    /// All one.
    Ones,
    /// Normal with mean zero.
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// Normal with mean zero, drawn again where it is not within -2 to 2: as timm's and PyTorch's `trunc_normal_`, whose
    /// bounds do not scale with the deviation either.
    TruncatedNormal {
        /// Standard deviation before that; of the order of 1 at most, or few draws are within.
        std: f64,
    },
    /// Uniform within `bound` of zero.
    Uniform {
        /// The largest.
        bound: f64,
    },
    /// Uniform within `sqrt(6 / (fan_in + fan_out))` of zero (Glorot and Bengio, 2010).
    XavierUniform {
        /// Inputs of the linear layer.
        fan_in: usize,
        /// Outputs of the linear layer.
        fan_out: usize,
    },
}

impl Init {
    fn values(self, count: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
        match self {
            Init::Zeros => vec![0.0; count],
            Init::Ones => vec![1.0; count],
            Init::Normal { std } => (0..count).map(|_| (normal(rng) * std) as f32).collect(),
            Init::TruncatedNormal { std } => {
                (0..count).map(|_| truncated_normal(std, rng) as f32).collect()
            }
            Init::XavierUniform { fan_in, fan_out } => {
                let bound = (6.0 / (fan_in + fan_out) as f64).sqrt();
                Init::Uniform { bound }.values(count, rng)
            }
            Init::Uniform { bound } => {
                (0..count).map(|_| ((rng.random::<f64>() * 2.0 - 1.0) * bound) as f32).collect()
            }
        }
    }
}

/// One standard normal draw (Box and Muller).
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

/// A normal draw, repeated until it is within -2 to 2.
fn truncated_normal(std: f64, rng: &mut ChaCha8Rng) -> f64 {
    loop {
        let draw = normal(rng) * std;
        if draw.abs() <= 2.0 {
            return draw;
        }
    }
}

/// A named tensor of a model.
#[derive(Debug, Clone)]
pub struct Param {
    /// The name in a checkpoint, such as `blocks.0.attn.qkv.weight`.
    pub name: String,
    /// The values. Tensors that the model holds share this storage.
    pub var: Var,
    /// Whether it is optimised; fixed tensors, such as sin-cos positions, are only saved.
    pub trainable: bool,
}

struct Registry {
    device: Device,
    seed: u64,
    params: Vec<Param>,
}

/// Builds and lists a model's parameters; clones share one list.
///
/// ```
/// use longmae_ops::{Init, Params};
/// # fn main() -> longmae_ops::Result<()> {
/// let params = Params::new(0, &candle_core::Device::Cpu);
/// let weight = params.pp("norm").weight("weight", 8, Init::Ones)?;
/// assert_eq!(weight.dims(), [8]);
/// assert_eq!(params.all()[0].name, "norm.weight");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Params {
    registry: Arc<Mutex<Registry>>,
    prefix: String,
    compute: Compute,
}

impl Params {
    /// An empty list; `seed` decides every random start.
    pub fn new(seed: u64, device: &Device) -> Self {
        let registry = Registry { device: device.clone(), seed, params: Vec::new() };
        let registry = Arc::new(Mutex::new(registry));
        Self { registry, prefix: String::new(), compute: Compute::default() }
    }

    /// The same list; layers built through the result compute like this.
    pub fn computing(&self, compute: Compute) -> Self {
        Self { compute, ..self.clone() }
    }

    /// How layers that are built through this compute.
    pub fn compute(&self) -> Compute {
        self.compute
    }

    /// The same list, with `part.` put before the names defined through the result.
    pub fn pp(&self, part: impl std::fmt::Display) -> Self {
        Self { prefix: format!("{}{part}.", self.prefix), ..self.clone() }
    }

    /// Defines a trainable parameter and gives the tensor to compute with.
    ///
    /// # Errors
    /// When the name is taken or the device has no room.
    pub fn weight(&self, name: &str, shape: impl Into<Shape>, init: Init) -> Result<Tensor> {
        let shape = shape.into();
        let name = format!("{}{name}", self.prefix);
        let mut registry = self.lock();
        let values = init.values(shape.elem_count(), &mut name_rng(registry.seed, &name));
        let value = Tensor::from_vec(values, shape, &registry.device)?;
        registry.add(name, &value, true)
    }

    /// Defines a trainable parameter that starts from these values.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn weight_from(&self, name: &str, value: &Tensor) -> Result<Tensor> {
        let name = format!("{}{name}", self.prefix);
        self.lock().add(name, value, true)
    }

    /// Defines a tensor that is saved with the model but not trained.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn fixed(&self, name: &str, value: &Tensor) -> Result<Tensor> {
        let name = format!("{}{name}", self.prefix);
        self.lock().add(name, value, false).map(|t| t.detach())
    }

    /// Every parameter, in the order of definition.
    pub fn all(&self) -> Vec<Param> {
        self.lock().params.clone()
    }

    /// The trainable parameters, in the order of definition.
    pub fn trainable(&self) -> Vec<Param> {
        let mut params = self.all();
        params.retain(|param| param.trainable);
        params
    }

    /// Where the parameters live.
    pub fn device(&self) -> Device {
        self.lock().device.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    fn add(&mut self, name: String, value: &Tensor, trainable: bool) -> Result<Tensor> {
        if self.params.iter().any(|param| param.name == name) {
            return Err(Error::DuplicateParameter(name));
        }
        let var = Var::from_tensor(value)?;
        let tensor = var.as_tensor().clone();
        self.params.push(Param { name, var, trainable });
        Ok(tensor)
    }
}

/// A generator of its own for every parameter: the seed and the name's FNV-1a hash make the key.
fn name_rng(seed: u64, name: &str) -> ChaCha8Rng {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&hash.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(init: Init) -> Vec<f32> {
        let params = Params::new(3, &Device::Cpu);
        params.weight("w", 20_000, init).unwrap().to_vec1().unwrap()
    }

    fn deviation(values: &[f32]) -> f64 {
        let squares: f64 = values.iter().map(|v| f64::from(*v).powi(2)).sum();
        (squares / values.len() as f64).sqrt()
    }

    /// A standard normal within -2 to 2 has a deviation of 0.8796.
    #[test]
    fn truncated_draws_stay_within_two() {
        let wide = drawn(Init::TruncatedNormal { std: 1.0 });
        assert!(wide.iter().all(|v| v.abs() <= 2.0));
        assert!((deviation(&wide) - 0.8796).abs() < 0.01, "{}", deviation(&wide));
        let narrow = deviation(&drawn(Init::TruncatedNormal { std: 2e-5 }));
        assert!((narrow / 2e-5 - 1.0).abs() < 0.02, "{narrow}");
    }

    #[test]
    fn a_weight_may_start_from_given_values() {
        let params = Params::new(0, &Device::Cpu);
        let value = Tensor::new(&[1f32, 2.0], &Device::Cpu).unwrap();
        let weight = params.pp("a").weight_from("w", &value).unwrap();
        assert!(weight.track_op() && params.trainable()[0].name == "a.w");
        assert_eq!(weight.to_vec1::<f32>().unwrap(), [1.0, 2.0]);
        assert!(params.pp("a").weight_from("w", &value).is_err());
    }
}
