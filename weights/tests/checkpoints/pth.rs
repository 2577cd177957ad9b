//! Files that torch.save wrote: every number is where `fixtures/make_pth.py` put it.

use crate::common::{fixture, shared, values};
use candle_core::{DType, Device, Tensor, Var};
use longmae_weights::{Checkpoint, Error, Format, Kind, StoredFile};

/// Names, shapes, types and numbers are those of the other file.
fn assert_same(file: &Checkpoint, expected: &Checkpoint) {
    assert_eq!(file.names().collect::<Vec<_>>(), expected.names().collect::<Vec<_>>());
    for name in expected.names() {
        assert_eq!(file.shape(name), expected.shape(name), "{name}");
        assert_eq!(file.dtype(name), expected.dtype(name), "{name}");
        let tensor = file.tensor(name, &Device::Cpu).unwrap();
        let expected = expected.tensor(name, &Device::Cpu).unwrap();
        assert_eq!(values(&tensor), values(&expected), "{name}");
    }
}

#[test]
fn every_container_and_protocol() {
    let expected = Checkpoint::open(fixture("pth_expected.safetensors")).unwrap();
    assert_eq!(expected.stored().format(), Format::Safetensors);
    for name in ["pth_zip.pth", "pth_zip_5.pth", "pth_stream.pth", "pth_stream_4.pth"] {
        let file = Checkpoint::open(fixture(name)).unwrap();
        assert_eq!(file.stored().format(), Format::Pth);
        assert_eq!((file.kind(), file.metadata()), (Some(Kind::Full), None));
        assert_same(&file, &expected);
        let notes = file.notes().join("; ");
        assert!(notes.contains("under `model`, beside `optimizer` (a dict of 2)"), "{notes}");
        assert!(notes.contains("`args` (an object of `argparse.Namespace`)"), "{notes}");
    }
}

#[test]
fn numbers_that_are_known_without_a_file() {
    let file = Checkpoint::open(fixture("pth_zip.pth")).unwrap();
    let tensor = |name: &str| file.tensor(name, &Device::Cpu).unwrap();
    let transposed = tensor("decoder_embed.weight");
    assert_eq!(
        (transposed.dims(), values(&transposed)),
        (&[3, 2][..], vec![4.0, 5.5, 4.5, 6.0, 5.0, 6.5])
    );
    assert_eq!(values(&tensor("blocks.0.attn.qkv.bias")), [3.5, 4.5, 5.5, 6.5, 7.5, 8.5]);
    assert_eq!(values(&tensor("blocks.0.norm1.weight")), [7.0, 7.5]);
    assert_eq!(values(&tensor("norm.bias")), [6.0; 4]);
    assert_eq!(tensor("norm.weight").dims(), [0, 3]);
    assert_eq!(tensor("patch_embed.steps").to_scalar::<i64>().unwrap(), -8);
}

#[test]
fn a_training_state_loads_into_a_model() {
    let file = Checkpoint::open(fixture("tiny.pth")).unwrap();
    let model = [(
        "cls_token".to_owned(),
        Var::from_tensor(&Tensor::full(7f32, (1, 1, 2), &Device::Cpu).unwrap()).unwrap(),
    )];
    assert_eq!(file.load_encoder_into(&model).unwrap().loaded, 1);
    assert_eq!(values(&model[0].1), [1.0, 1.5]);
}

#[test]
fn rare_ways_to_keep_a_tensor() {
    let file = Checkpoint::open(fixture("pth_rare.pth")).unwrap();
    assert!(file.notes().is_empty(), "{:?}", file.notes());
    let read = |name| values(&file.tensor(name, &Device::Cpu).unwrap());
    assert_eq!(read("cls_token"), [0.0, 0.5]);
    assert_eq!(read("mask_token"), [1.0, 1.5, 2.0]);
    assert_eq!(
        (file.dtype("pos_embed"), read("pos_embed")),
        (Some(DType::U32), vec![4_294_967_295.0])
    );
}

#[test]
fn the_prefix_of_data_parallelism_is_cut_off() {
    let file = Checkpoint::open(fixture("pth_wrapped.pth")).unwrap();
    assert_eq!(file.names().collect::<Vec<_>>(), ["bias", "weight"]);
    assert_eq!(
        values(&file.tensor("weight", &Device::Cpu).unwrap()),
        [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    );
    let notes = file.notes();
    assert!(notes.iter().any(|note| note.starts_with("cut `module.` off")), "{notes:?}");
    assert!(notes[0].contains("under `state_dict`, beside `epoch` (an int)"), "{notes:?}");
}

#[test]
fn one_of_several_state_dicts_must_be_chosen() {
    let path = fixture("pth_two.pth");
    let error = Checkpoint::open(&path).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::SeveralStateDicts { .. }), "{text}");
    assert!(text.contains("`teacher` (2 tensors), `student` (2 tensors)"), "{text}");
    let teacher = Checkpoint::open_part(&path, "teacher").unwrap();
    assert_eq!(teacher.names().collect::<Vec<_>>(), ["bias", "weight"]);
    for (part, found) in [("epoch", "`epoch` (an int)"), ("model", "`student` (a dict of 2)")] {
        let text = Checkpoint::open_part(&path, part).unwrap_err().to_string();
        assert!(
            text.contains(&format!("under `{part}`; it has")) && text.contains(found),
            "{text}"
        );
    }
    let text =
        StoredFile::open_part(fixture("foreign.safetensors"), "model").unwrap_err().to_string();
    assert!(text.contains("it is a safetensors file"), "{text}");
}

#[test]
fn what_is_no_dense_tensor_is_refused_by_name() {
    for (file, reason) in [
        ("pth_sparse.pth", "tensor `norm.bias` is sparse"),
        ("pth_quantised.pth", "tensor `norm.weight` is quantised"),
        (
            "pth_module.pth",
            "an object of `torch.nn.modules.linear.Linear`: if that is a model, save its `state_dict()`",
        ),
    ] {
        let text = Checkpoint::open(fixture(file)).unwrap_err().to_string();
        assert!(text.contains(file) && text.contains(reason), "{text}");
    }
}

#[test]
fn a_published_layout_in_both_formats() {
    let Some(path) = shared("fixtures/checkpoints/mae.pth") else { return };
    let file = Checkpoint::open(&path).unwrap();
    assert_same(&file, &Checkpoint::open(path.with_extension("safetensors")).unwrap());
    assert_eq!(file.names().count(), 74);
}
