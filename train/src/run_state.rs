use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a checkpoint holds beside tensors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// Optimiser steps done; skipped ones count.
    pub step: u64,
    /// Updates that the optimiser did.
    pub updates: u64,
    /// Mean loss of the last step.
    pub loss: Option<f64>,
    /// Seconds of training so far.
    pub seconds: f64,
    /// Steps skipped, since loss or gradient was not finite.
    #[serde(default)]
    pub skipped: u64,
    /// The last of them in a row.
    #[serde(default)]
    pub skipped_in_row: usize,
    /// Losses of the last steps, oldest first, which tell what a spike is.
    #[serde(default)]
    pub losses: Vec<f64>,
    /// High losses in a row at the end, not among them.
    #[serde(default)]
    pub high_losses: usize,
    /// The step of the checkpoint that a spike would go back to: the last one written in its turn, not for a stop, while
    /// the loss was no high one.
    #[serde(default)]
    pub rollback_to: Option<u64>,
    /// How often the run went back to an earlier checkpoint's weights.
    #[serde(default)]
    pub rollbacks: u32,
    /// The best checkpoint so far.
    #[serde(default)]
    pub best: Option<Best>,
    /// The resolved recipe, as the caller writes it.
    pub recipe: String,
    /// State of loaders and the like, by name.
    pub states: BTreeMap<String, serde_json::Value>,
}

/// The best checkpoint of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Its step.
    pub step: u64,
    /// What was evaluated there.
    pub value: f64,
}
