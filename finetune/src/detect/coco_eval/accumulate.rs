//! Precision and recall of a category: pycocotools' `accumulate`.

use super::matching::{Matches, Outcome};
use super::settings::{MAX_DETECTIONS, RECALLS, THRESHOLDS, recall_threshold};

/// A category's curves, for each range of areas; none where there is nothing to find.
pub(super) type Curves = [Option<Box<Curve>>; 4];

/// How precise what is found is, and how much is found.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    /// At each threshold, the greatest precision at each recall or above it; 100 detections an image.
    pub precision: [[f64; RECALLS]; THRESHOLDS],
    /// At each threshold, the share found by 1, 10 and 100 detections an image.
    pub recall: [[f64; 3]; THRESHOLDS],
}

/// The curves of what was matched.
pub(super) fn accumulate(matches: Matches) -> Curves {
    let Matches { mut outcomes, objects } = matches;
    // Stable, as numpy's merge sort: equal scores stay in the order of their images.
    outcomes.sort_by(|a, b| b.score.partial_cmp(&a.score).unwrap_or(std::cmp::Ordering::Equal));
    std::array::from_fn(|range| {
        let objects = objects[range];
        (objects > 0).then(|| {
            let mut curve =
                Curve { precision: [[0.0; RECALLS]; THRESHOLDS], recall: [[0.0; 3]; THRESHOLDS] };
            for number in 0..THRESHOLDS {
                let hits = Hits::count(&outcomes, range, number);
                curve.precision[number] = hits.precision(objects);
                curve.recall[number] = hits.recall(objects);
            }
            Box::new(curve)
        })
    })
}

/// What is right among the detections at a threshold.
#[derive(Default)]
struct Hits {
    /// For each right one, how many wrong ones have a better score.
    wrong_before: Vec<u32>,
    /// How many are right among the best 1, 10 and 100 of each image.
    right: [u32; 3],
}

impl Hits {
    fn count(outcomes: &[Outcome], range: usize, number: usize) -> Self {
        let (mut hits, mut wrong) = (Self::default(), 0);
        for outcome in outcomes {
            let bit = |bits: [u16; 4]| (bits[range] >> number) & 1 == 1;
            match (bit(outcome.ignored), bit(outcome.matched)) {
                (true, _) => {}
                (false, false) => wrong += 1,
                (false, true) => {
                    hits.wrong_before.push(wrong);
                    for (right, most) in hits.right.iter_mut().zip(MAX_DETECTIONS) {
                        *right += u32::from((outcome.rank as usize) < most);
                    }
                }
            }
        }
        hits
    }

    fn recall(&self, objects: usize) -> [f64; 3] {
        self.right.map(|right| f64::from(right) / objects as f64)
    }

    /// Only at right ones does the recall rise, and the precision is greatest: all others can be passed over.
    fn precision(&self, objects: usize) -> [f64; RECALLS] {
        let precision = |(index, &wrong): (usize, &u32)| {
            let right = (index + 1) as f64;
            right / (f64::from(wrong) + right + f64::EPSILON)
        };
        let mut envelope: Vec<f64> = self.wrong_before.iter().enumerate().map(precision).collect();
        for index in (1..envelope.len()).rev() {
            envelope[index - 1] = envelope[index - 1].max(envelope[index]);
        }
        let mut place = 0;
        std::array::from_fn(|number| {
            let least = recall_threshold(number);
            while place < envelope.len() && ((place + 1) as f64 / objects as f64) < least {
                place += 1;
            }
            envelope.get(place).copied().unwrap_or(0.0)
        })
    }
}
