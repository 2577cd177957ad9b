//! Kernels that go row by row: norms, softmax, conversions, the optimiser.

pub(crate) mod adamw;
pub(crate) mod average;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512_bf16;
pub(crate) mod convert;
pub(crate) mod lars;
pub(crate) mod math;
pub(crate) mod norm;
pub(crate) mod pixel;
pub(crate) mod softmax;
pub(crate) mod sums;
