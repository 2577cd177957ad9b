//! Pre-norm transformer blocks as one differentiable operation.
//!
//! Written layer by layer, a block is a dozen nodes of candle's graph, each with an output to allocate and gradients
//! to add into fresh zeros. As one node it is the residual stream in and out; everything between is fused, kept in the
//! run's precision, and freed as soon as the backward pass has used it.

mod backward;
mod forward;
mod grid;
mod op;
mod weights;

pub use grid::GridAttention;
pub(crate) use grid::resized;
pub use op::{transformer_block, transformer_blocks};
pub use weights::{Affine, BlockWeights, QkvBias};
