//! Whether a file's names and shapes are those of one model, whole.

use std::collections::BTreeSet;

use longmae_weights::{Checkpoint, Layout, ModelInfo, TowerInfo, is_decoder, is_encoder};

use super::expected::{Shapes, expected};

/// The batches that a linear probe's normalisation has seen, below `head.`.
const COUNT: &str = "0.num_batches_tracked";

/// What a model file must hold beside and in place of what all do.
pub struct Wanted<'a> {
    /// The model, its sizes taken from the file's shapes.
    pub info: &'a ModelInfo,
    /// Encoders for detection have neither class token nor final norm.
    pub for_detection: bool,
}

impl<'a> Wanted<'a> {
    /// What a file of its own layout must hold.
    pub fn of(info: &'a ModelInfo, checkpoint: &Checkpoint) -> Self {
        Self { info, for_detection: checkpoint.layout() == Some(Layout::Detectron2) }
    }
}

/// Everything that is wrong with names and shapes, a sentence each; `names` are those of the file that are looked at.
pub fn faults(checkpoint: &Checkpoint, names: &BTreeSet<&str>, wanted: &Wanted<'_>) -> Vec<String> {
    let info = with_all_blocks(wanted.info, names);
    if let Some(fault) = too_large(checkpoint, &info) {
        return vec![fault];
    }
    let mut expected = match expected(&info) {
        Ok(expected) => expected,
        Err(error) => return vec![format!("the sizes are no model's: {error}")],
    };
    adjust(&mut expected, checkpoint, names, wanted);
    let missing = expected.keys().filter(|name| !names.contains(name.as_str()));
    let mut faults: Vec<String> = missing.map(|name| format!("`{name}` is missing")).collect();
    for &name in names {
        let shape = checkpoint.shape(name).unwrap_or_default();
        let own = checkpoint.own_name(name).map(|own| format!(" ({own} in the file)"));
        let shown = format!("`{name}`{}", own.unwrap_or_default());
        match expected.get(name) {
            None => faults.push(format!("{shown} is unexpected, of shape {shape:?}")),
            Some(right) if right != shape => {
                faults.push(format!("{shown} has shape {shape:?}, expected {right:?}"));
            }
            Some(_) => {}
        }
        let counts = name.strip_prefix("head.") == Some(COUNT);
        if let Some(dtype) = checkpoint.dtype(name).filter(|dtype| !dtype.is_float() && !counts) {
            faults.push(format!("{shown} is of type {}, expected floats", dtype.as_str()));
        }
    }
    faults
}

/// The depths by the highest block there is: a block of which a part is missing must not pass for the end.
fn with_all_blocks(info: &ModelInfo, names: &BTreeSet<&str>) -> ModelInfo {
    let depth = |list: &str, found: usize| {
        let number = |name: &&str| name.strip_prefix(list)?.split('.').next()?.parse().ok();
        let last = names.iter().filter_map(number).max().unwrap_or(0_usize);
        // A number that no block before it leads to is a name out of place.
        if last < names.len() { found.max(last + 1) } else { found }
    };
    let tower =
        |tower: &TowerInfo, list| TowerInfo { depth: depth(list, tower.depth), ..tower.clone() };
    ModelInfo {
        encoder: tower(&info.encoder, "blocks."),
        decoder: info.decoder.as_ref().map(|decoder| tower(decoder, "decoder_blocks.")),
        ..info.clone()
    }
}

/// Sizes that the file has not the numbers for, in a file made to mislead; the model is not built then.
fn too_large(checkpoint: &Checkpoint, info: &ModelInfo) -> Option<String> {
    let numbers = |name| {
        checkpoint.shape(name).unwrap_or_default().iter().map(|n| *n as u128).product::<u128>()
    };
    let stored: u128 = checkpoint.names().map(numbers).sum();
    let block = |tower: &TowerInfo| {
        let (dim, hidden) = (tower.dim as u128, tower.dim as f64 * tower.mlp_ratio);
        dim * (4 * dim + 2 * hidden as u128)
    };
    let needed = block(&info.encoder) + info.decoder.as_ref().map_or(0, block);
    (needed > stored).then(|| {
        format!("one block {} wide has {needed} numbers, the whole file {stored}", info.encoder.dim)
    })
}

/// What differs between kinds of encoders: a classifier on the class token or the mean, a detector's backbone.
fn adjust(
    expected: &mut Shapes,
    checkpoint: &Checkpoint,
    names: &BTreeSet<&str>,
    wanted: &Wanted<'_>,
) {
    let rows = |name| checkpoint.shape(name).and_then(|shape| shape.first().copied());
    if let Some(classes) = rows("head.weight").or_else(|| rows("head.bias")) {
        expected.insert("head.weight".to_owned(), vec![classes, wanted.info.encoder.dim]);
        expected.insert("head.bias".to_owned(), vec![classes]);
    }
    if let Some(classes) = rows("head.1.weight") {
        let dim = wanted.info.encoder.dim;
        for (name, shape) in [
            ("0.running_mean", vec![dim]),
            ("0.running_var", vec![dim]),
            (COUNT, vec![]),
            ("1.weight", vec![classes, dim]),
            ("1.bias", vec![classes]),
        ] {
            expected.remove("head.weight");
            expected.remove("head.bias");
            expected.insert(format!("head.{name}"), shape);
        }
    }
    if names.iter().any(|name| name.starts_with("fc_norm.")) {
        for parameter in ["weight", "bias"] {
            if let Some(shape) = expected.remove(&format!("norm.{parameter}")) {
                expected.insert(format!("fc_norm.{parameter}"), shape);
            }
        }
    }
    if wanted.for_detection {
        expected.retain(|name, _| name != "cls_token" && !name.starts_with("norm."));
    }
}

/// Names that are no parameter of a masked autoencoder or of a classifier on one.
pub fn foreign(name: &str) -> bool {
    !is_encoder(name) && !is_decoder(name) && !longmae_weights::is_classifier(name)
}
