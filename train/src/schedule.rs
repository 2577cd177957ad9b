/// The learning rate over a run: linear warm-up, then half a cosine down to `min_lr` or a few drops, counted in epochs and
/// their fractions (MAE's `lr_sched.py`, detectron2's `WarmupParamScheduler`).
///
/// ```
/// use longmae_train::{Decay, Schedule};
/// let schedule =
///     Schedule { lr: 1.0, min_lr: 0.0, warmup_epochs: 10.0, epochs: 110.0, decay: Decay::Cosine };
/// assert_eq!(schedule.at(5.0), 0.5);
/// assert!((schedule.at(60.0) - 0.5).abs() < 1e-12);
/// let steps = Schedule { decay: Decay::Steps { at: [0.5, 0.9] }, ..schedule };
/// assert_eq!([steps.at(54.0), steps.at(55.0), steps.at(99.0)], [1.0, 0.1, 0.01]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The highest rate, reached at the end of warm-up.
    pub lr: f64,
    /// The rate at the end of half a cosine.
    pub min_lr: f64,
    /// Length of the warm-up in epochs.
    pub warmup_epochs: f64,
    /// Length of the run in epochs, warm-up included.
    pub epochs: f64,
    /// What follows the warm-up.
    pub decay: Decay,
}

/// How the rate falls.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Decay {
    /// Half a cosine; the warm-up begins at 0.
    #[default]
    Cosine,
    /// To a tenth, and to a tenth of that, at these shares of the run; the warm-up begins at a thousandth (ViTDet's schedule:
    /// detectron2's `MultiStepParamScheduler` behind a linear warm-up).
    Steps {
        /// Shares of the run's length, the smaller one first.
        at: [f64; 2],
    },
}

/// Of the highest rate, what a warm-up to [`Decay::Steps`] begins at.
const WARMUP_FACTOR: f64 = 0.001;

impl Schedule {
    /// The rate at a time in epochs.
    pub fn at(&self, epoch: f64) -> f64 {
        match self.decay {
            Decay::Cosine => self.cosine(epoch),
            Decay::Steps { at } => self.steps(epoch, at),
        }
    }

    fn cosine(&self, epoch: f64) -> f64 {
        if epoch < self.warmup_epochs {
            return self.lr * epoch / self.warmup_epochs;
        }
        let rest = (self.epochs - self.warmup_epochs).max(f64::MIN_POSITIVE);
        let done = ((epoch - self.warmup_epochs) / rest).min(1.0);
        self.min_lr + (self.lr - self.min_lr) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
    }

    fn steps(&self, epoch: f64, at: [f64; 2]) -> f64 {
        let rate = |epoch: f64| {
            // Within rounding of a drop it has come.
            let come = at.iter().filter(|share| epoch >= **share * self.epochs * (1.0 - 1e-12));
            self.lr / 10_f64.powi(come.count() as i32)
        };
        if epoch < self.warmup_epochs {
            let (start, end) = (WARMUP_FACTOR * rate(0.0), rate(self.warmup_epochs));
            return start + (end - start) * epoch / self.warmup_epochs;
        }
        rate(epoch)
    }
}

/// Learning-rate scales of `layers` layers for layer-wise decay: `decay^(layers - 1 - layer)`, 1 for the last
/// (arXiv 2106.08254).
pub fn layer_scales(decay: f64, layers: usize) -> Vec<f64> {
    (0..layers).map(|layer| decay.powi((layers - 1 - layer) as i32)).collect()
}
