//! The JSON files that other packages want beside the weights.

use super::Layout;
use super::sizes::Sizes;
use crate::ModelInfo;
use serde_json::{Map, Value, json};

/// What of a model decides its architecture elsewhere.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    pub sizes: Sizes,
    /// Whether a classifier looks at the mean of all tokens.
    pub mean_pooled: bool,
}

/// Names and contents of the files that `layout` wants in the folder of `model.safetensors`.
pub(super) fn files(
    layout: Layout,
    info: &ModelInfo,
    parts: &Parts,
) -> Vec<(&'static str, String)> {
    match layout {
        Layout::Mae | Layout::Detectron2 => Vec::new(),
        Layout::Timm => vec![("config.json", pretty(&timm(info, parts)))],
        Layout::HfVit | Layout::HfVitMae => vec![
            ("config.json", pretty(&transformers(layout, info, &parts.sizes))),
            ("preprocessor_config.json", pretty(&preprocessor(info))),
        ],
    }
}

/// The class of transformers that reads the files.
pub(super) fn architecture(layout: Layout, sizes: &Sizes) -> &'static str {
    match (layout, &sizes.decoder, sizes.classes) {
        (Layout::HfVitMae, Some(_), _) => "ViTMAEForPreTraining",
        (Layout::HfVitMae, None, _) => "ViTMAEModel",
        (_, _, Some(_)) => "ViTForImageClassification",
        _ => "ViTModel",
    }
}

/// timm's name of the model that the arguments change; the published sizes' own.
pub(super) fn timm_name(sizes: &Sizes) -> &'static str {
    match (sizes.encoder.dim, sizes.encoder.depth, sizes.patch) {
        (1024, 24, _) => "vit_large_patch16_224",
        (1280, 32, _) => "vit_huge_patch14_224",
        _ => "vit_base_patch16_224",
    }
}

fn transformers(layout: Layout, info: &ModelInfo, sizes: &Sizes) -> Value {
    let mut config = json!({
        "architectures": [architecture(layout, sizes)],
        "attention_probs_dropout_prob": 0.0,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "hidden_size": sizes.encoder.dim,
        "image_size": sides(info),
        "initializer_range": 0.02,
        "intermediate_size": sizes.encoder.hidden,
        "layer_norm_eps": info.layer_norm_eps,
        "model_type": if layout == Layout::HfVitMae { "vit_mae" } else { "vit" },
        "num_attention_heads": info.encoder.heads,
        "num_channels": sizes.channels,
        "num_hidden_layers": sizes.encoder.depth,
        "patch_size": sizes.patch,
        "qkv_bias": true,
    });
    let more = match layout {
        Layout::HfVitMae => pretraining(info, sizes),
        _ => json!({ "encoder_stride": sizes.patch }),
    };
    let labels = sizes.classes.filter(|_| layout == Layout::HfVit).map(labels).unwrap_or_default();
    if let (Value::Object(config), Value::Object(more)) = (&mut config, more) {
        config.extend(more);
        config.extend(labels);
    }
    config
}

fn pretraining(info: &ModelInfo, sizes: &Sizes) -> Value {
    let mut config = json!({ "mask_ratio": info.mask_ratio, "norm_pix_loss": info.norm_pix_loss });
    if let (Some(sizes), Some(tower)) = (&sizes.decoder, &info.decoder) {
        config["decoder_hidden_size"] = sizes.tower.dim.into();
        config["decoder_intermediate_size"] = sizes.tower.hidden.into();
        config["decoder_num_attention_heads"] = tower.heads.into();
        config["decoder_num_hidden_layers"] = sizes.tower.depth.into();
    }
    config
}

/// Names of classes by number: transformers counts its classes by them.
fn labels(classes: usize) -> Map<String, Value> {
    let name = |class| format!("LABEL_{class}");
    let names: Map<_, _> =
        (0..classes).map(|class| (class.to_string(), name(class).into())).collect();
    let numbers: Map<_, _> = (0..classes).map(|class| (name(class), class.into())).collect();
    Map::from_iter([("id2label".to_owned(), names.into()), ("label2id".to_owned(), numbers.into())])
}

/// A whole picture to the model's size (3 is Pillow's bicubic), then the run's normalisation.
fn preprocessor(info: &ModelInfo) -> Value {
    let [height, width] = info.image_size;
    json!({
        "do_normalize": true,
        "do_rescale": true,
        "do_resize": true,
        "image_mean": info.mean,
        "image_processor_type": "ViTImageProcessor",
        "image_std": info.std,
        "resample": 3,
        "rescale_factor": 1.0 / 255.0,
        "size": { "height": height, "width": width },
    })
}

fn timm(info: &ModelInfo, parts: &Parts) -> Value {
    let sizes = &parts.sizes;
    let [height, width] = info.image_size;
    let classes = sizes.classes.unwrap_or(0);
    let pool = if parts.mean_pooled { "avg" } else { "token" };
    json!({
        "architecture": timm_name(sizes),
        "global_pool": pool,
        "num_classes": classes,
        "num_features": sizes.encoder.dim,
        "model_args": {
            "depth": sizes.encoder.depth,
            "embed_dim": sizes.encoder.dim,
            "global_pool": pool,
            "img_size": [height, width],
            "in_chans": sizes.channels,
            "mlp_ratio": info.encoder.mlp_ratio,
            "num_classes": classes,
            "num_heads": info.encoder.heads,
            "patch_size": sizes.patch,
        },
        "pretrained_cfg": {
            "classifier": "head",
            "crop_pct": 0.875,
            "first_conv": "patch_embed.proj",
            "fixed_input_size": true,
            "input_size": [sizes.channels, height, width],
            "interpolation": "bicubic",
            "mean": info.mean,
            "num_classes": classes,
            "pool_size": null,
            "std": info.std,
        },
    })
}

/// A square's side as a number, other sizes as height and width.
fn sides(info: &ModelInfo) -> Value {
    match info.image_size {
        [height, width] if height == width => height.into(),
        sides => sides.to_vec().into(),
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
