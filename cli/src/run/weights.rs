//! Between a run's settings and the weights that it starts from.

use std::path::Path;

use anyhow::bail;
use candle_core::{Device, Tensor, Var};
use longmae_ops::{Param, Params};
use longmae_patching::PatchGrid;
use longmae_vit::{Preset, TowerConfig, VitConfig};
use longmae_weights::{
    Adapt, Adaptation, Checkpoint, Error, Known, LoadOptions, ModelInfo, TowerInfo, is_decoder,
};

use super::flags::{DataFlags, EncoderFlags};
use super::settings::Common;
use super::words::Started;
use crate::image_size::ImageSize;
use crate::terminal::plural;
use crate::weights::find;

/// Opens the weights that a reference means.
pub fn open_weights(path: &Path) -> anyhow::Result<Checkpoint> {
    Ok(Checkpoint::open(find(path)?)?)
}

/// Every tensor of a model under its name.
pub fn vars(params: &[Param]) -> Vec<(String, Var)> {
    params.iter().map(|param| (param.name.clone(), param.var.clone())).collect()
}

/// A tower as a file says it.
pub fn tower_info(config: &TowerConfig) -> TowerInfo {
    TowerInfo {
        dim: config.dim,
        depth: config.depth,
        heads: config.heads,
        mlp_ratio: config.mlp_ratio,
    }
}

/// The tower that a file describes.
pub fn tower_config(tower: &TowerInfo, info: &ModelInfo) -> TowerConfig {
    TowerConfig {
        dim: tower.dim,
        depth: tower.depth,
        heads: tower.heads,
        mlp_ratio: tower.mlp_ratio,
        key_bias: info.key_bias,
        layer_norm_eps: info.layer_norm_eps,
    }
}

/// What a file written by a run says of an encoder; the masks are MAE's own, where nothing was masked.
pub fn encoder_info(vit: &VitConfig, images: &DataFlags) -> ModelInfo {
    let (height, width) = vit.grid.image_size();
    ModelInfo {
        image_size: [height, width],
        patch_size: vit.grid.patch(),
        channels: vit.channels,
        mean: images.mean.clone().unwrap_or_default(),
        std: images.std.clone().unwrap_or_default(),
        mask_unit: 1,
        mask_ratio: 0.75,
        mask_strategy: "random".to_owned(),
        mask_count: "published".to_owned(),
        encoder: tower_info(&vit.tower),
        decoder: None,
        decoder_downsampling: 1,
        pred_downsampling: 1,
        key_bias: vit.tower.key_bias,
        norm_pix_loss: true,
        layer_norm_eps: vit.tower.layer_norm_eps,
        steps: 0,
        epochs: None,
        loss: None,
        code_version: env!("CARGO_PKG_VERSION").to_owned(),
        classifier: None,
        detector: None,
    }
}

/// Takes over from the weights to start from whatever was not set: the encoder's sizes, the images' size, channels, mean
/// and deviation. What the file says of its model is given back, if weights were named.
pub fn complete(
    encoder: &mut EncoderFlags,
    images: &mut DataFlags,
) -> anyhow::Result<Option<ModelInfo>> {
    let Some(weights) = &encoder.init_weights else { return Ok(None) };
    let checkpoint = open_weights(Path::new(weights))?;
    let known = Known {
        image_size: None,
        heads: encoder.encoder_heads,
        mean: images.mean.clone(),
        std: images.std.clone(),
        layer_norm_eps: encoder.layer_norm_eps,
        // Only a decoder asks.
        decoder_heads: checkpoint.shape("decoder_embed.weight").map(|_| 1),
        norm_pix_loss: Some(true),
    };
    let info = checkpoint.model_info(&known).map_err(with_flags)?;
    let preset = encoder.model.is_none().then(|| preset_of(&info)).flatten();
    if encoder.model.is_none() && preset.is_none() {
        let TowerInfo { dim, depth, heads, mlp_ratio } = info.encoder;
        encoder.encoder_dim.get_or_insert(dim);
        encoder.encoder_depth.get_or_insert(depth);
        encoder.encoder_heads.get_or_insert(heads);
        encoder.mlp_ratio.get_or_insert(mlp_ratio);
    }
    encoder.model = encoder.model.take().or(preset.map(|preset| preset.name().to_owned()));
    encoder.patch_size.get_or_insert(info.patch_size);
    encoder.no_k_bias.get_or_insert(!info.key_bias);
    encoder.layer_norm_eps.get_or_insert(info.layer_norm_eps);
    let [height, width] = info.image_size;
    images.image_size.get_or_insert(ImageSize { height, width });
    if *images.channels.get_or_insert(info.channels) == info.channels {
        images.mean.get_or_insert_with(|| info.mean.clone());
        images.std.get_or_insert_with(|| info.std.clone());
    }
    Ok(Some(info))
}

/// The preset with these sizes.
fn preset_of(info: &ModelInfo) -> Option<Preset> {
    Preset::ALL.into_iter().find(|preset| tower_info(&preset.tower()) == info.encoder)
}

/// Names the flags that would say what nobody says.
fn with_flags(error: Error) -> anyhow::Error {
    let Error::Unsaid { keys, .. } = &error else { return error.into() };
    let flag = |key: &String| match key.split(' ').next().unwrap_or(key) {
        "heads" => "--encoder-heads".to_owned(),
        key => format!("--{}", key.replace('_', "-")),
    };
    let flags: Vec<String> = keys.iter().map(flag).collect();
    anyhow::anyhow!("{error}: {}", flags.join(", "))
}

/// Loads the encoder's part of the weights to start from into the parameters of a model on top of one; its own are left
/// at their start. The weights may be of another grid, patch size or number of channels.
pub fn load_encoder(path: &Path, params: &Params, common: &Common) -> anyhow::Result<Started> {
    let checkpoint = open_weights(path)?;
    let (there, fresh) = of_file(&checkpoint, &params.all());
    let encoder: Vec<Param> =
        there.into_iter().filter(|param| longmae_weights::is_encoder(&param.name)).collect();
    let mut vars = vars(&encoder);
    vars.extend(unused(&checkpoint, &vars, &["norm.weight", "norm.bias"])?);
    let mut how = adapt(common);
    if common.allow_partial {
        how = how.allowing_partial();
    }
    check_heads(&checkpoint, common)?;
    let adaptation = checkpoint.adapt_encoder(&vars, &how)?;
    let mut started = load(&checkpoint, &adaptation)?;
    let head = checkpoint.names().filter(|name| longmae_weights::is_classifier(name));
    let head: Vec<String> = head.map(str::to_owned).collect();
    started.left.extend(new_norm(&fresh));
    started.left.extend(few("left in the file", &head));
    Ok(started)
}

/// Loads a whole model, its head included.
pub fn load_all(path: &Path, params: &Params, common: &Common) -> anyhow::Result<Started> {
    let checkpoint = open_weights(path)?;
    check_heads(&checkpoint, common)?;
    let vars = vars(&params.all());
    let adaptation = checkpoint.adapt(&vars, &adapt(common))?;
    load(&checkpoint, &adaptation)
}

fn adapt(common: &Common) -> Adapt {
    let grid = common.encoder.grid;
    Adapt::to_grid([grid.rows(), grid.cols()])
}

fn load(checkpoint: &Checkpoint, adaptation: &Adaptation<'_>) -> anyhow::Result<Started> {
    let report = adaptation.load()?;
    // What belongs to no encoder is not missed.
    let skipped: Vec<String> = report
        .skipped
        .iter()
        .filter(|name| !is_decoder(name) && !longmae_weights::is_classifier(name))
        .cloned()
        .collect();
    tracing::debug!(path = %checkpoint.path().display(), "started from weights");
    let left =
        [few("left at its initial value", adaptation.initial()), few("left in the file", &skipped)];
    Ok(Started {
        adapted: adaptation.changes().iter().map(ToString::to_string).collect(),
        left: left.into_iter().flatten().collect(),
    })
}

/// The parameters that a file must have, and the final norm where it has none: one of a classifier on the mean of all tokens,
/// whose norm comes after the mean.
pub fn of_file(checkpoint: &Checkpoint, params: &[Param]) -> (Vec<Param>, Vec<Param>) {
    let there =
        |param: &Param| !param.name.starts_with("norm.") || checkpoint.shape(&param.name).is_some();
    params.iter().cloned().partition(there)
}

/// Says that the final norm begins anew, where it does.
pub fn new_norm(fresh: &[Param]) -> Option<String> {
    let names: Vec<String> = fresh.iter().map(|param| param.name.clone()).collect();
    few("new, since the file's norm comes after a mean of all tokens", &names)
}

/// Takes the place of what the file has and the model has not: an encoder's norm, where after the mean of all tokens another
/// one begins anew.
fn unused(
    checkpoint: &Checkpoint,
    vars: &[(String, Var)],
    names: &[&str],
) -> anyhow::Result<Vec<(String, Var)>> {
    let mut unused = Vec::new();
    for name in names {
        let known = vars.iter().any(|(known, _)| known == name);
        if let Some(shape) = checkpoint.shape(name).filter(|_| !known) {
            let zeros = Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu)?;
            unused.push(((*name).to_owned(), Var::from_tensor(&zeros)?));
        }
    }
    Ok(unused)
}

/// What stands before the encoder's names in a detector.
const NET: &str = "backbone.net.";
/// What older files of detectron2 have beside parameters.
const BUFFERS: [&str; 3] = ["pixel_mean", "pixel_std", "proposal_generator.anchor_generator."];

/// Loads the weights to start from into a detector whose positions are of the grid `pretrained`: a whole detector, or an
/// encoder into the backbone, where what follows it and its relative positions are left at their start.
pub fn load_detector(
    path: &Path,
    params: &Params,
    common: &Common,
    pretrained: PatchGrid,
) -> anyhow::Result<Started> {
    let checkpoint = open_weights(path)?;
    check_heads(&checkpoint, common)?;
    if checkpoint.left_out().iter().any(|name| name.starts_with("roi_heads.")) {
        return load_whole_detector(&checkpoint, params, common.allow_partial);
    }
    let all = vars(&params.all());
    let inner = |name: &str| {
        let name = name.strip_prefix(NET)?;
        (!name.contains(".rel_pos_")).then(|| name.to_owned())
    };
    let mut encoder: Vec<(String, Var)> =
        all.iter().filter_map(|(name, var)| Some((inner(name)?, var.clone()))).collect();
    encoder.extend(unused(&checkpoint, &encoder, &["cls_token", "norm.weight", "norm.bias"])?);
    let mut how = Adapt::to_grid([pretrained.rows(), pretrained.cols()]);
    if common.allow_partial {
        how = how.allowing_partial();
    }
    let mut started = load(&checkpoint, &checkpoint.adapt_encoder(&encoder, &how)?)?;
    let fresh = all.into_iter().map(|(name, _)| name).filter(|name| inner(name).is_none());
    started.left.extend(few("new in the detector", &fresh.collect::<Vec<_>>()));
    Ok(started)
}

/// Loads a whole detector under detectron2's names; all must fit, unless a part may.
pub fn load_whole_detector(
    checkpoint: &Checkpoint,
    params: &Params,
    allow_partial: bool,
) -> anyhow::Result<Started> {
    let own = checkpoint.under_own_names();
    let mut all = vars(&params.all());
    let buffers: Vec<&str> =
        own.names().filter(|name| BUFFERS.iter().any(|start| name.starts_with(start))).collect();
    all.extend(unused(&own, &all, &buffers)?);
    let report = own.load_into_with(&all, LoadOptions { allow_partial })?;
    let left = [
        few("left at its initial value", &report.initial),
        few("left in the file", &report.skipped),
    ];
    Ok(Started { adapted: Vec::new(), left: left.into_iter().flatten().collect() })
}

/// The number of heads is in no tensor's shape: with another one, weights would load and mean something else.
fn check_heads(file: &Checkpoint, common: &Common) -> anyhow::Result<()> {
    let Some(metadata) = file.metadata() else { return Ok(()) };
    let (stored, tower) = (&metadata.info.encoder, &common.encoder.tower);
    if stored.dim == tower.dim && stored.heads != tower.heads {
        bail!(
            "{}: its encoder has {} attention heads, the run's has {} (see --model and --encoder-heads)",
            file.path().display(),
            stored.heads,
            tower.heads
        );
    }
    Ok(())
}

/// How many there are, and the first few.
pub fn few(what: &str, names: &[String]) -> Option<String> {
    const SHOWN: usize = 8;
    let more = if names.len() > SHOWN { ", ..." } else { "" };
    let first = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    (!names.is_empty())
        .then(|| format!("{what}: {} ({first}{more})", plural(names.len() as u64, "tensor")))
}
