//! The operations in plain candle: the oracle for the fused kernels, and what other devices run.
//!
//! Every function here is made of candle operations that all have a gradient; a plain `loss.backward()` works.

mod attention;
mod gather;
mod linear;
mod norm;
mod pixel_loss;
mod pool;
mod softmax;

pub use attention::attention;
pub use gather::{gather_tokens, prepend_class, restore_tokens};
pub use linear::linear;
pub use norm::layer_norm;
pub use pixel_loss::{normalised_patches, pixel_loss};
pub use pool::mean_tokens;
pub use softmax::softmax;
