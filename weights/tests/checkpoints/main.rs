//! Checkpoints through the public API, as one test binary.

mod adapt;
mod common;
mod foreign;
mod malformed;
mod round_trip;
mod strictness;
