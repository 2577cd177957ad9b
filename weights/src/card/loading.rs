//! How the model is loaded: code to copy where a library has room for its shape, or else why not.

use super::ModelCard;
use crate::{Kind, ModelInfo};

/// A model of timm: its name, patch size, width, depth and heads. All read 224 x 224 pixels of three channels.
type Preset = (&'static str, [usize; 4]);

/// The first stands for all sizes that timm has no name for.
const PRESETS: [Preset; 3] = [
    ("vit_base_patch16_224", [16, 768, 12, 12]),
    ("vit_large_patch16_224", [16, 1024, 24, 16]),
    ("vit_huge_patch14_224", [14, 1280, 32, 16]),
];
/// What these presets, MAE and transformers' MAE have.
const EPS: f64 = 1e-6;

impl ModelCard {
    pub(super) fn loading(&self, info: &ModelInfo) -> String {
        let normalised = format!(
            "Images are normalised by the mean and std above: `(x - mean) / std` for pixels in [0, 1], \
             as `[batch, {}, {}, {}]`.\n",
            info.channels, info.image_size[0], info.image_size[1]
        );
        let sections = [
            format!("### longmae\n\n{}", self.longmae()),
            format!("### timm\n\n{}", self.timm(info)),
            format!("### transformers\n\n{}", self.transformers(info)),
            format!("### PyTorch\n\n{}", self.pytorch(info)),
        ];
        format!("{normalised}\n{}", sections.join("\n"))
    }

    fn longmae(&self) -> String {
        let revision = self.revision.as_ref();
        let at = revision.map_or(String::new(), |rev| format!("@{}", rev.replace('/', "%2F")));
        let from = format!("hf://{}{at}", self.repo);
        let start = format!("mae-pretrain --init-weights {from} --data FOLDER");
        let fetch = format!("longmae weights pull {from} --output .");
        code("bash", &format!("{start}  # start pre-training from it\n{fetch}"))
    }

    fn timm(&self, info: &ModelInfo) -> String {
        if !info.key_bias {
            return "Not as it is: attention's keys have no bias here (`q_bias` and `v_bias` in the file), \
                    timm's do.\n"
                .to_owned();
        }
        let (name, mut arguments) = timm_arguments(info);
        let mut imports = String::from("import timm\n");
        if info.layer_norm_eps != EPS {
            imports = format!("from functools import partial\n\n{imports}import torch\n");
            let eps = info.layer_norm_eps;
            arguments.push(format!("norm_layer=partial(torch.nn.LayerNorm, eps={eps:e})"));
        }
        arguments.push("num_classes=0".to_owned());
        arguments.push("checkpoint_path=path".to_owned());
        let body = format!(
            "{imports}from huggingface_hub import hf_hub_download\n\n\
             path = {}\nmodel = timm.create_model(\"{name}\", {})",
            self.download(&self.encoder),
            arguments.join(", ")
        );
        code("python", &body)
    }

    fn transformers(&self, info: &ModelInfo) -> String {
        let class = match self.transformers {
            Some(Kind::Full) => "ViTMAEForPreTraining",
            Some(Kind::Encoder | Kind::Classifier | Kind::Detector) => "ViTModel",
            None => return format!("{}\n", why_not_transformers(info)),
        };
        let mut arguments = format!("\"{}\"", self.repo);
        if let Some(revision) = &self.revision {
            arguments += &format!(", revision={revision:?}");
        }
        if class == "ViTModel" {
            arguments += ", add_pooling_layer=False";
        }
        let body = format!(
            "from transformers import {class}\n\nmodel = {class}.from_pretrained({arguments})"
        );
        code("python", &body)
    }

    fn pytorch(&self, info: &ModelInfo) -> String {
        let file = self.full.as_ref().unwrap_or(&self.encoder);
        let body = format!(
            "from huggingface_hub import hf_hub_download\nfrom safetensors.torch import load_file\n\n\
             state = load_file({})",
            self.download(file)
        );
        let names = "The names are those of [MAE's code](https://github.com/facebookresearch/mae)";
        let class = if self.full.is_some() {
            "`models_mae.MaskedAutoencoderViT`"
        } else {
            "`models_vit.VisionTransformer` without a head"
        };
        let fits = match why_not_mae(info, self.full.is_some()) {
            None => format!("{names}: `model.load_state_dict(state)` of {class}"),
            Some(reason) => format!("{names}, but its models do not have this shape: {reason}"),
        };
        format!("{}\n{fits}.\n", code("python", &body))
    }

    /// The call that gives a file's path.
    fn download(&self, file: &str) -> String {
        let revision = self.revision.as_ref();
        let revision = revision.map_or(String::new(), |rev| format!(", revision={rev:?}"));
        format!("hf_hub_download(\"{}\", \"{file}\"{revision})", self.repo)
    }
}

/// The nearest of timm's models, and the arguments that make up the difference.
fn timm_arguments(info: &ModelInfo) -> (&'static str, Vec<String>) {
    let tower = &info.encoder;
    let sizes = [info.patch_size, tower.dim, tower.depth, tower.heads];
    let same = |(_, preset): &&Preset| preset[1..] == sizes[1..];
    let (name, preset) = *PRESETS.iter().find(same).unwrap_or(&PRESETS[0]);
    let mut arguments = Vec::new();
    match info.image_size {
        [224, 224] => {}
        [h, w] if h == w => arguments.push(format!("img_size={h}")),
        [h, w] => arguments.push(format!("img_size=({h}, {w})")),
    }
    let names = ["patch_size", "embed_dim", "depth", "num_heads"];
    for ((name, found), expected) in names.iter().zip(sizes).zip(preset) {
        if found != expected {
            arguments.push(format!("{name}={found}"));
        }
    }
    if tower.mlp_ratio != 4.0 {
        arguments.push(format!("mlp_ratio={}", tower.mlp_ratio));
    }
    if info.channels != 3 {
        arguments.push(format!("in_chans={}", info.channels));
    }
    (name, arguments)
}

fn why_not_transformers(info: &ModelInfo) -> String {
    match shape_beyond_transformers(info) {
        Some(reason) => format!("Not possible: {reason}."),
        None => "There is no file in its layout here.".to_owned(),
    }
}

/// What transformers' `ViTMAEForPreTraining` has no room for; none if it holds the whole model.
fn shape_beyond_transformers(info: &ModelInfo) -> Option<String> {
    let [h, w] = info.image_size;
    if h != w {
        return Some(format!("its positions are those of square images, these are {h} x {w}"));
    }
    downsampling(info).map(|what| format!("its decoder has no {what}"))
}

/// What MAE's own models have no room for.
fn why_not_mae(info: &ModelInfo, full: bool) -> Option<String> {
    let [h, w] = info.image_size;
    if h != w {
        return Some("images are oblong".to_owned());
    }
    if !info.key_bias {
        return Some("attention's keys have no bias".to_owned());
    }
    let no_room = downsampling(info).filter(|_| full);
    no_room.map(|what| format!("the decoder has {what}"))
}

fn downsampling(info: &ModelInfo) -> Option<&'static str> {
    match (info.decoder_downsampling > 1, info.pred_downsampling > 1) {
        (true, _) => Some("downsampling"),
        (false, true) => Some("prediction downsampling"),
        (false, false) => None,
    }
}

fn code(language: &str, body: &str) -> String {
    format!("```{language}\n{body}\n```\n")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{card, info};
    use super::*;

    fn square() -> ModelInfo {
        ModelInfo { image_size: [224, 224], pred_downsampling: 1, ..info() }
    }

    #[test]
    fn timm_is_told_what_differs() {
        let call = |info: &ModelInfo| {
            let text = card().timm(info);
            text.split_once("create_model(").unwrap().1.split_once("\n```").unwrap().0.to_owned()
        };
        assert_eq!(
            call(&square()),
            "\"vit_base_patch16_224\", num_classes=0, checkpoint_path=path)"
        );
        let mut other = info();
        (other.channels, other.patch_size, other.encoder.mlp_ratio) = (4, 8, 2.5);
        assert_eq!(
            call(&other),
            "\"vit_base_patch16_224\", img_size=(224, 448), patch_size=8, mlp_ratio=2.5, in_chans=4, \
             num_classes=0, checkpoint_path=path)"
        );
        let mut huge = square();
        huge.image_size = [448, 448];
        (huge.encoder.dim, huge.encoder.depth, huge.encoder.heads) = (1280, 32, 16);
        assert_eq!(
            call(&huge),
            "\"vit_huge_patch14_224\", img_size=448, patch_size=16, num_classes=0, checkpoint_path=path)"
        );
        huge.encoder.dim = 64;
        assert!(
            call(&huge).contains("\"vit_base_patch16_224\", img_size=448, embed_dim=64, depth=32")
        );
        let text = card().timm(&ModelInfo { layer_norm_eps: 1e-5, ..square() });
        assert!(text.contains("import partial") && text.contains("eps=1e-5)"), "{text}");
    }

    #[test]
    fn what_a_library_has_no_room_for_is_said() {
        let without = ModelInfo { key_bias: false, ..square() };
        let text = card().loading(&without);
        assert!(text.contains("keys have no bias") && !text.contains("create_model"), "{text}");
        let oblong = card().loading(&info());
        assert!(oblong.contains("Not possible: its positions are those of square"), "{oblong}");
        assert!(oblong.contains("do not have this shape: images are oblong"), "{oblong}");
        let coarse = ModelInfo { decoder_downsampling: 2, ..square() };
        let full = ModelCard { full: Some("mae.safetensors".into()), ..card() };
        let text = full.loading(&coarse);
        assert!(text.contains("Not possible: its decoder has no downsampling"), "{text}");
        assert!(text.contains("the decoder has downsampling"), "{text}");
        // The encoder alone has no decoder that would not fit.
        assert!(card().pytorch(&coarse).contains("models_vit"));
        let text = card().loading(&square());
        assert!(text.contains("There is no file in its layout here"), "{text}");
    }

    #[test]
    fn transformers_gets_the_class_of_its_file() {
        let text = |kind| ModelCard { transformers: Some(kind), ..card() }.transformers(&square());
        assert!(
            text(Kind::Full).contains("ViTMAEForPreTraining.from_pretrained(\"org/my-model\")")
        );
        let encoder = text(Kind::Encoder);
        assert!(encoder.contains("(\"org/my-model\", add_pooling_layer=False)"), "{encoder}");
    }

    #[test]
    fn a_branch_is_named_everywhere() {
        let card =
            ModelCard { revision: Some("runs/a".into()), transformers: Some(Kind::Full), ..card() };
        let text = card.loading(&square());
        assert_eq!(text.matches("hf://org/my-model@runs%2Fa ").count(), 2, "{text}");
        assert_eq!(text.matches(", revision=\"runs/a\")").count(), 3, "{text}");
    }
}
