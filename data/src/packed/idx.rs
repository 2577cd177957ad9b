//! The format of MNIST's files.
//!
//! Two zeros, the type of the numbers (8: bytes), the number of sizes; the sizes as 32-bit integers, big endian; the
//! numbers (<http://yann.lecun.com/exdb/mnist/>).

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flate2::read::GzDecoder;

use super::{Images, MOST_BYTES, PackedPart, existing, io, refused};
use crate::error::Result;

const BYTES: u8 = 8;

/// Images and labels of a part, in `folder` or `below` it.
pub(super) fn open(folder: &Path, below: &str, part: PackedPart) -> Result<Images> {
    let prefix = match part {
        PackedPart::Train => "train",
        PackedPart::Test => "t10k",
    };
    let path = find(folder, below, &format!("{prefix}-images-idx3-ubyte"))?;
    let ([count, height, width], pixels) = read::<3>(&path)?;
    let labels_path = find(folder, below, &format!("{prefix}-labels-idx1-ubyte"))?;
    let ([labels_count], labels) = read::<1>(&labels_path)?;
    if labels_count != count {
        let reason = format!("it has {labels_count} labels for {count} images");
        return Err(refused(&labels_path, reason));
    }
    Ok(Images { height, width, bands: 1, pixels: Bytes::from(pixels), labels })
}

/// The path of a file, packed or not.
fn find(folder: &Path, below: &str, name: &str) -> Result<PathBuf> {
    let folders = [folder.to_path_buf(), folder.join(below)];
    let files = folders.iter().flat_map(|f| [f.join(name), f.join(format!("{name}.gz"))]);
    existing(files).ok_or_else(|| {
        refused(folder, format!("neither {name} nor {name}.gz is in it or in {below} below it"))
    })
}

/// The sizes and the numbers of a file with `N` sizes.
fn read<const N: usize>(path: &Path) -> Result<([usize; N], Vec<u8>)> {
    let file = BufReader::new(File::open(path).map_err(io(path))?);
    let packed = path.extension().is_some_and(|extension| extension == "gz");
    let mut reader: Box<dyn Read> =
        if packed { Box::new(GzDecoder::new(file)) } else { Box::new(file) };
    let mut start = [0; 4];
    reader.read_exact(&mut start).map_err(io(path))?;
    if start != [0, 0, BYTES, N as u8] {
        let reason = format!(
            "it starts with {start:02x?} where an IDX file of bytes with {N} sizes starts with \
             [00, 00, 08, {N:02x}]"
        );
        return Err(refused(path, reason));
    }
    let mut sizes = [0; N];
    for size in &mut sizes {
        let mut bytes = [0; 4];
        reader.read_exact(&mut bytes).map_err(io(path))?;
        *size = u32::from_be_bytes(bytes) as usize;
    }
    let total = sizes.iter().try_fold(1_u64, |all, &size| all.checked_mul(size as u64));
    let Some(total) = total.filter(|&total| total > 0 && total <= MOST_BYTES) else {
        return Err(refused(
            path,
            format!("sizes {sizes:?} are empty or above {MOST_BYTES} bytes"),
        ));
    };
    // Grows with what is there, not with what is claimed; one byte more shows whether the file ends in time.
    let mut numbers = Vec::new();
    reader.take(total + 1).read_to_end(&mut numbers).map_err(io(path))?;
    if numbers.len() as u64 != total {
        let more = if numbers.len() as u64 > total { "more" } else { "less" };
        return Err(refused(path, format!("it holds {more} than its sizes {sizes:?} say")));
    }
    Ok((sizes, numbers))
}
