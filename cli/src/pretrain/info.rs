//! Between the models' configurations and what weight files say.

use std::path::{Path, PathBuf};

use candle_core::Var;
use longmae_ops::Params;
use longmae_train::Checkpoints;
use longmae_vit::TowerConfig;
use longmae_weights::{Checkpoint, Kind, Metadata, ModelInfo, TowerInfo, is_encoder};

use crate::flags::Flags;
use crate::recipe;
use crate::settings::Settings;
use crate::weights::fetch;

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

/// Loads weights to start from: a whole model, or an encoder.
pub fn load_weights(path: &Path, params: &Params, settings: &Settings) -> anyhow::Result<()> {
    let checkpoint = open_weights(path, settings)?;
    let vars = vars(params);
    if checkpoint.kind() == Some(Kind::Encoder) {
        let encoder: Vec<_> = vars.into_iter().filter(|(name, _)| is_encoder(name)).collect();
        checkpoint.load_encoder_into(&encoder)?;
    } else {
        checkpoint.load_into(&vars)?;
    }
    Ok(())
}

/// Opens weights and checks that they are of this grid.
pub fn open_weights(path: &Path, settings: &Settings) -> anyhow::Result<Checkpoint> {
    let checkpoint = Checkpoint::open(find_weights(path)?)?;
    check_grid(&checkpoint, settings)?;
    Ok(checkpoint)
}

/// Shapes cannot tell a 16x16 grid from one of 8x32: the file's own words can.
fn check_grid(checkpoint: &Checkpoint, settings: &Settings) -> anyhow::Result<()> {
    let grid = settings.mae.encoder.grid;
    let said = checkpoint.metadata().and_then(|metadata| metadata.info.grid());
    match said {
        Some([rows, cols])
            if rows * cols == grid.len() && [rows, cols] != [grid.rows(), grid.cols()] =>
        {
            anyhow::bail!(
                "{}: its grid is {rows}x{cols} patches, this model's is {}x{}: resizing position embeddings is \
                 not there yet",
                checkpoint.path().display(),
                grid.rows(),
                grid.cols()
            )
        }
        _ => Ok(()),
    }
}

/// The file that a weights reference means: itself, or what a checkpoint's or run's folder or a model of the Hub holds.
fn find_weights(path: &Path) -> anyhow::Result<PathBuf> {
    if let Some(text) = path.to_str().filter(|text| text.starts_with("hf://")) {
        return fetch(text);
    }
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    if let Some(checkpoint) = Checkpoints::new(path.join("checkpoints")).latest()? {
        return Ok(checkpoint.model_path());
    }
    let candidates = ["model.safetensors", "encoder.safetensors"].map(|name| path.join(name));
    let found = candidates.into_iter().find(|file| file.is_file());
    found.ok_or_else(|| {
        anyhow::anyhow!(
            "{}: no weights in this folder (looked for checkpoints/, model.safetensors, encoder.safetensors)",
            path.display()
        )
    })
}
