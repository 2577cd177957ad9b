//! Times fine-tuning and evaluation: whole optimiser steps (forward, backward, gradient norm, AdamW) of a ViT-B/16 classifier at
//! 224 x 224 on a batch in memory, with soft targets, drop path and layer-wise learning-rate decay; or its logits alone.
//!
//! Prints one JSON line. `RAYON_NUM_THREADS` sets the number of threads.

use std::error::Error;
use std::io::Write;
use std::time::Instant;

use candle_core::{Device, Tensor};
use longmae_finetune::{Classifier, ClassifierConfig, Pool, layer_decay, soft_cross_entropy};
use longmae_ops::{Compute, Params, Precision};
use longmae_patching::PatchGrid;
use longmae_train::{AdamWConfig, Gradients, NamedParam, Optimizer};
use longmae_vit::{DropPath, Preset, VitConfig};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SIDE: usize = 224;
const CLASSES: usize = 1000;
const DROP_PATH: f64 = 0.1;
const LAYER_DECAY: f64 = 0.65;

struct Options {
    task: String,
    precision: Precision,
    batch: usize,
    steps: usize,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options =
            Self { task: "train".to_owned(), precision: Precision::Fp32, batch: 8, steps: 6 };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} lacks a value"))?;
            match (name.as_str(), value.as_str()) {
                ("--task", "train" | "eval") => options.task = value,
                ("--precision", _) => options.precision = value.parse()?,
                ("--batch", _) => options.batch = value.parse()?,
                ("--steps", _) => options.steps = value.parse()?,
                _ => {
                    let expected = "--task train or eval, --precision, --batch or --steps";
                    return Err(format!("{name} {value}: expected {expected}").into());
                }
            }
        }
        Ok(options)
    }
}

struct Run {
    model: Classifier,
    params: Params,
    images: Tensor,
    targets: Tensor,
    rng: ChaCha8Rng,
    depth: usize,
    batch: usize,
}

impl Run {
    fn new(options: &Options) -> Result<Self> {
        let compute = Compute { precision: options.precision, ..Compute::default() };
        let params = Params::new(0, &Device::Cpu).computing(compute);
        let (tower, batch) = (Preset::Base.tower(), options.batch);
        let vit = VitConfig { grid: PatchGrid::new((SIDE, SIDE), 16)?, channels: 3, tower };
        let config = ClassifierConfig { vit, classes: CLASSES, pool: Pool::Mean };
        let model = Classifier::new(config, &params)?;
        Ok(Self {
            model,
            params,
            images: Tensor::randn(0f32, 1.0, (batch, 3, SIDE, SIDE), &Device::Cpu)?,
            targets: Tensor::full(1.0 / CLASSES as f32, (batch, CLASSES), &Device::Cpu)?,
            rng: ChaCha8Rng::seed_from_u64(0),
            depth: tower.depth,
            batch,
        })
    }

    fn optimizer(&self) -> Result<Optimizer> {
        let tuned = layer_decay(self.model.backbone(), &self.params.all(), LAYER_DECAY)?;
        let named = tuned.into_iter().map(|param| NamedParam {
            name: param.name,
            var: param.var,
            lr_scale: param.lr_scale,
            decay: param.decay,
        });
        let adamw = AdamWConfig { beta2: 0.999, ..AdamWConfig::default() };
        Ok(Optimizer::new(named.collect(), adamw.into())?)
    }

    /// One step; the loss.
    fn train(&mut self, optimizer: &mut Optimizer) -> Result<f32> {
        let draws = (0..self.batch).map(|_| DropPath::draw(DROP_PATH, self.depth, &mut self.rng));
        let drop = DropPath::stack(&draws.collect::<std::result::Result<Vec<_>, _>>()?)?;
        let logits = self.model.forward(&self.images, Some(&drop))?;
        let loss = soft_cross_entropy(&logits, &self.targets)?;
        let mut gradients = Gradients::empty(optimizer.parameters().len());
        gradients.accumulate(optimizer.parameters(), longmae_ops::backward(&loss)?)?;
        if gradients.norm()?.is_finite() {
            optimizer.step(&gradients, 1.0, 1e-4)?;
        }
        Ok(loss.to_scalar()?)
    }

    /// One batch's logits; the first.
    fn evaluate(&self) -> Result<f32> {
        let logits = longmae_ops::inference(|| self.model.forward(&self.images, None))?;
        Ok(logits.flatten_all()?.get(0)?.to_scalar()?)
    }
}

fn main() -> Result<()> {
    longmae_cli::keep_freed_memory();
    let options = Options::parse(std::env::args().skip(1))?;
    let mut run = Run::new(&options)?;
    let mut seconds = Vec::with_capacity(options.steps);
    let mut loss = 0.0;
    // Moments are for training alone.
    let mut optimizer = (options.task == "train").then(|| run.optimizer()).transpose()?;
    for _ in 0..options.steps {
        let began = Instant::now();
        loss = match &mut optimizer {
            Some(optimizer) => run.train(optimizer)?,
            None => run.evaluate()?,
        };
        seconds.push(began.elapsed().as_secs_f64());
    }
    writeln!(std::io::stdout(), r#"{{"seconds":{seconds:?},"loss":{loss}}}"#)?;
    Ok(())
}
