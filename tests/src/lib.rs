//! What the tests share: fixtures, models built from them, and distances.
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

mod case;
mod classifier;
mod distance;
mod fixture;
mod hub;
mod info;
mod python;

pub use case::Case;
pub use classifier::ClassifierCase;
pub use distance::{assert_close, assert_relative, relative_l2};
pub use fixture::{Fixture, fixtures, ids};
pub use hub::{hub_script, last_line};
pub use info::{mae_config, model_info};
pub use python::{python, run_interop};
