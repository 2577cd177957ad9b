/// The learning rate over a run: linear warm-up, then half a cosine down to `min_lr`, counted in epochs and
/// their fractions (MAE's `lr_sched.py`).
///
/// ```
/// use longmae_train::Schedule;
/// let schedule = Schedule { lr: 1.0, min_lr: 0.0, warmup_epochs: 10.0, epochs: 110.0 };
/// assert_eq!(schedule.at(5.0), 0.5);
/// assert!((schedule.at(60.0) - 0.5).abs() < 1e-12);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The highest rate, reached at the end of warm-up.
    pub lr: f64,
    /// The rate at the end.
    pub min_lr: f64,
    /// Length of the warm-up in epochs.
    pub warmup_epochs: f64,
    /// Length of the run in epochs, warm-up included.
    pub epochs: f64,
}

impl Schedule {
    /// The rate at a time in epochs.
    pub fn at(&self, epoch: f64) -> f64 {
        if epoch < self.warmup_epochs {
            return self.lr * epoch / self.warmup_epochs;
        }
        let rest = (self.epochs - self.warmup_epochs).max(f64::MIN_POSITIVE);
        let done = ((epoch - self.warmup_epochs) / rest).min(1.0);
        self.min_lr + (self.lr - self.min_lr) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
    }
}

/// Learning-rate scales of `layers` layers for layer-wise decay: `decay^(layers - 1 - layer)`, 1 for the last
/// (arXiv 2106.08254).
pub fn layer_scales(decay: f64, layers: usize) -> Vec<f64> {
    (0..layers).map(|layer| decay.powi((layers - 1 - layer) as i32)).collect()
}
