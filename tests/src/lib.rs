//! What the tests share: fixtures, models built from them, and distances.
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

mod case;
mod distance;
mod fixture;
mod hub;
mod python;

pub use case::Case;
pub use distance::{assert_close, assert_relative, relative_l2};
pub use fixture::{Fixture, fixtures, ids};
pub use hub::{hub_script, last_line};
pub use python::{python, run_interop};
