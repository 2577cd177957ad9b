//! The README of a model on the Hugging Face Hub.

mod front_matter;
mod loading;

use std::fmt::Write;

use crate::{Kind, ModelInfo};

/// What a model's README on the Hub says beside the [`ModelInfo`]: whose it is, what it came from, and which files lie
/// beside it. Names of files are relative to the README.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelCard {
    /// The repository, `ORG/NAME`.
    pub repo: String,
    /// The branch, where it is not `main`.
    pub revision: Option<String>,
    /// The licence's name on the Hub, such as `apache-2.0`; left out where the owner has said none.
    pub license: Option<String>,
    /// Datasets of the Hub that it was trained on, `ORG/NAME`.
    pub datasets: Vec<String>,
    /// The model of the Hub that training started from, `ORG/NAME`.
    pub base_model: Option<String>,
    /// The recipe of the run, as TOML.
    pub recipe: Option<String>,
    /// The encoder's file, with MAE's names.
    pub encoder: String,
    /// The whole model's file, with MAE's names.
    pub full: Option<String>,
    /// What `config.json` and `model.safetensors` in transformers' layout hold, where they are there.
    pub transformers: Option<Kind>,
    /// The picture of the loss curve.
    pub loss_curve: Option<String>,
    /// The picture of reconstructions.
    pub reconstruction: Option<String>,
}

impl ModelCard {
    /// The README: Markdown after a front matter in YAML.
    ///
    /// ```
    /// # fn card(info: &longmae_weights::ModelInfo) {
    /// use longmae_weights::ModelCard;
    ///
    /// let card = ModelCard {
    ///     repo: "org/name".into(),
    ///     license: Some("apache-2.0".into()),
    ///     encoder: "encoder.safetensors".into(),
    ///     ..ModelCard::default()
    /// };
    /// assert!(card.markdown(info).starts_with("---\nlibrary_name: longmae\n"));
    /// # }
    /// ```
    pub fn markdown(&self, info: &ModelInfo) -> String {
        let name = self.repo.rsplit('/').next().unwrap_or_default();
        let sections = [
            self.front_matter(),
            format!("# {name}\n\n{}", introduction(info)),
            format!("## Model\n\n{}", table(&facts(info))),
            format!("## Training\n\n{}", self.training(info)),
            format!("## Use\n\n{}", self.loading(info)),
        ];
        sections.join("\n")
    }

    fn training(&self, info: &ModelInfo) -> String {
        let mut text = format!("{} steps", info.steps);
        // Writing into a string cannot fail.
        if let Some(epochs) = info.epochs {
            let _ = write!(text, ", {} epochs", rounded(epochs));
        }
        if let Some(loss) = info.loss {
            let of = if info.norm_pix_loss { "normalised" } else { "raw" };
            let _ = write!(
                text,
                ", last training loss {} (mean squared error of {of} pixels over hidden patches)",
                rounded(loss)
            );
        }
        let _ = writeln!(text, ", by longmae {}.", info.code_version);
        if let Some(file) = &self.loss_curve {
            let _ = writeln!(text, "\n![The loss over epochs]({file})");
        }
        if let Some(file) = &self.reconstruction {
            let _ = writeln!(text, "\n![Images, masked, reconstructed, and both together]({file})");
        }
        if let Some(recipe) = &self.recipe {
            let fence = fence(recipe);
            let _ = writeln!(text, "\nThe recipe:\n\n{fence}toml\n{}\n{fence}", recipe.trim_end());
        }
        text
    }
}

fn introduction(info: &ModelInfo) -> String {
    let long = if info.mask_unit > 1 {
        ", masked in units of several patches \
         ([Exploring Long-Sequence Masked Autoencoders](https://arxiv.org/abs/2210.07224))"
    } else {
        ""
    };
    format!(
        "A Vision Transformer pre-trained without labels as a masked autoencoder \
         ([MAE](https://arxiv.org/abs/2111.06377)){long}, with [longmae](https://github.com/longmae/longmae).\n"
    )
}

/// What is worth knowing of a model, name and value.
fn facts(info: &ModelInfo) -> Vec<(&'static str, String)> {
    let [h, w] = info.image_size;
    let mut facts = vec![
        ("image size I", format!("{h} x {w} pixels, {} channels", info.channels)),
        ("patch size p", info.patch_size.to_string()),
    ];
    if let Some([rows, cols]) = info.grid() {
        facts.push(("sequence length L", format!("{} ({rows} x {cols} patches)", rows * cols)));
    }
    let tower = |tower: &crate::TowerInfo| format!("{tower}, MLP ratio {}", tower.mlp_ratio);
    facts.push(("encoder", tower(&info.encoder)));
    if let Some(decoder) = &info.decoder {
        facts.push(("decoder", tower(decoder)));
    }
    for (name, factor) in [
        ("decoder downsampling", info.decoder_downsampling),
        ("prediction downsampling", info.pred_downsampling),
    ] {
        if factor > 1 {
            facts.push((name, factor.to_string()));
        }
    }
    let ModelInfo { mask_unit, mask_strategy, .. } = info;
    let ratio = rounded(info.mask_ratio * 100.0);
    facts.extend([
        ("hidden patches", format!("{ratio}%, {mask_strategy}")),
        ("mask unit", format!("{mask_unit} x {mask_unit} patches")),
        ("`norm_pix_loss`", info.norm_pix_loss.to_string()),
        ("mean", numbers(&info.mean)),
        ("std", numbers(&info.std)),
        ("`layer_norm_eps`", format!("{:e}", info.layer_norm_eps)),
        ("attention's key bias", if info.key_bias { "yes" } else { "no" }.to_owned()),
    ]);
    facts
}

fn table(facts: &[(&str, String)]) -> String {
    let row = |(name, value): &(&str, String)| format!("| {name} | {value} |\n");
    format!("| | |\n|---|---|\n{}", facts.iter().map(row).collect::<String>())
}

fn numbers(values: &[f64]) -> String {
    values.iter().map(f64::to_string).collect::<Vec<_>>().join(", ")
}

/// Four decimals at most.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// What encloses a text that may itself hold fences.
fn fence(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    "`".repeat(usize::max(3, longest + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TowerInfo;

    pub(super) fn info() -> ModelInfo {
        ModelInfo {
            image_size: [224, 448],
            patch_size: 16,
            channels: 3,
            mean: vec![0.485, 0.456, 0.406],
            std: vec![0.229, 0.224, 0.225],
            mask_unit: 2,
            mask_ratio: 0.9375,
            mask_strategy: "random".into(),
            mask_count: "published".into(),
            encoder: TowerInfo { dim: 768, depth: 12, heads: 12, mlp_ratio: 4.0 },
            decoder: Some(TowerInfo { dim: 384, depth: 8, heads: 12, mlp_ratio: 4.0 }),
            decoder_downsampling: 1,
            pred_downsampling: 2,
            key_bias: true,
            norm_pix_loss: true,
            layer_norm_eps: 1e-6,
            steps: 1200,
            epochs: Some(2.56789),
            loss: Some(0.12345678),
            code_version: "0.1.0".into(),
            classifier: None,
            detector: None,
        }
    }

    pub(super) fn card() -> ModelCard {
        ModelCard {
            repo: "org/my-model".into(),
            encoder: "encoder.safetensors".into(),
            ..ModelCard::default()
        }
    }

    #[test]
    fn the_model_and_its_training_are_told() {
        let full = ModelCard {
            recipe: Some("model = \"vit-base\"\n".into()),
            loss_curve: Some("loss.svg".into()),
            reconstruction: Some("reconstruction.png".into()),
            ..card()
        };
        let text = full.markdown(&info());
        for part in [
            "\n# my-model\n",
            "2210.07224",
            "| image size I | 224 x 448 pixels, 3 channels |",
            "| sequence length L | 392 (14 x 28 patches) |",
            "| encoder | 768 wide, 12 deep, 12 heads, MLP ratio 4 |",
            "| decoder | 384 wide, 8 deep, 12 heads, MLP ratio 4 |",
            "| prediction downsampling | 2 |",
            "| hidden patches | 93.75%, random |",
            "| mask unit | 2 x 2 patches |",
            "| `norm_pix_loss` | true |",
            "| mean | 0.485, 0.456, 0.406 |",
            "| `layer_norm_eps` | 1e-6 |",
            "1200 steps, 2.5679 epochs, last training loss 0.1235 (mean squared error of normalised pixels",
            "](loss.svg)",
            "](reconstruction.png)",
            "```toml\nmodel = \"vit-base\"\n```\n",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains("decoder downsampling"));
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let mut info = info();
        (info.decoder, info.epochs, info.loss, info.mask_unit) = (None, None, None, 1);
        let text = card().markdown(&info);
        assert!(text.contains("\n1200 steps, by longmae 0.1.0.\n"), "{text}");
        for part in ["| decoder |", "![", "toml", "None", "2210.07224"] {
            assert!(!text.contains(part), "{part} is in\n{text}");
        }
    }

    #[test]
    fn a_recipe_cannot_leave_its_fence() {
        let recipe = "data = \"a```b\"\n# ````\n";
        let text = ModelCard { recipe: Some(recipe.into()), ..card() }.markdown(&info());
        assert!(text.contains("`````toml\ndata = \"a```b\"\n# ````\n`````\n"), "{text}");
    }
}
