use std::collections::{BTreeMap, BTreeSet};

use candle_core::{Tensor, Var};

use crate::{AdamW, AdamWConfig, Error, Gradients, Lars, LarsConfig, NamedParam, Result};

/// Which optimiser, with its constants. The default is MAE's for pre-training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OptimizerConfig {
    /// AdamW.
    AdamW(AdamWConfig),
    /// LARS.
    Lars(LarsConfig),
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::AdamW(AdamWConfig::default())
    }
}

impl From<AdamWConfig> for OptimizerConfig {
    fn from(config: AdamWConfig) -> Self {
        Self::AdamW(config)
    }
}

impl From<LarsConfig> for OptimizerConfig {
    fn from(config: LarsConfig) -> Self {
        Self::Lars(config)
    }
}

/// Any of the optimisers.
#[derive(Debug)]
pub enum Optimizer {
    /// AdamW.
    AdamW(AdamW),
    /// LARS.
    Lars(Lars),
}

impl Optimizer {
    /// An optimiser of `params` at its start.
    ///
    /// # Errors
    /// When a name is listed twice.
    pub fn new(params: Vec<NamedParam>, config: OptimizerConfig) -> Result<Self> {
        Ok(match config {
            OptimizerConfig::AdamW(config) => Self::AdamW(AdamW::new(params, config)?),
            OptimizerConfig::Lars(config) => Self::Lars(Lars::new(params, config)?),
        })
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AdamW(_) => "AdamW",
            Self::Lars(_) => "LARS",
        }
    }

    /// The parameters it optimises.
    pub fn parameters(&self) -> &[NamedParam] {
        match self {
            Self::AdamW(adamw) => adamw.parameters(),
            Self::Lars(lars) => lars.parameters(),
        }
    }

    /// Updates done.
    pub fn step_count(&self) -> u64 {
        match self {
            Self::AdamW(adamw) => adamw.step_count(),
            Self::Lars(lars) => lars.step_count(),
        }
    }

    pub(crate) fn set_step_count(&mut self, step: u64) {
        match self {
            Self::AdamW(adamw) => adamw.set_step_count(step),
            Self::Lars(lars) => lars.set_step_count(step),
        }
    }

    /// One update at learning rate `lr`, with every gradient times `factor` (clipping). Parameters without a gradient
    /// are left alone.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn step(&mut self, gradients: &Gradients, factor: f64, lr: f64) -> Result<()> {
        match self {
            Self::AdamW(adamw) => adamw.step(gradients, factor, lr),
            Self::Lars(lars) => lars.step(gradients, factor, lr),
        }
    }

    /// What it keeps of earlier updates, by names that tell which optimiser's it is.
    pub fn state(&self) -> Vec<(String, Var)> {
        match self {
            Self::AdamW(adamw) => adamw.state(),
            Self::Lars(lars) => lars.state(),
        }
    }

    /// Restores what [`Optimizer::state`] gave, and the number of updates done.
    ///
    /// # Errors
    /// When it is of another optimiser, or names or shapes differ; nothing is restored then.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>, step: u64) -> Result<()> {
        self.check(state)?;
        match self {
            Self::AdamW(adamw) => adamw.restore(state, step),
            Self::Lars(lars) => lars.restore(state, step),
        }
    }

    /// An error if this is the state of another optimiser.
    pub(crate) fn check(&self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        match state.keys().find_map(|name| owner(name)) {
            Some(found) if found != self.name() => {
                Err(Error::OtherOptimizer { found, expected: self.name() })
            }
            _ => Ok(()),
        }
    }
}

/// Whose state a tensor of that name is.
fn owner(name: &str) -> Option<&'static str> {
    match name.split_once('.')?.0 {
        "exp_avg" | "exp_avg_sq" => Some("AdamW"),
        "mu" => Some("LARS"),
        _ => None,
    }
}

/// A variable of zeros for each parameter.
///
/// # Errors
/// When a name is listed twice.
pub(crate) fn zeros_like(params: &[NamedParam]) -> Result<Vec<Var>> {
    let mut names = BTreeSet::new();
    let zeros = |param: &NamedParam| {
        if !names.insert(param.name.clone()) {
            return Err(Error::DuplicateParameter(param.name.clone()));
        }
        Ok(Var::from_tensor(&param.var.as_detached_tensor().zeros_like()?)?)
    };
    params.iter().map(zeros).collect()
}
