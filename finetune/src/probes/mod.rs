//! How good features are, without training the encoder that made them.

mod batch_norm;
mod features;
mod linear;
mod logistic;
mod neighbours;

pub use batch_norm::{BatchNorm, Mode};
pub use features::Features;
pub use linear::LinearProbe;
pub use logistic::{C_GRID, Fit, LogisticConfig, LogisticRegression, Search};
pub use neighbours::{Neighbours, Vote};
