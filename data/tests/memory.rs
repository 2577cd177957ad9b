//! What a run holds in memory does not grow with its length.
#![cfg(target_os = "linux")]

#[path = "common/child.rs"]
mod child;
mod common;
#[path = "common/mutations.rs"]
#[allow(dead_code, reason = "only the memory is asked for")]
mod mutations;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use longmae_data::{
    DecodeOptions, ImageFolder, Loader, LoaderConfig, Normalize, ParquetFiles, Samples, Size,
    Source, TrainTransform,
};
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::{Value, json};

/// How much more a long run may hold than a short one, in MiB.
const MORE_MIB: u64 = 300;

/// Loads samples over and over and gives the most memory that this took, in MiB.
fn load(source: Arc<dyn Source>, samples: usize) -> u64 {
    let repeat = samples.div_ceil(source.len());
    let config = LoaderConfig {
        workers: 4,
        queue: 8,
        batch_size: 20,
        group: 20,
        repeat,
        ..Default::default()
    };
    let transform = TrainTransform::new(Size::square(16).unwrap(), Normalize::for_channels(3));
    let collate = |samples: Samples| Ok(samples);
    let loader = Loader::new(source, Arc::new(transform), collate, config).unwrap();
    let loaded: usize = loader.take(samples / 20).map(|batch| batch.unwrap().items.len()).sum();
    assert_eq!(loaded, samples);
    mutations::peak_mib().unwrap()
}

/// Compares runs of 200 and of 20,000 samples, each in a process of its own.
fn check(test: &str, path: &Path) {
    let peak = |samples: usize| {
        let answer = child::run(test, &json!({"path": path, "samples": samples}));
        answer.as_u64().unwrap()
    };
    let (short, long) = (peak(200), peak(20_000));
    let found = format!("{short} MiB for 200 samples, {long} MiB for 20,000");
    assert!(long < short + MORE_MIB, "{found}");
    // What is never let go of could be there after 200 samples already.
    assert!(long < MORE_MIB, "{found}");
}

/// In the child: the source that `open` opens is loaded.
fn answer(task: &Value, open: impl Fn(&str) -> Arc<dyn Source>) {
    let source = open(task["path"].as_str().unwrap());
    let samples = task["samples"].as_u64().unwrap() as usize;
    child::answer(&json!(load(source, samples)));
}

#[test]
fn a_folder_read_again_and_again() {
    if let Some(task) = child::task() {
        return answer(&task, |path| {
            Arc::new(ImageFolder::open(path, DecodeOptions::default()).unwrap())
        });
    }
    let folder = tempfile::tempdir().unwrap();
    for i in 0..50 {
        let name = ["420.jpg", "444.jpg", "progressive.jpg"][i % 3];
        std::fs::copy(common::fixture(name), folder.path().join(format!("{i}.jpg"))).unwrap();
    }
    check("a_folder_read_again_and_again", folder.path());
}

/// 400 MiB of images that are little in the file: each a JPEG with zeros behind it.
fn large_parquet(path: &Path) {
    let schema = parse_message_type("message images { required binary image; }").unwrap();
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .build();
    let file = File::create(path).unwrap();
    let mut writer =
        SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties)).unwrap();
    let mut image = common::fixture_bytes("420.jpg");
    image.resize(128 << 10, 0);
    let rows = vec![ByteArray::from(image); 16];
    for _ in 0..200 {
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&rows, None, None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.close().unwrap();
}

#[test]
fn a_parquet_file_larger_than_its_cache() {
    if let Some(task) = child::task() {
        return answer(&task, |path| {
            let source = ParquetFiles::open(path, DecodeOptions::default()).unwrap();
            assert_eq!(source.len(), 3200);
            Arc::new(source.cached(32 << 20))
        });
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.parquet");
    large_parquet(&path);
    check("a_parquet_file_larger_than_its_cache", &path);
}
