//! Parquet files of images: what is read, as the Python package `datasets` writes it, and what is refused.
#![cfg(feature = "shards")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use common::shards::{
    check_loading, check_mutations, check_truncations, contents, shard, small_pictures, summary,
};
use common::shared;
use longmae_data::{DecodeOptions, Error, ParquetFiles, Result, Source, Target};
use parquet::file::metadata::{
    ColumnChunkMetaDataBuilder, ParquetMetaDataReader, ParquetMetaDataWriter,
};

fn open(pattern: &str) -> Result<ParquetFiles> {
    ParquetFiles::open(pattern, DecodeOptions::default())
}

fn fixture(name: &str) -> Result<ParquetFiles> {
    open(shard(name).to_str().unwrap())
}

fn open_path(path: &Path) -> Result<Box<dyn Source>> {
    let data = ParquetFiles::open(path.to_str().unwrap(), small_pictures())?;
    Ok(Box::new(data.cached(1 << 20)))
}

#[test]
fn a_file_of_the_hub_is_read() {
    let data = fixture("hub.parquet").unwrap();
    assert_eq!(data.classes(), ["cat", "dog", "owl"]);
    let label = |i: usize| (i != 4).then_some(i % 3);
    assert_eq!(contents(&data), (0..10).map(|i| (i, label(i))).collect::<Vec<_>>());
    assert_eq!((data.id(0).as_str(), data.id(9).as_str()), ("hub.parquet#0", "hub.parquet#9"));
    let part = &data.parts()[0];
    assert_eq!(part.shards, [0..4, 4..8, 8..10]);
    assert!(part.buffer > 1000);
    assert!(matches!(data.get(10), Err(Error::NoSuchSample { index: 10, len: 10 })));
}

#[test]
fn all_codecs_but_brotli_are_read_with_and_without_dictionaries() {
    let expected: Vec<_> = (0..10).map(|i| (i, Some(i % 3))).collect();
    for name in ["none", "snappy", "gzip", "lz4", "zstd"] {
        let data = fixture(&format!("{name}.parquet")).unwrap();
        assert!(data.classes().is_empty());
        assert_eq!(contents(&data), expected, "{name}");
        // In temporary files.
        assert_eq!(contents(&data.cached(0)), expected, "{name}");
    }
    let error = fixture("brotli.parquet").unwrap().get(0).unwrap_err().to_string();
    assert!(error.starts_with("brotli.parquet#0: ") && error.contains("brotli"), "{error}");
    let error = fixture("delta.parquet").unwrap().get(0).unwrap_err().to_string();
    assert!(error.contains("the encoding DELTA_LENGTH_BYTE_ARRAY is not read"), "{error}");
}

#[test]
fn a_binary_column_of_images_is_found() {
    let data = fixture("binary.parquet").unwrap();
    let labels = [Some(2), Some(1), Some(0), None, None];
    assert_eq!(contents(&data), (0..5).zip(labels).collect::<Vec<_>>());
}

#[test]
fn rows_without_an_image_are_corrupt() {
    let data = fixture("missing.parquet").unwrap();
    for data in [data, fixture("missing.parquet").unwrap().cached(0)] {
        let reason = |index: usize| {
            let error = data.get(index).unwrap_err();
            assert!(matches!(error, Error::Sample { .. }), "{error:?}");
            error.to_string()
        };
        assert!(reason(0).contains("only the path `far/away.png`"), "{}", reason(0));
        assert!(reason(1).ends_with("the row has no image"), "{}", reason(1));
        assert_eq!(data.get(2).unwrap().image().unwrap().width, 4);
        assert_eq!(data.target(0).unwrap(), Target::None);
    }
}

#[test]
fn what_is_no_parquet_file_of_images_is_refused() {
    let error = fixture("no_images.parquet").unwrap_err().to_string();
    let columns = "there are `label` (INT64), `text` (BYTE_ARRAY)";
    assert!(error.contains("no_images.parquet: no column of images"), "{error}");
    assert!(error.ends_with(columns), "{error}");
    let error = fixture("pax.tar").unwrap_err();
    assert!(matches!(error, Error::Shard { .. }) && error.to_string().contains("pax.tar"));
    let folder = tempfile::tempdir().unwrap();
    let error = open(folder.path().to_str().unwrap()).unwrap_err().to_string();
    assert!(error.contains("there is no file"), "{error}");
    let mut bytes = std::fs::read(shard("hub.parquet")).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(b"PARE");
    std::fs::write(folder.path().join("x.parquet"), bytes).unwrap();
    let error = open(folder.path().to_str().unwrap()).unwrap_err().to_string();
    assert!(error.contains("x.parquet") && error.contains("encrypt"), "{error}");
}

#[test]
fn several_files_are_one_source() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("b")).unwrap();
    for name in ["a.parquet", "b/c.parquet"] {
        std::fs::copy(shard("hub.parquet"), folder.path().join(name)).unwrap();
    }
    let root = folder.path().display();
    let data = open(&format!("{root}/a.parquet::{root}/b")).unwrap();
    assert_eq!((data.len(), data.classes().len()), (20, 3));
    assert_eq!((data.id(9), data.id(15)), ("a.parquet#9".into(), "b/c.parquet#5".into()));
    std::fs::copy(shard("zstd.parquet"), folder.path().join("a.parquet")).unwrap();
    let error = data.get(3).unwrap_err().to_string();
    assert!(error.starts_with("a.parquet#3: ") && error.contains("has changed"), "{error}");
    assert!(data.get(13).is_ok());
}

/// A file whose footer claims `rows` and what `change` changes about every column.
fn forged(
    path: &Path,
    rows: i64,
    change: &dyn Fn(ColumnChunkMetaDataBuilder) -> ColumnChunkMetaDataBuilder,
) {
    let bytes = Bytes::from(std::fs::read(shard("snappy.parquet")).unwrap());
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&bytes).unwrap();
    let groups = metadata.row_groups().iter().map(|group| {
        let columns = group.columns().iter().cloned();
        let columns = columns.map(|column| change(column.into_builder()).build().unwrap());
        let builder = group.clone().into_builder().set_num_rows(rows);
        builder.set_column_metadata(columns.collect()).build().unwrap()
    });
    let groups = groups.collect();
    let metadata = metadata.into_builder().set_row_groups(groups).build();
    // The footer's length stands before the last four bytes.
    let end = bytes.len();
    let length = u32::from_le_bytes(bytes[end - 8..end - 4].try_into().unwrap()) as usize;
    let mut file = bytes[..end - 8 - length].to_vec();
    ParquetMetaDataWriter::new(&mut file, &metadata).finish().unwrap();
    std::fs::write(path, file).unwrap();
}

#[test]
fn what_a_footer_claims_is_not_believed() {
    type Change = dyn Fn(ColumnChunkMetaDataBuilder) -> ColumnChunkMetaDataBuilder;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let open = || open(path.to_str().unwrap());
    let cases: [(i64, &Change, &str); 6] = [
        (1 << 40, &|column| column.set_num_values(1 << 40), "more rows are claimed"),
        (1 << 40, &|column| column, "values in 1099511627776 rows"),
        (3, &|c| c.set_dictionary_page_offset(Some(1 << 40)), "reaches beyond the end"),
        (3, &|column| column.set_total_compressed_size(1 << 40), "reaches beyond the end"),
        (3, &|column| column.set_total_compressed_size(-1), "has negative sizes"),
        (3, &|column| column.set_total_uncompressed_size(1 << 60), "claims 1152921504606846976"),
    ];
    for (rows, change, reason) in cases {
        forged(&path, rows, &|column| change(column.set_num_values(3)));
        let error = open().unwrap_err().to_string();
        assert!(error.contains("x.parquet: ") && error.contains(reason), "{reason}: {error}");
    }
    // More rows than there are; pages that lie elsewhere.
    forged(&path, 500, &|column| column.set_num_values(500));
    let data = open().unwrap();
    let error = data.get(0).unwrap_err().to_string();
    assert!(error.contains("column `img.bytes`") && error.contains("rows"), "{error}");
    assert!(data.target(0).is_err());
    forged(&path, 3, &|c| c.set_num_values(3).set_dictionary_page_offset(Some(20)));
    let error = open().unwrap().get(0).unwrap_err().to_string();
    assert!(error.contains("there is no page header at byte 20"), "{error}");
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    for name in ["hub.parquet", "zstd.parquet"] {
        let bytes = std::fs::read(shard(name)).unwrap();
        check_truncations(&bytes, name, 64, &open_path, &|_| false);
    }
}

#[test]
fn damaged_files_never_panic() {
    for (name, times) in [
        ("hub.parquet", 2000),
        ("zstd.parquet", 500),
        ("snappy.parquet", 500),
        ("lz4.parquet", 500),
        ("binary.parquet", 500),
    ] {
        let bytes = std::fs::read(shard(name)).unwrap();
        check_mutations(&bytes, name, times, &open_path);
    }
}

/// With and without room for the row groups in memory.
#[test]
fn row_groups_are_loaded_the_same_by_any_workers() {
    check_loading(Arc::new(fixture("{hub,zstd,lz4}.parquet").unwrap()));
    let small = fixture("{hub,zstd,lz4}.parquet").unwrap().cached(3000);
    assert!(small.parts()[0].buffer < 10);
    check_loading(Arc::new(small));
    check_loading(Arc::new(fixture("{hub,zstd,lz4}.parquet").unwrap().cached(0)));
}

/// The numbers are those of `fixtures/shards/make.py SHARED`.
#[test]
fn cifar10_is_read_as_the_python_package_does() {
    let Some(shared) = shared() else { return };
    let open = |part: &str| {
        let pattern = shared.join(format!("data/cifar10/plain_text/{part}-*.parquet"));
        open(pattern.to_str().unwrap()).unwrap()
    };
    let test: [usize; 10] = [492, 501, 486, 503, 475, 513, 513, 503, 500, 514];
    for (part, counts) in [("train", [5000; 10]), ("test", test)] {
        let data = open(part);
        let classes: BTreeMap<_, _> =
            counts.into_iter().enumerate().map(|(i, n)| (Some(i), n)).collect();
        assert_eq!(summary(&data), (counts.iter().sum(), classes));
        assert_eq!(data.classes()[9], "truck");
        for index in (0..data.len()).step_by(997) {
            assert_eq!(data.get(index).unwrap().image().unwrap().width, 32);
        }
    }
}
