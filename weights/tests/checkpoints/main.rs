//! Checkpoints through the public API, as one test binary.

mod adapt;
mod common;
mod export;
mod foreign;
mod malformed;
mod pickles;
mod pth;
mod pth_hostile;
mod round_trip;
mod strictness;
