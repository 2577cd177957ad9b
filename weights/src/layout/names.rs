//! Parameter names of each layout, as data: MAE's on the left, the others' on the right.

use super::Layout;
use crate::{is_decoder, is_encoder};

/// The part of a MAE tensor that a stored one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// All of it.
    Whole,
    /// The first, second or last third of its rows: queries (0), keys (1), values (2).
    Third(usize),
}

/// What a stored name stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// A MAE name, or a share of it.
    Mae(String, Share),
    /// Something that MAE's model has not; it is left in the file, by name.
    LeftOut,
    /// Nothing known here.
    Unknown,
}

/// Outside the blocks: MAE's module or parameter, and transformers' (below `vit.` unless the decoder's).
const OUTER: [(&str, &str); 10] = [
    ("cls_token", "embeddings.cls_token"),
    ("pos_embed", "embeddings.position_embeddings"),
    ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
    ("norm", "layernorm"),
    ("head", "classifier"),
    ("mask_token", "decoder.mask_token"),
    ("decoder_embed", "decoder.decoder_embed"),
    ("decoder_pos_embed", "decoder.decoder_pos_embed"),
    ("decoder_norm", "decoder.decoder_norm"),
    ("decoder_pred", "decoder.decoder_pred"),
];

/// Lists of blocks. Of several names the first is the Hub's, which is written; the others are what transformers 5 has in
/// memory and may write.
const TOWERS: [(&str, &[&str]); 2] = [
    ("blocks", &["encoder.layer", "layers"]),
    ("decoder_blocks", &["decoder.decoder_layers", "decoder.decoder_encoder.layer"]),
];

/// Inside a block, with the Hub's name first as above.
const INNER: [(&str, Share, &[&str]); 8] = [
    ("norm1", Share::Whole, &["layernorm_before"]),
    ("attn.qkv", Share::Third(0), &["attention.attention.query", "attention.q_proj"]),
    ("attn.qkv", Share::Third(1), &["attention.attention.key", "attention.k_proj"]),
    ("attn.qkv", Share::Third(2), &["attention.attention.value", "attention.v_proj"]),
    ("attn.proj", Share::Whole, &["attention.output.dense", "attention.o_proj"]),
    ("norm2", Share::Whole, &["layernorm_after"]),
    ("mlp.fc1", Share::Whole, &["intermediate.dense", "mlp.fc1"]),
    ("mlp.fc2", Share::Whole, &["output.dense", "mlp.fc2"]),
];

/// What transformers' ViT has beside MAE's parameters: a layer after the class token, a mask token for another task.
const TRANSFORMERS_ONLY: [&str; 2] = ["pooler.dense", "embeddings.mask_token"];

/// The prefix of the backbone in a detectron2 model.
const DETECTRON2: &str = "backbone.net.";
/// The prefix of the encoder in a transformers model with a head or a decoder.
const TRANSFORMERS: &str = "vit.";

/// Whether `name` belongs to a classifier on top of the encoder, in MAE's and timm's names: `head.*`, and `fc_norm.*`
/// where the classifier looks at the mean of all tokens (its norm is then `fc_norm`, not `norm`).
pub fn is_classifier(name: &str) -> bool {
    name.starts_with("head.") || name.starts_with("fc_norm.")
}

/// The layout that files with these names have; none if they are no layout's. MAE's and timm's names of an encoder are
/// the same: what has a decoder or no key bias is MAE's, the rest timm's.
pub(super) fn detect<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Option<Layout> {
    let any = |condition: &dyn Fn(&str) -> bool| names.clone().any(condition);
    if any(&|name| name.starts_with(DETECTRON2)) {
        Some(Layout::Detectron2)
    } else if any(&|name| is_decoder(name) || name.ends_with(".attn.q_bias")) {
        Some(Layout::Mae)
    } else if any(&is_encoder) {
        Some(Layout::Timm)
    } else if any(&|name| from_transformers(name).is_some()) {
        let decoder = any(&|name| name.starts_with("decoder."));
        Some(if decoder { Layout::HfVitMae } else { Layout::HfVit })
    } else {
        None
    }
}

/// What a name of a file in this layout stands for.
pub(super) fn meaning(layout: Layout, name: &str) -> Meaning {
    let whole = |name: &str| Meaning::Mae(name.to_owned(), Share::Whole);
    match layout {
        Layout::Mae | Layout::Timm => whole(name),
        Layout::Detectron2 => match name.strip_prefix(DETECTRON2) {
            Some(inner) if !inner.contains(".rel_pos_") => whole(inner),
            _ => Meaning::LeftOut,
        },
        Layout::HfVitMae | Layout::HfVit => match from_transformers(name) {
            Some((mae, share)) => Meaning::Mae(mae, share),
            None => {
                let (module, _) = split_parameter(name.strip_prefix(TRANSFORMERS).unwrap_or(name));
                let known = TRANSFORMERS_ONLY.contains(&module);
                if known { Meaning::LeftOut } else { Meaning::Unknown }
            }
        },
    }
}

/// The names under which a MAE tensor is written: one, or three for its thirds. None if the layout has no such tensor.
/// `prefixed` says whether transformers' encoder lies below `vit.`.
pub(super) fn spell(layout: Layout, name: &str, prefixed: bool) -> Option<Vec<String>> {
    match layout {
        Layout::Mae | Layout::Timm => Some(vec![name.to_owned()]),
        Layout::Detectron2 => Some(vec![format!("{DETECTRON2}{name}")]),
        Layout::HfVitMae | Layout::HfVit => {
            let names = to_transformers(name)?;
            let prefix = if prefixed && is_encoder(name) { TRANSFORMERS } else { "" };
            Some(names.into_iter().map(|name| format!("{prefix}{name}")).collect())
        }
    }
}

fn from_transformers(name: &str) -> Option<(String, Share)> {
    let base = match name.strip_prefix(TRANSFORMERS) {
        Some(encoder) if encoder.starts_with("decoder.") => return None,
        Some(encoder) => encoder,
        None => name,
    };
    let (module, parameter) = split_parameter(base);
    if let Some((mae, _)) = OUTER.iter().find(|(_, theirs)| *theirs == module) {
        return Some((format!("{mae}{parameter}"), Share::Whole));
    }
    TOWERS.iter().find_map(|(tower, theirs)| {
        let (number, inner) = theirs.iter().find_map(|prefix| numbered(module, prefix))?;
        let (mae, share, _) = INNER.iter().find(|(_, _, theirs)| theirs.contains(&inner))?;
        Some((format!("{tower}.{number}.{mae}{parameter}"), *share))
    })
}

/// The Hub's names for a MAE name.
fn to_transformers(name: &str) -> Option<Vec<String>> {
    let (module, parameter) = split_parameter(name);
    if let Some((_, theirs)) = OUTER.iter().find(|(mae, _)| *mae == module) {
        return Some(vec![format!("{theirs}{parameter}")]);
    }
    TOWERS.iter().find_map(|(tower, theirs)| {
        let (number, inner) = numbered(module, tower)?;
        let parts = INNER.iter().filter(|(mae, ..)| *mae == inner);
        let hub = theirs.first()?;
        let names: Vec<String> = parts
            .filter_map(|(_, _, names)| {
                Some(format!("{hub}.{number}.{}{parameter}", names.first()?))
            })
            .collect();
        (!names.is_empty()).then_some(names)
    })
}

/// `a.b.weight` as `a.b` and `.weight`; a parameter that is no module's weight or bias as itself and nothing.
fn split_parameter(name: &str) -> (&str, &str) {
    for parameter in [".weight", ".bias"] {
        if let Some(module) = name.strip_suffix(parameter) {
            return (module, parameter);
        }
    }
    (name, "")
}

/// `PREFIX.12.rest` as `12` and `rest`.
fn numbered<'a>(module: &'a str, prefix: &str) -> Option<(&'a str, &'a str)> {
    let (number, inner) = module.strip_prefix(prefix)?.strip_prefix('.')?.split_once('.')?;
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    digits.then_some((number, inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One name of each kind, in MAE's, the Hub's and transformers 5's words.
    const SAME: [(&str, &str, &str); 8] = [
        ("cls_token", "vit.embeddings.cls_token", "embeddings.cls_token"),
        ("pos_embed", "vit.embeddings.position_embeddings", "embeddings.position_embeddings"),
        (
            "patch_embed.proj.bias",
            "vit.embeddings.patch_embeddings.projection.bias",
            "embeddings.patch_embeddings.projection.bias",
        ),
        ("norm.weight", "vit.layernorm.weight", "layernorm.weight"),
        (
            "blocks.11.attn.proj.bias",
            "vit.encoder.layer.11.attention.output.dense.bias",
            "vit.layers.11.attention.o_proj.bias",
        ),
        (
            "blocks.0.mlp.fc2.weight",
            "vit.encoder.layer.0.output.dense.weight",
            "layers.0.mlp.fc2.weight",
        ),
        (
            "decoder_blocks.7.mlp.fc1.bias",
            "decoder.decoder_layers.7.intermediate.dense.bias",
            "decoder.decoder_encoder.layer.7.mlp.fc1.bias",
        ),
        ("mask_token", "decoder.mask_token", "decoder.mask_token"),
    ];

    #[test]
    fn transformers_names_are_read_old_and_new_and_the_hubs_are_written() {
        for (mae, hub, memory) in SAME {
            let meaning = |name| meaning(Layout::HfVitMae, name);
            assert_eq!(meaning(hub), Meaning::Mae(mae.to_owned(), Share::Whole), "{hub}");
            assert_eq!(meaning(memory), Meaning::Mae(mae.to_owned(), Share::Whole), "{memory}");
            assert_eq!(spell(Layout::HfVitMae, mae, true), Some(vec![hub.to_owned()]));
        }
    }

    #[test]
    fn queries_keys_and_values_are_thirds_of_qkv() {
        for (third, (hub, memory)) in
            [("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj")].into_iter().enumerate()
        {
            let mae = "blocks.3.attn.qkv.bias".to_owned();
            let hub = format!("encoder.layer.3.attention.attention.{hub}.bias");
            let memory = format!("vit.layers.3.attention.{memory}.bias");
            assert_eq!(spell(Layout::HfVit, &mae, false).unwrap()[third], hub);
            for name in [hub, memory] {
                let expected = Meaning::Mae(mae.clone(), Share::Third(third));
                assert_eq!(meaning(Layout::HfVit, &name), expected);
            }
        }
    }

    #[test]
    fn what_is_no_parameter_of_mae_is_left_out_or_unknown() {
        for name in ["vit.pooler.dense.weight", "pooler.dense.bias", "vit.embeddings.mask_token"] {
            assert_eq!(meaning(Layout::HfVit, name), Meaning::LeftOut, "{name}");
        }
        for name in [
            "vit.encoder.layer.x.output.dense.weight",
            "vit.encoder.layer.0.output.dense",
            "vit.decoder.mask_token",
            "layers.0.weight",
            "vit.embeddings.cls_token.weight",
        ] {
            let meaning = meaning(Layout::HfVit, name);
            // A parameter's name too much is a MAE name that no model has.
            let harmless = matches!(&meaning, Meaning::Mae(mae, _) if mae.starts_with("cls_token.")
                || mae == "blocks.0.mlp.fc2");
            assert!(meaning == Meaning::Unknown || harmless, "{name}: {meaning:?}");
        }
        for name in
            ["backbone.net.blocks.2.attn.rel_pos_h", "backbone.simfp_2.0.weight", "roi_heads.bias"]
        {
            assert_eq!(meaning(Layout::Detectron2, name), Meaning::LeftOut, "{name}");
        }
    }

    #[test]
    fn layouts_are_told_by_their_names() {
        let detect = |names: &[&str]| detect(names.iter().copied());
        assert_eq!(detect(&["cls_token", "mask_token"]), Some(Layout::Mae));
        assert_eq!(detect(&["cls_token", "blocks.0.attn.q_bias"]), Some(Layout::Mae));
        assert_eq!(detect(&["cls_token", "head.bias"]), Some(Layout::Timm));
        assert_eq!(detect(&["backbone.net.pos_embed"]), Some(Layout::Detectron2));
        assert_eq!(detect(&["decoder.mask_token", "vit.layernorm.bias"]), Some(Layout::HfVitMae));
        assert_eq!(detect(&["encoder.layer.0.layernorm_before.bias"]), Some(Layout::HfVit));
        assert_eq!(detect(&["layers.0.weight", "module.norm.bias"]), None);
    }
}
