use std::path::Path;

use candle_core::{Tensor, Var};
use longmae_ops::Param;

use crate::error::BoxError;
use crate::tensors::{load_tensors, save_tensors, set_all, shared_tensors};

/// Writes a model's file; see [`Task::model_writer`].
pub type ModelWriter = Box<dyn FnOnce(&Path) -> Result<(), BoxError> + Send>;

/// A parameter as the optimiser sees it.
#[derive(Debug, Clone)]
pub struct NamedParam {
    /// Its name in a checkpoint.
    pub name: String,
    /// Its values.
    pub var: Var,
    /// Factor on the learning rate (layer-wise decay); 1 otherwise.
    pub lr_scale: f64,
    /// Whether weight decay applies.
    pub decay: bool,
}

impl NamedParam {
    /// A parameter at full learning rate that decays if it has two or more dimensions (timm's rule).
    pub fn new(param: &Param) -> Self {
        Self {
            name: param.name.clone(),
            var: param.var.clone(),
            lr_scale: 1.0,
            decay: param.var.rank() > 1,
        }
    }
}

/// Where in the run a step is.
#[derive(Debug, Clone, Copy)]
pub struct StepContext {
    /// Optimiser steps done before this one.
    pub step: u64,
    /// Epochs done, with their fraction.
    pub epoch: f64,
}

/// What a task gives for a batch.
#[derive(Debug, Clone)]
pub struct StepOutput {
    /// The loss to minimise, a scalar: a mean over the batch.
    pub loss: Tensor,
    /// Samples in the batch.
    pub samples: usize,
}

/// Something that can be optimised: a loss over batches and named parameters.
pub trait Task {
    /// What the loader gives and the loss takes.
    type Batch: Send;

    /// The loss of a batch.
    ///
    /// # Errors
    /// Whatever the model reports; the run stops with it.
    fn loss(&self, batch: &Self::Batch, context: &StepContext) -> Result<StepOutput, BoxError>;

    /// The parameters to optimise, always in the same order.
    fn parameters(&self) -> Vec<NamedParam>;

    /// Names of a batch's samples, for messages.
    fn sample_ids(&self, batch: &Self::Batch) -> Vec<String>;

    /// What writes the model's file of a checkpoint, after `step` steps at this loss. It runs on another thread while
    /// training goes on, up to the next update: it should hold the parameters' own tensors, not copies of them. By
    /// default the parameters under their names, as safetensors.
    ///
    /// # Errors
    /// When the file cannot be described.
    fn model_writer(&self, _step: u64, _loss: Option<f64>) -> Result<ModelWriter, BoxError> {
        let tensors = shared_tensors(&parameter_vars(&self.parameters()));
        Ok(Box::new(move |path| Ok(save_tensors(path, &tensors)?)))
    }

    /// Reads back what a [`Task::model_writer`] wrote, all or nothing.
    ///
    /// # Errors
    /// When the file cannot be read or does not fit the model.
    fn load_model(&self, path: &Path) -> Result<(), BoxError> {
        let vars = parameter_vars(&self.parameters());
        Ok(set_all("model", &vars, &load_tensors(path)?)?)
    }
}

fn parameter_vars(parameters: &[NamedParam]) -> Vec<(String, Var)> {
    parameters.iter().map(|param| (param.name.clone(), param.var.clone())).collect()
}

/// A closure as a task; see [`task_fn`].
pub struct FnTask<B, F> {
    parameters: Vec<NamedParam>,
    loss: F,
    batch: std::marker::PhantomData<fn(B)>,
}

/// Makes a task of parameters and a closure that gives the loss of a batch.
pub fn task_fn<B, F>(parameters: Vec<NamedParam>, loss: F) -> FnTask<B, F>
where
    B: Send,
    F: Fn(&B, &StepContext) -> Result<StepOutput, BoxError>,
{
    FnTask { parameters, loss, batch: std::marker::PhantomData }
}

impl<B, F> Task for FnTask<B, F>
where
    B: Send,
    F: Fn(&B, &StepContext) -> Result<StepOutput, BoxError>,
{
    type Batch = B;

    fn loss(&self, batch: &B, context: &StepContext) -> Result<StepOutput, BoxError> {
        (self.loss)(batch, context)
    }

    fn parameters(&self) -> Vec<NamedParam> {
        self.parameters.clone()
    }

    fn sample_ids(&self, _batch: &B) -> Vec<String> {
        Vec::new()
    }
}
