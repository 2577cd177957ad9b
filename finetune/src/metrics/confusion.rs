use crate::{Error, Result};

/// How often samples of a class were taken for which class.
///
/// ```
/// use longmae_finetune::metrics::ConfusionMatrix;
///
/// let mut matrix = ConfusionMatrix::new(3);
/// matrix.add(&[0, 0, 1, 1], &[0, 1, 1, 1])?;
/// assert_eq!(matrix.row(0), [1, 1, 0]);
/// assert_eq!(matrix.per_class(), [Some(0.5), Some(1.0), None]);
/// assert_eq!(matrix.mean_per_class(), 0.75);
/// # Ok::<(), longmae_finetune::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfusionMatrix {
    classes: usize,
    /// `[true class, predicted class]`.
    counts: Vec<u64>,
}

impl ConfusionMatrix {
    /// Nothing counted yet.
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; classes * classes] }
    }

    /// From counts `[true class, predicted class]`, such as those of several processes added up.
    ///
    /// # Errors
    /// [`Error::Setting`] if they are not `classes * classes`.
    pub fn from_counts(classes: usize, counts: Vec<u64>) -> Result<Self> {
        match classes.checked_mul(classes) == Some(counts.len()) {
            true => Ok(Self { classes, counts }),
            false => Err(Error::Setting {
                name: "confusion matrix",
                found: format!("{} counts", counts.len()),
                expected: format!("{classes} x {classes}"),
            }),
        }
    }

    /// Counts samples by their true and their predicted class.
    ///
    /// # Errors
    /// [`Error::Setting`] if there are not as many of one as of the other, or one is no class.
    pub fn add(&mut self, labels: &[u32], predicted: &[u32]) -> Result<()> {
        if labels.len() != predicted.len() {
            return Err(Error::Setting {
                name: "predictions",
                found: predicted.len().to_string(),
                expected: format!("one for each of {} samples", labels.len()),
            });
        }
        let mut all = labels.iter().chain(predicted);
        if let Some(label) = all.find(|label| **label as usize >= self.classes) {
            return Err(Error::label(*label, self.classes));
        }
        for (label, predicted) in labels.iter().zip(predicted) {
            self.counts[*label as usize * self.classes + *predicted as usize] += 1;
        }
        Ok(())
    }

    /// Adds what another one counted.
    ///
    /// # Errors
    /// [`Error::Setting`] if it has other classes.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if other.classes != self.classes {
            return Err(Error::Setting {
                name: "confusion matrix",
                found: format!("{} classes", other.classes),
                expected: self.classes.to_string(),
            });
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(sum, count)| *sum += count);
        Ok(())
    }

    /// How many classes there are.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// All counts, `[true class, predicted class]`.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// What the samples of a class, which is below [`Self::classes`], were taken for: a count a class.
    pub fn row(&self, class: usize) -> &[u64] {
        &self.counts[class * self.classes..][..self.classes]
    }

    /// The share of each class's samples that were taken for it (its recall); none for a class without samples.
    pub fn per_class(&self) -> Vec<Option<f64>> {
        let share = |class| {
            let row = self.row(class);
            let samples: u64 = row.iter().sum();
            (samples > 0).then(|| row[class] as f64 / samples as f64)
        };
        (0..self.classes).map(share).collect()
    }

    /// The mean of [`Self::per_class`] over the classes that have samples (balanced accuracy); of no samples, 0.
    pub fn mean_per_class(&self) -> f64 {
        let shares: Vec<f64> = self.per_class().into_iter().flatten().collect();
        shares.iter().sum::<f64>() / shares.len().max(1) as f64
    }

    /// The share of all samples that were taken for what they are; of no samples, 0.
    pub fn accuracy(&self) -> f64 {
        let hits: u64 = (0..self.classes).map(|class| self.row(class)[class]).sum();
        hits as f64 / self.counts.iter().sum::<u64>().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_to_the_whole() {
        let (labels, predicted) = ([0, 1, 2, 2, 1], [0, 2, 2, 0, 1]);
        let mut whole = ConfusionMatrix::new(3);
        whole.add(&labels, &predicted).unwrap();
        let (mut first, mut second) = (ConfusionMatrix::new(3), ConfusionMatrix::new(3));
        first.add(&labels[..2], &predicted[..2]).unwrap();
        second.add(&labels[2..], &predicted[2..]).unwrap();
        first.merge(&second).unwrap();
        assert_eq!(first, whole);
        assert_eq!(ConfusionMatrix::from_counts(3, whole.counts().to_vec()).unwrap(), whole);
        assert_eq!(whole.accuracy(), 0.6);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut matrix = ConfusionMatrix::new(2);
        assert!(matrix.add(&[0, 1], &[0]).is_err());
        assert!(matrix.add(&[0, 2], &[0, 0]).unwrap_err().to_string().contains("class 2"));
        assert!(matrix.add(&[0], &[7]).is_err());
        assert!(matrix.merge(&ConfusionMatrix::new(3)).is_err());
        assert!(ConfusionMatrix::from_counts(2, vec![0; 3]).is_err());
        assert_eq!(matrix, ConfusionMatrix::new(2));
        assert_eq!((matrix.accuracy(), matrix.mean_per_class()), (0.0, 0.0));
    }
}
