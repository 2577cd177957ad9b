//! Polygons cut along the sides of a window.

type Point = [f64; 2];

/// The parts of a polygon within 0 to `window` of x and y. Parts without area are left out.
///
/// The window's sides are cut along one after the other. What lies on the inner side of such a line is a number of
/// chains of corners that begin and end on it; sorted along the line, each two ends that follow each other are joined.
pub(super) fn clip(polygon: Vec<Point>, window: [f64; 2]) -> Vec<Vec<Point>> {
    let mut rings = vec![polygon];
    for (axis, most) in window.into_iter().enumerate() {
        for (bound, sign) in [(0.0, 1.0), (most, -1.0)] {
            let line = Line { axis, bound, sign };
            rings = rings.into_iter().flat_map(|ring| line.cut(ring)).collect();
        }
    }
    rings.retain(|ring| area(ring) > 1e-9);
    rings
}

/// Twice what a ring encloses.
fn area(ring: &[Point]) -> f64 {
    let next = ring.iter().cycle().skip(1);
    ring.iter().zip(next).map(|(a, b)| a[0] * b[1] - a[1] * b[0]).sum::<f64>().abs()
}

/// A line along an axis, of which one side is kept.
struct Line {
    /// Which coordinate it bounds.
    axis: usize,
    bound: f64,
    /// 1 if what is larger is kept, -1 if what is smaller is.
    sign: f64,
}

impl Line {
    /// How far inside a point lies.
    fn depth(&self, point: Point) -> f64 {
        self.sign * (point[self.axis] - self.bound)
    }

    fn cut(&self, mut ring: Vec<Point>) -> Vec<Vec<Point>> {
        let is_outside = |&point: &Point| self.depth(point) < 0.0;
        let Some(outside) = ring.iter().position(is_outside) else { return vec![ring] };
        ring.rotate_left(outside);
        joined(&self.chains(&ring), 1 - self.axis)
    }

    /// What is inside of a ring that begins outside: chains that begin and end on the line.
    fn chains(&self, ring: &[Point]) -> Vec<Vec<Point>> {
        let mut chains: Vec<Vec<Point>> = Vec::new();
        for (&a, &b) in ring.iter().zip(ring.iter().cycle().skip(1)) {
            let (was, is) = (self.depth(a) >= 0.0, self.depth(b) >= 0.0);
            if was != is {
                let crossing = self.crossing(a, b);
                match chains.last_mut() {
                    Some(chain) if was => push(chain, crossing),
                    _ => chains.push(vec![crossing]),
                }
            }
            if let (true, Some(chain)) = (is, chains.last_mut()) {
                push(chain, b);
            }
        }
        chains
    }

    fn crossing(&self, a: Point, b: Point) -> Point {
        let (from, to) = (self.depth(a), self.depth(b));
        let share = from / (from - to);
        let mut point = [0, 1].map(|i| a[i] + share * (b[i] - a[i]));
        point[self.axis] = self.bound;
        point
    }
}

fn push(chain: &mut Vec<Point>, point: Point) {
    if chain.last() != Some(&point) {
        chain.push(point);
    }
}

/// Rings made of chains whose ends lie on one line, at places told by the coordinate `along`.
fn joined(chains: &[Vec<Point>], along: usize) -> Vec<Vec<Point>> {
    // The ends of chain c are numbers 2c, its first point, and 2c + 1, its last.
    let place = |end: usize| {
        let chain = &chains[end / 2];
        let point = if end.is_multiple_of(2) { chain.first() } else { chain.last() };
        point.map_or(0.0, |point| point[along])
    };
    let mut ends: Vec<usize> = (0..2 * chains.len()).collect();
    ends.sort_by(|&a, &b| place(a).total_cmp(&place(b)));
    let mut partner = vec![0; ends.len()];
    for pair in ends.chunks_exact(2) {
        (partner[pair[0]], partner[pair[1]]) = (pair[1], pair[0]);
    }
    let mut used = vec![false; chains.len()];
    let mut rings = Vec::new();
    for first in 0..chains.len() {
        let (mut ring, mut end) = (Vec::new(), 2 * first);
        // Enter each chain at one end, leave it at the other, go on with that one's partner.
        while !used[end / 2] {
            used[end / 2] = true;
            let chain = &chains[end / 2];
            match end % 2 {
                0 => chain.iter().for_each(|&point| push(&mut ring, point)),
                _ => chain.iter().rev().for_each(|&point| push(&mut ring, point)),
            }
            end = partner[end ^ 1];
        }
        if ring.len() > 1 && ring.first() == ring.last() {
            ring.pop();
        }
        if ring.len() > 2 {
            rings.push(ring);
        }
    }
    rings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three sides of a square around the window: only its arms are inside, each for itself.
    #[test]
    fn what_goes_around_the_window_is_cut_in_two() {
        let shape = vec![
            [-3.0, 1.0],
            [6.0, 1.0],
            [6.0, 2.0],
            [-2.0, 2.0],
            [-2.0, 7.0],
            [6.0, 7.0],
            [6.0, 8.0],
            [-3.0, 8.0],
        ];
        let mut parts = clip(shape, [10.0, 10.0]);
        parts.sort_by(|a, b| a[0][1].total_cmp(&b[0][1]));
        let box_of = |ring: &Vec<Point>| {
            let low = |i: usize| ring.iter().map(|p| p[i]).fold(f64::INFINITY, f64::min);
            let high = |i: usize| ring.iter().map(|p| p[i]).fold(0.0, f64::max);
            [low(0), low(1), high(0), high(1)]
        };
        let boxes: Vec<_> = parts.iter().map(box_of).collect();
        assert_eq!(boxes, [[0.0, 1.0, 6.0, 2.0], [0.0, 7.0, 6.0, 8.0]]);
    }

    #[test]
    fn what_only_touches_the_window_is_nothing() {
        let window = [10.0, 10.0];
        assert!(clip(vec![[-4.0, 2.0], [0.0, 5.0], [-4.0, 8.0]], window).is_empty());
        assert!(clip(vec![[-4.0, 2.0], [0.0, 2.0], [0.0, 8.0], [-4.0, 8.0]], window).is_empty());
        assert!(clip(vec![[20.0, 2.0], [30.0, 5.0], [25.0, 8.0]], window).is_empty());
        assert!(clip(vec![[2.0, 2.0], [5.0, 5.0]], window).is_empty());
        assert!(clip(Vec::new(), window).is_empty());
        let inside = vec![[0.0, 0.0], [10.0, 0.0], [5.0, 10.0]];
        assert_eq!(clip(inside.clone(), window), [inside]);
    }
}
