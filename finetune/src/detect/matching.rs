//! Which true box a candidate is compared with, and which candidates count.

use rand::RngCore;
use rand::seq::index;
use rayon::prelude::*;

use super::boxes::{Corners, iou};

/// What a candidate is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// It is the true box that it is matched with.
    Object,
    /// It is none.
    Background,
    /// It is left out.
    Ignored,
}

/// Matches candidates with the true boxes that they overlap most (detectron2's `Matcher`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Matcher {
    /// Overlaps below are background.
    pub background: f32,
    /// Overlaps from here on are objects; between the two, candidates are ignored.
    pub object: f32,
    /// Whether the candidates that overlap a true box most are objects however little that is.
    pub best_of_each: bool,
}

/// A candidate's true box and what it is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// The true box that it overlaps most, the first of equal ones; 0 without any.
    pub truth: usize,
    /// What it is taken for.
    pub label: Label,
}

impl Matcher {
    /// Region proposals'.
    pub const PROPOSALS: Self = Self { background: 0.3, object: 0.7, best_of_each: true };

    /// Heads': an object from this overlap on, background below.
    pub fn head(threshold: f32) -> Self {
        Self { background: threshold, object: threshold, best_of_each: false }
    }

    /// A match for each candidate.
    pub fn matches(&self, truth: &[Corners], candidates: &[Corners]) -> Vec<Match> {
        let best = |candidate: &Corners| {
            let overlaps = truth.iter().map(|truth| iou(*truth, *candidate)).enumerate();
            overlaps.fold((0, 0.0_f32), |best, (i, x)| if x > best.1 { (i, x) } else { best })
        };
        let label = |overlap: f32| match overlap {
            x if x >= self.object => Label::Object,
            x if x >= self.background => Label::Ignored,
            _ => Label::Background,
        };
        let mut matches: Vec<Match> = candidates
            .par_iter()
            .map(|candidate| {
                let (truth, overlap) = best(candidate);
                Match { truth, label: label(overlap) }
            })
            .collect();
        if self.best_of_each {
            for truth in truth {
                let overlaps: Vec<f32> =
                    candidates.par_iter().map(|candidate| iou(*truth, *candidate)).collect();
                let most = overlaps.iter().fold(0.0_f32, |a, b| a.max(*b));
                // A true box that no candidate touches makes none of them an object.
                let best = matches.iter_mut().zip(overlaps).filter(|(_, x)| *x == most);
                if most > 0.0 {
                    best.for_each(|(found, _)| found.label = Label::Object);
                }
            }
        }
        matches
    }
}

/// Draws at most `count` of the labelled candidates, of which at most `fraction` objects, the rest background
/// (detectron2's `subsample_labels`). The result are places, objects first.
pub fn sample(
    labels: &[Label],
    count: usize,
    fraction: f64,
    rng: &mut dyn RngCore,
) -> (Vec<usize>, Vec<usize>) {
    let of =
        |wanted| -> Vec<usize> { (0..labels.len()).filter(|i| labels[*i] == wanted).collect() };
    let mut draw = |from: Vec<usize>, most: usize| -> Vec<usize> {
        if from.len() <= most {
            return from;
        }
        let mut drawn = index::sample(rng, from.len(), most).into_vec();
        drawn.sort_unstable();
        drawn.into_iter().map(|i| from[i]).collect()
    };
    let objects = draw(of(Label::Object), (count as f64 * fraction) as usize);
    let background = draw(of(Label::Background), count - objects.len());
    (objects, background)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn a_sample_is_full_and_has_at_most_its_share_of_objects() {
        let mut labels = vec![Label::Object; 40];
        labels.extend([Label::Ignored; 10]);
        labels.extend([Label::Background; 100]);
        let draw = |seed| sample(&labels, 64, 0.25, &mut ChaCha8Rng::seed_from_u64(seed));
        let (objects, background) = draw(1);
        assert_eq!((objects.len(), background.len()), (16, 48));
        assert!(objects.iter().all(|i| labels[*i] == Label::Object));
        assert!(background.iter().all(|i| labels[*i] == Label::Background));
        assert!(draw(1) == (objects, background) && draw(1) != draw(2));
        let (objects, background) =
            sample(&labels[..60], 64, 0.5, &mut ChaCha8Rng::seed_from_u64(1));
        assert_eq!((objects.len(), background.len()), (32, 10));
    }
}
