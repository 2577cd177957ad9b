//! `longmae weights verify`: whether a file is what it should be.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::bail;
use candle_core::{DType, Device};
use longmae_train::Checkpoint as RunCheckpoint;
use longmae_vit::Preset;
use longmae_weights::{Checkpoint, Kind, Layout, ModelInfo, is_decoder};

use super::convert::layouts;
use super::described::inferred;
use super::source::Source;
use super::statistics::Statistics;
use super::structure::{Wanted, faults};
use crate::output::line;
use crate::terminal::plural;

/// Numbers of this size do not occur in a trained model; a flipped bit of an exponent makes them.
const TOO_LARGE: f64 = 1e6;
/// Beside the weights in the folder of a run's checkpoint.
const STATE: &str = "state.json";

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    source: Source,
    /// The layout that the file must have (default: the one that its names are of)
    #[arg(long, value_name = "LAYOUT", value_parser = layouts())]
    layout: Option<Layout>,
    /// The encoder that it must hold, such as vit-base
    #[arg(long, value_name = "NAME")]
    model: Option<Preset>,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let checkpoint = args.source.open()?;
    let mut found = Vec::new();
    found.extend(layout(&checkpoint, args.layout));
    match inferred(&checkpoint) {
        Ok(inferred) => {
            let names: BTreeSet<&str> = checkpoint.names().collect();
            found.extend(faults(&checkpoint, &names, &Wanted::of(&inferred.info, &checkpoint)));
            found
                .extend(args.model.map(|preset| model(&inferred.info, preset)).unwrap_or_default());
            found.extend(metadata(&checkpoint, &inferred.info)?);
        }
        Err(error) => found.push(error.to_string()),
    }
    found.extend(numbers(&checkpoint)?);
    found.extend(checksums(checkpoint.path()));
    found.iter().for_each(line);
    let shown = checkpoint.path().display();
    if !found.is_empty() {
        bail!("{shown}: {} above", plural(found.len() as u64, "fault"));
    }
    let layout = checkpoint.layout().map(|layout| layout.to_string()).unwrap_or_default();
    let kind = checkpoint.kind().map(|kind| kind.to_string()).unwrap_or_default();
    let count = plural(checkpoint.stored().names().count() as u64, "tensor");
    line(format!("{shown}: sound ({layout}, {kind}, {count})"));
    Ok(())
}

/// The layout, if it is not the one asked for. An encoder has the same names in MAE's and in timm's.
fn layout(checkpoint: &Checkpoint, wanted: Option<Layout>) -> Option<String> {
    let found = checkpoint.layout();
    let shared = || {
        checkpoint.names().all(|name| !is_decoder(name) && !name.ends_with(".attn.q_bias"))
            && [found, wanted].iter().all(|l| matches!(l, Some(Layout::Mae | Layout::Timm)))
    };
    let wanted_name = wanted.filter(|_| found != wanted && !shared())?;
    let found = found.map_or("no known one".to_owned(), |layout| layout.to_string());
    Some(format!("the layout is {found}, expected {wanted_name}"))
}

/// Sizes that are not the preset's.
fn model(info: &ModelInfo, preset: Preset) -> Vec<String> {
    let right = preset.tower();
    let hidden = (info.encoder.dim as f64 * info.encoder.mlp_ratio) as usize;
    differing(
        &preset.to_string(),
        &[
            ("encoder width", info.encoder.dim, right.dim),
            ("encoder depth", info.encoder.depth, right.depth),
            ("encoder MLP width", hidden, right.hidden()),
        ],
    )
}

/// Each size that the tensors have and `who` has otherwise.
fn differing(who: &str, sizes: &[(&str, usize, usize)]) -> Vec<String> {
    let differ = sizes.iter().filter(|(_, found, right)| found != right);
    differ.map(|(what, found, right)| format!("{what} {found}, {who} has {right}")).collect()
}

/// What the file's metadata says otherwise than its tensors.
fn metadata(checkpoint: &Checkpoint, found: &ModelInfo) -> anyhow::Result<Vec<String>> {
    let Some(metadata) = checkpoint.metadata() else { return Ok(Vec::new()) };
    let said = &metadata.info;
    let patches = |info: &ModelInfo| info.grid().map_or(0, |[rows, columns]| rows * columns);
    let mut sizes = vec![
        ("patch size", found.patch_size, said.patch_size),
        ("channels", found.channels, said.channels),
        ("number of patches", patches(found), patches(said)),
        ("encoder width", found.encoder.dim, said.encoder.dim),
        ("encoder depth", found.encoder.depth, said.encoder.depth),
    ];
    if let (Some(found_decoder), Some(decoder)) = (&found.decoder, &said.decoder) {
        sizes.extend([
            ("decoder width", found_decoder.dim, decoder.dim),
            ("decoder depth", found_decoder.depth, decoder.depth),
            ("decoder downsampling", found.decoder_downsampling, said.decoder_downsampling),
            ("prediction downsampling", found.pred_downsampling, said.pred_downsampling),
        ]);
    }
    let mut faults = differing("the file's metadata", &sizes);
    faults.extend(key_bias(checkpoint, found.key_bias, said.key_bias)?);
    let head = checkpoint.names().any(|name| name.starts_with("head."));
    let heads = checkpoint.left_out().iter().any(|name| name.starts_with("roi_heads."));
    let holds = match (found.decoder.is_some(), head && metadata.kind == Kind::Classifier) {
        (true, _) => Kind::Full,
        (false, true) => Kind::Classifier,
        (false, false) if heads => Kind::Detector,
        (false, false) => Kind::Encoder,
    };
    if metadata.kind != holds {
        faults.push(format!(
            "the tensors are of kind {holds}, the file's metadata says {}",
            metadata.kind
        ));
    }
    let towers = [Some(("encoder", &said.encoder)), said.decoder.as_ref().map(|d| ("decoder", d))];
    for (what, tower) in towers.into_iter().flatten() {
        if tower.heads == 0 || tower.dim % tower.heads != 0 {
            let (heads, dim) = (tower.heads, tower.dim);
            faults.push(format!("the file's metadata says {heads} heads, which do not divide the {what}'s width {dim}"));
        }
    }
    if !(said.layer_norm_eps > 0.0 && said.layer_norm_eps < 1e-2) {
        faults.push(format!("the file's metadata says layer_norm_eps {:e}", said.layer_norm_eps));
    }
    if said.std.iter().any(|std| *std <= 0.0) {
        faults.push(format!("the file's metadata says std {:?}, not all positive", said.std));
    }
    Ok(faults)
}

/// Keys of which metadata and tensors do not say the same. Other layouts than MAE's have a bias of zeros for keys without.
fn key_bias(checkpoint: &Checkpoint, found: bool, said: bool) -> anyhow::Result<Vec<String>> {
    let mut faults = Vec::new();
    if said && !found {
        faults.push("keys have no bias, the file's metadata says that they have one".to_owned());
    }
    let biases = checkpoint.names().filter(|name| name.ends_with(".attn.qkv.bias"));
    for name in biases.filter(|_| found && !said) {
        let bias = checkpoint.tensor(name, &Device::Cpu)?.flatten_all()?.to_dtype(DType::F64)?;
        let bias: Vec<f64> = bias.to_vec1()?;
        let third = bias.len() / 3;
        if bias[third..2 * third].iter().any(|number| *number != 0.0) {
            faults.push(format!(
                "`{name}` has a bias for keys, the file's metadata says that they have none"
            ));
        }
    }
    Ok(faults)
}

/// Numbers that no trained model has, tensor by tensor.
fn numbers(checkpoint: &Checkpoint) -> anyhow::Result<Vec<String>> {
    let file = checkpoint.stored();
    let mut faults = Vec::new();
    for name in file.names() {
        let Some(tensor) = file.get(name) else { continue };
        let numbers = Statistics::of(file, tensor)?;
        let is_matrix = tensor.shape().len() > 1 && name.ends_with(".weight");
        let is_norm = tensor.shape().len() == 1 && name.ends_with(".weight");
        if numbers.not_finite > 0 {
            faults.push(format!(
                "`{name}` has {} that are not finite",
                plural(numbers.not_finite, "number")
            ));
        }
        if numbers.magnitude() > TOO_LARGE {
            faults.push(format!("`{name}` has a number of size {:.3e}", numbers.magnitude()));
        }
        if is_matrix && numbers.is_constant() {
            let value = numbers.mean.unwrap_or_default();
            faults.push(format!("`{name}` is {value} throughout: not initialised?"));
        }
        if is_norm && numbers.is_constant() && numbers.magnitude() == 0.0 {
            faults.push(format!("`{name}` is 0 throughout: its norm gives nothing"));
        }
    }
    Ok(faults)
}

/// Of a run's checkpoint, whether its files are those that were written.
fn checksums(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| folder.join(STATE).is_file())?;
    RunCheckpoint::open(folder).err().map(|error| error.to_string())
}
