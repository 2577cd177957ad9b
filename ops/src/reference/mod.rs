//! The operations in plain candle: the oracle for the fused kernels, and what other devices run.
//!
//! Every function here is made of candle operations that all have a gradient; a plain `loss.backward()` works.

mod attention;
mod conv3x3;
mod gather;
mod linear;
mod max_pool;
mod norm;
mod optimiser;
mod pixel_loss;
mod pool;
mod roi_align;
mod softmax;

pub use attention::{attention, attention_with_positions};
pub use conv3x3::conv3x3;
pub use gather::{gather_tokens, prepend_class, restore_tokens};
pub use linear::linear;
pub use max_pool::max_pool2;
pub use norm::layer_norm;
pub use optimiser::{adamw, lars, squares};
pub use pixel_loss::{normalised_patches, pixel_loss};
pub use pool::mean_tokens;
pub(crate) use roi_align::roi_align;
pub use softmax::softmax;
