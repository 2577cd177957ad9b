//! Between the models' configurations and what weight files say.

use std::path::Path;

use anyhow::bail;
use longmae_mae::{DecoderConfig, MaeConfig};
use longmae_ops::Params;
use longmae_patching::PatchGrid;
use longmae_vit::{TowerConfig, VitConfig};
use longmae_weights::{Adapt, Checkpoint, Kind, Metadata, ModelInfo, is_encoder};

use super::settings::Settings;
use crate::recipe;
use crate::run::Started;
use crate::run::weights::{few, open_weights, tower_config, tower_info, vars};

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
        mean: settings.flags.data.mean.clone().unwrap_or_default(),
        std: settings.flags.data.std.clone().unwrap_or_default(),
        mask_unit: settings.masks.unit,
        mask_ratio: settings.masks.ratio,
        mask_strategy: settings.mask_strategy.clone(),
        mask_count: settings.flags.mask_count.clone().unwrap_or_default(),
        encoder: tower_info(&encoder.tower),
        decoder: Some(tower_info(&decoder.tower)),
        decoder_downsampling: decoder.downsampling,
        pred_downsampling: decoder.pred_downsampling,
        key_bias: encoder.tower.key_bias,
        norm_pix_loss: settings.mae.norm_pix_loss,
        layer_norm_eps: encoder.tower.layer_norm_eps,
        steps,
        epochs: Some(epochs),
        loss,
        code_version: env!("CARGO_PKG_VERSION").to_owned(),
        classifier: None,
        detector: None,
    };
    // What a machine chose for itself is no part of what was computed.
    let mut flags = settings.flags.clone();
    (flags.machine.device, flags.machine.workers, flags.machine.threads) = (None, None, None);
    let recipe = recipe::to_table(&flags)?.to_string();
    Ok(Metadata { kind, info, recipe: Some(recipe) })
}

/// The configuration of a whole model as a file says it.
///
/// # Errors
/// When the file's tensors are not of the sizes that `info` gives, so that nothing large is made of its numbers alone.
pub fn config(file: &Checkpoint, info: &ModelInfo) -> anyhow::Result<MaeConfig> {
    let place = file.path().display();
    let Some(decoder) = &info.decoder else { bail!("{place}: the size of its decoder is unknown") };
    let (encoder, decoder) = (tower_config(&info.encoder, info), tower_config(decoder, info));
    let (p, c) = (info.patch_size, info.channels);
    let pixels = p.saturating_mul(info.pred_downsampling).saturating_pow(2).saturating_mul(c);
    let last =
        |blocks: &str, depth: usize| format!("{blocks}.{}.norm2.weight", depth.wrapping_sub(1));
    let [rows, cols] = info.grid().unwrap_or_default();
    let (d, k) = (decoder.dim, info.decoder_downsampling);
    let downsample = (k > 1).then(|| ("decoder_downsample.weight".to_owned(), vec![d, d, k, k]));
    let shapes = [
        ("patch_embed.proj.weight".to_owned(), vec![encoder.dim, c, p, p]),
        ("pos_embed".to_owned(), vec![1, rows.saturating_mul(cols).saturating_add(1), encoder.dim]),
        ("blocks.0.mlp.fc1.weight".to_owned(), vec![encoder.hidden(), encoder.dim]),
        (last("blocks", encoder.depth), vec![encoder.dim]),
        ("decoder_embed.weight".to_owned(), vec![decoder.dim, encoder.dim]),
        ("decoder_blocks.0.mlp.fc1.weight".to_owned(), vec![decoder.hidden(), decoder.dim]),
        (last("decoder_blocks", decoder.depth), vec![decoder.dim]),
        ("decoder_pred.weight".to_owned(), vec![pixels, decoder.dim]),
    ];
    for (name, expected) in shapes.into_iter().chain(downsample) {
        match file.shape(&name) {
            Some(found) if found == expected => {}
            Some(found) => bail!(
                "{place}: `{name}` is {found:?}, by the model's sizes it should be {expected:?}"
            ),
            None => bail!("{place}: there is no `{name}`, which the model should have ({info})"),
        }
    }
    mae_config(info)
}

/// The model that the information describes; where it has no decoder, with a small one.
pub fn mae_config(info: &ModelInfo) -> anyhow::Result<MaeConfig> {
    let decoder = match &info.decoder {
        Some(decoder) => DecoderConfig {
            tower: tower_config(decoder, info),
            downsampling: info.decoder_downsampling,
            pred_downsampling: info.pred_downsampling,
        },
        None => DecoderConfig::new(TowerConfig::new(4, 1, 1)),
    };
    let [height, width] = info.image_size;
    let grid = PatchGrid::new((height, width), info.patch_size)?;
    let tower = tower_config(&info.encoder, info);
    let encoder = VitConfig { grid, channels: info.channels, tower };
    Ok(MaeConfig { encoder, decoder, norm_pix_loss: info.norm_pix_loss })
}

/// Loads weights to start from. They may be of another grid, patch size or number of channels. An encoder alone, or what
/// fits in part, only if the settings allow it.
pub fn load_weights(path: &Path, params: &Params, settings: &Settings) -> anyhow::Result<Started> {
    let checkpoint = open_weights(path)?;
    let partial = settings.common.allow_partial;
    check_heads(&checkpoint, settings)?;
    let grid = settings.mae.encoder.grid;
    // Whoever asks for other patches or channels asks for other predictions: those learned before have no place there.
    let mut how = Adapt::to_grid([grid.rows(), grid.cols()]).leaving_prediction();
    let vars = vars(&params.all());
    if checkpoint.kind() == Some(Kind::Encoder) && !partial {
        // What does not fit at all is said first.
        let encoder: Vec<_> = vars.into_iter().filter(|(name, _)| is_encoder(name)).collect();
        let _fits = checkpoint.adapt_encoder(&encoder, &how)?;
        bail!(
            "{}: this is an encoder alone, without the decoder that pre-training needs: --allow-partial starts from it, \
             with the decoder at its initial value",
            checkpoint.path().display()
        );
    }
    if partial {
        how = how.allowing_partial();
    }
    let adaptation = checkpoint.adapt(&vars, &how)?;
    let report = adaptation.load()?;
    let mut adapted: Vec<String> = adaptation.changes().iter().map(ToString::to_string).collect();
    adapted.extend(other_eps(&checkpoint, settings));
    let left = [
        few("left at its initial value", adaptation.initial()),
        few("left in the file", &report.skipped),
    ];
    Ok(Started { adapted, left: left.into_iter().flatten().collect() })
}

/// The number of heads is in no tensor's shape: with another one, weights would load and mean something else.
fn check_heads(file: &Checkpoint, settings: &Settings) -> anyhow::Result<()> {
    let Some(metadata) = file.metadata() else { return Ok(()) };
    let (mae, info) = (&settings.mae, &metadata.info);
    let towers = [
        ("encoder", Some(&info.encoder), mae.encoder.tower, "--model"),
        ("decoder", info.decoder.as_ref(), mae.decoder.tower, "--decoder-heads"),
    ];
    for (what, stored, tower, flag) in towers {
        let Some(stored) = stored.filter(|stored| stored.dim == tower.dim) else { continue };
        if stored.heads != tower.heads && (what == "encoder" || file.kind() == Some(Kind::Full)) {
            bail!(
                "{}: its {what} has {} attention heads, the run's has {} (see {flag})",
                file.path().display(),
                stored.heads,
                tower.heads
            );
        }
    }
    Ok(())
}

/// A line if the file's layer norms had another epsilon than the run's, which is told and not taken over.
fn other_eps(file: &Checkpoint, settings: &Settings) -> Option<String> {
    let eps = settings.mae.encoder.tower.layer_norm_eps;
    let stored = file.metadata()?.info.layer_norm_eps;
    (stored != eps).then(|| format!("layer norms: eps {stored:e} in the file, {eps:e} here"))
}
