//! What the numbers of a tensor are like.

use anyhow::Context;
use candle_core::{DType, Device, Tensor};
use longmae_weights::{StoredFile, StoredTensor};
use serde::Serialize;

/// Numbers that are converted to `f64` at a time.
const AT_ONCE: usize = 1 << 16;

/// Mean, deviation and range of a tensor's finite numbers. The deviation is the root of the mean squared distance from the
/// mean (divided by the count, not by one less).
#[derive(Debug, Default, Clone, Serialize)]
pub struct Statistics {
    pub mean: Option<f64>,
    pub std: Option<f64>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    /// NaN and infinities.
    pub not_finite: u64,
}

/// Sums over the finite numbers so far.
#[derive(Default)]
struct Sums {
    count: f64,
    mean: f64,
    /// Squared distances from the mean.
    squares: f64,
    range: Option<(f64, f64)>,
    not_finite: u64,
}

impl Statistics {
    /// Of one tensor, which alone is in memory.
    pub fn of(file: &StoredFile, tensor: &StoredTensor) -> anyhow::Result<Self> {
        let bytes = file.read(tensor)?;
        let mut sums = Sums::default();
        for part in bytes.chunks(AT_ONCE * tensor.dtype().size_in_bytes()) {
            let numbers = numbers(part, tensor.dtype())
                .with_context(|| format!("cannot read {}", file.path().display()))?;
            sums.add(&numbers);
        }
        Ok(sums.statistics())
    }

    /// Whether all numbers are the same.
    pub fn is_constant(&self) -> bool {
        self.min.is_some() && self.min == self.max && self.not_finite == 0
    }

    /// The largest distance from zero.
    pub fn magnitude(&self) -> f64 {
        [self.min, self.max].into_iter().flatten().map(f64::abs).fold(0.0, f64::max)
    }
}

/// Little-endian numbers of a type.
fn numbers(bytes: &[u8], dtype: DType) -> candle_core::Result<Vec<f64>> {
    let count = bytes.len() / dtype.size_in_bytes();
    Tensor::from_raw_buffer(bytes, dtype, &[count], &Device::Cpu)?.to_dtype(DType::F64)?.to_vec1()
}

impl Sums {
    /// Adds numbers by their own mean and squares, so that nothing is lost where the mean is large (Chan, Golub, LeVeque).
    fn add(&mut self, numbers: &[f64]) {
        let finite = || numbers.iter().copied().filter(|number| number.is_finite());
        let count = finite().count() as f64;
        self.not_finite += numbers.len() as u64 - count as u64;
        if count == 0.0 {
            return;
        }
        let mean = finite().sum::<f64>() / count;
        let squares: f64 = finite().map(|number| (number - mean).powi(2)).sum();
        let (total, distance) = (self.count + count, mean - self.mean);
        self.squares += squares + distance.powi(2) * self.count * count / total;
        self.mean += distance * count / total;
        self.count = total;
        let start = self.range.unwrap_or((f64::INFINITY, f64::NEG_INFINITY));
        self.range = Some(finite().fold(start, |(min, max), x| (min.min(x), max.max(x))));
    }

    fn statistics(self) -> Statistics {
        let any = |value: f64| (self.count > 0.0).then_some(value);
        Statistics {
            mean: any(self.mean),
            std: any((self.squares / self.count).sqrt()),
            min: self.range.map(|(min, _)| min),
            max: self.range.map(|(_, max)| max),
            not_finite: self.not_finite,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_the_whole() {
        let numbers: Vec<f64> = (0..1000).map(|n| 1e6 + f64::from(n % 7)).collect();
        let mut sums = Sums::default();
        numbers.chunks(33).for_each(|part| sums.add(part));
        sums.add(&[f64::NAN, f64::INFINITY]);
        let found = sums.statistics();
        let mean = numbers.iter().sum::<f64>() / 1000.0;
        let variance = numbers.iter().map(|n| (n - mean).powi(2)).sum::<f64>() / 1000.0;
        assert!((found.mean.unwrap() - mean).abs() < 1e-8);
        assert!((found.std.unwrap() - variance.sqrt()).abs() < 1e-8);
        assert_eq!((found.min, found.max, found.not_finite), (Some(1e6), Some(1e6 + 6.0), 2));
    }

    #[test]
    fn nothing_has_no_mean() {
        let nothing = Sums::default().statistics();
        assert_eq!((nothing.mean, nothing.std, nothing.min), (None, None, None));
        assert!(!nothing.is_constant());
    }
}
