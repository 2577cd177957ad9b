//! `--init-weights`: a long-sequence run starts from a short one, by every kind of reference and layout.

mod common;
#[path = "../../weights/tests/checkpoints/pickles.rs"]
#[allow(dead_code, reason = "pickles that no hand-written file here needs")]
mod pickles;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor};
use common::{fails, losses, small, succeeds};
use longmae_weights::{Checkpoint, Layout, export};
use pickles::{Placed, archive, dict, pickle, tensor};

type Tensors = Vec<(String, Tensor)>;

fn tensors(checkpoint: &Checkpoint) -> Tensors {
    let read = |name: &str| checkpoint.tensor(name, &Device::Cpu).unwrap();
    checkpoint.names().map(|name| (name.to_owned(), read(name))).collect()
}

/// As the published files are: the state dict below `model`, other things beside it.
fn write_pth(path: &Path, tensors: &Tensors) {
    let storages: Vec<(String, Vec<u8>)> = tensors
        .iter()
        .enumerate()
        .map(|(key, (_, tensor))| {
            let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (format!("a/data/{key}"), bytes)
        })
        .collect();
    let state: Vec<(&str, Vec<u8>)> = tensors
        .iter()
        .enumerate()
        .map(|(key, (name, stored))| {
            let sizes = |list: &[usize]| list.iter().map(|n| *n as i64).collect::<Vec<_>>();
            let (shape, strides) = (sizes(stored.dims()), sizes(stored.stride()));
            let key = key.to_string();
            let count = stored.elem_count() as i64;
            let placed = Placed {
                class: "FloatStorage",
                key: &key,
                count,
                offset: 0,
                shape: &shape,
                strides: &strides,
            };
            (name.as_str(), tensor(placed, None))
        })
        .collect();
    let whole = pickle(&dict(&[("model", dict(&state)), ("epoch", pickles::int(799))]));
    let mut entries = vec![("a/data.pkl", &whole[..]), ("a/byteorder", &b"little"[..])];
    entries.extend(storages.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])));
    fs::write(path, archive(&entries)).unwrap();
}

/// Tensors without metadata, as other programs write them.
fn write_plain(path: &Path, tensors: Tensors) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let map: HashMap<String, Tensor> = tensors.into_iter().collect();
    candle_core::safetensors::save(&map, path).unwrap();
}

#[test]
fn a_long_run_starts_from_a_short_one_in_any_form() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let base = ["--data", "demo", "--max-steps", "1"];
    succeeds(&small(folder, &[&base[..], &["--out", "short"]].concat()));
    let model = "short/checkpoints/step-00000001/model.safetensors";
    let checkpoint = Checkpoint::open(folder.join(model)).unwrap();
    let (all, metadata) = (tensors(&checkpoint), checkpoint.metadata().unwrap());
    write_pth(&folder.join("published.pth"), &all);
    let hf = export(&all, metadata, Layout::HfVitMae).unwrap();
    hf.save_folder(folder.join("hf")).unwrap();
    write_plain(&folder.join("hf/model.safetensors"), hf.tensors);

    // Another I and mask unit: the same first loss from every form, since the numbers are the same.
    let start = |weights: &str, out: &str, more: &[&str]| {
        let long = ["--image-size", "64", "--mask-unit", "4", "--init-weights", weights];
        small(folder, &[&base[..], &long, &["--out", out], more].concat())
    };
    let mut firsts = Vec::new();
    for (number, weights) in
        ["short", "short/checkpoints/step-00000001", model, "published.pth", "hf"]
            .iter()
            .enumerate()
    {
        let out = format!("long{number}");
        let said = succeeds(&start(weights, &out, &[]));
        for name in ["pos_embed", "decoder_pos_embed"] {
            assert!(said.contains(&format!("  {name}: 4 x 4 -> 8 x 8, bicubic")), "{said}");
        }
        assert!(!said.contains("initial value"), "{said}");
        firsts.push(losses(&folder.join(out))[0]);
    }
    succeeds(&start("short", "fresh", &["--allow-partial"]));
    assert_eq!(losses(&folder.join("fresh"))[0], firsts[0], "what fits is not left out");
    assert!(firsts.iter().all(|first| *first == firsts[0]), "{firsts:?}");

    // Encoders: the decoder stays at its initial value only if that is allowed, and it is said.
    for (name, layout) in [("timm", Layout::Timm), ("vit", Layout::HfVit)] {
        let encoder: Tensors =
            all.iter().filter(|(name, _)| longmae_weights::is_encoder(name)).cloned().collect();
        let encoder_of =
            longmae_weights::Metadata { kind: longmae_weights::Kind::Encoder, ..metadata.clone() };
        let file = format!("{name}/model.safetensors");
        write_plain(&folder.join(&file), export(&encoder, &encoder_of, layout).unwrap().tensors);
        let refused = start(&file, "refused", &[]);
        fails(&refused, 1, &[&file, "an encoder alone", "--allow-partial"]);
        assert!(!folder.join("refused").exists());
        let said = succeeds(&start(name, &format!("from-{name}"), &["--allow-partial"]));
        assert!(said.contains(&format!("in part from {name}:")), "{said}");
        assert!(
            said.contains("left at its initial value: 20 tensors (decoder_embed.weight, "),
            "{said}"
        );
    }
    let of = |run: &str| losses(&folder.join(run))[0];
    assert_eq!(of("from-timm"), of("from-vit"));
    assert_ne!(of("from-timm"), firsts[0]);
}
