//! `embed WEIGHTS FOLDER OUT.safetensors`: the class token of each image below a folder, by timm's MAE encoder.
use std::{collections::HashMap, env, error::Error};

use candle_core::{Device, IndexOp, Tensor, safetensors};
use longmae_data::{
    DecodeOptions, EvalTransform, ImageFolder, Normalize, Size, Source, Transform, rng,
};
use longmae_vit::{Backbone, Params, PatchGrid, TowerConfig, Vit, VitConfig};
use longmae_weights::{Checkpoint, Known};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().collect();
    let [_, weights, folder, out] = &args[..] else {
        return Err("embed WEIGHTS FOLDER OUT".into());
    };

    let checkpoint = Checkpoint::open(weights)?;
    let info = checkpoint.model_info(&Known::default())?;
    let ([height, width], channels) = (info.image_size, info.channels);
    let tower = TowerConfig::new(info.encoder.dim, info.encoder.depth, info.encoder.heads);
    let grid = PatchGrid::new((height, width), info.patch_size)?;
    let params = Params::new(0, &Device::Cpu);
    let vit = Vit::new(VitConfig { grid, channels, tower }, &params)?;
    let vars: Vec<_> = params.all().into_iter().map(|param| (param.name, param.var)).collect();
    checkpoint.load_encoder_into(&vars)?;

    let [mean, std] = [&info.mean, &info.std].map(|list| list.iter().map(|x| *x as f32).collect());
    let transform = EvalTransform::new(Size::new(height, width)?, Normalize::new(mean, std)?);
    let images = ImageFolder::open(folder, DecodeOptions { channels, ..Default::default() })?;
    let mut features = HashMap::new();
    for index in 0..images.len() {
        let sample = images.get(index)?;
        let mut unused = rng::stream(0, 0, 0, rng::Purpose::Crop);
        let pixels = transform.apply(&sample.picture, &mut unused)?.data;
        let image = Tensor::from_vec(pixels, (1, channels, height, width), &Device::Cpu)?;
        features.insert(sample.id, vit.features(&image)?.i((0, 0))?.detach());
    }
    Ok(safetensors::save(&features, out)?)
}
