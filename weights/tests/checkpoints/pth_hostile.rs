//! PyTorch files that nobody should trust: an error that says what is wrong, nothing run, little memory.

use crate::common::{fixture, values};
use crate::pickles::*;
use candle_core::Device;
use longmae_weights::{Checkpoint, Error};

fn open(bytes: &[u8]) -> Result<Checkpoint, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.pth");
    std::fs::write(&path, bytes).unwrap();
    Checkpoint::open(path)
}

#[track_caller]
fn refused(bytes: &[u8], reason: &str) {
    let text = open(bytes).unwrap_err().to_string();
    assert!(text.contains("file.pth") && text.contains(reason), "expected `{reason}`: {text}");
    assert!(text.len() < 2000, "a message of {} bytes", text.len());
}

/// A state dict of one tensor.
fn one(placed: Placed<'_>) -> Vec<u8> {
    dict(&[("norm.weight", tensor(placed, None))])
}

fn read(bytes: &[u8]) -> Vec<f64> {
    values(&open(bytes).unwrap().tensor("norm.weight", &Device::Cpu).unwrap())
}

#[test]
fn what_is_written_by_hand_reads_like_torchs() {
    let expected = [1.0, 2.0, 3.0, 4.0];
    assert_eq!(read(&zipped(&one(GOOD))), expected);
    assert_eq!(read(&stream(&one(GOOD), &keys(), &counted())), expected);
    // The stream's sixth entry, and Python 2: byte strings, an OrderedDict of pairs.
    let old = dict(&[("norm.weight", tensor(GOOD, Some(b"N".to_vec())))]);
    assert_eq!(read(&stream(&old, &keys(), &counted())), expected);
    let pair = [b"](U\x0bnorm.weight", &tensor(GOOD, None)[..], b"e"].concat();
    let pairs = [b"](", &pair[..], b"e"].concat();
    assert_eq!(read(&zipped(&call(global("collections", "OrderedDict"), &[pairs]))), expected);
    // Every second number of one storage, which another tensor fills.
    let half = Placed { offset: 1, shape: &[2], strides: &[2], ..GOOD };
    assert_eq!(read(&zipped(&one(half))), [2.0, 4.0]);
}

#[test]
fn code_is_never_run() {
    let folder = tempfile::tempdir().unwrap();
    let touched = folder.path().join("touched");
    let command = text(&format!("touch {}", touched.display()));
    let attack = call(global("posix", "system"), &[command]);
    refused(&zipped(&attack), "an object of `posix.system`");
    refused(
        &zipped(&dict(&[("norm.weight", attack.clone())])),
        "`norm.weight` (an object of `posix.system`)",
    );
    // Beside a state dict it does not matter: it stays what it is, a name.
    let beside = dict(&[("args", attack.clone()), ("model", one(GOOD))]);
    assert_eq!(read(&zipped(&beside)), [1.0, 2.0, 3.0, 4.0]);
    let inside = dict(&[("norm.weight", tensor(GOOD, None)), ("hook", attack)]);
    let opened = open(&zipped(&inside)).unwrap();
    assert_eq!(
        opened.notes(),
        ["left out what is no tensor: `hook` (an object of `posix.system`)"]
    );
    assert!(!touched.exists());
}

#[test]
fn opcodes_that_no_state_dict_needs() {
    for opcode in [
        &b"\x82\x01"[..],
        b"\x83\x01\x00",
        b"(iposix\nsystem\n",
        b"Pid\n",
        b"\x97",
        b"I1\n",
        b"F1\n",
        b"\xff",
    ] {
        refused(&zipped(opcode), "opcode 0x");
    }
    refused(&archive(&[("a/data.pkl", b"\x80\x06N.")]), "protocol 6");
}

#[test]
fn machines_that_run_dry() {
    let nothing = "takes more from its stack than is there";
    for object in [
        &b""[..],
        b"0",
        b"1",
        b"2",
        b"R",
        b"K\x01R",
        b"K\x01(0R",
        b"K\x01(\x85",
        b"\x86",
        b"t",
        b"a",
        b"]a",
        b"Q",
        b"b",
    ] {
        refused(&zipped(object), nothing);
    }
    refused(&zipped(b"h\x07"), "memo has no entry 7");
    refused(&zipped(b"}(K\x01u"), "a key without a value");
    refused(&zipped(b"K\x01K\x01a"), "no container");
    refused(&zipped(b"]K\x01K\x01s"), "no container");
    refused(&zipped(b"K\x01K\x01\x93"), "names a class by what is no text");
    refused(&zipped(b"c\xff\nname\n"), "names a class by what is no text");
}

#[test]
fn claims_of_pickles() {
    for object in [
        &b"X\xff\xff\xff\xffabc"[..],
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc",
        b"\x8b\xff\xff\xff\x7f",
        b"B\xff\xff\xff\xff",
    ] {
        refused(&zipped(object), "pickle ends too early");
        refused(&stream(object, b"]", b""), "ends in the middle of its pickles");
    }
    // Thirty doublings: shared, not copied. A list in itself. Deep nesting, read and dropped without recursion.
    let doubled = [&b"K\x01"[..], &b"2\x86".repeat(60)].concat();
    refused(&zipped(&doubled), "holds no dict of tensors but a tuple of 2");
    refused(&zipped(b"]q\x00h\x00a"), "but a list of 1");
    refused(&zipped(&[b"]".repeat(500_000), b"a".repeat(499_999)].concat()), "but a list of 1");
    refused(&zipped(&[b"N".to_vec(), b"\x85".repeat(500_000)].concat()), "but a tuple of 1");
    // A byte an object, and a byte a reference.
    for many in [b"N", b"(", b"]"] {
        refused(&zipped(&many.repeat(4_200_000)), "more than 4194304 objects");
    }
    refused(
        &zipped(&[b"N".to_vec(), b"2".repeat(4_200_000)].concat()),
        "more than 4194304 objects",
    );
    let filled = b"(h\x00h\x00h\x00h\x00e".repeat(1_100_000);
    refused(&zipped(&[b"N\x94]".to_vec(), filled].concat()), "more than 4194304 objects");
}

#[test]
fn one_shape_for_many_tensors_stays_small() {
    let shape = vec![1; 65];
    refused(
        &zipped(&one(Placed { shape: &shape, strides: &shape, ..GOOD })),
        "arguments that make no sense",
    );
    let names: Vec<String> = (0..140_000).map(|n| n.to_string()).collect();
    let memoised = [tensor(GOOD, None), b"\x940".to_vec()].concat();
    let entries: Vec<(&str, Vec<u8>)> =
        names.iter().map(|name| (name.as_str(), b"h\x00".to_vec())).collect();
    refused(
        &zipped(&[memoised, dict(&entries)].concat()),
        "has 140000 entries, expected at most 131072",
    );
}

#[test]
fn places_that_are_not_in_the_storage() {
    let max = i64::MAX;
    let cases: [(Placed<'_>, &str); 14] = [
        (Placed { offset: 1, ..GOOD }, "reaches up to number 5 of a storage that has 4"),
        (Placed { strides: &[3, 1], ..GOOD }, "reaches up to number 5"),
        (Placed { shape: &[5], strides: &[1], ..GOOD }, "reaches up to number 5"),
        (Placed { shape: &[1 << 40, 1 << 40], ..GOOD }, "the impossible shape"),
        (
            Placed { shape: &[0, 1 << 40, 1 << 40], strides: &[1, 1, 1], ..GOOD },
            "the impossible shape",
        ),
        (
            Placed { shape: &[3, 2], strides: &[max, max], ..GOOD },
            "reaches further than numbers go",
        ),
        (Placed { offset: max, strides: &[max, 1], ..GOOD }, "reaches"),
        (Placed { shape: &[1 << 40], strides: &[0], ..GOOD }, "would be larger than the file"),
        (Placed { shape: &[-1, 2], ..GOOD }, "make no sense"),
        (Placed { strides: &[-2, 1], ..GOOD }, "make no sense"),
        (Placed { offset: -1, ..GOOD }, "make no sense"),
        (Placed { strides: &[1], ..GOOD }, "has the shape [2, 2] and the strides [1]"),
        (Placed { count: 5, ..GOOD }, "should have 5 numbers of 4 bytes and has 16 bytes"),
        (Placed { count: max, ..GOOD }, "and has 16 bytes"),
    ];
    for (placed, reason) in cases {
        refused(&zipped(&one(placed)), reason);
    }
    refused(&zipped(&one(Placed { key: "1", ..GOOD })), "in the storage `1`, which the file lacks");
    refused(
        &zipped(&one(Placed { class: "CharStorage", ..GOOD })),
        "tensor `norm.weight` is of type int8; known are",
    );
    refused(&zipped(&one(Placed { class: "OtherStorage", ..GOOD })), "unknown type `OtherStorage`");
    // Two numbers by one of them twice is no more than the file holds.
    assert_eq!(read(&zipped(&one(Placed { strides: &[1, 0], ..GOOD }))), [1.0, 1.0, 2.0, 2.0]);
    let empty = Placed { shape: &[0, 7], strides: &[max, max], offset: max, ..GOOD };
    assert!(read(&zipped(&one(empty))).is_empty());
}

#[test]
fn state_dicts_that_are_none() {
    let twice = dict(&[("norm.weight", tensor(GOOD, None)), ("norm.weight", tensor(GOOD, None))]);
    refused(&zipped(&twice), "has `norm.weight` twice");
    refused(&zipped(&dict(&[("epoch", int(3))])), "known as a model's; it has `epoch` (an int)");
    refused(&zipped(&dict(&[("weights", one(GOOD))])), "it has `weights` (a dict of 1)");
    refused(&zipped(b"}"), "it has nothing");
    refused(&zipped(&tensor(GOOD, None)), "but a tensor");
    // Loose tensors are no part of a state dict beside them; two state dicts are one too many.
    let loose = [("rng", tensor(GOOD, None)), ("model", one(GOOD)), ("weights", one(GOOD))];
    assert_eq!(read(&zipped(&dict(&loose))), [1.0, 2.0, 3.0, 4.0]);
    refused(
        &zipped(&dict(&[loose[1].clone(), ("ema", one(GOOD))])),
        "which one: `model` (1 tensors), `ema` (1 tensors)",
    );
    let long = "x\u{1b}".repeat(100_000);
    refused(&zipped(&dict(&[(&long, int(3))])), "x\\u{1b}x");
    // Torch's flag of a conjugate view.
    let rebuilt = tensor(GOOD, None);
    let flagged = [&rebuilt[..rebuilt.len() - 2], &dict(&[("conj", vec![0x88])]), b"tR"].concat();
    refused(&zipped(&dict(&[("norm.weight", flagged)])), "a conjugate or negative view");
}

#[test]
fn archives_that_are_none_or_not_torchs() {
    let object = pickle(&one(GOOD));
    let good: [(&str, &[u8]); 2] = [("a/data.pkl", &object), ("a/data/0", &numbers())];
    assert!(open(&archive(&good)).is_ok(), "without a byte order it is little-endian");
    refused(&archive(&[("a/other", b"")]), "a zip archive that torch.save did not write");
    refused(
        &archive(&[("a/data.pkl", &object), ("b/data.pkl", &object)]),
        "two pickles, `a/data.pkl` and `b/data.pkl`",
    );
    refused(
        &archive(&[good[0], good[1], ("a/byteorder", b"big")]),
        "its byte order is `big`, expected `little`",
    );
    refused(&archive(&[good[0], good[1], ("a/constants.pkl", b"")]), "a TorchScript program");
    refused(&archive(&[good[0], ("a/data/0", &numbers()[..12])]), "and has 12 bytes");
    refused(&zip_of("PK\x03\x04"), "its zip archive cannot be read");
    // Names of the same length, so that one can be made the other.
    let renamed =
        replaced(&archive(&[good[0], good[1], ("a/data/1", b"")]), b"a/data/1", b"a/data/0");
    refused(&renamed, "a name twice");
}

fn zip_of(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0; 100]].concat()
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let places: Vec<usize> =
        (0..=bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + from.len()].copy_from_slice(to);
    }
    bytes
}

/// Overwrites fields of the last entry of the archive's directory: the compression, both sizes, the local header's place.
fn directory(mut bytes: Vec<u8>, field: usize, value: &[u8]) -> Vec<u8> {
    let last =
        (0..bytes.len() - 4).rev().find(|at| bytes[*at..].starts_with(b"PK\x01\x02")).unwrap();
    bytes[last + field..last + field + value.len()].copy_from_slice(value);
    bytes
}

#[test]
fn zip_directories_that_lie() {
    let object = pickle(&one(GOOD));
    let zip = || archive(&[("a/data/0", &numbers()), ("a/data.pkl", &object)]);
    assert!(open(&zip()).is_ok());
    // A bomb says that it is compressed and unpacks to 4 GB; that is looked at before anything is read.
    let bomb = directory(directory(zip(), 10, &[8, 0]), 24, &[0xfe, 0xff, 0xff, 0xff]);
    refused(&bomb, "`a/data.pkl` is compressed or encrypted");
    refused(&directory(zip(), 8, &[1, 0]), "`a/data.pkl` is compressed or encrypted");
    refused(&directory(zip(), 24, &[0xfe, 0xff, 0xff, 0xff]), "larger than its place in the file");
    refused(&directory(zip(), 20, &[0xfe, 0xff, 0xff, 0x7f, 0xfe, 0xff, 0xff, 0x7f]), "overlap");
    refused(&directory(zip(), 42, &[0, 0, 0, 0]), "overlap");
    refused(&directory(zip(), 42, &[0xff, 0xff, 0xff, 0x7f]), "its zip archive cannot be read");
}

#[test]
fn streams_that_lie() {
    let object = one(GOOD);
    let good = stream(&object, &keys(), &counted());
    assert!(open(&[&good[..], b"after the end"].concat()).is_ok(), "torch reads no further either");
    refused(
        &replaced(&good, b"\x8a\x0a\x6c", b"\x8a\x0a\x6d"),
        "a Python pickle that torch.save did not write",
    );
    refused(&replaced(&good, b"M\xe9\x03", b"M\xe8\x03"), "its protocol is not 1001");
    refused(&replaced(&good, b"little_endian\x88", b"little_endian\x89"), "big-endian");
    refused(&stream(&object, b"K\x01", &counted()), "keys are an int, expected a list");
    refused(&stream(&object, b"](K\x01e", &counted()), "lists a storage that no tensor is in");
    refused(&stream(&object, b"]", &counted()), "in the storage `0`, which the file lacks");
    let twice = [b"](", &text("0")[..], &text("0"), b"e"].concat();
    refused(
        &stream(&object, &twice, &[counted(), counted()].concat()),
        "lists the storage `0` twice",
    );
    let claims = [u64::MAX.to_le_bytes().to_vec(), numbers()].concat();
    refused(&stream(&object, &keys(), &claims), "has 18446744073709551615 numbers, expected 4");
    let huge = one(Placed { count: i64::MAX, ..GOOD });
    let claims = [i64::MAX.to_le_bytes().to_vec(), numbers()].concat();
    refused(&stream(&huge, &keys(), &claims), "is truncated");
    let part = dict(&[("norm.weight", tensor(GOOD, Some(ints(&[0, 1, 2]))))]);
    refused(&stream(&part, &keys(), &counted()), "a storage that is part of another");
}

/// The stream's end is its last number, the archive's the end of its directory.
#[test]
fn a_truncated_file_is_refused_wherever_it_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["pth_zip.pth", "pth_stream.pth", "pth_stream_4.pth"] {
        let path = folder.path().join(name);
        std::fs::copy(fixture(name), &path).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        for length in (0..file.metadata().unwrap().len()).rev() {
            file.set_len(length).unwrap();
            let error = Checkpoint::open(&path).unwrap_err().to_string();
            assert!(error.contains(name), "{name} cut to {length}: {error}");
        }
    }
}

/// Pickles longer than what is looked at first.
#[test]
fn a_long_pickle_of_a_stream_is_read_to_its_end() {
    let long = "x".repeat(300_000);
    let object = dict(&[("args", text(&long)), ("model", one(GOOD))]);
    assert_eq!(read(&stream(&object, &keys(), &counted())), [1.0, 2.0, 3.0, 4.0]);
}
