use std::collections::VecDeque;

/// Losses that a median is taken of.
const WINDOW: usize = 100;
/// Losses without which nothing is a spike.
const LEAST: usize = 20;
/// Steps in a row that must be high: one bad batch is no spike.
const PATIENCE: usize = 3;

/// Tells when a run's loss has spiked: several steps in a row above a multiple of the median of the last hundred
/// (going back and passing over the data then is what PaLM did, arXiv 2204.02311, section 5.1).
#[derive(Debug, Clone)]
pub struct SpikeDetector {
    factor: f64,
    losses: VecDeque<f64>,
    high: usize,
}

impl SpikeDetector {
    /// Spikes are losses above `factor` times the median.
    pub fn new(factor: f64) -> Self {
        Self { factor, losses: VecDeque::new(), high: 0 }
    }

    /// Takes a step's finite loss; whether the loss has spiked with it.
    pub fn push(&mut self, loss: f64) -> bool {
        if self.losses.len() >= LEAST && loss > self.factor * median(&self.losses) {
            self.high += 1;
            if self.high == PATIENCE {
                self.high = 0;
                return true;
            }
            return false;
        }
        self.high = 0;
        if self.losses.len() == WINDOW {
            self.losses.pop_front();
        }
        self.losses.push_back(loss);
        false
    }

    /// The losses that the median is taken of, oldest first.
    pub fn state(&self) -> Vec<f64> {
        self.losses.iter().copied().collect()
    }

    /// High losses seen last.
    pub fn high(&self) -> usize {
        self.high
    }

    /// Goes back to what [`SpikeDetector::state`] and [`SpikeDetector::high`] gave.
    pub fn restore(&mut self, losses: &[f64], high: usize) {
        self.losses = losses.iter().rev().take(WINDOW).rev().copied().collect();
        self.high = high.min(PATIENCE - 1);
    }
}

fn median(losses: &VecDeque<f64>) -> f64 {
    let mut sorted: Vec<f64> = losses.iter().copied().collect();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steady() -> SpikeDetector {
        let mut detector = SpikeDetector::new(2.0);
        assert!((0..50).all(|i| !detector.push(1.0 + 0.01 * f64::from(i % 7))));
        detector
    }

    #[test]
    fn three_high_losses_in_a_row_are_a_spike() {
        let mut detector = steady();
        assert_eq!([3.0, 4.0, 5.0].map(|loss| detector.push(loss)), [false, false, true]);
        // One bad batch, or a slow rise that carries the median along, is none.
        let mut detector = steady();
        assert_eq!([3.0, 1.0, 3.0, 3.0, 1.0].map(|loss| detector.push(loss)), [false; 5]);
        assert!((0..400).all(|i| !detector.push(1.0 + 0.01 * f64::from(i))));
    }

    #[test]
    fn the_first_losses_are_no_spike() {
        let mut detector = SpikeDetector::new(2.0);
        assert!((0..LEAST as u32).all(|i| !detector.push(f64::from(i * i))));
    }

    #[test]
    fn a_restored_detector_goes_on_alike() {
        let mut detector = steady();
        assert!(!detector.push(3.0));
        let mut restored = SpikeDetector::new(2.0);
        restored.restore(&detector.state(), detector.high());
        assert_eq!([3.0, 3.0].map(|loss| restored.push(loss)), [false, true]);
    }
}
