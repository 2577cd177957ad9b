//! The fused operations of devices: written once, on tensors, of a few [`Primitives`] that a device has kernels for.
//!
//! A pass computes on tensors that candle does not track, and what comes of it is put into candle's graph as one node. So
//! everything here but the kernels can be tested on the CPU, where [`plain::Plain`] has the primitives in candle's own
//! operations.

mod layers;
mod node;
#[cfg(test)]
mod plain;
mod primitives;
#[cfg(test)]
pub(crate) mod tests;
mod tower;

pub(crate) use layers::{attention, gelu, layer_norm, linear};
pub(crate) use node::node;
pub(crate) use primitives::{Attended, Heads, Primitives, Product};
pub(crate) use tower::tower;
