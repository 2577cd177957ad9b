//! A number over seeds.

use serde::Serialize;

/// The values of all seeds, their mean, and how far they spread.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spread {
    pub mean: f64,
    /// The standard deviation of a sample; none of a single value.
    pub std: Option<f64>,
    pub values: Vec<f64>,
}

impl Spread {
    /// None without a value.
    pub fn of(values: Vec<f64>) -> Option<Self> {
        let count = values.len() as f64;
        if values.is_empty() {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        let std = (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt());
        Some(Self { mean, std, values })
    }

    /// One standard deviation below and above the mean.
    pub fn bar(&self) -> (f64, f64) {
        let std = self.std.unwrap_or(0.0);
        (self.mean - std, self.mean + std)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deviation_is_that_of_a_sample() {
        let spread = Spread::of(vec![1.0, 2.0, 4.0, 5.0]).unwrap();
        assert_eq!(spread.mean, 3.0);
        // statistics.stdev([1, 2, 4, 5])
        assert!((spread.std.unwrap() - 1.825_741_858_350_553_8).abs() < 1e-15);
        assert_eq!(Spread::of(vec![7.0]).unwrap().bar(), (7.0, 7.0));
        assert_eq!(Spread::of(Vec::new()), None);
    }
}
