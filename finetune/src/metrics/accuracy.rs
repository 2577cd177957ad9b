use crate::{Error, Result};

/// Among how many of the best classes the right one is looked for, beside the first.
const TOP: usize = 5;

/// Counts of samples whose class is the best by score, or among the best five.
///
/// A class is among the best `k` if fewer than `k` classes are before it: those with a greater score, and those of the
/// same score with a smaller number. So ties are decided, where `torch.topk` leaves them open. With fewer classes than
/// `k` every sample is a hit, as timm counts. A score that is not a number is no hit, and goes before all numbers, as in
/// `torch.topk`.
///
/// ```
/// use longmae_finetune::metrics::Accuracy;
///
/// let mut accuracy = Accuracy::default();
/// accuracy.add(&[0.1, 0.7, 0.2, 0.5, 0.4, 0.1], 3, &[1, 1])?;
/// assert_eq!((accuracy.top1(), accuracy.top5()), (0.5, 1.0));
/// # Ok::<(), longmae_finetune::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Accuracy {
    top1: f64,
    top5: f64,
    samples: f64,
}

impl Accuracy {
    /// Counts samples: `scores` `[samples, classes]`, row after row, and the class of each.
    ///
    /// # Errors
    /// [`Error::Setting`] if there are not `classes` scores for each label, or a label is no class.
    pub fn add(&mut self, scores: &[f32], classes: usize, labels: &[u32]) -> Result<()> {
        if classes == 0 || classes.checked_mul(labels.len()) != Some(scores.len()) {
            return Err(Error::Setting {
                name: "scores",
                found: format!("{} numbers", scores.len()),
                expected: format!("{classes} for each of {} samples", labels.len()),
            });
        }
        if let Some(label) = labels.iter().find(|label| **label as usize >= classes) {
            return Err(Error::label(*label, classes));
        }
        for (scores, label) in scores.chunks_exact(classes).zip(labels) {
            let before = before(scores, *label as usize);
            self.top1 += f64::from(u8::from(before < 1));
            self.top5 += f64::from(u8::from(before < TOP));
            self.samples += 1.0;
        }
        Ok(())
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Self) {
        *self = Self::from_sums(std::array::from_fn(|i| self.sums()[i] + other.sums()[i]));
    }

    /// The counts, to be added up over processes: hits of the best, of the best five, samples.
    pub fn sums(&self) -> [f64; 3] {
        [self.top1, self.top5, self.samples]
    }

    /// From [`Self::sums`].
    pub fn from_sums([top1, top5, samples]: [f64; 3]) -> Self {
        Self { top1, top5, samples }
    }

    /// How many samples were counted.
    pub fn samples(&self) -> u64 {
        self.samples as u64
    }

    /// The share of samples whose class has the greatest score; of no samples, 0.
    pub fn top1(&self) -> f64 {
        self.top1 / self.samples.max(1.0)
    }

    /// The share of samples whose class is among the best five; of no samples, 0.
    pub fn top5(&self) -> f64 {
        self.top5 / self.samples.max(1.0)
    }
}

/// How many classes go before this one; all of them if its score is not a number.
fn before(scores: &[f32], class: usize) -> usize {
    let own = scores[class];
    if own.is_nan() {
        return usize::MAX;
    }
    let goes = |(other, score): (usize, &f32)| {
        score.is_nan() || *score > own || (*score == own && other < class)
    };
    scores.iter().enumerate().filter(|other| goes(*other)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(scores: &[f32], classes: usize, labels: &[u32]) -> (f64, f64) {
        let mut accuracy = Accuracy::default();
        accuracy.add(scores, classes, labels).unwrap();
        (accuracy.top1(), accuracy.top5())
    }

    #[test]
    fn ties_go_to_the_smaller_class() {
        let scores = [1.0; 7];
        let top: Vec<_> = (0..7).map(|label| of(&scores, 7, &[label])).collect();
        assert_eq!(top[0], (1.0, 1.0));
        assert_eq!(top[4], (0.0, 1.0));
        assert_eq!(top[5], (0.0, 0.0));
    }

    #[test]
    fn fewer_classes_than_five_are_all_among_the_best() {
        assert_eq!(of(&[0.1, 0.9, 0.5], 3, &[0]), (0.0, 1.0));
    }

    #[test]
    fn what_is_no_number_is_no_hit() {
        let nan = f32::NAN;
        assert_eq!(of(&[nan, nan, nan], 3, &[0]), (0.0, 0.0));
        assert_eq!(of(&[nan, 1.0, 0.0], 3, &[1]), (0.0, 1.0));
        assert_eq!(of(&[f32::NEG_INFINITY, f32::INFINITY], 2, &[1]), (1.0, 1.0));
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let (scores, labels) = ([0.1, 0.9, 0.8, 0.2, 0.3, 0.7], [1, 1, 1]);
        let mut whole = Accuracy::default();
        whole.add(&scores, 2, &labels).unwrap();
        let (mut first, mut second) = (Accuracy::default(), Accuracy::default());
        first.add(&scores[..2], 2, &labels[..1]).unwrap();
        second.add(&scores[2..], 2, &labels[1..]).unwrap();
        first.merge(&second);
        assert_eq!(first, whole);
        assert_eq!(Accuracy::from_sums(whole.sums()), whole);
        assert_eq!((whole.samples(), whole.top1()), (3, 2.0 / 3.0));
        assert_eq!(Accuracy::default().top1(), 0.0);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut accuracy = Accuracy::default();
        for (scores, classes, labels, part) in [
            (&[0.0; 5][..], 2, &[0, 1][..], "5 numbers"),
            (&[][..], 0, &[][..], "0 numbers"),
            (&[0.0; 4][..], 2, &[0, 2][..], "class 2"),
        ] {
            let message = accuracy.add(scores, classes, labels).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(accuracy, Accuracy::default());
    }
}
