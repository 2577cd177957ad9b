//! A file that is not exactly the model's is refused, all differences at once, and changes nothing.

use crate::common::{encoder, full, info, metadata, tensors, values, vars};
use candle_core::{DType, Device, Tensor, Var};
use longmae_weights::{Checkpoint, Error, Kind, Metadata, Misfit, Mismatch, ModelInfo, save};
use tempfile::TempDir;

type Shapes = Vec<(&'static str, Vec<usize>)>;

fn checkpoint(kind: Kind, shapes: &Shapes) -> (TempDir, Checkpoint) {
    written(&metadata(kind), &tensors(shapes))
}

fn written(metadata: &Metadata, tensors: &[(String, Tensor)]) -> (TempDir, Checkpoint) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    save(&path, metadata, tensors).unwrap();
    let checkpoint = Checkpoint::open(path).unwrap();
    (folder, checkpoint)
}

/// A file without metadata, as other software writes it.
fn foreign(shapes: &Shapes) -> (TempDir, Checkpoint) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("foreign.safetensors");
    safetensors::serialize_to_file(tensors(shapes), None, &path).unwrap();
    let checkpoint = Checkpoint::open(path).unwrap();
    (folder, checkpoint)
}

fn without(mut shapes: Shapes, name: &str) -> Shapes {
    shapes.retain(|(other, _)| *other != name);
    shapes
}

fn reshaped(mut shapes: Shapes, name: &str, shape: &[usize]) -> Shapes {
    shapes
        .iter_mut()
        .filter(|(other, _)| *other == name)
        .for_each(|(_, old)| *old = shape.to_vec());
    shapes
}

/// The refusal, after checking that no variable has changed from its zeros.
fn refusal(checkpoint: &Checkpoint, model: &[(String, Var)]) -> (Mismatch, String) {
    let mut texts = Vec::new();
    let mut mismatch = None;
    for error in
        [checkpoint.load_into(model), checkpoint.load_encoder_into(model)].map(Result::unwrap_err)
    {
        texts.push(error.to_string());
        let Error::Mismatch(found) = error else { panic!("{error}") };
        mismatch.get_or_insert(*found);
    }
    assert_untouched(model);
    (mismatch.unwrap(), texts.swap_remove(0))
}

fn assert_untouched(model: &[(String, Var)]) {
    for (name, var) in model {
        assert!(
            values(var).iter().all(|value| *value == 0.0),
            "{name} was changed by a refused loading"
        );
    }
}

#[test]
fn a_missing_name_is_refused() {
    for (name, _) in full() {
        let (_folder, file) = checkpoint(Kind::Full, &without(full(), name));
        let (mismatch, _) = refusal(&file, &vars(&full(), DType::F32));
        assert_eq!(
            (mismatch.missing, mismatch.unexpected.len(), mismatch.misfits.len()),
            (vec![name.to_owned()], 0, 0)
        );
    }
}

#[test]
fn an_unexpected_name_is_refused() {
    let (_folder, file) = checkpoint(Kind::Full, &full());
    for (name, _) in full() {
        let model = vars(&without(full(), name), DType::F32);
        let Err(Error::Mismatch(mismatch)) = file.load_into(&model) else {
            panic!("{name} was not missed")
        };
        assert_untouched(&model);
        assert_eq!(
            (mismatch.unexpected, mismatch.missing.len(), mismatch.misfits.len()),
            (vec![name.to_owned()], 0, 0)
        );
    }
}

#[test]
fn another_shape_is_refused_even_with_as_many_numbers() {
    let (_folder, file) = checkpoint(Kind::Full, &full());
    let model = vars(&reshaped(full(), "blocks.0.attn.qkv.weight", &[2, 6]), DType::F32);
    let (mismatch, text) = refusal(&file, &model);
    let misfit = Misfit {
        name: "blocks.0.attn.qkv.weight".into(),
        file: "[6, 2]".into(),
        model: "[2, 6]".into(),
    };
    assert_eq!(
        (mismatch.misfits, mismatch.missing.len(), mismatch.unexpected.len()),
        (vec![misfit], 0, 0)
    );
    assert!(text.contains("blocks.0.attn.qkv.weight (file [6, 2], model [2, 6])"), "{text}");
}

#[test]
fn all_differences_are_told_at_once() {
    let (_folder, file) = checkpoint(Kind::Full, &without(full(), "norm.bias"));
    let model = vars(
        &without(reshaped(full(), "cls_token", &[1, 1, 4]), "blocks.0.attn.qkv.bias"),
        DType::F32,
    );
    let (_, text) = refusal(&file, &model);
    for part in [
        "1 missing in the file: norm.bias",
        "1 unexpected in the file: blocks.0.attn.qkv.bias",
        "1 of another shape or type: cls_token (file [1, 1, 2], model [1, 1, 4])",
        "nothing was loaded",
        "the file's model: image 16x16, patch 8, 1 channels, encoder 2 wide, 1 deep, 1 heads, decoder 3 wide",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    assert_eq!(text.lines().count(), 2, "{text}");
}

#[test]
fn long_lists_are_cut() {
    let (_folder, file) = foreign(&vec![("norm.bias", vec![2])]);
    let names: Vec<String> = (0..12).map(|n| format!("blocks.{n}.norm1.bias")).collect();
    let mut model: Vec<(String, Var)> = vars(&[("norm.bias", vec![2])], DType::F32);
    model.extend(
        names.iter().map(|name| (name.clone(), Var::zeros(2, DType::F32, &Device::Cpu).unwrap())),
    );
    let (mismatch, text) = refusal(&file, &model);
    assert_eq!(mismatch.missing, names);
    assert!(text.contains("12 missing in the file: blocks.0.norm1.bias"), "{text}");
    assert!(
        text.contains("blocks.7.norm1.bias, ... and 4 more") && !text.contains("blocks.8."),
        "{text}"
    );
}

#[test]
fn integers_do_not_become_weights() {
    let shapes = vec![("norm.bias", vec![2])];
    let integers = vec![("norm.bias".to_owned(), Tensor::new(&[1i64, 2], &Device::Cpu).unwrap())];
    let (_folder, file) = written(&metadata(Kind::Encoder), &integers);
    let (_, text) = refusal(&file, &vars(&shapes, DType::F32));
    assert!(text.contains("norm.bias (file I64, model F32)"), "{text}");
}

#[test]
fn a_name_twice_in_the_model_is_an_error() {
    let (_folder, file) = checkpoint(Kind::Full, &full());
    let model = [vars(&full(), DType::F32), vars(&[("norm.bias", vec![2])], DType::F32)].concat();
    let error = file.load_into(&model).unwrap_err();
    assert!(
        matches!(error, Error::DuplicateName { ref name, .. } if name == "norm.bias"),
        "{error}"
    );
    assert_untouched(&model);
}

#[test]
fn an_encoder_is_loaded_from_either_kind_of_file() {
    let model = vars(&encoder(), DType::F32);
    let (_folder, file) = checkpoint(Kind::Full, &full());
    let report = file.load_encoder_into(&model).unwrap();
    assert_eq!(report.loaded, 6);
    assert_eq!(report.skipped, ["decoder_embed.weight", "decoder_pos_embed", "mask_token"]);
    assert_eq!(values(&model[3].1), values(&tensors(&encoder())[3].1));

    let (_folder, file) = checkpoint(Kind::Encoder, &encoder());
    let report = file.load_encoder_into(&vars(&encoder(), DType::F32)).unwrap();
    assert!(report.skipped.is_empty());
}

#[test]
fn only_the_decoder_is_skipped_for_an_encoder() {
    let with_head = [full(), vec![("head.weight", vec![10, 2])]].concat();
    let (_folder, file) = checkpoint(Kind::Full, &with_head);
    let (_, text) = refusal(&file, &vars(&encoder(), DType::F32));
    assert!(text.contains("head.weight"), "{text}");
    let error = file.load_encoder_into(&vars(&encoder(), DType::F32)).unwrap_err().to_string();
    assert!(error.contains("1 unexpected in the file: head.weight"), "{error}");
}

#[test]
fn an_encoder_file_for_a_full_model_says_what_to_do() {
    let model = vars(&full(), DType::F32);
    for (_folder, file) in [checkpoint(Kind::Encoder, &encoder()), foreign(&encoder())] {
        let (_, text) = refusal(&file, &model);
        assert!(text.contains("the file holds an encoder only"), "{text}");
        assert!(text.contains("give the full checkpoint"), "{text}");
    }
}

#[test]
fn a_full_file_for_an_encoder_says_what_to_do() {
    let (_folder, file) = checkpoint(Kind::Full, &full());
    let error = file.load_into(&vars(&encoder(), DType::F32)).unwrap_err().to_string();
    assert!(error.contains("load the encoder's part only"), "{error}");
}

#[test]
fn another_grid_is_told_in_patches() {
    let wide = ModelInfo { image_size: [8, 32], ..info() };
    let (_folder, with_info) =
        written(&Metadata { info: wide, ..metadata(Kind::Full) }, &tensors(&full()));
    let (_folder_2, plain) = foreign(&full());
    let wrong_info = ModelInfo { image_size: [64, 64], ..info() };
    let (_folder_3, contradicted) =
        written(&Metadata { info: wrong_info, ..metadata(Kind::Full) }, &tensors(&full()));
    for (file, tokens, expected) in [
        (
            &with_info,
            10,
            "the file's grid is 1x4 (image 8x32, patch 8), this model's is 3x3: `Checkpoint::adapt` resizes",
        ),
        (&plain, 10, "the file's grid is 2x2, this model's is 3x3: `Checkpoint::adapt`"),
        (&plain, 9, "the file's grid is 2x2, this model's is of 8 patches"),
        (&contradicted, 10, "the file's grid is 2x2, this model's is 3x3"),
    ] {
        let (_, text) =
            refusal(file, &vars(&reshaped(full(), "pos_embed", &[1, tokens, 2]), DType::F32));
        assert!(text.contains(expected), "{text}");
    }
    let (_, text) = refusal(&plain, &vars(&reshaped(full(), "pos_embed", &[1, 5, 4]), DType::F32));
    assert!(!text.contains("grid"), "another width is not another grid: {text}");
}

#[test]
fn key_bias_is_told_both_ways() {
    let split: Shapes = vec![("blocks.0.attn.q_bias", vec![2]), ("blocks.0.attn.v_bias", vec![2])];
    let without_key_bias = [without(full(), "blocks.0.attn.qkv.bias"), split].concat();
    let (_folder, file) = checkpoint(Kind::Full, &full());
    let (_, text) = refusal(&file, &vars(&without_key_bias, DType::F32));
    assert!(
        text.contains("the file's attention keys have a bias, the model's have none"),
        "{text}"
    );
    let (_folder, file) = checkpoint(Kind::Full, &without_key_bias);
    let (_, text) = refusal(&file, &vars(&full(), DType::F32));
    assert!(
        text.contains("the file's attention keys have no bias, the model's have one"),
        "{text}"
    );
}

#[test]
fn other_layouts_are_named() {
    for (name, layout) in [
        ("vit.layernorm.bias", "Hugging Face"),
        ("backbone.net.norm.bias", "detectron2"),
        ("module.norm.bias", "data parallelism"),
        ("layers.0.weight", "are not MAE's: only MAE's own"),
    ] {
        let (_folder, file) = foreign(&vec![(name, vec![2])]);
        assert_eq!(file.kind(), None);
        let (_, text) = refusal(&file, &vars(&full(), DType::F32));
        assert!(text.contains(layout) && text.contains(name), "{text}");
    }
}
