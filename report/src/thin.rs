//! Fewer points for the same picture: gaps, thinning and smoothing of a curve.

/// A point (x, y) of a curve.
pub(crate) type Point = (f64, f64);

/// Beyond this a number is drawn as a gap: ranges would overflow, and no loss is that large.
const LARGEST: f64 = 1e150;

/// Whether both coordinates can be drawn.
pub(crate) fn drawable(&(x, y): &Point) -> bool {
    x.abs() < LARGEST && y.abs() < LARGEST
}

/// Splits a curve at the points that cannot be drawn. No piece is empty.
pub(crate) fn pieces(points: &[Point]) -> impl Iterator<Item = &[Point]> {
    points.split(|point| !drawable(point)).filter(|piece| !piece.is_empty())
}

/// Keeps the lowest and the highest point of each of `buckets` equal stretches of a curve, so
/// that a spike of a single step stays visible. Curves of up to two points a stretch are left as
/// they are; longer ones show gaps only where a whole stretch is missing, as one NaN.
pub(crate) fn thin(points: &[Point], buckets: usize) -> Vec<Point> {
    if points.len() <= 2 * buckets {
        return points.to_vec();
    }
    let mut kept = Vec::with_capacity(2 * buckets);
    for stretch in points.chunks(points.len().div_ceil(buckets)) {
        let finite = || stretch.iter().copied().filter(drawable);
        let lowest = finite().min_by(|a, b| a.1.total_cmp(&b.1));
        let highest = finite().max_by(|a, b| a.1.total_cmp(&b.1));
        match (lowest, highest) {
            (Some(low), Some(high)) if low == high => kept.push(low),
            (Some(low), Some(high)) if low.0 < high.0 => kept.extend([low, high]),
            (Some(low), Some(high)) => kept.extend([high, low]),
            _ => kept.push((f64::NAN, f64::NAN)),
        }
    }
    kept
}

/// The exponential moving average of a curve over about `span` points, without the pull
/// towards the start that a plain one has. Points that cannot be drawn stay where they are and
/// are left out of the average.
pub(crate) fn smooth(points: &[Point], span: f64) -> Vec<Point> {
    let decay = 1.0 - 2.0 / (span + 1.0);
    let (mut sum, mut weight) = (0.0, 0.0);
    let average = |point: &Point| {
        if !drawable(point) {
            return *point;
        }
        sum = decay * sum + point.1;
        weight = decay * weight + 1.0;
        (point.0, sum / weight)
    };
    points.iter().map(average).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Point = (0.0, f64::NAN);

    #[test]
    fn pieces_end_at_gaps() {
        let points = [GAP, (1.0, 1.0), (2.0, 2.0), GAP, GAP, (5.0, 5.0), (6.0, f64::INFINITY)];
        let lengths: Vec<_> = pieces(&points).map(<[Point]>::len).collect();
        assert_eq!(lengths, [2, 1]);
    }

    #[test]
    fn thinning_keeps_spikes_order_and_long_gaps() {
        let mut points: Vec<Point> = (0..10_000).map(|i| (f64::from(i), 1.0)).collect();
        points[4_321].1 = 9.0;
        points[4_322].1 = -9.0;
        points[7_000..8_000].fill(GAP);
        let thinned = thin(&points, 100);
        assert!(thinned.len() <= 200);
        let spike = thinned.iter().position(|p| p.1 == 9.0).unwrap();
        assert_eq!(thinned[spike + 1].1, -9.0);
        assert!(pieces(&thinned).all(|piece| piece.is_sorted_by(|a, b| a.0 <= b.0)));
        assert_eq!(pieces(&thinned).count(), 2);
    }

    #[test]
    fn short_curves_are_not_thinned() {
        let points = [(0.0, 1.0), GAP, (2.0, 3.0)];
        assert_eq!(thin(&points, 2).len(), 3);
    }

    #[test]
    fn smoothing_keeps_a_constant_and_ignores_gaps() {
        let points = [(0.0, 2.0), GAP, (2.0, 2.0), (3.0, 2.0)];
        let smoothed = smooth(&points, 5.0);
        assert!(smoothed[1].1.is_nan());
        assert!([0, 2, 3].iter().all(|&i| (smoothed[i].1 - 2.0).abs() < 1e-12));
    }

    #[test]
    fn smoothing_is_the_weighted_mean_it_claims_to_be() {
        // Span 3 is a decay of 1/2: weights 1/2 and 1.
        let smoothed = smooth(&[(0.0, 0.0), (1.0, 3.0)], 3.0);
        assert_eq!(smoothed[0].1, 0.0);
        assert!((smoothed[1].1 - 2.0).abs() < 1e-12);
    }
}
