#![deny(missing_docs)]
#![doc = include_str!("../README.md")]

mod batch;
mod block;
mod count;
mod design;
mod error;
mod grid;
mod plan;
mod random;
mod units;

pub use batch::MaskBatch;
pub use block::BlockMask;
pub use count::MaskCount;
pub use design::{MaskDesign, MaskStrategy};
pub use error::{Error, Result};
pub use grid::GridMask;
pub use plan::MaskPlan;
pub use random::RandomMask;
pub use units::MaskUnits;
