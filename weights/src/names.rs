//! Parameter names as the published MAE checkpoints have them, and which part of the model each belongs to.

use crate::Kind;

/// Whether `name` is a parameter of the encoder, the part that transfers to other tasks:
/// `cls_token`, `pos_embed`, `patch_embed.*`, `blocks.*` and `norm.*`.
pub fn is_encoder(name: &str) -> bool {
    matches!(name, "cls_token" | "pos_embed")
        || ["patch_embed.", "blocks.", "norm."].iter().any(|prefix| name.starts_with(prefix))
}

/// Whether `name` is a parameter of the decoder, which only pre-training needs: `mask_token` and `decoder_*`.
pub fn is_decoder(name: &str) -> bool {
    name == "mask_token" || name.starts_with("decoder_")
}

/// What a file with these tensors holds: [`Kind::Full`] if any belongs to a decoder, else [`Kind::Encoder`] if any
/// belongs to an encoder, else none (the names are not MAE's).
pub fn infer_kind<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Kind> {
    let mut kind = None;
    for name in names {
        if is_decoder(name) {
            return Some(Kind::Full);
        }
        if is_encoder(name) {
            kind = Some(Kind::Encoder);
        }
    }
    kind
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_published_name_has_one_side() {
        let encoder = [
            "cls_token",
            "pos_embed",
            "patch_embed.proj.weight",
            "blocks.11.attn.qkv.bias",
            "blocks.0.attn.q_bias",
            "norm.bias",
        ];
        let decoder = [
            "mask_token",
            "decoder_embed.weight",
            "decoder_pos_embed",
            "decoder_blocks.7.mlp.fc1.weight",
            "decoder_norm.weight",
            "decoder_pred.bias",
            "decoder_downsample.weight",
            "decoder_upsample.bias",
        ];
        assert!(encoder.iter().all(|name| is_encoder(name) && !is_decoder(name)));
        assert!(decoder.iter().all(|name| is_decoder(name) && !is_encoder(name)));
        for other in
            ["head.weight", "fc_norm.weight", "normal", "vit.layernorm.bias", "decoder.mask_token"]
        {
            assert!(!is_encoder(other) && !is_decoder(other), "{other}");
        }
    }

    #[test]
    fn kind_follows_the_names() {
        assert_eq!(infer_kind(["cls_token", "norm.bias"]), Some(Kind::Encoder));
        assert_eq!(infer_kind(["cls_token", "mask_token"]), Some(Kind::Full));
        assert_eq!(infer_kind(["vit.layernorm.bias"]), None);
    }
}
