//! Names and shapes of ViT-B, ViT-L and ViT-H are those of timm's and transformers' own models, long-sequence decoders
//! included (`fixtures/make_names.py`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use candle_core::{Device, Tensor};
use longmae_mae::{Mae, MaeConfig};
use longmae_ops::Params;
use longmae_patching::PatchGrid;
use longmae_tests::model_info;
use longmae_vit::{Preset, TowerConfig};
use longmae_weights::{
    Checkpoint, Kind, Known, Layout, Metadata, ModelInfo, export, is_decoder, is_encoder,
};
use serde_json::{Value, json};

type Shapes = BTreeMap<String, Vec<usize>>;

/// The entries of a list, with the layout of each.
fn entries(list: &str) -> Vec<(Layout, Value)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/names_{list}.json"));
    let entries: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(entries.len() >= 6, "{list}");
    let layout = |entry: &Value| match entry["class"].as_str().unwrap() {
        "ViTMAEForPreTraining" => Layout::HfVitMae,
        "ViTModel" => Layout::HfVit,
        _ => Layout::Timm,
    };
    entries.into_iter().map(|entry| (layout(&entry), entry)).collect()
}

fn number(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

fn shapes(map: &Value) -> impl Iterator<Item = (&String, Vec<usize>)> {
    map.as_object()
        .unwrap()
        .iter()
        .map(|(name, shape)| (name, shape.as_array().unwrap().iter().map(number).collect()))
}

/// All names of an entry, its lists of blocks cut to `depth` if that is given.
fn expand(entry: &Value, depth: Option<usize>) -> Shapes {
    let mut all: Shapes =
        shapes(&entry["outer"]).map(|(name, shape)| (name.clone(), shape)).collect();
    for (list, blocks) in entry["blocks"].as_object().unwrap() {
        for block in 0..depth.unwrap_or_else(|| number(&blocks["depth"])) {
            let named = shapes(&blocks["inner"]);
            all.extend(named.map(|(inner, shape)| (format!("{list}.{block}.{inner}"), shape)));
        }
    }
    all
}

/// The model of an entry here, with one block where there are many, and how many there are.
fn model(entry: &Value) -> (MaeConfig, Vec<(String, Tensor)>, [usize; 2]) {
    let preset: Preset = entry["preset"].as_str().unwrap().parse().unwrap();
    let (image, patch) = (number(&entry["image_size"]), number(&entry["patch_size"]));
    assert_eq!(patch, preset.patch_size());
    let grid = PatchGrid::new((image, image), patch).unwrap();
    let mut config = MaeConfig::preset(preset, grid, 3);
    if let Some(decoder) = entry["decoder"].as_array() {
        let [dim, depth, heads] = [0, 1, 2].map(|i| number(&decoder[i]));
        config.decoder.tower = TowerConfig::new(dim, depth, heads);
    }
    let depths = [config.encoder.tower.depth, config.decoder.tower.depth];
    (config.encoder.tower.depth, config.decoder.tower.depth) = (1, 1);
    let params = Params::new(0, &Device::Cpu);
    Mae::new(config, &params).unwrap();
    let tensors = params.all().into_iter().map(|p| (p.name, p.var.as_tensor().clone())).collect();
    (config, tensors, depths)
}

/// The names of a model here, block 0 standing for all.
fn full_size(tensors: &[(String, Tensor)], [encoder, decoder]: [usize; 2]) -> Shapes {
    let mut all = Shapes::new();
    for (name, tensor) in tensors {
        let list = name.split_once("blocks.0.");
        let depth = if name.starts_with("decoder_") { decoder } else { encoder };
        for block in 0..list.map_or(1, |_| depth) {
            let name = list.map_or(name.clone(), |(a, b)| format!("{a}blocks.{block}.{b}"));
            all.insert(name, tensor.dims().to_vec());
        }
    }
    all
}

/// A file of f32 with these shapes and no numbers written: its length is right, it takes no room.
fn hollow(path: &Path, shapes: &Shapes) {
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, shape) in shapes {
        let start = end;
        end += 4 * shape.iter().product::<usize>();
        let entry = json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, end] });
        header.insert(name.clone(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(&header).unwrap();
    file.set_len((8 + header.len() + end) as u64).unwrap();
}

#[test]
fn packages_names_are_read_as_those_of_the_model_here() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for list in ["timm", "transformers4", "transformers5"] {
        for (layout, entry) in entries(list) {
            let about =
                format!("{list}: {} {} {}", entry["class"], entry["spelling"], entry["preset"]);
            hollow(&path, &expand(&entry, None));
            let file = Checkpoint::open(&path).unwrap();
            assert_eq!(file.layout(), Some(layout), "{about}");
            let found: Shapes =
                file.names().map(|n| (n.to_owned(), file.shape(n).unwrap().to_vec())).collect();

            let (_, tensors, depths) = model(&entry);
            let mut expected = full_size(&tensors, depths);
            expected.retain(|name, _| layout == Layout::HfVitMae || is_encoder(name));
            if let Some(classes) = entry["classes"].as_u64() {
                let dim = expected.remove("norm.weight").unwrap()[0];
                expected.remove("norm.bias");
                for name in ["fc_norm.weight", "fc_norm.bias"] {
                    expected.insert(name.to_owned(), vec![dim]);
                }
                expected.insert("head.weight".to_owned(), vec![classes as usize, dim]);
                expected.insert("head.bias".to_owned(), vec![classes as usize]);
            }
            assert_eq!(found, expected, "{about}");
        }
    }
}

#[test]
fn what_is_written_has_the_packages_names() {
    for list in ["timm", "transformers4"] {
        for (layout, entry) in entries(list) {
            let (config, mut tensors, _) = model(&entry);
            if let Some(classes) = entry["classes"].as_u64() {
                let dim = config.encoder.tower.dim;
                tensors.retain(|(name, _)| !name.starts_with("norm."));
                for (name, shape) in [
                    ("fc_norm.weight", vec![dim]),
                    ("fc_norm.bias", vec![dim]),
                    ("head.weight", vec![classes as usize, dim]),
                    ("head.bias", vec![classes as usize]),
                ] {
                    let zeros = Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu);
                    tensors.push((name.to_owned(), zeros.unwrap()));
                }
            }
            let kind = if layout == Layout::HfVitMae { Kind::Full } else { Kind::Encoder };
            let metadata = Metadata { kind, info: model_info(&config), recipe: None };
            let export = export(&tensors, &metadata, layout).unwrap();
            let found: Shapes =
                export.tensors.into_iter().map(|(name, t)| (name, t.dims().to_vec())).collect();
            let about = format!("{list}: {} {}", entry["class"], entry["preset"]);
            assert_eq!(found, expand(&entry, Some(1)), "{about}");
        }
    }
}

/// Every preset's sizes are told from its shapes, heads included, which are in none.
#[test]
fn presets_are_recognised_by_their_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for preset in Preset::ALL {
        let patch = preset.patch_size();
        let grid = PatchGrid::new((14 * patch, 14 * patch), patch).unwrap();
        let config = MaeConfig::preset(preset, grid, 3);
        let (mut shallow, params) = (config, Params::new(0, &Device::Cpu));
        (shallow.encoder.tower.depth, shallow.decoder.tower.depth) = (1, 1);
        Mae::new(shallow, &params).unwrap();
        let tensors: Vec<_> =
            params.all().into_iter().map(|p| (p.name, p.var.as_tensor().clone())).collect();
        hollow(
            &path,
            &full_size(&tensors, [config.encoder.tower.depth, config.decoder.tower.depth]),
        );

        let file = Checkpoint::open(&path).unwrap();
        let unsaid = file.model_info(&Known::default()).unwrap_err().to_string();
        assert!(unsaid.contains("norm_pix_loss") && !unsaid.contains("heads"), "{unsaid}");
        let known = Known { norm_pix_loss: Some(true), ..Known::default() };
        assert_eq!(file.model_info(&known).unwrap(), model_info(&config), "{preset}");

        let encoder: Shapes = full_size(&tensors, [config.encoder.tower.depth, 0])
            .into_iter()
            .filter(|(name, _)| !is_decoder(name))
            .collect();
        hollow(&path, &encoder);
        let info = Checkpoint::open(&path).unwrap().model_info(&Known::default()).unwrap();
        assert_eq!(info, ModelInfo { decoder: None, ..model_info(&config) }, "{preset}");
    }
}
