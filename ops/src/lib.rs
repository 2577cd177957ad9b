#![deny(missing_docs)]
#![doc = include_str!("../README.md")]

mod error;
mod gather;
mod gelu;
mod linear;
mod norm;
mod params;
mod softmax;

pub use error::{Error, Result};
pub use gather::gather_tokens;
pub use gelu::gelu;
pub use linear::{Linear, linear};
pub use norm::layer_norm;
pub use params::{Init, Param, Params};
pub use softmax::softmax;
