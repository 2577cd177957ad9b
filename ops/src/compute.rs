//! How a model computes: a setting, not a part of the model.

use std::fmt;
use std::str::FromStr;

use candle_core::Device;

use crate::Error;

/// Which implementation of the operations runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Kernels {
    /// The fused kernels on the CPU and on NVIDIA's GPUs, the reference on other devices.
    #[default]
    Fused,
    /// Plain candle operations everywhere: slow, and the oracle for the others.
    Reference,
}

/// The precision of matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// Everything in f32.
    #[default]
    Fp32,
    /// Operands rounded to bf16 and summed in f32; weights, norms, softmax, loss and optimiser stay in f32.
    Bf16,
}

/// How a model computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compute {
    /// Which kernels.
    pub kernels: Kernels,
    /// In which precision; the reference knows [`Precision::Fp32`] alone and computes in that.
    pub precision: Precision,
    /// Whether transformer blocks keep nothing for the backward pass and compute it again.
    pub grad_checkpoint: bool,
}

impl Compute {
    /// Whether the CPU's fused kernels serve tensors on a device.
    pub(crate) fn fused(&self, device: &Device) -> bool {
        self.kernels == Kernels::Fused && device.is_cpu()
    }

    /// Whether the kernels of NVIDIA's GPUs serve tensors on a device.
    pub(crate) fn fused_on_gpu(&self, device: &Device) -> bool {
        cfg!(feature = "cuda") && self.kernels == Kernels::Fused && device.is_cuda()
    }

    /// Whether [`transformer_blocks`](crate::transformer_blocks) serves tokens on a device; there, blocks whose attention is
    /// over a grid need kernels that only the CPU has.
    pub fn fuses_blocks(&self, device: &Device, over_grid: bool) -> bool {
        self.fused(device) || self.fused_on_gpu(device) && !over_grid
    }
}

/// Names both ways, for command lines and recipes.
macro_rules! named {
    ($type:ident, $what:literal: $($variant:ident = $name:literal),+) => {
        impl $type {
            /// Every choice.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $type {
            type Err = Error;

            fn from_str(name: &str) -> Result<Self, Error> {
                let found = Self::ALL.iter().find(|choice| choice.name() == name);
                found.copied().ok_or_else(|| Error::UnknownChoice {
                    what: $what,
                    found: name.to_owned(),
                    expected: Self::ALL.iter().map(|c| c.name()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    };
}
named!(Kernels, "kernels": Fused = "fused", Reference = "reference");
named!(Precision, "precision": Fp32 = "fp32", Bf16 = "bf16");
