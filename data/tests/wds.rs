//! Tars of samples: what is read, against the Python package `webdataset`, and what is refused.
#![cfg(feature = "shards")]

mod common;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use common::shards::{
    check_loading, check_mutations, check_truncations, contents, shard, small_pictures, summary,
};
use common::{fixture_bytes, shared};
use flate2::{Compression, write::GzEncoder};
use longmae_data::{DecodeOptions, Error, OpenOptions, Result, Source, Spec, WebDataset};
use tar::{Builder, EntryType, Header};

fn open(pattern: &str) -> Result<WebDataset> {
    WebDataset::open(pattern, DecodeOptions::default())
}

fn open_path(path: &Path) -> Result<Box<dyn Source>> {
    Ok(Box::new(WebDataset::open(path.to_str().unwrap(), small_pictures())?))
}

/// A tar of files.
fn tar_of(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (name, bytes) in files {
        append(&mut tar, name, EntryType::Regular, bytes);
    }
    tar.into_inner().unwrap()
}

/// Without the checks of `Builder`, so that hostile names can be written.
fn append(tar: &mut Builder<Vec<u8>>, name: &str, kind: EntryType, bytes: &[u8]) {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(bytes.len() as u64);
    header.set_cksum();
    tar.append(&header, bytes).unwrap();
}

fn samples(from: usize, to: usize) -> Vec<(String, Vec<u8>)> {
    let sample = |i: usize| {
        [
            (format!("{i:04}.png"), fixture_bytes("rgb.png")),
            (format!("{i:04}.cls"), (i % 7).to_string().into_bytes()),
        ]
    };
    (from..to).flat_map(sample).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = GzEncoder::new(Vec::new(), Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

/// What opening a tar of these bytes says.
fn refusal(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tar");
    std::fs::write(&path, bytes).unwrap();
    let error = open(path.to_str().unwrap()).unwrap_err();
    assert!(matches!(error, Error::Shard { .. }), "{error:?}");
    error.to_string().replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn samples_are_those_of_the_python_package() {
    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(shard("tars.json")).unwrap()).unwrap();
    let has_image = |sample: &&serde_json::Value| {
        let files = sample["files"].as_array().unwrap();
        files.iter().any(|name| ["jpg", "jpeg", "png", "webp"].contains(&name.as_str().unwrap()))
    };
    let all = expected.as_array().unwrap();
    let with_image: Vec<_> = all.iter().filter(has_image).collect();
    for name in ["pax.tar", "gnu.tar.gz"] {
        let data = open(shard(name).to_str().unwrap()).unwrap();
        let ids: Vec<_> = (0..data.len()).map(|index| data.id(index)).collect();
        let keys: Vec<_> =
            with_image.iter().map(|s| format!("{name}/{}", s["key"].as_str().unwrap())).collect();
        assert_eq!(ids, keys);
        assert_eq!(data.without_image(), all.len() - keys.len());
        let labels = [Some(3), Some(5), Some(7), None, None, None, None];
        let numbers = [0, 1, 2, 4, 5, 6, 7];
        assert_eq!(contents(&data), numbers.into_iter().zip(labels).collect::<Vec<_>>(), "{name}");
        assert!(matches!(data.get(7), Err(Error::NoSuchSample { index: 7, len: 7 })));
    }
}

#[test]
fn a_spec_opens_both_kinds() {
    let folder = shard("");
    let spec =
        format!("wds:{0}/{{pax.tar,gnu.tar.gz}};2*parquet:{0}/hub.parquet", folder.display());
    let parsed: Spec = spec.parse().unwrap();
    assert_eq!(parsed.to_string(), spec);
    let source = parsed.open(&OpenOptions::default()).unwrap();
    assert_eq!(source.len(), 24);
    assert_eq!(source.id(7), "0/gnu.tar.gz/0000");
    assert_eq!(source.id(14), "1/hub.parquet#0");
    let draws: Vec<_> = source.parts().iter().map(|part| part.draws()).collect();
    assert_eq!(draws, [14, 20]);
}

#[test]
fn hostile_and_odd_tars_are_refused_or_passed_over() {
    let image = fixture_bytes("rgb.png");
    for name in ["../a.png", "/etc/a.png", "a/../../b.png", "x/.."] {
        let bytes = tar_of(&[(name.into(), image.clone())]);
        let message = refusal(&bytes);
        let expected =
            format!("x.tar: `{name}` at byte 512: refused: the name leads out of the folder");
        assert_eq!(message, expected);
    }
    let twice = tar_of(&[("a.png".into(), image.clone()), ("a.PNG".into(), image.clone())]);
    assert!(refusal(&twice).ends_with("the sample has a file of that extension already"));
    let none = tar_of(&[("a.txt".into(), vec![1]), ("b.mp4".into(), vec![2])]);
    let expected = "x.tar: no image in 1 tar(s): looked for .jpg .jpeg .png .webp .tif .tiff .npy, found .mp4 .txt";
    assert_eq!(refusal(&none), expected);
    assert!(refusal(b"\x28\xb5\x2f\xfd....").contains("compressed by zstd"));
    assert!(refusal(b"BZh91AY&SY....").contains("compressed by bzip2"));
    assert!(refusal(&[7; 4096]).contains("not a whole tar: after byte 0"));
    // Links and devices are no samples; nothing they name is touched.
    let mut tar = Builder::new(Vec::new());
    append(&mut tar, "BZh0.txt", EntryType::Regular, b"not bzip2");
    for kind in [EntryType::Symlink, EntryType::Link, EntryType::Char, EntryType::Fifo] {
        append(&mut tar, "link.png", kind, b"");
    }
    append(&mut tar, "BZh1.png", EntryType::Regular, &image);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x.tar"), tar.into_inner().unwrap()).unwrap();
    let data = open(folder.path().to_str().unwrap()).unwrap();
    assert_eq!((data.len(), data.id(0).as_str()), (1, "x.tar/BZh1"));
}

/// A size in a header is a claim: nothing is allocated for it.
#[test]
fn sizes_beyond_the_file_are_refused() {
    let mut bytes = tar_of(&[("a.png".into(), vec![0; 10])]);
    let mut header = Header::from_byte_slice(&bytes[..512]).clone();
    for size in [(1 << 33) - 1, 1 << 62, 100_000] {
        header.set_size(size);
        header.set_cksum();
        bytes[..512].copy_from_slice(header.as_bytes());
        assert!(refusal(&bytes).contains("truncated"), "{}", refusal(&bytes));
        assert!(refusal(&gzip(&bytes)).starts_with("x.tar: "), "{}", refusal(&gzip(&bytes)));
    }
    // Two gigabytes that are there, though only as a hole.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tar");
    header.set_size(2 << 30);
    header.set_cksum();
    std::fs::write(&path, header.as_bytes()).unwrap();
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().set_len(3 << 30).unwrap();
    let error = open(path.to_str().unwrap()).unwrap_err().to_string();
    assert!(error.ends_with("an image of 2147483648 bytes, more than 1073741824"), "{error}");
}

/// A tar of one entry, `mib` MiB of zeros, packed by gzip.
fn bomb(kind: EntryType, mib: u64) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..5].copy_from_slice(b"a.png");
    header.set_entry_type(kind);
    header.set_size(mib << 20);
    header.set_cksum();
    let mut writer = GzEncoder::new(Vec::new(), Compression::fast());
    writer.write_all(header.as_bytes()).unwrap();
    let zeros = vec![0; 1 << 20];
    (0..mib).for_each(|_| writer.write_all(&zeros).unwrap());
    writer.write_all(&[0; 1024]).unwrap();
    writer.finish().unwrap()
}

/// Long names and pax records are read into memory: not without end.
#[test]
fn headers_larger_than_any_are_refused() {
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
        let mut tar = Builder::new(Vec::new());
        append(&mut tar, "a.png", EntryType::Regular, &[0; 10]);
        append(&mut tar, "long", kind, &vec![b'a'; 2 << 20]);
        append(&mut tar, "b.png", EntryType::Regular, &[0; 10]);
        let bytes = tar.into_inner().unwrap();
        for bytes in [gzip(&bytes), bytes] {
            let message = refusal(&bytes);
            let expected = "x.tar: refused: after byte 1024: an entry's headers are larger than any that are read";
            assert_eq!(message, expected, "{kind:?}");
        }
    }
}

#[test]
fn a_file_that_unpacks_to_too_much_is_refused() {
    for kind in [EntryType::Regular, EntryType::Directory] {
        let bytes = bomb(kind, 200);
        let (packed, limit) = (bytes.len(), bytes.len() * 50 + (64 << 20));
        let message = refusal(&bytes);
        let expected =
            format!("its {packed} bytes unpack to more than {limit}, which images do not");
        assert!(message.starts_with("x.tar: refused") && message.ends_with(&expected), "{message}");
    }
    // Zeros behind the end mark.
    let mut bytes = gzip(&tar_of(&samples(0, 1)));
    bytes.extend(gzip(&vec![0; 200 << 20]));
    assert!(refusal(&bytes).contains("unpack to more than"), "{}", refusal(&bytes));
}

/// A pax record's size is the one that counts, yet the header's must not overflow.
#[test]
fn sizes_that_overflow_are_refused() {
    let mut tar = Builder::new(Vec::new());
    append(&mut tar, "pax", EntryType::XHeader, b"10 size=3\n");
    let mut bytes = tar.into_inner().unwrap();
    bytes.truncate(1024);
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..5].copy_from_slice(b"a.png");
    header.set_size(u64::MAX - 1536 - 100);
    header.set_cksum();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + 1536, 0);
    for bytes in [gzip(&bytes), bytes] {
        assert!(refusal(&bytes).contains("the tar is truncated: `a.png`"), "{}", refusal(&bytes));
    }
}

#[test]
fn a_tar_cut_anywhere_is_an_error() {
    let bytes = tar_of(&samples(0, 4));
    // The first of the two blocks at the end is there, or both.
    let end = bytes.len() - 1024;
    check_truncations(&bytes, "x.tar", 512, &open_path, &|len| len > end);
    let packed = gzip(&bytes);
    check_truncations(&packed, "x.tar.gz", 1, &open_path, &|_| false);
}

#[test]
fn damaged_tars_never_panic() {
    let bytes = tar_of(&samples(0, 3));
    check_mutations(&bytes, "x.tar", 2000, &open_path);
    check_mutations(&gzip(&bytes), "x.tar.gz", 2000, &open_path);
    check_mutations(&std::fs::read(shard("pax.tar")).unwrap(), "y.tar", 500, &open_path);
}

#[test]
fn a_file_that_changes_gives_errors_of_samples() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("a.tar", &tar_of(&samples(0, 2)));
    write("b.tar.gz", &gzip(&tar_of(&samples(2, 4))));
    write("c.tar", &tar_of(&samples(4, 6)));
    let data = open(folder.path().to_str().unwrap()).unwrap();
    write("a.tar", &tar_of(&samples(0, 3)));
    write("b.tar.gz", &gzip(&tar_of(&samples(2, 3))));
    std::fs::remove_file(folder.path().join("c.tar")).unwrap();
    for (index, reason) in [(0, "has changed"), (3, "has changed"), (5, "No such file")] {
        let error = data.get(index).unwrap_err();
        assert!(matches!(&error, Error::Sample { id, .. } if *id == data.id(index)), "{error:?}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

/// More compressed shards than are kept unpacked, from several threads.
#[test]
fn compressed_shards_are_unpacked_as_needed() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..20 {
        let bytes = gzip(&tar_of(&samples(number * 6, number * 6 + 6)));
        std::fs::write(folder.path().join(format!("{number:02}.tgz")), bytes).unwrap();
    }
    let data = open(&format!("{}/{{00..19}}.tgz", folder.path().display())).unwrap();
    assert_eq!(data.len(), 120);
    let part = &data.parts()[0];
    assert_eq!((part.shards.len(), part.buffer), (20, 24));
    let image = fixture_bytes("rgb.png");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (data, image) = (&data, &image);
            scope.spawn(move || {
                for step in 0..120 {
                    let sample = data.get((step * 7 + thread) % 120).unwrap();
                    let expected = longmae_data::decode(image, &DecodeOptions::default()).unwrap();
                    assert_eq!(sample.image().unwrap().pixels, expected.pixels);
                }
            });
        }
    });
    check_loading(Arc::new(data));
}

#[test]
fn plain_shards_are_loaded_the_same_by_any_workers() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..5 {
        let bytes = tar_of(&samples(number * 7, number * 7 + 7));
        std::fs::write(folder.path().join(format!("{number}.tar")), bytes).unwrap();
    }
    let data = open(folder.path().to_str().unwrap()).unwrap();
    assert_eq!(data.parts()[0].shards, [0..7, 7..14, 14..21, 21..28, 28..35]);
    check_loading(Arc::new(data));
}

/// The numbers are those of `fixtures/shards/make.py SHARED`.
#[test]
fn the_imagenet_sample_is_read_as_the_python_package_does() {
    let Some(shared) = shared() else { return };
    let pattern =
        shared.join("data/imagenet-sample-wds/train-{000000..000001}.tar").display().to_string();
    let data = open(&pattern).unwrap();
    let classes: BTreeMap<_, _> = (0..100).map(|class| (Some(class), 1)).collect();
    assert_eq!(summary(&data), (100, classes));
    assert_eq!(data.id(0), "train-000000.tar/00000000");
    assert_eq!(data.id(99), "train-000001.tar/00000099");
    assert!((0..100).all(|index| data.get(index).unwrap().image().is_ok()));
}
