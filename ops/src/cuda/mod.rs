//! NVIDIA GPUs: kernels of this crate's own, compiled to PTX when it is built, and products by cuBLASLt.
//!
//! **Built, not run.** No GPU was at hand when this was written. The same sources are compiled as C++ and run by an emulator,
//! each kernel by itself (`tests/cuda_kernels`) and all together as they are launched here (`tests`). What that does not
//! reach is the driver, cuBLASLt, and the copies between the two memories.
//!
//! Everything of a device runs on one stream, in the order in which it was launched, and memory is given and taken in that
//! order too: a device is to be opened by `Device::new_cuda_with_stream`, since that of `Device::new_cuda` is another stream on
//! each thread. Nothing here waits for the device but what says so.

#[cfg(feature = "cuda")]
mod context;
#[cfg(test)]
mod emulated;
mod kernel;
#[cfg(feature = "cuda")]
mod lt;
mod optimiser;
mod pixels;
mod place;
mod primitives;
#[cfg(feature = "cuda")]
mod staging;
mod tensors;
#[cfg(test)]
mod tests;
mod tokens;

pub(crate) use optimiser::{adamw, add_in_place, lerp, squares, swap};
pub(crate) use pixels::pixel_loss;
pub(crate) use primitives::primitives;
#[cfg(feature = "cuda")]
pub(crate) use staging::{Staged, Staging};
pub(crate) use tokens::{gather_tokens, prepend_class, restore_tokens};
