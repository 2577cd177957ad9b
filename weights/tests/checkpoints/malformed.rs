//! Whatever bytes a file has, opening and reading it ends in an error or a success, and the error says what is wrong.

use crate::common::{full, metadata, tensors, values, vars};
use candle_core::{DType, Device};
use longmae_weights::{Checkpoint, Error, Kind, save};
use std::path::PathBuf;
use tempfile::TempDir;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join("file.safetensors");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn open(&self, bytes: &[u8]) -> Result<Checkpoint, Error> {
        Checkpoint::open(self.write(bytes))
    }

    /// The bytes of a good file.
    fn good(&self) -> Vec<u8> {
        let path = self.0.path().join("good.safetensors");
        save(&path, &metadata(Kind::Full), &tensors(&full())).unwrap();
        std::fs::read(path).unwrap()
    }
}

/// A file with this header and so many bytes of data.
fn file(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
}

fn error(bytes: &[u8]) -> (Error, String) {
    let error = Folder::new().open(bytes).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("file.safetensors"), "{text} does not name the file");
    (error, text)
}

#[test]
fn what_is_not_a_file() {
    let folder = Folder::new();
    let nothing = Checkpoint::open(folder.0.path().join("nothing.safetensors")).unwrap_err();
    assert!(
        matches!(nothing, Error::NotFound { .. })
            && nothing.to_string().contains("nothing.safetensors")
    );
    let a_folder = Checkpoint::open(folder.0.path()).unwrap_err();
    assert!(a_folder.to_string().contains("is a folder"), "{a_folder}");
    assert!(matches!(error(b"").0, Error::Empty { .. }));
}

#[test]
fn other_formats_are_named() {
    let mut tar = vec![0u8; 512];
    tar[257..262].copy_from_slice(b"ustar");
    let files: [(&[u8], &str); 8] = [
        (b"\x80\x04K\x00.", "a Python pickle that torch.save did not write"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "a PNG image"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01", "a JPEG image"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"<!DOCTYPE html><html>404", "a web page"),
        (b"these are no weights\n", "plain text"),
        (b"\x00\x01\x02", "binary data of no format known here"),
        (&tar, "a tar archive"),
    ];
    for (bytes, name) in files {
        let (error, text) = error(bytes);
        assert!(matches!(error, Error::UnknownFormat { .. }) && text.contains(name), "{text}");
    }
}

#[test]
fn a_truncated_file_says_so_wherever_it_is_cut() {
    let folder = Folder::new();
    let good = folder.good();
    assert!(folder.open(&good).is_ok());
    for length in (64..good.len()).step_by(64).chain([9, good.len() - 1]) {
        match folder.open(&good[..length]) {
            Err(Error::Truncated { found, expected, .. }) => {
                assert_eq!(found, length as u64);
                assert!(expected > found && expected <= good.len() as u64, "{length}: {expected}");
            }
            other => panic!("cut to {length} bytes: {other:?}"),
        }
    }
    for length in 1..9 {
        assert!(folder.open(&good[..length]).is_err(), "cut to {length} bytes");
    }
}

#[test]
fn a_file_cut_after_opening_is_an_error_and_changes_nothing() {
    let folder = Folder::new();
    let good = folder.good();
    let opened = folder.open(&good).unwrap();
    folder.write(&good[..good.len() - 600]);
    let model = vars(&full(), DType::F32);
    let error = opened.load_into(&model).unwrap_err();
    assert!(matches!(error, Error::Truncated { .. }), "{error}");
    let last = opened.tensor("pos_embed", &Device::Cpu).unwrap_err();
    assert!(matches!(last, Error::Io { action: "read", .. }), "{last}");
    for (name, var) in &model {
        assert!(values(var).iter().all(|value| *value == 0.0), "{name} was changed");
    }
    assert!(
        opened.tensor("blocks.0.attn.qkv.bias", &Device::Cpu).is_ok(),
        "what is there can be read"
    );
    let missing = opened.tensor("head.weight", &Device::Cpu).unwrap_err();
    assert!(matches!(missing, Error::NoSuchTensor { ref name, .. } if name == "head.weight"));
}

/// 640 is 0x80 0x02 in the file: a pickle of protocol 2 begins so too.
#[test]
fn a_length_that_looks_like_a_pickle_is_none() {
    for length in [640, 896, 1152, 1408] {
        let header =
            format!("{:length$}", r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#);
        assert_eq!(Folder::new().open(&file(&header, 4)).unwrap().names().count(), 1);
    }
}

#[test]
fn bytes_after_the_end_are_refused() {
    let folder = Folder::new();
    let long = [folder.good(), vec![0; 3]].concat();
    assert!(matches!(folder.open(&long), Err(Error::TrailingBytes { .. })));
}

#[test]
fn header_lengths_beyond_the_file_or_reason() {
    let mut bytes = file("{}", 0);
    bytes[..8].copy_from_slice(&1000u64.to_le_bytes());
    assert!(matches!(error(&bytes).0, Error::Truncated { found: 10, expected: 1008, .. }));
    for absurd in [100_000_001, u64::MAX - 3, u64::MAX] {
        bytes[..8].copy_from_slice(&absurd.to_le_bytes());
        let (error, text) = error(&bytes);
        assert!(
            matches!(error, Error::BadHeader { .. }) && text.contains(&absurd.to_string()),
            "{text}"
        );
    }
}

#[test]
fn malformed_headers() {
    let f32s = |name: &str, shape: &str, start: u64, end: u64| {
        format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}"#)
    };
    let two = |a: String, b: String| format!("{{{a},{b}}}");
    let one = |a: String| format!("{{{a}}}");
    let cases = [
        ("not JSON", "{\"a\":".to_owned(), 0),
        ("overlapping", two(f32s("a", "[2]", 0, 8), f32s("b", "[2]", 4, 12)), 12),
        ("the same place", two(f32s("a", "[2]", 0, 8), f32s("b", "[2]", 0, 8)), 8),
        ("a gap", two(f32s("a", "[1]", 0, 4), f32s("b", "[1]", 8, 12)), 12),
        ("backwards", one(f32s("a", "[1]", 4, 0)), 4),
        ("a shape of another size", one(f32s("a", "[3]", 0, 8)), 8),
        ("a shape that overflows", one(f32s("a", "[4294967296,4294967296]", 0, 8)), 8),
        ("an empty tensor that overflows", one(f32s("a", "[0,4294967296,4294967296]", 0, 0)), 0),
        ("offsets that overflow", one(f32s("a", "[1]", u64::MAX - 4, u64::MAX)), 4),
        ("a negative shape", one(f32s("a", "[-1]", 0, 4)), 4),
        ("a name twice in one place", two(f32s("a", "[1]", 0, 4), f32s("a", "[1]", 0, 4)), 4),
        ("a name twice, empty", two(f32s("a", "[0]", 0, 0), f32s("a", "[0]", 0, 0)), 0),
        ("metadata twice", r#"{"__metadata__":{},"__metadata__":{}}"#.to_owned(), 0),
        ("metadata that is no string", r#"{"__metadata__":{"a":1}}"#.to_owned(), 0),
        ("an unknown type", one(f32s("a", "[1]", 0, 4).replace("F32", "Q4")), 4),
        ("nested without end", "{\"a\":".to_owned() + &"[".repeat(100_000), 0),
    ];
    for (what, header, data) in cases {
        let (error, text) = error(&file(&header, data));
        assert!(matches!(error, Error::BadHeader { .. }), "{what}: {text}");
        assert!(
            !what.starts_with("a name twice") || text.contains("`a` is there twice"),
            "{what}: {text}"
        );
    }
}

#[test]
fn a_type_that_cannot_be_read_is_named() {
    for dtype in ["F8_E4M3", "BOOL", "I8"] {
        let header =
            format!(r#"{{"norm.bias":{{"dtype":"{dtype}","shape":[4],"data_offsets":[0,4]}}}}"#);
        let (error, text) = error(&file(&header, 4));
        assert!(matches!(error, Error::UnsupportedDtype { .. }), "{text}");
        assert!(text.contains(dtype) && text.contains("norm.bias"), "{text}");
    }
}

#[test]
fn metadata_that_makes_no_sense() {
    let with = |entries: &str| error(&file(&format!(r#"{{"__metadata__":{{{entries}}}}}"#), 0));
    let (newer, text) = with(r#""longmae.format":"2","longmae.kind":"sparse""#);
    assert!(
        matches!(newer, Error::NewerFormat { found: 2, .. }) && text.contains("newer longmae"),
        "{text}"
    );
    for (entries, expected) in [
        (r#""longmae.kind":"full""#, "`longmae.format` is missing"),
        (r#""longmae.format":"one","longmae.kind":"full""#, "`longmae.format` is `one`"),
        (r#""longmae.format":"0""#, "`longmae.format` is `0`"),
        (r#""longmae.format":"1""#, "`longmae.kind` is missing"),
        (
            r#""longmae.format":"1","longmae.kind":"half""#,
            "`longmae.kind` is `half`, expected `encoder`, `full`, `classifier` or `detector`",
        ),
        (r#""longmae.format":"1","longmae.kind":"full""#, "`longmae.info` is missing"),
        (
            r#""longmae.format":"1","longmae.kind":"full","longmae.info":"{""#,
            "`longmae.info` is not JSON",
        ),
        (
            r#""longmae.format":"1","longmae.kind":"full","longmae.info":"{}""#,
            "lacks image_size, patch_size, channels",
        ),
    ] {
        let (error, text) = with(entries);
        assert!(matches!(error, Error::Metadata { .. }) && text.contains(expected), "{text}");
    }
}

#[test]
fn a_file_without_tensors_opens_and_is_of_no_kind() {
    let folder = Folder::new();
    let empty = folder.open(&file("{}", 0)).unwrap();
    assert_eq!((empty.kind(), empty.names().count()), (None, 0));
}
