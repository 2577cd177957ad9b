//! A file that is not exactly the model's is refused, all differences at once, and changes nothing.

use crate::common::{encoder, full, info, metadata, tensors, values, vars};
use candle_core::{DType, Device, Tensor, Var};
use longmae_weights::{
    Checkpoint, Error, Kind, Layout, LoadOptions, Metadata, Misfit, Mismatch, ModelInfo, save,
};
use tempfile::TempDir;

type Shapes = Vec<(&'static str, Vec<usize>)>;

fn checkpoint(kind: Kind, shapes: &Shapes) -> (TempDir, Checkpoint) {
    written_as(&metadata(kind), &tensors(shapes))
}

fn written_as(metadata: &Metadata, tensors: &[(String, Tensor)]) -> (TempDir, Checkpoint) {
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
    let (_folder, file) = written_as(&metadata(Kind::Encoder), &integers);
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
fn only_decoder_and_classifier_are_skipped_for_an_encoder() {
    let head = ("head.weight", vec![10, 2]);
    let more = [full(), vec![head, ("neck.weight", vec![10, 2])]].concat();
    let (_folder, file) = checkpoint(Kind::Full, &more);
    let (_, text) = refusal(&file, &vars(&encoder(), DType::F32));
    assert!(text.contains("head.weight"), "{text}");
    let error = file.load_encoder_into(&vars(&encoder(), DType::F32)).unwrap_err().to_string();
    assert!(error.contains("1 unexpected in the file: neck.weight"), "{error}");

    let (_folder, file) = checkpoint(Kind::Full, &without(more, "neck.weight"));
    let report = file.load_encoder_into(&vars(&encoder(), DType::F32)).unwrap();
    assert!(report.skipped.contains(&"head.weight".to_owned()), "{report:?}");
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
        written_as(&Metadata { info: wide, ..metadata(Kind::Full) }, &tensors(&full()));
    let (_folder_2, plain) = foreign(&full());
    let wrong_info = ModelInfo { image_size: [64, 64], ..info() };
    let (_folder_3, contradicted) =
        written_as(&Metadata { info: wrong_info, ..metadata(Kind::Full) }, &tensors(&full()));
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

/// The model without key bias that belongs to [`full`].
fn without_key_bias() -> Shapes {
    let split: Shapes = vec![("blocks.0.attn.q_bias", vec![2]), ("blocks.0.attn.v_bias", vec![2])];
    [without(full(), "blocks.0.attn.qkv.bias"), split].concat()
}

#[test]
fn a_key_bias_that_is_not_zero_is_refused_by_name() {
    let (_folder, file) = checkpoint(Kind::Full, &full());
    let model = vars(&without_key_bias(), DType::F32);
    let error = file.load_into(&model).unwrap_err();
    assert!(
        matches!(&error, Error::KeyBias { names, .. } if *names == ["blocks.0.attn.qkv.bias"]),
        "{error}"
    );
    assert!(error.to_string().contains("have one that is not zero: blocks.0.attn.qkv.bias"));
    assert_untouched(&model);
}

#[test]
fn a_key_bias_of_zeros_comes_and_goes() {
    let (_folder, file) = checkpoint(Kind::Full, &without_key_bias());
    let model = vars(&full(), DType::F32);
    let report = file.load_into(&model).unwrap();
    assert_eq!((report.loaded, report.key_biases), (9, 1));
    let written = tensors(&without_key_bias());
    let bias = |name: &str| values(&written.iter().find(|(other, _)| other == name).unwrap().1);
    let (query, value) = (bias("blocks.0.attn.q_bias"), bias("blocks.0.attn.v_bias"));
    let joined = [query.clone(), vec![0.0; 2], value.clone()].concat();
    let (_, all) = model.iter().find(|(name, _)| name == "blocks.0.attn.qkv.bias").unwrap();
    assert_eq!(values(all), joined);

    let mut tensors = written;
    tensors.retain(|(name, _)| !name.ends_with("q_bias") && !name.ends_with("v_bias"));
    tensors.push(("blocks.0.attn.qkv.bias".to_owned(), Tensor::new(joined, &Device::Cpu).unwrap()));
    let (_folder, file) = written_as(&metadata(Kind::Full), &tensors);
    let model = vars(&without_key_bias(), DType::F32);
    let report = file.load_into(&model).unwrap();
    assert_eq!((report.loaded, report.key_biases), (10, 1));
    for (name, expected) in [("blocks.0.attn.q_bias", query), ("blocks.0.attn.v_bias", value)] {
        let (_, var) = model.iter().find(|(other, _)| other == name).unwrap();
        assert_eq!(values(var), expected);
    }
}

#[test]
fn a_partial_load_sets_what_fits_and_names_the_rest() {
    let shapes = without(reshaped(full(), "cls_token", &[1, 1, 4]), "norm.bias");
    let (_folder, file) = checkpoint(Kind::Full, &[shapes, vec![("neck.bias", vec![3])]].concat());
    let model = vars(&full(), DType::F32);
    assert!(file.load_into(&model).is_err());
    assert_untouched(&model);
    let report = file.load_into_with(&model, LoadOptions { allow_partial: true }).unwrap();
    assert_eq!(report.initial, ["cls_token", "norm.bias"]);
    assert_eq!(report.skipped, ["neck.bias", "cls_token"]);
    assert_eq!(report.loaded, 7);
    for (name, var) in &model {
        let initial = values(var).iter().all(|value| *value == 0.0);
        assert_eq!(initial, report.initial.contains(name), "{name}");
    }
}

#[test]
fn a_partial_load_of_nothing_is_refused() {
    let (_folder, file) = checkpoint(Kind::Full, &vec![("neck.bias", vec![3])]);
    let model = vars(&full(), DType::F32);
    let error = file.load_into_with(&model, LoadOptions { allow_partial: true }).unwrap_err();
    assert!(matches!(error, Error::Mismatch(_)), "{error}");
}

#[test]
fn names_of_no_layout_are_told() {
    for (name, hint) in [
        (
            "layers.0.weight",
            "are of no layout known here (mae, timm, hf-vit-mae, hf-vit, detectron2)",
        ),
        ("model.norm.bias", "a whole training state"),
    ] {
        let (_folder, file) = foreign(&vec![(name, vec![2])]);
        assert_eq!((file.kind(), file.layout()), (None, None));
        let (_, text) = refusal(&file, &vars(&full(), DType::F32));
        assert!(text.contains(hint) && text.contains(name), "{text}");
    }
}

#[test]
fn differences_are_told_in_both_names() {
    let (_folder, file) = foreign(&vec![
        ("vit.embeddings.cls_token", vec![1, 1, 4]),
        ("decoder.mask_token", vec![1, 1, 3]),
        ("vit.layernorm.weight", vec![2]),
    ]);
    let (_, text) = refusal(&file, &vars(&full(), DType::F32));
    for part in [
        "(layout hf-vit-mae) does not fit the model",
        "1 unexpected in the file: norm.weight [vit.layernorm.weight]",
        "cls_token [vit.embeddings.cls_token] (file [1, 1, 4], model [1, 1, 2])",
        "missing in the file: pos_embed",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[test]
fn a_detectors_backbone_says_what_it_lacks() {
    let names =
        ["backbone.net.pos_embed", "backbone.net.blocks.0.attn.rel_pos_h", "roi_heads.bias"];
    let (_folder, file) = foreign(&names.map(|name| (name, vec![1, 5, 2])).to_vec());
    let model = vars(&[("cls_token", vec![1, 1, 2]), ("pos_embed", vec![1, 5, 2])], DType::F32);
    let error = file.load_encoder_into(&model).unwrap_err().to_string();
    assert!(error.contains("1 missing in the file: cls_token"), "{error}");
    assert!(error.contains("a detector's backbone has no class token"), "{error}");
    let options = LoadOptions { allow_partial: true };
    let report = file.load_encoder_into_with(&model, options).unwrap();
    assert_eq!(report.layout, Some(Layout::Detectron2));
    assert_eq!(report.initial, ["cls_token"]);
    assert_eq!(report.skipped, names[1..]);
}

#[test]
fn a_classifiers_norm_is_not_taken_for_the_encoders() {
    let (_folder, file) = foreign(&vec![
        ("cls_token", vec![1, 1, 2]),
        ("fc_norm.weight", vec![2]),
        ("head.bias", vec![5]),
    ]);
    let model = vars(&[("cls_token", vec![1, 1, 2]), ("norm.weight", vec![2])], DType::F32);
    let error = file.load_encoder_into(&model).unwrap_err().to_string();
    assert!(error.contains("a classifier on the mean of all tokens"), "{error}");
}
