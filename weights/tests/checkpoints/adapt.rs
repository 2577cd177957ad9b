//! Checkpoints of another grid, patch size or number of channels.

use crate::common::{info, tensors, values, vars};
use candle_core::{DType, Tensor, Var};
use longmae_patching::{PatchGrid, adapt_channels, resize_patch_embed, resize_positions};
use longmae_weights::{
    Adapt, Checkpoint, Error, Kind, Metadata, ModelInfo, PatchResample, Resample, What, save,
};
use tempfile::TempDir;

type Shapes = Vec<(&'static str, Vec<usize>)>;

/// A model cut down to what adapting looks at, encoder and decoder 4 wide; `down` is the decoder's downsampling.
fn model([rows, columns]: [usize; 2], p: usize, channels: usize, down: usize) -> Shapes {
    let patches = rows * columns;
    let mut shapes = vec![
        ("pos_embed", vec![1, 1 + patches, 4]),
        ("patch_embed.proj.weight", vec![4, channels, p, p]),
        ("norm.bias", vec![4]),
        ("decoder_pos_embed", vec![1, 1 + patches / (down * down), 4]),
        ("decoder_pred.weight", vec![p * p * channels, 4]),
        ("decoder_pred.bias", vec![p * p * channels]),
    ];
    if down > 1 {
        shapes.push(("decoder_downsample.weight", vec![4, 4, down, down]));
    }
    shapes
}

fn encoder_of(shapes: &Shapes) -> Shapes {
    shapes[..3].to_vec()
}

/// A file that says its grid, or one from elsewhere.
fn file(shapes: &Shapes, grid: Option<[usize; 2]>, dtype: DType) -> (TempDir, Checkpoint) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let numbers: Vec<_> = tensors(shapes)
        .into_iter()
        .map(|(name, tensor)| (name, tensor.to_dtype(dtype).unwrap()))
        .collect();
    match grid {
        None => safetensors::serialize_to_file(numbers, None, &path).unwrap(),
        Some(grid) => {
            let info = ModelInfo { image_size: grid.map(|side| 8 * side), ..info() };
            save(&path, &Metadata { kind: Kind::Full, info, recipe: None }, &numbers).unwrap();
        }
    }
    let checkpoint = Checkpoint::open(&path).unwrap();
    (folder, checkpoint)
}

fn source(shapes: &Shapes, name: &str) -> Tensor {
    tensors(shapes).into_iter().find(|(other, _)| other == name).unwrap().1
}

fn var<'a>(model: &'a [(String, Var)], name: &str) -> &'a Var {
    &model.iter().find(|(other, _)| other == name).unwrap().1
}

fn grid([rows, columns]: [usize; 2]) -> PatchGrid {
    PatchGrid::new((rows, columns), 1).unwrap()
}

/// Adapts, checks that this alone changes nothing, loads, and gives the lines.
fn adapted(file: &Checkpoint, model: &[(String, Var)], how: &Adapt) -> String {
    let adaptation = file.adapt(model, how).unwrap();
    assert!(model.iter().all(|(_, var)| values(var).iter().all(|value| *value == 0.0)));
    let report = adaptation.load().unwrap();
    let left =
        adaptation.changes().iter().filter(|change| matches!(change.what, What::Left { .. }));
    assert_eq!(report.loaded, model.len() - left.count());
    adaptation.to_string()
}

fn refusal(file: &Checkpoint, model: &[(String, Var)], how: &Adapt) -> Error {
    let error = file.adapt(model, how).unwrap_err();
    assert!(model.iter().all(|(_, var)| values(var).iter().all(|value| *value == 0.0)));
    error
}

#[test]
fn what_fits_is_loaded_as_it_is() {
    let shapes = model([2, 3], 2, 3, 1);
    let (_folder, file) = file(&shapes, Some([2, 3]), DType::F32);
    let (plain, adapted) = (vars(&shapes, DType::F32), vars(&shapes, DType::F32));
    let expected = file.load_into(&plain).unwrap();
    let adaptation = file.adapt(&adapted, &Adapt::to_grid([2, 3])).unwrap();
    assert!(adaptation.is_plain() && adaptation.to_string().is_empty());
    assert_eq!(adaptation.load().unwrap(), expected);
    for ((name, a), (_, b)) in plain.iter().zip(&adapted) {
        assert_eq!(values(a), values(b), "{name}");
        assert_eq!(values(a), values(&source(&shapes, name)), "{name}");
    }
}

#[test]
fn positions_of_encoder_and_decoder_are_resized() {
    for (how, word) in
        [(Resample::Bicubic, "bicubic"), (Resample::BicubicAntialiased, "bicubic antialiased")]
    {
        let (short, long) = (model([4, 4], 2, 3, 2), model([8, 12], 2, 3, 2));
        for said in [None, Some([4, 4])] {
            let (_folder, file) = file(&short, said, DType::F32);
            let model = vars(&long, DType::F32);
            let lines = adapted(&file, &model, &Adapt::to_grid([8, 12]).positions(how));
            let expected = format!(
                "pos_embed: 4 x 4 -> 8 x 12, {word}\ndecoder_pos_embed: 2 x 2 -> 4 x 6, {word}"
            );
            assert_eq!(lines, expected);
            for (name, from, to) in
                [("pos_embed", [4, 4], [8, 12]), ("decoder_pos_embed", [2, 2], [4, 6])]
            {
                let from = resize_positions(&source(&short, name), grid(from), grid(to), how);
                assert_eq!(values(var(&model, name)), values(&from.unwrap()), "{name}");
            }
            let same = "decoder_downsample.weight";
            assert_eq!(values(var(&model, same)), values(&source(&short, same)));
        }
    }
}

#[test]
fn as_many_patches_on_another_grid_are_resized_where_the_file_says_its_grid() {
    let shapes = model([2, 8], 2, 3, 1);
    let how = Adapt::to_grid([2, 8]);
    let (_folder, said) = file(&shapes, Some([4, 4]), DType::F32);
    let lines = adapted(&said, &vars(&shapes, DType::F32), &how);
    assert!(lines.contains("pos_embed: 4 x 4 -> 2 x 8, bicubic"), "{lines}");
    let (_folder, silent) = file(&shapes, None, DType::F32);
    assert!(silent.adapt(&vars(&shapes, DType::F32), &how).unwrap().is_plain());
}

#[test]
fn an_oblong_grid_must_be_known() {
    let (short, long) = (model([2, 3], 2, 3, 1), model([4, 6], 2, 3, 1));
    let how = Adapt::to_grid([4, 6]);
    let target = vars(&long, DType::F32);
    let (_folder, file_without) = file(&short, None, DType::F32);
    let text = refusal(&file_without, &target, &how).to_string();
    assert!(
        text.contains("`pos_embed` cannot be adapted: it holds 6 positions: no square"),
        "{text}"
    );
    let text = refusal(&file_without, &target, &how.clone().grid_of_file([3, 3])).to_string();
    assert!(text.contains("given as 3 x 3"), "{text}");
    let lines = adapted(&file_without, &target, &how.clone().grid_of_file([2, 3]));
    assert!(lines.starts_with("pos_embed: 2 x 3 -> 4 x 6"), "{lines}");

    let (_folder, contradicted) = file(&short, Some([5, 5]), DType::F32);
    let target = vars(&long, DType::F32);
    let text = refusal(&contradicted, &target, &how).to_string();
    assert!(text.contains("by its metadata the file's grid is 5 x 5"), "{text}");
    let text = refusal(&file_without, &target, &Adapt::to_grid([5, 5])).to_string();
    assert!(text.contains("the model has 24 positions, asked for are 5 x 5"), "{text}");
}

#[test]
fn patches_and_channels_are_adapted_and_the_prediction_is_left_if_allowed() {
    let (old, new) = (model([3, 3], 4, 3, 1), model([3, 3], 6, 1, 1));
    let (_folder, file) = file(&old, Some([3, 3]), DType::F32);
    let target = vars(&new, DType::F32);
    let info = ModelInfo { image_size: [18, 18], patch_size: 6, ..info() };
    let strict = Adapt::to_model(&info);
    let Error::Mismatch(mismatch) = refusal(&file, &target, &strict) else { panic!() };
    let names: Vec<&str> = mismatch.misfits.iter().map(|misfit| misfit.name.as_str()).collect();
    assert_eq!(names, ["decoder_pred.weight", "decoder_pred.bias"]);
    assert!(mismatch.to_string().contains("Adapt::leaving_prediction"), "{mismatch}");

    for (how, word) in [
        (PatchResample::PseudoInverse, "pseudo-inverse"),
        (PatchResample::Plain(Resample::Bicubic), "bicubic"),
    ] {
        let target = vars(&new, DType::F32);
        let lines = adapted(&file, &target, &strict.clone().patches(how).leaving_prediction());
        let expected = format!(
            "patch_embed.proj.weight: patch 4 -> 6, {word}; channels 3 -> 1, summed\n\
             decoder_pred.weight: 48 outputs in the file, 36 in the model: left at its start\n\
             decoder_pred.bias: 48 outputs in the file, 36 in the model: left at its start"
        );
        assert_eq!(lines, expected);
        let name = "patch_embed.proj.weight";
        let weight = adapt_channels(&source(&old, name), 1).unwrap();
        let weight = resize_patch_embed(&weight, 6, how).unwrap();
        assert_eq!(values(var(&target, name)), values(&weight));
        assert_eq!(values(var(&target, "decoder_pred.weight")), vec![0.0; 36 * 4]);
    }
}

#[test]
fn an_encoder_is_adapted_without_its_decoder() {
    let (old, new) = (model([2, 2], 2, 3, 1), encoder_of(&model([4, 4], 4, 6, 1)));
    let (_folder, file) = file(&old, None, DType::F32);
    let model = vars(&new, DType::F32);
    let adaptation = file.adapt_encoder(&model, &Adapt::to_grid([4, 4])).unwrap();
    let lines = adaptation.to_string();
    assert!(lines.contains("patch 2 -> 4, pseudo-inverse; channels 3 -> 6, repeated"), "{lines}");
    let report = adaptation.load().unwrap();
    assert_eq!((report.loaded, report.skipped.len()), (3, 3));
}

#[test]
fn everything_else_must_fit() {
    let short = model([2, 2], 2, 3, 1);
    let (_folder, file) = file(&short, None, DType::F32);
    let how = Adapt::to_grid([4, 4]).leaving_prediction();
    let mut wide = model([4, 4], 2, 3, 1);
    for (name, shape) in &mut wide {
        match *name {
            "pos_embed" => shape[2] = 8,
            "norm.bias" => shape[0] = 8,
            _ => {}
        }
    }
    wide.push(("norm.weight", vec![8]));
    let Error::Mismatch(mismatch) = refusal(&file, &vars(&wide, DType::F32), &how) else {
        panic!()
    };
    let names: Vec<&str> = mismatch.misfits.iter().map(|misfit| misfit.name.as_str()).collect();
    assert_eq!(
        (names, mismatch.missing),
        (vec!["pos_embed", "norm.bias"], vec!["norm.weight".to_owned()])
    );

    let coarse = model([4, 4], 2, 3, 2);
    let Error::Mismatch(mismatch) = refusal(&file, &vars(&coarse, DType::F32), &how) else {
        panic!()
    };
    assert_eq!(mismatch.missing, ["decoder_downsample.weight"]);
    assert!(!mismatch.to_string().contains("grid"), "what is resized is no mistake: {mismatch}");

    let bands = encoder_of(&model([4, 4], 2, 5, 1));
    let (_folder_2, four) = self::file(&encoder_of(&model([4, 4], 2, 4, 1)), None, DType::F32);
    let model = vars(&bands, DType::F32);
    let text = four.adapt_encoder(&model, &how).unwrap_err().to_string();
    assert!(text.contains("`patch_embed.proj.weight` cannot be adapted"), "{text}");
    assert!(text.contains("4 channels has no meaning for 5"), "{text}");
}

#[test]
fn half_floats_are_resized_as_the_model_keeps_them() {
    let (short, long) = (model([2, 2], 2, 3, 1), model([3, 3], 2, 3, 1));
    let (_folder, file) = file(&short, None, DType::BF16);
    let model = vars(&long, DType::F32);
    adapted(&file, &model, &Adapt::to_grid([3, 3]));
    let rounded = source(&short, "pos_embed").to_dtype(DType::BF16).unwrap();
    let exact = rounded.to_dtype(DType::F32).unwrap();
    let expected = resize_positions(&exact, grid([2, 2]), grid([3, 3]), Resample::Bicubic).unwrap();
    assert_eq!(values(var(&model, "pos_embed")), values(&expected));
}
