//! Checks of single numbers, with the errors that name them.

use std::fmt::Display;

use crate::exit::usage;

/// A whole number from 1 to `most`.
pub fn count<N: PartialOrd + From<u8> + Display>(
    name: &str,
    value: N,
    most: N,
) -> anyhow::Result<N> {
    if value < N::from(1) || value > most {
        return Err(usage(format!("{name} {value}: expected a number from 1 to {most}")));
    }
    Ok(value)
}

pub fn positive(name: &str, value: f64) -> anyhow::Result<f64> {
    if value > 0.0 && value.is_finite() {
        return Ok(value);
    }
    Err(usage(format!("{name} {value}: expected a number above 0")))
}

pub fn above_one(name: &str, value: f64) -> anyhow::Result<f64> {
    if value > 1.0 && value.is_finite() {
        return Ok(value);
    }
    Err(usage(format!("{name} {value}: expected a number above 1")))
}

pub fn within(name: &str, value: f64, least: f64, most: f64) -> anyhow::Result<f64> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    let bound = if most == f64::MAX { String::new() } else { format!(" to {most}") };
    Err(usage(format!("{name} {value}: expected a number from {least}{bound}")))
}
