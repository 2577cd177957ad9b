//! The model card as the Hub and its readers take it, by Python (`LONGMAE_PYTHON`): its front matter, and its code as it
//! stands there.

#[path = "../../hub/tests/common/mod.rs"]
mod common;

use candle_core::{Device, Tensor};
use common::TOKEN;
use common::model_hub::ModelHub;
use longmae_hub::{PushOptions, Upload};
use longmae_ops::Params;
use longmae_patching::PatchGrid;
use longmae_tests::{Fixture, assert_close, hub_script, last_line};
use longmae_vit::{Backbone, TowerConfig, Vit, VitConfig};
use longmae_weights::{Kind, Metadata, ModelCard, ModelInfo, TowerInfo, save};
use serde_json::{Value, json};

fn info(image_size: [usize; 2], channels: usize, tower: &TowerConfig) -> ModelInfo {
    ModelInfo {
        image_size,
        patch_size: 8,
        channels,
        mean: vec![0.5; channels],
        std: vec![0.25; channels],
        mask_unit: 2,
        mask_ratio: 0.75,
        mask_strategy: "random".into(),
        mask_count: "published".into(),
        encoder: TowerInfo {
            dim: tower.dim,
            depth: tower.depth,
            heads: tower.heads,
            mlp_ratio: tower.mlp_ratio,
        },
        decoder: None,
        decoder_downsampling: 1,
        pred_downsampling: 1,
        key_bias: tower.key_bias,
        norm_pix_loss: true,
        layer_norm_eps: tower.layer_norm_eps,
        steps: 1200,
        epochs: Some(3.0),
        loss: Some(0.5),
        code_version: "0.1.0".into(),
        classifier: None,
        detector: None,
    }
}

fn card() -> ModelCard {
    ModelCard {
        repo: "org/model".into(),
        license: Some("apache-2.0".into()),
        datasets: vec!["org/pictures".into()],
        base_model: Some("org/base".into()),
        recipe: Some("model = \"vit-nano\"\n".into()),
        encoder: "encoder.safetensors".into(),
        loss_curve: Some("loss.svg".into()),
        ..ModelCard::default()
    }
}

#[test]
fn the_front_matter_is_read_as_it_is_meant() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut script) = hub_script("http://127.0.0.1:9", folder.path()) else { return };
    let readme = folder.path().join("README.md");
    let info = info([32, 32], 3, &TowerConfig::new(48, 2, 3));
    std::fs::write(&readme, card().markdown(&info)).unwrap();
    let found = last_line(script.arg("card").arg(&readme));
    assert_eq!(
        serde_json::from_str::<Value>(&found).unwrap(),
        json!({
            "library_name": "longmae",
            "license": "apache-2.0",
            "base_model": "org/base",
            "pipeline_tag": "image-feature-extraction",
            "tags": ["masked-autoencoder", "vision-transformer", "self-supervised-learning", "pre-training"],
            "datasets": ["org/pictures"],
        })
    );
}

/// Whoever copies the card's code has the model: the same features as here, for square and oblong images, other channels,
/// another epsilon and another width of the MLP.
#[test]
fn the_code_on_the_card_loads_the_model() {
    let tower = TowerConfig::new(48, 2, 3);
    let other = TowerConfig { layer_norm_eps: 1e-3, mlp_ratio: 3.0, ..tower };
    for (image_size, channels, tower) in [([32, 32], 3, tower), ([24, 40], 4, other)] {
        let (hub, folder) = (ModelHub::start(), tempfile::tempdir().unwrap());
        let cache = folder.path().join("cache");
        let Some(mut script) = hub_script(&hub.server.url, &cache) else { return };
        let grid = PatchGrid::new((image_size[0], image_size[1]), 8).unwrap();
        let params = Params::new(7, &Device::Cpu);
        let vit = Vit::new(VitConfig { grid, channels, tower }, &params).unwrap();
        let tensors: Vec<(String, Tensor)> =
            params.all().into_iter().map(|p| (p.name, p.var.as_detached_tensor())).collect();
        let info = info(image_size, channels, &tower);
        let file = folder.path().join("encoder.safetensors");
        let metadata = Metadata { kind: Kind::Encoder, info, recipe: None };
        save(&file, &metadata, &tensors).unwrap();
        let readme = folder.path().join("README.md");
        std::fs::write(&readme, card().markdown(&metadata.info)).unwrap();
        let uploads =
            [Upload::file("encoder.safetensors", &file), Upload::file("README.md", &readme)];
        let client = hub.server.client("unused".as_ref()).token(TOKEN).build().unwrap();
        let reference = "hf://org/model".parse().unwrap();
        client.push(&reference, &uploads, &PushOptions::new("Add weights")).unwrap();

        let [h, w] = image_size;
        let count = 2 * channels * h * w;
        let pixels: Vec<f32> = (0..count).map(|i| ((i * 37 % 101) as f32 - 50.0) / 25.0).collect();
        let images = Tensor::from_vec(pixels, (2, channels, h, w), &Device::Cpu).unwrap();
        let path = folder.path().join("images");
        images.save_safetensors("images", &path).unwrap();
        let found = last_line(script.arg("snippets").args([&readme, &path]));
        let found: Value = serde_json::from_str(&found).unwrap();
        let names: Vec<String> = tensors.iter().map(|(name, _)| name.clone()).collect();
        let mut sorted = names.clone();
        sorted.sort();
        assert_eq!(found, json!({ "timm": "VisionTransformer", "PyTorch": sorted }));
        let theirs = Fixture::open(&folder.path().join("images.timm"));
        let ours = vit.features(&images).unwrap();
        assert_close("features", &ours, theirs.get("features"), 2e-5);
    }
}
