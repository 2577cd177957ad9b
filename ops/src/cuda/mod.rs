//! NVIDIA GPUs: kernels of this crate's own, compiled to PTX when it is built, and products by cuBLASLt.
//!
//! **Built, not run.** No GPU was at hand when this was written: the kernels' mathematics is tested on the CPU, where the
//! same sources are compiled as C++ (`tests/cuda_kernels`), and the passes around them with other primitives
//! (`device::tests`); the launches themselves are not.
//!
//! Everything of a device runs on one stream, in the order in which it was launched, and memory is given and taken in that
//! order too: a device is to be opened by `Device::new_cuda_with_stream`, since that of `Device::new_cuda` is another stream on
//! each thread. Nothing here waits for the device but what says so.

mod context;
mod kernel;
mod lt;
mod optimiser;
mod pixels;
mod primitives;
mod staging;
mod tensors;
mod tokens;

pub(crate) use optimiser::{adamw, add_in_place, lerp, squares, swap};
pub(crate) use pixels::pixel_loss;
pub(crate) use primitives::primitives;
pub(crate) use staging::{Staged, Staging};
pub(crate) use tokens::{gather_tokens, prepend_class, restore_tokens};
