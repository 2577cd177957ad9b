//! Times loading a checkpoint of ViT-L/16's encoder at 224 x 224 into the model, from opening it to its last tensor.
//!
//! `load FILE` prints one JSON line. `RAYON_NUM_THREADS` sets the number of threads.

use std::error::Error;
use std::io::Write;
use std::time::Instant;

use candle_core::Device;
use longmae_ops::Params;
use longmae_patching::PatchGrid;
use longmae_vit::{Preset, Vit, VitConfig};
use longmae_weights::Checkpoint;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("expected the checkpoint's file")?;
    let params = Params::new(0, &Device::Cpu);
    let grid = PatchGrid::new((224, 224), 16)?;
    let config = VitConfig { grid, channels: 3, tower: Preset::Large.tower() };
    let model = Vit::new(config, &params)?;
    let vars: Vec<_> = params.all().into_iter().map(|param| (param.name, param.var)).collect();
    let began = Instant::now();
    let report = Checkpoint::open(path)?.load_encoder_into(&vars)?;
    let seconds = began.elapsed().as_secs_f64();
    drop(model);
    let parameters = report.parameters;
    writeln!(std::io::stdout(), r#"{{"seconds":{seconds:.4},"parameters":{parameters}}}"#)?;
    Ok(())
}
