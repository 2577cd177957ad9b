//! What is saved comes back, and is saved the same way twice; what cannot be saved leaves nothing behind.

use crate::common::{encoder, full, info, metadata, tensors, values, vars};
use candle_core::{DType, Device, Tensor};
use longmae_weights::{Checkpoint, Error, Kind, Metadata, ModelInfo, save};
use std::path::Path;

fn files_in(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn tensors_and_metadata_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let saved = tensors(&full());
    save(&path, &metadata(Kind::Full), &saved).unwrap();

    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.metadata(), Some(&metadata(Kind::Full)));
    assert_eq!(checkpoint.kind(), Some(Kind::Full));
    assert_eq!(checkpoint.names().count(), saved.len());
    for (name, tensor) in &saved {
        let read = checkpoint.tensor(name, &Device::Cpu).unwrap();
        assert_eq!(checkpoint.shape(name), Some(tensor.dims()));
        assert_eq!((read.dims(), read.dtype()), (tensor.dims(), tensor.dtype()));
        assert_eq!(values(&read), values(tensor), "{name}");
    }
    assert_eq!(files_in(folder.path()), ["model.safetensors"], "no temporary file stays");
}

#[test]
fn every_number_type_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("types.safetensors");
    let types = [
        DType::U8,
        DType::I16,
        DType::F16,
        DType::BF16,
        DType::I32,
        DType::U32,
        DType::F32,
        DType::F64,
        DType::I64,
    ];
    let counts = Tensor::arange(0f32, 7f32, &Device::Cpu).unwrap();
    let saved: Vec<_> =
        types.map(|dtype| (dtype.as_str().into(), counts.to_dtype(dtype).unwrap())).into();
    save(&path, &Metadata { recipe: None, ..metadata(Kind::Encoder) }, &saved).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    for dtype in types {
        let read = checkpoint.tensor(dtype.as_str(), &Device::Cpu).unwrap();
        assert_eq!(read.dtype(), dtype);
        assert_eq!(values(&read), values(&counts), "{dtype:?}");
    }
}

#[test]
fn the_same_input_gives_the_same_bytes_in_any_order() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    let forward = tensors(&full());
    let backward: Vec<_> = forward.iter().rev().cloned().collect();
    for round in 0..20 {
        save(&a, &metadata(Kind::Full), &forward).unwrap();
        save(&b, &metadata(Kind::Full), &backward).unwrap();
        assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap(), "round {round}");
    }
}

#[test]
fn the_safetensors_crate_reads_the_file_and_the_data_is_aligned() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    save(&path, &metadata(Kind::Full), &tensors(&full())).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let (header_len, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header_len % 8, 0);
    assert_eq!(header.metadata().as_ref().unwrap()["longmae.kind"], "full");
    let theirs = safetensors::serialize(tensors(&full()), None).unwrap();
    assert!(
        bytes.ends_with(&theirs[theirs.len() - header.data_len()..]),
        "tensors in the crate's order"
    );
}

#[test]
fn a_transposed_tensor_is_saved_as_it_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let transposed =
        Tensor::arange(0f32, 6f32, &Device::Cpu).unwrap().reshape((2, 3)).unwrap().t().unwrap();
    save(&path, &metadata(Kind::Full), &[("norm.weight".into(), transposed.clone())]).unwrap();
    let read = Checkpoint::open(&path).unwrap().tensor("norm.weight", &Device::Cpu).unwrap();
    assert_eq!(read.dims(), [3, 2]);
    assert_eq!(values(&read), [0., 3., 1., 4., 2., 5.]);
}

#[test]
fn loading_sets_every_variable_and_converts_floats() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for (stored, wanted) in [
        (DType::F32, DType::F32),
        (DType::F16, DType::F32),
        (DType::BF16, DType::F32),
        (DType::F64, DType::F32),
        (DType::F32, DType::BF16),
    ] {
        let saved: Vec<_> = tensors(&full())
            .into_iter()
            .map(|(name, tensor)| (name, tensor.to_dtype(stored).unwrap()))
            .collect();
        save(&path, &metadata(Kind::Full), &saved).unwrap();
        let model = vars(&full(), wanted);
        let report = Checkpoint::open(&path).unwrap().load_into(&model).unwrap();
        assert_eq!(report.loaded, 9);
        assert_eq!(report.parameters, model.iter().map(|(_, var)| var.elem_count()).sum::<usize>());
        assert_eq!(report.converted.len(), if stored == wanted { 0 } else { 9 });
        assert!(report.skipped.is_empty());
        for ((name, tensor), (_, var)) in saved.iter().zip(&model) {
            assert_eq!(values(&tensor.to_dtype(wanted).unwrap()), values(var), "{name} {stored:?}");
        }
    }
}

#[test]
fn a_file_can_be_replaced_while_it_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    save(&path, &metadata(Kind::Full), &tensors(&full())).unwrap();
    let old = Checkpoint::open(&path).unwrap();
    save(&path, &metadata(Kind::Encoder), &tensors(&encoder())).unwrap();
    old.load_into(&vars(&full(), DType::F32)).unwrap();
    assert_eq!(Checkpoint::open(&path).unwrap().kind(), Some(Kind::Encoder));
}

#[cfg(unix)]
#[test]
fn a_saved_file_has_the_permissions_of_any_other() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (saved, plain) = (folder.path().join("saved"), folder.path().join("plain"));
    save(&saved, &metadata(Kind::Full), &tensors(&full())).unwrap();
    std::fs::write(&plain, "").unwrap();
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(saved), mode(plain));
}

#[test]
fn what_cannot_be_saved_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, "what was there").unwrap();
    let good = tensors(&full());
    let with =
        |name: &str, tensor: Tensor| [good.clone(), vec![(name.to_owned(), tensor)]].concat();
    let one = Tensor::ones(1, DType::F32, &Device::Cpu).unwrap();

    let twice = save(&path, &metadata(Kind::Full), &with("norm.bias", one.clone()));
    assert!(
        matches!(twice, Err(Error::DuplicateName { ref name, .. }) if name == "norm.bias"),
        "{twice:?}"
    );
    let reserved = save(&path, &metadata(Kind::Full), &with("__metadata__", one.clone()));
    assert!(matches!(reserved, Err(Error::WrongName { .. })), "{reserved:?}");
    let decoder = save(&path, &metadata(Kind::Encoder), &good);
    assert!(
        matches!(decoder, Err(Error::WrongName { ref name, .. }) if name == "mask_token"),
        "{decoder:?}"
    );
    let eight_bit =
        save(&path, &metadata(Kind::Full), &with("scale", one.to_dtype(DType::F8E4M3).unwrap()));
    assert!(
        matches!(eight_bit, Err(Error::UnsupportedDtype { ref dtype, .. }) if dtype == "F8_E4M3"),
        "{eight_bit:?}"
    );
    let impossible =
        Metadata { info: ModelInfo { patch_size: 5, ..info() }, ..metadata(Kind::Full) };
    let impossible = save(&path, &impossible, &good);
    assert!(
        matches!(impossible, Err(Error::Metadata { key: "longmae.info", .. })),
        "{impossible:?}"
    );

    assert_eq!(std::fs::read_to_string(&path).unwrap(), "what was there");
    assert_eq!(files_in(folder.path()), ["model.safetensors"]);
}

#[test]
fn a_place_that_cannot_be_written_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    let error =
        save(nowhere.join("m.safetensors"), &metadata(Kind::Full), &tensors(&full())).unwrap_err();
    assert!(error.to_string().contains(nowhere.to_str().unwrap()), "{error}");

    let taken = folder.path().join("taken");
    std::fs::create_dir_all(taken.join("inside")).unwrap();
    let error = save(&taken, &metadata(Kind::Full), &tensors(&full())).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert_eq!(
        files_in(folder.path()),
        ["taken"],
        "the temporary file is removed when renaming fails"
    );
}
