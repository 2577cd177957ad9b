//! What a mismatch probably means: the mistakes that people make, recognised and answered.

use crate::load::Part;
use crate::mismatch::Mismatch;
use crate::{Checkpoint, Kind, Layout, ModelInfo, is_decoder};
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
        unknown_layout(file),
        detector(file, mismatch),
        mean_pooled(file, mismatch),
        encoder_only(file, mismatch, part),
        full_into_encoder(mismatch, model, part),
        grid(file, mismatch, model, info),
        prediction(mismatch),
        info.map(|info| format!("the file's model: {info}")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn unknown_layout(file: &Checkpoint) -> Option<String> {
    if file.layout().is_some() {
        return None;
    }
    let first = file.names().next()?;
    let prefixed = file.names().any(|name| name.starts_with("model."));
    let prefix = if prefixed { ", they have the prefix of a whole training state" } else { "" };
    let layouts = Layout::ALL.map(Layout::name).join(", ");
    Some(format!(
        "the file's names (`{first}` is the first) are of no layout known here ({layouts}){prefix}"
    ))
}

fn detector(file: &Checkpoint, mismatch: &Mismatch) -> Option<String> {
    let lacks = mismatch.missing.iter().any(|name| name == "cls_token");
    let wanted = file.layout() == Some(Layout::Detectron2) && lacks;
    wanted.then(|| {
        "a detector's backbone has no class token and no final norm: a partial load leaves the model's at their initial \
         values"
            .to_owned()
    })
}

fn mean_pooled(file: &Checkpoint, mismatch: &Mismatch) -> Option<String> {
    let lacks = mismatch.missing.iter().any(|name| name == "norm.weight");
    let wanted = lacks && file.shape("fc_norm.weight").is_some();
    wanted.then(|| {
        "the file is of a classifier on the mean of all tokens: its norm comes after the mean (`fc_norm`), the encoder's own \
         (`norm`) is gone; a partial load leaves it at its initial value"
            .to_owned()
    })
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
