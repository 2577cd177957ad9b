//! Multinomial logistic regression, solved exactly: the linear probe without its recipe.

mod config;
mod objective;
mod precondition;
mod search;
mod standard;

use std::cell::Cell;

use candle_core::Tensor;
use liblbfgs::lbfgs;
use longmae_ops::{Affine, Compute, linear};

pub use config::{C_GRID, LogisticConfig};
pub use search::Search;

use super::{Features, LinearProbe};
use crate::{Error, Result};
use objective::{Objective, Value};
use standard::Standard;

/// A linear classifier that minimises
/// `mean cross-entropy + |weight|^2 / (2 C samples)`, the bias not penalised.
///
/// This is `sklearn.linear_model.LogisticRegression(C=C, solver="lbfgs")`, for two classes too, where scikit-learn has one
/// row of weights instead of two opposite ones. The same features give the same numbers, whatever the number of threads.
///
/// Features of an encoder differ much along few directions and little along most, which L-BFGS takes long to level out. It
/// therefore goes by other variables (principal directions scaled to one curvature); the objective, its minimum and the
/// tolerance are the same.
#[derive(Debug, Clone)]
pub struct LogisticRegression {
    standard: Standard,
    affine: Affine,
    fit: Fit,
}

/// How a fit ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    /// The `C` that was used.
    pub c: f64,
    /// What was minimised, in the end.
    pub objective: f64,
    /// The greatest entry of its gradient, in the end.
    pub gradient: f64,
    /// Steps of L-BFGS.
    pub iterations: usize,
    /// Whether the gradient is within the tolerance. If not, the steps were used up, or no step went down any more.
    pub converged: bool,
}

impl LogisticRegression {
    /// Fits features.
    ///
    /// # Errors
    /// [`Error::Setting`] for settings that cannot be, or fewer than two classes with samples.
    pub fn fit(features: &Features, config: &LogisticConfig) -> Result<Self> {
        config.check()?;
        check_classes(features)?;
        let standard = Standard::of(features.values(), config.standardise)?;
        let objective = Objective::new(features, &standard)?;
        let (x, fit) = minimise(&objective, &vec![0.0; objective.len()], config)?;
        Self::of(&objective, &x, &standard, fit)
    }

    /// The model of a minimum.
    fn of(objective: &Objective, x: &[f64], standard: &Standard, fit: Fit) -> Result<Self> {
        let (weight, bias) = objective.parameters(x)?;
        let (standard, bias) = standard.outward(&weight, bias)?;
        Ok(Self { standard, affine: Affine { weight, bias }, fit })
    }

    /// The scores `[samples, classes]` of features `[samples, dim]`; softmax makes them probabilities.
    ///
    /// # Errors
    /// When the shape does not fit.
    pub fn logits(&self, features: &Tensor) -> Result<Tensor> {
        let x = self.standard.apply(features)?;
        Ok(linear(&x, &self.affine.weight, Some(&self.affine.bias), Compute::default())?)
    }

    /// Weight `[classes, dim]` and bias `[classes]`, of standardised features if they were.
    pub fn affine(&self) -> &Affine {
        &self.affine
    }

    /// How the fit ended.
    pub fn result(&self) -> Fit {
        self.fit
    }

    /// Puts the same classifier into a [`LinearProbe`], whose normalisation is the standardisation.
    ///
    /// # Errors
    /// When its sizes are others.
    pub fn copy_to(&self, probe: &LinearProbe) -> Result<()> {
        self.standard.copy_to(probe.norm())?;
        for (from, to) in [
            (&self.affine.weight, &probe.affine().weight),
            (&self.affine.bias, &probe.affine().bias),
        ] {
            candle_core::Var::from_tensor(to)?.set(&from.to_device(to.device())?)?;
        }
        Ok(())
    }
}

fn check_classes(features: &Features) -> Result<()> {
    let first = features.labels().first();
    match features.labels().iter().all(|label| Some(label) == first) {
        false => Ok(()),
        true => Err(Error::Setting {
            name: "classes",
            found: "all samples of one class".to_owned(),
            expected: "samples of at least two".to_owned(),
        }),
    }
}

/// L-BFGS from parameters `x` on until the gradient's greatest entry is within the tolerance.
fn minimise(objective: &Objective, x: &[f64], config: &LogisticConfig) -> Result<(Vec<f64>, Fit)> {
    let other = objective.precondition(config.c)?;
    let mut variables = objective.variables(&other, x)?;
    // What is lowest stays, whatever the line search does last.
    let mut best = Value { objective: f64::INFINITY, gradient: f64::INFINITY };
    let mut lowest = x.to_vec();
    let mut failure = None;
    let mut iterations = 0;
    let latest = Cell::new(best);
    {
        let evaluate = |variables: &[f64], gradient: &mut [f64]| match objective
            .evaluate_by(&other, variables, config.c, gradient)
        {
            Ok((x, value)) => {
                latest.set(value);
                if value.objective <= best.objective {
                    best = value;
                    lowest = x;
                }
                Ok(value.objective)
            }
            Err(error) => {
                let text = error.to_string();
                failure = Some(error);
                Err(std::io::Error::other(text).into())
            }
        };
        // Steps may be of any length: the line search alone limits them.
        let state = lbfgs().with_max_step_size(f64::MAX).build(&mut variables, evaluate);
        if let Ok(mut state) = state {
            // The first call takes no step. A line search that finds nothing lower ends it.
            while state.propagate().is_ok() {
                let greatest = latest.get().gradient;
                if greatest <= config.tolerance
                    || !greatest.is_finite()
                    || iterations == config.max_iterations
                {
                    break;
                }
                iterations += 1;
            }
        }
    }
    if let Some(error) = failure {
        return Err(error);
    }
    let converged = best.gradient <= config.tolerance;
    let Value { objective, gradient } = best;
    Ok((lowest, Fit { c: config.c, objective, gradient, iterations, converged }))
}
