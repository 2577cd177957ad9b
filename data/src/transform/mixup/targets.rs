//! Soft targets: smoothed labels, mixed as the images are.

use super::Mix;
use crate::error::{Error, Result};

/// Turns classes into distributions over classes.
///
/// A smoothing of `s` gives every one of `n` classes `s / n`, and the true one `1 - s` more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Targets {
    classes: usize,
    on: f32,
    off: f32,
}

impl Targets {
    /// For this many classes, smoothed by a share of 0 up to 1.
    ///
    /// # Errors
    /// [`Error::Setting`] if there is no class, or the share is not at least 0 and below 1.
    pub fn new(classes: usize, smoothing: f64) -> Result<Self> {
        if classes == 0 {
            let expected = "at least 1".into();
            return Err(Error::Setting { name: "classes", found: "0".into(), expected });
        }
        if !(0.0..1.0).contains(&smoothing) {
            return Err(Error::Setting {
                name: "label smoothing",
                found: smoothing.to_string(),
                expected: "a share of at least 0 and below 1".into(),
            });
        }
        let off = smoothing / classes as f64;
        Ok(Self { classes, on: (1.0 - smoothing + off) as f32, off: off as f32 })
    }

    /// Smoothed only: `[labels, classes]`.
    ///
    /// # Errors
    /// [`Error::Setting`] if a label is not one of the classes.
    pub fn smoothed(&self, labels: &[usize]) -> Result<Vec<f32>> {
        let mut out = self.rows(labels)?;
        for (row, &label) in out.chunks_exact_mut(self.classes).zip(labels) {
            row[label] = self.on;
        }
        Ok(out)
    }

    /// Smoothed, then mixed as the images are: `[labels, classes]`.
    ///
    /// # Errors
    /// [`Error::Setting`] if a label is not one of the classes, or there are not as many labels as `mixes`.
    pub fn mixed(&self, labels: &[usize], mixes: &[Mix]) -> Result<Vec<f32>> {
        if labels.len() != mixes.len() {
            let expected = format!("one for each of {} labels", labels.len());
            return Err(Error::Setting { name: "mixes", found: mixes.len().to_string(), expected });
        }
        let mut out = self.rows(labels)?;
        let partners = labels.iter().rev();
        let rows = out.chunks_exact_mut(self.classes);
        for (((row, &label), &partner), mix) in rows.zip(labels).zip(partners).zip(mixes) {
            let (own, others) = (mix.lambda as f32, (1.0 - mix.lambda) as f32);
            let of = |class, label| if class == label { self.on } else { self.off };
            for (class, v) in row.iter_mut().enumerate() {
                *v = of(class, label) * own + of(class, partner) * others;
            }
        }
        Ok(out)
    }

    /// A row a label, of what a wrong class has.
    fn rows(&self, labels: &[usize]) -> Result<Vec<f32>> {
        if let Some(wrong) = labels.iter().find(|&&label| label >= self.classes) {
            let expected = format!("below {}, the number of classes", self.classes);
            return Err(Error::Setting { name: "label", found: wrong.to_string(), expected });
        }
        Ok(vec![self.off; labels.len() * self.classes])
    }
}
