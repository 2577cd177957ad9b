//! Times the encoder alone: features of whole images from ViT-B/16 at 224 x 224, without gradients.
//!
//! Prints one JSON line. `RAYON_NUM_THREADS` sets the number of threads.

use std::error::Error;
use std::io::Write;
use std::time::Instant;

use candle_core::{Device, Tensor};
use longmae_ops::{Compute, Params, Precision};
use longmae_patching::PatchGrid;
use longmae_vit::{Preset, Vit, VitConfig};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CHANNELS: usize = 3;
const SIDE: usize = 224;
const PATCH: usize = 16;

struct Options {
    precision: Precision,
    batch: usize,
    iterations: usize,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut options = Self { precision: Precision::Bf16, batch: 8, iterations: 6 };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} lacks a value"))?;
            match name.as_str() {
                "--precision" => options.precision = value.parse()?,
                "--batch" => options.batch = count(&name, &value)?,
                "--iterations" => options.iterations = count(&name, &value)?,
                _ => return Err(format!("{name}: --precision, --batch or --iterations").into()),
            }
        }
        Ok(options)
    }
}

fn count(name: &str, value: &str) -> Result<usize, String> {
    match value.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(format!("{name} {value}: expected a number above zero")),
    }
}

fn encoder(precision: Precision) -> Result<Vit, Box<dyn Error>> {
    let compute = Compute { precision, ..Compute::default() };
    let grid = PatchGrid::new((SIDE, SIDE), PATCH)?;
    let config = VitConfig { grid, channels: CHANNELS, tower: Preset::Base.tower() };
    Ok(Vit::new(config, &Params::new(0, &Device::Cpu).computing(compute))?)
}

fn main() -> Result<(), Box<dyn Error>> {
    longmae_cli::keep_freed_memory();
    let Options { precision, batch, iterations } = Options::parse(std::env::args().skip(1))?;
    let vit = encoder(precision)?;
    let images = Tensor::randn(0_f32, 1.0, (batch, CHANNELS, SIDE, SIDE), &Device::Cpu)?;
    let mut seconds = Vec::with_capacity(iterations);
    for _ in 0..iterations {
        let began = Instant::now();
        longmae_ops::inference(|| vit.encode(&images, None, None))?;
        seconds.push(began.elapsed().as_secs_f64());
    }
    let rate = batch as f64 / median(&seconds);
    writeln!(std::io::stdout(), r#"{{"images_per_second":{rate:.3},"seconds":{seconds:?}}}"#)?;
    Ok(())
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}
