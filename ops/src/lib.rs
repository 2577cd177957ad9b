#![deny(missing_docs)]
#![doc = include_str!("../README.md")]

mod activation;
mod adamw;
mod attention;
mod average;
mod backward;
mod block;
mod buffer;
mod compute;
mod conv3x3;
#[cfg(any(test, feature = "cuda"))]
mod cuda;
#[cfg(any(test, feature = "cuda"))]
mod device;
mod element;
mod error;
mod gather;
mod gelu;
mod gemm;
mod isa;
mod lars;
mod limit;
mod linear;
mod matrix;
mod max_pool;
mod norm;
mod numbers;
mod parallel;
mod params;
mod pixel_loss;
mod pool;
mod product;
pub mod reference;
mod roi_align;
mod rows;
mod upload;

pub use adamw::{AdamWStep, AdamWTensor, adamw, add_in_place, gradient_norm};
pub use attention::attention;
pub use average::{lerp_in_place, swap_in_place};
pub use backward::{GradientSum, GradientWatch, backward, backward_watched, inference};
pub use block::{
    Affine, BlockWeights, GridAttention, QkvBias, transformer_block, transformer_blocks,
};
pub use compute::{Compute, Kernels, Precision};
pub use conv3x3::conv3x3;
pub use error::{Error, Result};
pub use gather::{gather_tokens, prepend_class, restore_tokens};
pub use gelu::gelu;
pub use isa::{ISA_VARIABLE, Isa};
pub use lars::{LarsStep, LarsTensor, lars};
pub use limit::inner_loop;
pub use linear::{Linear, linear, matmul};
pub use max_pool::max_pool2;
pub use norm::layer_norm;
pub use params::{Init, Param, Params};
pub use pixel_loss::pixel_loss;
pub use pool::mean_tokens;
pub use roi_align::{Roi, roi_align, roi_align_mask};
pub use upload::{Upload, Uploader};
