//! A model in another package's layout: names, shapes, and the files that the package wants beside the weights.

use super::config::{self, Parts};
use super::sizes::Sizes;
use super::{Layout, is_classifier, names};
use crate::metadata::KEY_LAYOUT;
use crate::save::{write_tensors, write_text};
use crate::{Error, Kind, Metadata, ModelInfo, Result, is_decoder, is_encoder};
use candle_core::Tensor;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What errors name where there is no file yet.
const MODEL: &str = "the model to be converted";

/// A model in a layout, ready to be saved.
#[derive(Debug, Clone)]
pub struct Export {
    /// The layout.
    pub layout: Layout,
    /// Tensors under the layout's names.
    pub tensors: Vec<(String, Tensor)>,
    /// MAE's names of what the layout has no place for and its package does without, in the model's order.
    pub left_out: Vec<String>,
    /// Names and contents of the JSON files that belong beside the weights.
    pub files: Vec<(&'static str, String)>,
    /// How the package loads it: one line of Python.
    pub usage: String,
    metadata: Metadata,
}

/// Brings a model, given by its tensors under MAE's names, into a layout. `metadata.kind` says which part: with
/// [`Kind::Encoder`] the decoder stays behind.
///
/// Attention without key bias gets one of zeros in every layout but MAE's, which is the same function.
///
/// # Errors
/// [`Error::CannotHold`] for what the layout or its package has no way to say: a decoder in timm's or ViT's, `fc_norm` in
/// transformers', an oblong image where a package takes squares only. [`Error::NotAModel`] if the tensors are no such
/// model or not that of `metadata.info`.
pub fn export(tensors: &[(String, Tensor)], metadata: &Metadata, layout: Layout) -> Result<Export> {
    let full = metadata.kind == Kind::Full;
    let wanted = |(name, _): &&(String, Tensor)| full || !is_decoder(name);
    let model: Vec<(String, Tensor)> = tensors.iter().filter(wanted).cloned().collect();
    let parts = parts(&model, &metadata.info)?;
    refuse(&model, &metadata.info, &parts, layout)?;
    let (model, left_out) = leave_out(model, layout);
    let model = if layout == Layout::Mae { model } else { with_key_bias(model)? };
    // Where there is more than an encoder, transformers keeps the encoder below `vit.`.
    let prefixed = model.iter().any(|(name, _)| is_decoder(name) || is_classifier(name));
    let mut renamed = Vec::new();
    for (name, tensor) in &model {
        let names = names::spell(layout, name, prefixed);
        renamed.extend(split(name, tensor, names.unwrap_or_default())?);
    }
    Ok(Export {
        layout,
        tensors: renamed,
        left_out,
        files: config::files(layout, &metadata.info, &parts),
        usage: usage(layout, &parts),
        metadata: metadata.clone(),
    })
}

impl Export {
    /// Writes the weights alone to `path`, as [`save`](crate::save) does: whole or not at all.
    ///
    /// # Errors
    /// As [`save`](crate::save).
    pub fn save_file(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let mut map = self.metadata.to_map(path)?;
        map.insert(KEY_LAYOUT.to_owned(), self.layout.to_string());
        // transformers refuses a file that does not say which framework's conventions it has.
        map.insert("format".to_owned(), "pt".to_owned());
        write_tensors(path, map, &self.tensors)
    }

    /// Writes `model.safetensors` and [`files`](Self::files) into `folder`, which is made if need be; the weights come
    /// last, and every file whole or not at all. Returns the paths.
    ///
    /// # Errors
    /// As [`save`](crate::save).
    pub fn save_folder(&self, folder: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder).map_err(|e| crate::stored::cannot("make", folder, e))?;
        let mut written = Vec::new();
        for (name, text) in &self.files {
            written.push(folder.join(name));
            write_text(&folder.join(name), text)?;
        }
        written.push(folder.join("model.safetensors"));
        self.save_file(folder.join("model.safetensors"))?;
        Ok(written)
    }
}

/// The model's sizes, which must be those that the information gives.
fn parts(model: &[(String, Tensor)], info: &ModelInfo) -> Result<Parts> {
    let shapes: BTreeMap<&str, &[usize]> =
        model.iter().map(|(name, tensor)| (name.as_str(), tensor.dims())).collect();
    let bad = |reason| Error::NotAModel { path: PathBuf::from(MODEL), reason };
    let sizes = Sizes::of(|name| shapes.get(name).copied()).map_err(bad)?;
    let patches = info.grid().map(|[rows, columns]| rows * columns);
    let decoder = sizes.decoder.map(|decoder| decoder.tower.dim);
    for (what, tensors, said) in [
        ("patch size", Some(sizes.patch), Some(info.patch_size)),
        ("channels", Some(sizes.channels), Some(info.channels)),
        ("patches", Some(sizes.patches), patches),
        ("encoder width", Some(sizes.encoder.dim), Some(info.encoder.dim)),
        ("encoder depth", Some(sizes.encoder.depth), Some(info.encoder.depth)),
        ("decoder width", decoder, decoder.and(info.decoder.as_ref()).map(|tower| tower.dim)),
    ] {
        if tensors != said {
            let number = |n: Option<usize>| n.map_or("none".to_owned(), |n| n.to_string());
            return Err(bad(format!(
                "has tensors of {what} {}, its information says {}",
                number(tensors),
                number(said)
            )));
        }
    }
    let mean_pooled = shapes.contains_key("fc_norm.weight");
    Ok(Parts { sizes, mean_pooled })
}

/// Refuses what the layout cannot hold, by the first such name or setting.
fn refuse(
    model: &[(String, Tensor)],
    info: &ModelInfo,
    parts: &Parts,
    layout: Layout,
) -> Result<()> {
    let refusal =
        |what: String, reason: &'static str| Err(Error::CannotHold { layout, what, reason });
    for (name, _) in model {
        if let Some(reason) = no_place(layout, name, parts) {
            return refusal(format!("`{name}`"), reason);
        }
    }
    let [height, width] = info.image_size;
    let eps_is_fixed = matches!(layout, Layout::Timm | Layout::Detectron2);
    if eps_is_fixed && info.layer_norm_eps != 1e-6 {
        let what = format!("layer_norm_eps {:e}", info.layer_norm_eps);
        return refusal(what, "its package takes 1e-6 and no file can tell it otherwise");
    }
    let squares_only = layout == Layout::Detectron2
        || (layout == Layout::HfVitMae && parts.sizes.decoder.is_some());
    if squares_only && height != width {
        let what = format!("images of {height}x{width}");
        return refusal(what, "its package takes square ones only");
    }
    if layout == Layout::HfVitMae && parts.sizes.decoder.is_some_and(|d| d.pred_downsampling != 1) {
        return refusal("prediction downsampling".to_owned(), "it predicts patch by patch");
    }
    Ok(())
}

/// Why the layout has no place for a tensor, if it has none.
fn no_place(layout: Layout, name: &str, parts: &Parts) -> Option<&'static str> {
    if !is_encoder(name) && !is_decoder(name) && !is_classifier(name) {
        return Some("it is no parameter of a masked autoencoder or a classifier");
    }
    let resampling = ["decoder_downsample.", "decoder_upsample."];
    match layout {
        Layout::Mae => None,
        Layout::Timm | Layout::HfVit | Layout::Detectron2 if is_decoder(name) => {
            Some("it holds encoders only: convert the encoder alone, or into hf-vit-mae or mae")
        }
        Layout::Timm if parts.mean_pooled && name.starts_with("norm.") => {
            Some("a model with fc_norm has no other final norm")
        }
        Layout::HfVit | Layout::HfVitMae if name.starts_with("fc_norm.") => {
            Some("it has no classifier on the mean of tokens: convert into timm")
        }
        Layout::HfVitMae | Layout::Detectron2 if is_classifier(name) => {
            Some("it has no classifier: convert into timm, or leave the classifier out")
        }
        Layout::HfVitMae if resampling.iter().any(|prefix| name.starts_with(prefix)) => {
            Some("its decoder keeps the sequence: convert the encoder alone, or into mae")
        }
        _ => None,
    }
}

/// What a detector's backbone does without: class token and final norm. The class token's row stays in `pos_embed`.
fn leave_out(model: Vec<(String, Tensor)>, layout: Layout) -> (Vec<(String, Tensor)>, Vec<String>) {
    let left = |name: &str| {
        layout == Layout::Detectron2 && (name == "cls_token" || name.starts_with("norm."))
    };
    let names = model.iter().map(|(name, _)| name.clone()).filter(|name| left(name)).collect();
    (model.into_iter().filter(|(name, _)| !left(name)).collect(), names)
}

/// `q_bias` and `v_bias` as `qkv.bias`, with zeros for the keys.
fn with_key_bias(model: Vec<(String, Tensor)>) -> Result<Vec<(String, Tensor)>> {
    let values: BTreeMap<String, Tensor> = model
        .iter()
        .filter(|(name, _)| name.ends_with(".attn.v_bias"))
        .map(|(name, tensor)| (name.clone(), tensor.clone()))
        .collect();
    let mut result = Vec::with_capacity(model.len());
    let mut used = BTreeSet::new();
    for (name, tensor) in model {
        let Some(block) = name.strip_suffix(".attn.q_bias") else {
            result.push((name, tensor));
            continue;
        };
        let value = format!("{block}.attn.v_bias");
        let Some(value_bias) = values.get(&value) else {
            let reason = format!("has `{name}` without `{value}`");
            return Err(Error::NotAModel { path: PathBuf::from(MODEL), reason });
        };
        let joined = tensor
            .zeros_like()
            .and_then(|zeros| Tensor::cat(&[&tensor, &zeros, value_bias], 0))
            .map_err(|reason| tensor_error(&name, reason))?;
        result.push((format!("{block}.attn.qkv.bias"), joined));
        used.insert(value);
    }
    result.retain(|(name, _)| !used.contains(name));
    Ok(result)
}

/// A tensor under its new name, or its rows in equal parts under several.
fn split(name: &str, tensor: &Tensor, names: Vec<String>) -> Result<Vec<(String, Tensor)>> {
    let count = names.len();
    if count == 1 {
        return Ok(names.into_iter().map(|new| (new, tensor.clone())).collect());
    }
    let rows = tensor.dims().first().copied().unwrap_or_default();
    if count == 0 || rows % count != 0 {
        let reason = format!("has `{name}` of shape {:?}, not in {count} parts", tensor.dims());
        return Err(Error::NotAModel { path: PathBuf::from(MODEL), reason });
    }
    let part = |n| tensor.narrow(0, n * (rows / count), rows / count);
    let parts = names.into_iter().enumerate().map(|(n, new)| Ok((new, part(n)?)));
    parts.collect::<candle_core::Result<_>>().map_err(|reason| tensor_error(name, reason))
}

fn tensor_error(name: &str, reason: candle_core::Error) -> Error {
    let path = PathBuf::from(MODEL);
    Error::Tensor { path, name: name.to_owned(), reason: Box::new(reason) }
}

fn usage(layout: Layout, parts: &Parts) -> String {
    match layout {
        Layout::Mae => "torch: model.load_state_dict(safetensors.torch.load_file(FILE))".to_owned(),
        Layout::Timm => format!(
            "timm.create_model(\"local-dir:FOLDER\", pretrained=True); from the file alone, timm.create_model(\"{}\", \
             **MODEL_ARGS, checkpoint_path=FILE) with the model_args of config.json",
            config::timm_name(&parts.sizes)
        ),
        Layout::HfVit | Layout::HfVitMae => {
            let class = config::architecture(layout, &parts.sizes);
            let pooling = if class == "ViTModel" { ", add_pooling_layer=False" } else { "" };
            format!("transformers.{class}.from_pretrained(FOLDER{pooling})")
        }
        Layout::Detectron2 => {
            "detectron2 reads no safetensors: torch.save({\"model\": safetensors.torch.load_file(FILE)}, \"vit.pth\"), \
             then train.init_checkpoint = \"vit.pth\" (without matching_heuristics: the names are whole)"
                .to_owned()
        }
    }
}
