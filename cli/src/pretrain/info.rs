//! Between the models' configurations and what weight files say.

use std::path::Path;

use candle_core::Var;
use longmae_ops::Params;
use longmae_vit::TowerConfig;
use longmae_weights::{Adapt, Checkpoint, Kind, Metadata, ModelInfo, TowerInfo, is_encoder};

use crate::flags::Flags;
use crate::recipe;
use crate::settings::Settings;
use crate::weights::find;

/// What a file written by this run says of itself.
pub fn metadata(
    settings: &Settings,
    kind: Kind,
    steps: u64,
    epochs: f64,
    loss: Option<f64>,
) -> anyhow::Result<Metadata> {
    let encoder = settings.mae.encoder;
    let decoder = settings.mae.decoder;
    let (height, width) = encoder.grid.image_size();
    let info = ModelInfo {
        image_size: [height, width],
        patch_size: encoder.grid.patch(),
        channels: encoder.channels,
        mean: settings.flags.mean.clone().unwrap_or_default(),
        std: settings.flags.std.clone().unwrap_or_default(),
        mask_unit: settings.masks.unit,
        mask_ratio: settings.masks.ratio,
        mask_strategy: settings.mask_strategy.clone(),
        mask_count: settings.flags.mask_count.clone().unwrap_or_default(),
        encoder: tower(&encoder.tower),
        decoder: Some(tower(&decoder.tower)),
        decoder_downsampling: decoder.downsampling,
        pred_downsampling: decoder.pred_downsampling,
        key_bias: encoder.tower.key_bias,
        norm_pix_loss: settings.mae.norm_pix_loss,
        layer_norm_eps: encoder.tower.layer_norm_eps,
        steps,
        epochs: Some(epochs),
        loss,
        code_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    // What a machine chose for itself is no part of what was computed.
    let flags = Flags { workers: None, threads: None, ..settings.flags.clone() };
    let recipe = recipe::to_table(&flags)?.to_string();
    Ok(Metadata { kind, info, recipe: Some(recipe) })
}

fn tower(config: &TowerConfig) -> TowerInfo {
    TowerInfo {
        dim: config.dim,
        depth: config.depth,
        heads: config.heads,
        mlp_ratio: config.mlp_ratio,
    }
}

/// Every tensor of a model under its name.
pub fn vars(params: &Params) -> Vec<(String, Var)> {
    params.all().into_iter().map(|param| (param.name, param.var)).collect()
}

/// Loads weights to start from: a whole model, or an encoder. They may be of another grid, patch size or number of channels;
/// what was adapted is told, a line a tensor.
pub fn load_weights(
    path: &Path,
    params: &Params,
    settings: &Settings,
) -> anyhow::Result<Vec<String>> {
    let checkpoint = open_weights(path)?;
    let grid = settings.mae.encoder.grid;
    // Whoever asks for other patches or channels asks for other predictions: those learned before have no place there.
    let how = Adapt::to_grid([grid.rows(), grid.cols()]).leaving_prediction();
    let mut vars = vars(params);
    let adaptation = if checkpoint.kind() == Some(Kind::Encoder) {
        vars.retain(|(name, _)| is_encoder(name));
        checkpoint.adapt_encoder(&vars, &how)?
    } else {
        checkpoint.adapt(&vars, &how)?
    };
    adaptation.load()?;
    Ok(adaptation.changes().iter().map(ToString::to_string).collect())
}

/// Opens the weights that a reference means.
pub fn open_weights(path: &Path) -> anyhow::Result<Checkpoint> {
    Ok(Checkpoint::open(find(path)?)?)
}
