//! MNIST, Fashion-MNIST and CIFAR from the files their authors publish.
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

mod common;

use std::fs;
use std::path::Path;

use common::packed::{cifar, gzip, put_idx};
use common::u8s;
use longmae_data::{
    DecodeOptions, Error, OpenOptions, Packed, PackedKind, PackedPart, Source, Spec, Target,
};

fn open(
    kind: PackedKind,
    folder: &Path,
    part: PackedPart,
    channels: usize,
) -> Result<Packed, Error> {
    Packed::open(kind, folder, part, DecodeOptions { channels, ..Default::default() })
}

fn pixels(source: &dyn Source, index: usize) -> Vec<u8> {
    u8s(&source.get(index).unwrap().picture.into_image().unwrap()).to_vec()
}

#[test]
fn digits_packed_or_not() {
    for packed in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let raw = dir.path().join("MNIST/raw");
        fs::create_dir_all(&raw).unwrap();
        put_idx(dir.path(), "train", 3, packed);
        put_idx(&raw, "t10k", 2, packed);
        let train = open(PackedKind::Mnist, dir.path(), PackedPart::Train, 1).unwrap();
        assert_eq!(
            (train.len(), train.id(2), train.classes()[7].as_str()),
            (3, "mnist/train/00002".into(), "7")
        );
        assert_eq!(train.target(2).unwrap(), Target::Class(2));
        assert_eq!(pixels(&train, 2), [20, 21, 22, 23, 24, 25]);
        assert!(matches!(train.get(3), Err(Error::NoSuchSample { index: 3, len: 3 })));
        let text = format!("mnist:{}#test", dir.path().display());
        let test = text.parse::<Spec>().unwrap().open(&OpenOptions::default()).unwrap();
        assert_eq!((test.len(), test.id(1)), (2, "mnist/test/00001".into()));
        assert_eq!(pixels(&*test, 1)[..6], [10, 10, 10, 11, 11, 11]);
        assert!(open(PackedKind::Mnist, dir.path(), PackedPart::Train, 2).is_err());
    }
    assert!("mnist:/data#validation".parse::<Spec>().is_err());
}

#[test]
fn photographs_in_batches() {
    let dir = tempfile::tempdir().unwrap();
    let below = dir.path().join("cifar-10-batches-bin");
    fs::create_dir(&below).unwrap();
    fs::write(below.join("data_batch_1.bin"), cifar(2, 1)).unwrap();
    fs::write(below.join("data_batch_2.bin"), cifar(3, 1)).unwrap();
    fs::write(below.join("test_batch.bin"), cifar(1, 1)).unwrap();
    let train = open(PackedKind::Cifar10, dir.path(), PackedPart::Train, 3).unwrap();
    assert_eq!((train.len(), train.classes()[9].as_str()), (5, "truck"));
    assert_eq!(train.target(4).unwrap(), Target::Class(2));
    // The planes' pixels k of image i are k + i, all planes being of 1024 pixels and bytes wrapping at 256.
    let image = pixels(&train, 4);
    assert!(image.iter().enumerate().all(|(at, &v)| v == (at / 3 + 2) as u8));
    let test = open(PackedKind::Cifar10, dir.path(), PackedPart::Test, 3).unwrap();
    assert_eq!(test.len(), 1);

    fs::write(dir.path().join("train.bin"), cifar(40, 2)).unwrap();
    let hundred = open(PackedKind::Cifar100, dir.path(), PackedPart::Train, 1).unwrap();
    assert_eq!((hundred.len(), hundred.target(39).unwrap()), (40, Target::Class(39)));
    assert_eq!(hundred.get(0).unwrap().picture.into_image().unwrap().channels, 1);
}

#[test]
fn wrong_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let message = |kind| open(kind, dir.path(), PackedPart::Train, 3).unwrap_err().to_string();
    assert!(message(PackedKind::Mnist).contains("neither train-images-idx3-ubyte nor"));
    assert!(message(PackedKind::Cifar10).contains("data_batch_1.bin is neither"));
    fs::write(dir.path().join("data_batch_1.bin"), &cifar(2, 1)[1..]).unwrap();
    assert!(message(PackedKind::Cifar10).contains("data_batch_1.bin: it has 6145 bytes"));
    fs::write(dir.path().join("data_batch_1.bin"), cifar(11, 1)).unwrap();
    assert!(message(PackedKind::Cifar10).contains("image 10 of train has label 10"));

    put_idx(dir.path(), "train", 3, false);
    let images = dir.path().join("train-images-idx3-ubyte");
    let labels = dir.path().join("train-labels-idx1-ubyte");
    let whole = fs::read(&images).unwrap();
    fs::write(&labels, [0, 0, 8, 1, 0, 0, 0, 1, 0]).unwrap();
    assert!(message(PackedKind::Mnist).contains("labels-idx1-ubyte: it has 1 labels for 3 images"));
    fs::write(&images, &whole[..whole.len() - 1]).unwrap();
    assert!(message(PackedKind::Mnist).contains("it holds less than"));
    fs::write(&images, [&whole[..], &[0]].concat()).unwrap();
    assert!(message(PackedKind::Mnist).contains("it holds more than"));
    fs::write(&images, [0, 0, 8, 3, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 1]).unwrap();
    assert!(message(PackedKind::Mnist).contains("are empty or above"));
    fs::write(&images, &whole[..2]).unwrap();
    assert!(message(PackedKind::Mnist).contains("train-images-idx3-ubyte: failed to fill"));
}

/// A file that unpacks without end is read only as far as its sizes say, and what its trailer says is checked.
#[test]
fn packed_files_are_bounded_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    put_idx(dir.path(), "train", 3, true);
    let images = dir.path().join("train-images-idx3-ubyte.gz");
    let message =
        || open(PackedKind::Mnist, dir.path(), PackedPart::Train, 3).unwrap_err().to_string();
    let whole = fs::read(&images).unwrap();
    let mut bomb = vec![0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 3];
    bomb.resize(64 << 20, 0);
    fs::write(&images, gzip(&bomb)).unwrap();
    assert!(message().contains("it holds more than"));
    let mut wrong = whole.clone();
    wrong[whole.len() - 8] ^= 1;
    fs::write(&images, &wrong).unwrap();
    assert!(message().contains("corrupt gzip stream"), "{}", message());
}

/// Debian's `dataset-fashion-mnist`; the numbers are what Python reads from it.
#[test]
fn the_real_pieces_of_clothing() {
    let folder = Path::new("/usr/share/datasets/fashion-mnist");
    if !folder.is_dir() {
        eprintln!("skipped: Debian's package dataset-fashion-mnist is not installed");
        return;
    }
    let test = open(PackedKind::FashionMnist, folder, PackedPart::Test, 1).unwrap();
    assert_eq!(test.len(), 10_000);
    let labels = |source: &Packed, n| (0..n).map(|i| source.target(i).unwrap()).collect::<Vec<_>>();
    assert_eq!(labels(&test, 10), TEST_LABELS.map(Target::Class));
    let sum: u64 = (0..10_000).flat_map(|i| pixels(&test, i)).map(u64::from).sum();
    assert_eq!(sum, TEST_SUM);
    let first = pixels(&test, 0);
    assert_eq!(first.iter().map(|&v| u64::from(v)).sum::<u64>(), FIRST_SUM);
    assert_eq!(first[15 * 28 + 10..15 * 28 + 16], FIRST_ROW);

    let train = open(PackedKind::FashionMnist, folder, PackedPart::Train, 3).unwrap();
    let mut histogram = [0; 10];
    for i in 0..train.len() {
        let Target::Class(class) = train.target(i).unwrap() else { panic!("a class each") };
        histogram[class] += 1;
    }
    assert_eq!(histogram, [6000; 10]);
    assert_eq!(labels(&train, 10), TRAIN_LABELS.map(Target::Class));
    assert_eq!(pixels(&train, 0).iter().map(|&v| u64::from(v)).sum::<u64>(), 3 * TRAIN_FIRST_SUM);
    assert_eq!(train.classes()[9], "Ankle boot");
}

const TEST_LABELS: [usize; 10] = [9, 2, 1, 1, 6, 1, 4, 6, 5, 7];
const TRAIN_LABELS: [usize; 10] = [9, 0, 0, 3, 0, 2, 7, 2, 5, 5];
const TEST_SUM: u64 = 573469082;
const FIRST_SUM: u64 = 33456;
const FIRST_ROW: [u8; 6] = [26, 108, 117, 99, 111, 117];
const TRAIN_FIRST_SUM: u64 = 76247;
