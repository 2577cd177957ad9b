//! Files of packed data sets.

use std::io::Write;
use std::path::Path;

use flate2::{Compression, write::GzEncoder};

/// Image `i` of 2 x 3 pixels is `10 i + 0, 1, ..`; its label is `i`.
pub fn put_idx(folder: &Path, part: &str, count: u8, packed: bool) {
    let mut images = vec![0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 2, 0, 0, 0, 3];
    images.extend((0..count).flat_map(|i| (0..6).map(move |pixel| 10 * i + pixel)));
    let mut labels = vec![0, 0, 8, 1, 0, 0, 0, count];
    labels.extend(0..count);
    for (name, bytes) in [("images-idx3", images), ("labels-idx1", labels)] {
        let name = format!("{part}-{name}-ubyte");
        match packed {
            true => std::fs::write(folder.join(name + ".gz"), gzip(&bytes)).unwrap(),
            false => std::fs::write(folder.join(name), bytes).unwrap(),
        }
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Image `i` has label `i` (behind a zero, if there are two) and the pixels `i`, `i + 1`, .. in its three planes.
pub fn cifar(count: u8, labels: usize) -> Vec<u8> {
    let image = |i: u8| {
        let label = if labels == 2 { vec![0, i] } else { vec![i] };
        label.into_iter().chain((0..3072_u32).map(move |at| (at + u32::from(i)) as u8))
    };
    (0..count).flat_map(image).collect()
}
