//! What a kind of training run is, for the session that all of them share.

use std::sync::Arc;

use longmae_train::{
    BestBy, Collective, Decay, OptimizerConfig, Task, TrainConfig, Trainer, Watch,
};
use toml::Table;

use super::curve::Chart;
use super::observer::Events;
use super::{RunBatches, RunFolder, RunSettings, Sources, Started};
use crate::terminal::Terminal;

/// A kind of training run, opened: what it has beside task and batches.
pub trait Plan: Sized {
    /// Its settings.
    type Settings: RunSettings;
    /// What a step takes.
    type Batch: Send + 'static;
    /// What it optimises.
    type Task: Task<Batch = Self::Batch>;

    /// The name of a run without a recipe, and the built-in recipe that it takes then, from what was typed.
    fn default_recipe(typed: &Table) -> (String, Option<&'static str>);

    /// Prints what a run would be.
    fn dry_run(name: &str, settings: &Self::Settings) -> anyhow::Result<()>;

    /// Opens data and weights, builds the model and makes the first batch: whatever can refuse the run.
    fn prepare(settings: &Self::Settings) -> anyhow::Result<Prepared<Self>>;

    /// How it is optimised.
    fn optimizer(settings: &Self::Settings) -> OptimizerConfig;

    /// How its learning rate falls after the warm-up.
    fn decay(_settings: &Self::Settings) -> Decay {
        Decay::Cosine
    }

    /// The number that says which checkpoint is best, where there is validation.
    fn best() -> BestBy;

    /// What the loss curve says of itself.
    fn chart(&self, settings: &Self::Settings) -> Chart;

    /// What is trained on what, for the first line.
    fn subject(&self, settings: &Self::Settings, sources: &Sources) -> String;

    /// What a user would want to know before a long run.
    fn warnings(&self, settings: &Self::Settings) -> Vec<String>;

    /// Adds the hooks of the run; rank 0 alone is the `lead`.
    fn watch<'a>(
        &'a self,
        watch: Watch<'a, Self::Task>,
        settings: &'a Self::Settings,
        config: &TrainConfig,
        collective: &Arc<dyn Collective>,
        lead: Option<&Lead<'_>>,
    ) -> anyhow::Result<Watch<'a, Self::Task>>;

    /// Writes what a finished run leaves and says where it is.
    fn finish(
        &self,
        settings: &Self::Settings,
        trainer: &Trainer<Self::Task>,
        folder: &RunFolder,
        terminal: &Terminal,
    ) -> anyhow::Result<()>;
}

/// A run that is ready to begin.
pub struct Prepared<P: Plan> {
    pub plan: P,
    pub sources: Sources,
    pub task: P::Task,
    pub batches: RunBatches<P::Batch>,
    /// What became of the weights to start from.
    pub started: Started,
    pub steps_per_epoch: u64,
}

/// What rank 0 has for its hooks.
pub struct Lead<'a> {
    pub folder: &'a RunFolder,
    pub events: &'a Events,
}
