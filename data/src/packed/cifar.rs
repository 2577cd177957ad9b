//! The binary version of CIFAR-10 and CIFAR-100 (<https://www.cs.toronto.edu/~kriz/cifar.html>).
//!
//! An image is its labels, a byte each (CIFAR-100: the coarse one first), and three planes of 32 x 32 pixels.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{Images, MOST_BYTES, PackedPart, existing, io, refused};
use crate::error::Result;

const SIZE: usize = 32;
const PLANE: usize = SIZE * SIZE;

/// The batches of CIFAR-10; some of the five will do, as long as the first is there.
pub(super) fn ten(folder: &Path, part: PackedPart) -> Result<Images> {
    let below = "cifar-10-batches-bin";
    match part {
        PackedPart::Test => images(&[find(folder, below, "test_batch.bin")?], 1),
        PackedPart::Train => {
            let mut paths = vec![find(folder, below, "data_batch_1.bin")?];
            let beside = |number| paths[0].with_file_name(format!("data_batch_{number}.bin"));
            let others: Vec<_> = (2..=5).map(beside).filter(|path| path.is_file()).collect();
            paths.extend(others);
            images(&paths, 1)
        }
    }
}

/// CIFAR-100.
pub(super) fn hundred(folder: &Path, part: PackedPart) -> Result<Images> {
    images(&[find(folder, "cifar-100-binary", &format!("{part}.bin"))?], 2)
}

fn find(folder: &Path, below: &str, name: &str) -> Result<PathBuf> {
    existing([folder.join(name), folder.join(below).join(name)])
        .ok_or_else(|| refused(folder, format!("{name} is neither in it nor in {below} below it")))
}

/// The images of some files, in which each begins with some labels of which the last counts.
fn images(paths: &[PathBuf], labels_each: usize) -> Result<Images> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for path in paths {
        for record in read(path, labels_each + 3 * PLANE)?.chunks_exact(labels_each + 3 * PLANE) {
            labels.push(record[labels_each - 1]);
            let planes = &record[labels_each..];
            pixels.extend(
                (0..PLANE).flat_map(|at| [planes[at], planes[PLANE + at], planes[2 * PLANE + at]]),
            );
        }
    }
    Ok(Images { height: SIZE, width: SIZE, bands: 3, pixels: Bytes::from(pixels), labels })
}

/// The bytes of a file, if they are whole records.
fn read(path: &Path, record: usize) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(io(path))?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(io(path))?;
    if bytes.is_empty() || bytes.len() as u64 > MOST_BYTES || bytes.len() % record != 0 {
        let reason = format!(
            "it has {} bytes where images of {record} bytes each are expected, at most {MOST_BYTES} bytes",
            bytes.len()
        );
        return Err(refused(path, reason));
    }
    Ok(bytes)
}
