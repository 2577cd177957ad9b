//! Axes: their ranges, where their ticks are, and how those are written.

use std::ops::Range;

use plotters::coord::ranged1d::{BoldPoints, DefaultFormatting, KeyPointHint, Ranged};
use plotters::coord::types::RangedCoordf64;

use crate::thin::drawable;

/// How values lie along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scale {
    /// Equal differences are equally far apart.
    #[default]
    Linear,
    /// Equal ratios are equally far apart. What is not above zero cannot be shown: it is a gap.
    Log,
}

impl Scale {
    /// Where a value lies along the axis; NaN for one that cannot be shown.
    pub(crate) fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Log if value > 0.0 && drawable(&(0.0, value)) => value.log10(),
            Self::Log => f64::NAN,
        }
    }

    /// The range along the axis that shows these places, with `margin` (a share of it) around.
    pub(crate) fn range(self, places: impl Iterator<Item = f64>, margin: f64) -> Range<f64> {
        match self {
            Self::Linear => padded(places, margin, 0.0),
            // Negative places are nothing special here: they are values below one.
            Self::Log => match extent(places) {
                (low, high) if low > high => 0.0..1.0,
                (low, high) => {
                    let pad = f64::max(margin * (high - low), 0.02);
                    low - pad..high + pad
                }
            },
        }
    }

    /// Places of at most about `most` ticks.
    pub(crate) fn ticks(self, range: &Range<f64>, most: usize) -> Vec<f64> {
        let round = |range: Range<f64>| RangedCoordf64::from(range).key_points(BoldPoints(most));
        if self == Self::Linear {
            return round(range.clone());
        }
        let decades = width(range);
        if decades < 1.0 {
            let values = 10f64.powf(range.start)..10f64.powf(range.end);
            return round(values).into_iter().map(f64::log10).collect();
        }
        let digits: &[f64] = if decades < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let stride = (decades / most.max(1) as f64).ceil().max(1.0) as usize;
        let (first, last) = (range.start.floor() as i32, range.end.ceil() as i32);
        (first..=last)
            .step_by(stride)
            .flat_map(|decade| digits.iter().map(move |digit| f64::from(decade) + digit.log10()))
            .filter(|place| range.contains(place))
            .collect()
    }

    /// The text of a tick at `place`.
    pub(crate) fn label(self, place: f64, range: &Range<f64>) -> String {
        match self {
            Self::Linear => tick(place, width(range), f64::max(range.start.abs(), range.end.abs())),
            Self::Log => {
                let value = 10f64.powf(place);
                let axis = 10f64.powf(range.end) - 10f64.powf(range.start);
                tick(value, f64::min(value, axis), value)
            }
        }
    }
}

/// An axis with ticks of its own.
pub(crate) struct Axis {
    range: Range<f64>,
    ticks: Vec<f64>,
}

impl Axis {
    pub(crate) fn new(range: Range<f64>, ticks: Vec<f64>) -> Self {
        Self { range, ticks }
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        RangedCoordf64::from(self.range.clone()).map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
}

/// The range that shows all `values` with `margin` (a share of it) on both sides, and a single
/// value with at least `least` around it. Never empty, and never below zero for values that
/// are not.
pub(crate) fn padded(values: impl Iterator<Item = f64>, margin: f64, least: f64) -> Range<f64> {
    let (low, high) = extent(values);
    if low > high {
        return 0.0..1.0;
    }
    let size = low.abs().max(high.abs());
    let pad = if high - low > f64::max(1e-9 * size, 1e-12) {
        margin * (high - low)
    } else if size < 1e-11 {
        1.0
    } else {
        f64::max(0.1 * size, least)
    };
    let bottom = if low >= 0.0 { f64::max(low - pad, 0.0) } else { low - pad };
    bottom..high + pad
}

pub(crate) fn width(range: &Range<f64>) -> f64 {
    range.end - range.start
}

/// A number as an axis of the given width and largest number shows it: plain, with thousands apart,
/// or with an exponent.
pub(crate) fn tick(value: f64, axis: f64, largest: f64) -> String {
    let size = value.abs();
    if size < 1e-9 * axis {
        return "0".to_owned();
    }
    // Beside larger ones, a small number is easier to compare when it is plain.
    if size >= 1e9 || (size < 1e-3 && (largest < 1e-3 || size < 1e-3 * largest)) {
        // The shortest digits that give back the number, once rounding noise is cut.
        return format!("{:e}", format!("{value:.5e}").parse().unwrap_or(value));
    }
    // Ticks are multiples of a round step: digits far below the axis are rounding noise.
    let decimals = (2.0 - axis.log10()).clamp(0.0, 15.0) as usize + 1;
    let rounded = format!("{value:.decimals$}");
    let plain = rounded.trim_end_matches('0').trim_end_matches('.');
    let (whole, fraction) = plain.split_once('.').unwrap_or((plain, ""));
    let mut text = String::new();
    for (i, digit) in whole.chars().enumerate() {
        let following = whole.len() - i;
        if i > 0 && following.is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    if fraction.is_empty() { text } else { format!("{text}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_plain_numbers() {
        let cases = [
            (0.30000000000000004, "0.3"),
            (-0.002, "-0.002"),
            (1.0, "1"),
            (1500.0, "1,500"),
            (-100_000.0, "-100,000"),
            (1_234_567.5, "1,234,567.5"),
            (0.00025, "2.5e-4"),
            (3e-10, "3e-10"),
            (0.00030000000000000003, "3e-4"),
            (2e12, "2e12"),
        ];
        for (value, text) in cases {
            assert_eq!(tick(value, value.abs(), value.abs()), text);
        }
        assert_eq!(tick(0.0005, 0.0016, 0.0015), "0.0005");
        assert_eq!(tick(5.6e-17, 1.0, 1.0), "0");
        assert_eq!(tick(0.4000002, 1e-6, 0.4), "0.4000002");
    }

    #[test]
    fn ticks_of_a_logarithmic_axis_are_round_numbers() {
        let labels = |low: f64, high: f64| {
            let range = low.log10()..high.log10();
            let ticks = Scale::Log.ticks(&range, 6);
            ticks.iter().map(|tick| Scale::Log.label(*tick, &range)).collect::<Vec<_>>()
        };
        assert_eq!(labels(0.5, 20.0), ["0.5", "1", "2", "5", "10"]);
        assert_eq!(labels(0.02, 900.0), ["0.1", "1", "10", "100"]);
        assert_eq!(labels(1.01, 1.05), ["1.01", "1.02", "1.03", "1.04", "1.05"]);
        assert!(labels(1e-30, 1e30).len() <= 8);
    }

    #[test]
    fn a_logarithmic_axis_leaves_out_what_it_cannot_show() {
        assert!(Scale::Log.place(0.0).is_nan() && Scale::Log.place(-1.0).is_nan());
        let range = Scale::Log.range([-2.0, 1.0].into_iter(), 0.05);
        assert!(range.start < -2.0 && range.end > 1.0);
        assert_eq!(Scale::Log.range(std::iter::empty(), 0.05), 0.0..1.0);
        let one = Scale::Log.range(std::iter::once(0.0), 0.05);
        assert!(one.start < 0.0 && one.end > 0.0);
    }
}
