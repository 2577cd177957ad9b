//! Times the training of a detector: whole optimiser steps (forward, backward, gradient norm, AdamW) of ViTDet's Mask R-CNN with
//! ViT-B, on one image of 1024 x 1024 with eight objects, of 80 categories, with drop path and layer-wise learning-rate decay.
//!
//! Prints one JSON line. `RAYON_NUM_THREADS` sets the number of threads.

use std::error::Error;
use std::io::Write;
use std::time::Instant;

use candle_core::{Device, Tensor};
use longmae_finetune::detect::{Bitmap, Detector, DetectorConfig, Target};
use longmae_ops::{Compute, Params, Precision};
use longmae_patching::PatchGrid;
use longmae_train::{AdamWConfig, Gradients, NamedParam, Optimizer};
use longmae_vit::{DropPath, Preset, WindowedVitConfig};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const CLASSES: usize = 80;
const OBJECTS: usize = 8;
const DROP_PATH: f64 = 0.1;
const LAYER_DECAY: f64 = 0.7;

struct Options {
    precision: Precision,
    grad_checkpoint: bool,
    side: usize,
    steps: usize,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options =
            Self { precision: Precision::Fp32, grad_checkpoint: false, side: 1024, steps: 4 };
        while let Some(name) = arguments.next() {
            if name == "--checkpoint" {
                options.grad_checkpoint = true;
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{name} lacks a value"))?;
            match name.as_str() {
                "--precision" => options.precision = value.parse()?,
                "--side" => options.side = value.parse()?,
                "--steps" => options.steps = value.parse()?,
                _ => {
                    let expected = "--precision, --side, --steps or --checkpoint";
                    return Err(format!("{name} {value}: expected {expected}").into());
                }
            }
        }
        Ok(options)
    }
}

/// Objects in two rows of four, each an ellipse in its box.
fn objects(side: usize) -> Target {
    let mut target = Target::default();
    let cell = side as f32 / 4.0;
    for i in 0..OBJECTS {
        let (x, y) = ((i % 4) as f32 * cell, (i / 4) as f32 * 2.0 * cell);
        let (width, height) = (cell * (0.3 + 0.08 * i as f32), cell * (1.2 - 0.1 * i as f32));
        let inside = |row: usize, col: usize| {
            let right = (col as f32 + 0.5 - x) / width - 0.5;
            let down = (row as f32 + 0.5 - y) / height - 0.5;
            u8::from(right * right + down * down <= 0.25)
        };
        let pixels: Vec<u8> =
            (0..side * side).map(|pixel| inside(pixel / side, pixel % side)).collect();
        target.boxes.push([x, y, x + width, y + height]);
        target.classes.push((i * 9) as u32);
        target.masks.push(Bitmap { size: (side, side), pixels: pixels.into() });
    }
    target
}

struct Run {
    model: Detector,
    params: Params,
    images: Tensor,
    target: Target,
    rng: ChaCha8Rng,
    depth: usize,
    side: usize,
}

impl Run {
    fn new(options: &Options) -> Result<Self> {
        let compute = Compute {
            precision: options.precision,
            grad_checkpoint: options.grad_checkpoint,
            ..Compute::default()
        };
        let params = Params::new(0, &Device::Cpu).computing(compute);
        let (tower, side) = (Preset::Base.tower(), options.side);
        let grid = PatchGrid::new((side, side), 16)?;
        let vit = WindowedVitConfig::new(grid, PatchGrid::new((224, 224), 16)?, tower);
        Ok(Self {
            model: Detector::new(DetectorConfig::mask_rcnn(vit, CLASSES, true), &params)?,
            params,
            images: Tensor::randn(0f32, 1.0, (1, 3, side, side), &Device::Cpu)?,
            target: objects(side),
            rng: ChaCha8Rng::seed_from_u64(0),
            depth: tower.depth,
            side,
        })
    }

    fn optimizer(&self) -> Result<Optimizer> {
        let tuned = self.model.tuned(&self.params.all(), LAYER_DECAY)?;
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
        let draw = DropPath::draw(DROP_PATH, self.depth, &mut self.rng)?;
        let drop = DropPath::stack(&[draw])?;
        let (sizes, targets) = ([(self.side, self.side)], [self.target.clone()]);
        let losses =
            self.model.losses(&self.images, &sizes, &targets, Some(&drop), &mut self.rng)?;
        let loss = losses.total()?;
        let mut gradients = Gradients::empty(optimizer.parameters().len());
        gradients.accumulate(optimizer.parameters(), longmae_ops::backward(&loss)?)?;
        if gradients.norm()?.is_finite() {
            optimizer.step(&gradients, 1.0, 1e-5)?;
        }
        Ok(loss.to_scalar()?)
    }
}

fn main() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    if !options.grad_checkpoint {
        longmae_cli::keep_freed_memory();
    }
    let mut run = Run::new(&options)?;
    let mut optimizer = run.optimizer()?;
    let mut seconds = Vec::with_capacity(options.steps);
    let mut loss = 0.0;
    for _ in 0..options.steps {
        let began = Instant::now();
        loss = run.train(&mut optimizer)?;
        seconds.push(began.elapsed().as_secs_f64());
    }
    writeln!(std::io::stdout(), r#"{{"seconds":{seconds:?},"loss":{loss}}}"#)?;
    Ok(())
}
