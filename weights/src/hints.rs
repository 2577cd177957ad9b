//! What a mismatch probably means: the mistakes that people make, recognised and answered.

use crate::load::Part;
use crate::mismatch::Mismatch;
use crate::{Checkpoint, Kind, ModelInfo, is_decoder, is_encoder};
use candle_core::Var;
use std::collections::BTreeMap;

/// Sentences without a full stop, the most telling first.
pub(crate) fn hints(
    file: &Checkpoint,
    mismatch: &Mismatch,
    model: &BTreeMap<&str, &Var>,
    part: Part,
) -> Vec<String> {
    let info = file.metadata().map(|metadata| &metadata.info);
    [
        foreign_layout(file),
        encoder_only(file, mismatch, part),
        full_into_encoder(mismatch, model, part),
        key_bias(mismatch),
        grid(file, mismatch, model, info),
        prediction(mismatch),
        info.map(|info| format!("the file's model: {info}")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn foreign_layout(file: &Checkpoint) -> Option<String> {
    const LAYOUTS: [(&str, &str); 4] = [
        ("vit.", ", they look like Hugging Face's"),
        ("backbone.net.", ", they look like detectron2's"),
        ("module.", ", they have the prefix of a model wrapped for data parallelism"),
        ("model.", ", they have the prefix of a whole training state"),
    ];
    if file.names().any(is_encoder) {
        return None;
    }
    let first = file.names().next()?;
    let layout =
        LAYOUTS.iter().find(|(prefix, _)| file.names().any(|name| name.starts_with(prefix)));
    let layout = layout.map_or("", |(_, layout)| layout);
    Some(format!(
        "the file's names (`{first}` is the first) are not MAE's{layout}: only MAE's own are read yet"
    ))
}

fn encoder_only(file: &Checkpoint, mismatch: &Mismatch, part: Part) -> Option<String> {
    let lacks_decoder = mismatch.missing.iter().any(|name| is_decoder(name));
    let wanted = part == Part::Everything && file.kind() == Some(Kind::Encoder) && lacks_decoder;
    wanted.then(|| {
        "the file holds an encoder only and the model has a decoder too: give the full checkpoint \
         (kind `full`, `model.safetensors` of a run), or start the encoder alone from this file"
            .to_owned()
    })
}

fn full_into_encoder(
    mismatch: &Mismatch,
    model: &BTreeMap<&str, &Var>,
    part: Part,
) -> Option<String> {
    let has_decoder = mismatch.unexpected.iter().any(|name| is_decoder(name));
    let wanted =
        part == Part::Everything && has_decoder && !model.keys().any(|name| is_decoder(name));
    wanted.then(|| {
        "the file holds a decoder and the model is an encoder: load the encoder's part only"
            .to_owned()
    })
}

fn key_bias(mismatch: &Mismatch) -> Option<String> {
    let has = |names: &[String], ending| names.iter().any(|name| name.ends_with(ending));
    let (all, query) = (".attn.qkv.bias", ".attn.q_bias");
    if has(&mismatch.missing, query) && has(&mismatch.unexpected, all) {
        Some("the file's attention keys have a bias, the model's have none".to_owned())
    } else if has(&mismatch.missing, all) && has(&mismatch.unexpected, query) {
        Some("the file's attention keys have no bias, the model's have one".to_owned())
    } else {
        None
    }
}

/// Position embeddings of the same width for another number of patches.
fn grid(
    file: &Checkpoint,
    mismatch: &Mismatch,
    model: &BTreeMap<&str, &Var>,
    info: Option<&ModelInfo>,
) -> Option<String> {
    let (&[_, file_tokens, file_dim], &[_, tokens, dim]) =
        (file.shape("pos_embed")?, model.get("pos_embed")?.dims())
    else {
        return None;
    };
    // An adaptation takes what it resizes out of the mismatch.
    if file_dim != dim || !mismatch.misfits.iter().any(|misfit| misfit.name == "pos_embed") {
        return None;
    }
    let known = info.filter(|info| {
        info.grid().is_some_and(|[h, w]| h.checked_mul(w) == file_tokens.checked_sub(1))
    });
    let file_grid = match known {
        Some(ModelInfo { image_size: [h, w], patch_size: p, .. }) => {
            format!("{}x{} (image {h}x{w}, patch {p})", h / p, w / p)
        }
        None => grid_text(file_tokens),
    };
    let model_grid = grid_text(tokens);
    Some(format!(
        "the file's grid is {file_grid}, this model's is {model_grid}: `Checkpoint::adapt` resizes positions"
    ))
}

/// Predictions of another number of pixels.
fn prediction(mismatch: &Mismatch) -> Option<String> {
    mismatch.misfits.iter().any(|misfit| misfit.name == "decoder_pred.bias").then(|| {
        "the file predicts patches of another number of pixels (p * p * channels), which cannot be resized: leave the \
         prediction layer at its start (`Adapt::leaving_prediction`), or load the encoder alone"
            .to_owned()
    })
}

/// The grid behind a number of tokens, class token included: its sides if it is square, or else its patches.
fn grid_text(tokens: usize) -> String {
    let patches = tokens.saturating_sub(1);
    let side = patches.isqrt();
    if side * side == patches { format!("{side}x{side}") } else { format!("of {patches} patches") }
}
