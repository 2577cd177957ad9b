//! Small symbols at the foot of a chart, for what happened at one moment.

use crate::EventKind;

/// A symbol at the foot of a chart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flag {
    /// Where, in the unit of the x axis.
    pub x: f64,
    /// What happened, which gives the shape.
    pub kind: EventKind,
    /// The series it belongs to, which gives the colour.
    pub series: usize,
}

/// The corners of an event's symbol around its middle, in CSS pixels, y downwards: a triangle
/// onwards for a resume, one backwards for a rollback, a cross for a skip.
pub(crate) fn corners(kind: EventKind) -> &'static [(i32, i32)] {
    match kind {
        EventKind::Resume => &[(-3, -5), (5, 0), (-3, 5)],
        EventKind::Rollback => &[(3, -5), (-5, 0), (3, 5)],
        EventKind::Skip => &[
            (-5, -3),
            (-3, -5),
            (0, -2),
            (3, -5),
            (5, -3),
            (2, 0),
            (5, 3),
            (3, 5),
            (0, 2),
            (-3, 5),
            (-5, 3),
            (-2, 0),
        ],
    }
}

/// Without the flags that would lie on one of the same kind and series, `distance` or less away.
pub(crate) fn spread(flags: &[Flag], distance: f64) -> Vec<Flag> {
    let mut kept: Vec<Flag> = Vec::new();
    for flag in flags.iter().filter(|flag| flag.x.is_finite()) {
        let alike = |other: &&Flag| other.kind == flag.kind && other.series == flag.series;
        let last = kept.iter().rev().find(alike);
        if last.is_none_or(|last| (flag.x - last.x).abs() > distance) {
            kept.push(*flag);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_on_each_other_are_one() {
        let flag = |x, kind, series| Flag { x, kind, series };
        let flags = [
            flag(1.0, EventKind::Skip, 0),
            flag(1.5, EventKind::Skip, 0),
            flag(1.5, EventKind::Resume, 0),
            flag(1.5, EventKind::Skip, 1),
            flag(f64::NAN, EventKind::Skip, 1),
            flag(2.5, EventKind::Skip, 0),
        ];
        let kept = spread(&flags, 1.0);
        assert_eq!(kept, [flags[0], flags[2], flags[3], flags[5]]);
    }
}
