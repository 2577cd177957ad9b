use crate::{Error, Result};

/// Values of `C` that are tried when none is given: what is best lies between, for features of any kind.
pub const C_GRID: [f64; 7] = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2];

/// How logistic regression is fitted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogisticConfig {
    /// The inverse of the penalty, as in scikit-learn; above 0. The larger it is, the closer the fit.
    pub c: f64,
    /// Whether features are first divided by their deviation over all samples, the mean taken off, as the linear probe's
    /// batch normalisation does.
    pub standardise: bool,
    /// How small the gradient's greatest entry must be; scikit-learn's 1e-4.
    pub tolerance: f64,
    /// The most steps of L-BFGS.
    pub max_iterations: usize,
}

impl Default for LogisticConfig {
    /// `C` is 1, features are standardised, tolerance 1e-4, at most 1,000 steps.
    fn default() -> Self {
        Self { c: 1.0, standardise: true, tolerance: 1e-4, max_iterations: 1000 }
    }
}

impl LogisticConfig {
    pub(super) fn check(&self) -> Result<()> {
        for (name, value) in [("C", self.c), ("tolerance", self.tolerance)] {
            if !(value > 0.0 && value.is_finite()) {
                let (found, expected) = (value.to_string(), "a number above 0".to_owned());
                return Err(Error::Setting { name, found, expected });
            }
        }
        if self.max_iterations == 0 {
            let (name, found) = ("max_iterations", "0".to_owned());
            return Err(Error::Setting { name, found, expected: "at least 1".to_owned() });
        }
        Ok(())
    }
}
