//! What can be seen from within only: how often row groups are unpacked, and labels that no writer of images gives.

use std::path::Path;

use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::*;
use crate::{Loader, LoaderConfig, Normalize, Samples, Size, TrainTransform};

/// Row groups of so many rows each, all of the same image, with these labels over and over.
fn write(path: &Path, groups: usize, rows: usize, labels: &[i64]) {
    let schema = "message m { required binary image; required int64 label; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let file = std::fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Default::default()).unwrap();
    let image = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/rgb.png");
    let images = vec![ByteArray::from(std::fs::read(image).unwrap()); rows];
    let labels: Vec<i64> = labels.iter().copied().cycle().take(rows).collect();
    for _ in 0..groups {
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&images, None, None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<parquet::data_type::Int64Type>().write_batch(&labels, None, None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.close().unwrap();
}

/// Batches larger than a block of the order, several of them under way.
#[test]
fn a_row_group_is_unpacked_twice_an_epoch_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    write(&path, 40, 8, &[0]);
    let open = || ParquetFiles::open(path.to_str().unwrap(), DecodeOptions::default()).unwrap();
    let cost = open().cost(open().group(0).1);
    let source = Arc::new(open().cached(cost * 8));
    let parts = source.parts();
    let block = parts[0].buffer + 8;
    assert!(block < 64, "{block}");
    let transform = TrainTransform::new(Size::square(4).unwrap(), Normalize::for_channels(3));
    let config = LoaderConfig {
        workers: 4,
        queue: 4,
        batch_size: 64,
        group: 64,
        epochs: Some(1),
        ..Default::default()
    };
    let collate = |samples: Samples| Ok(samples.items.len());
    let loader = Loader::new(source.clone(), Arc::new(transform), collate, config).unwrap();
    assert_eq!(loader.map(|batch| batch.unwrap()).sum::<usize>(), 320);
    let mut times = [0; 40];
    source.rows.made.lock().unwrap().iter().for_each(|&group| times[group] += 1);
    assert!(times.iter().all(|&times| (1..=2).contains(&times)), "{times:?}");
    assert_eq!(source.parts(), parts);
}

#[test]
fn labels_that_cannot_be_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    write(&path, 1, 5, &[2, -1, 1 << 40, i64::from(u32::MAX), 7]);
    let mut data = ParquetFiles::open(path.to_str().unwrap(), DecodeOptions::default()).unwrap();
    let targets =
        |data: &ParquetFiles| (0..5).map(|row| data.get(row).unwrap().target).collect::<Vec<_>>();
    let (two, seven) = (Target::Class(2), Target::Class(7));
    assert_eq!(targets(&data), [two.clone(), Target::None, Target::None, Target::None, seven]);
    data.classes = ["a", "b", "c"].map(String::from).to_vec();
    data.labels = Cache::new(u64::MAX);
    assert!(data.files[0].warned.load(std::sync::atomic::Ordering::Relaxed));
    assert_eq!(targets(&data), [two, Target::None, Target::None, Target::None, Target::None]);
}
