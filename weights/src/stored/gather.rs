//! A tensor's bytes, gathered row after row where its strides scatter them.

use super::{StoredTensor, read_exact_at};
use std::fs::File;
use std::ops::Range;

/// Reads the tensor, which lies within the file, as contiguous numbers.
pub(super) fn read(file: &File, tensor: &StoredTensor) -> std::io::Result<Vec<u8>> {
    let size = tensor.dtype.size_in_bytes();
    let count: usize = tensor.shape.iter().product();
    let strides = tensor.strides.as_deref().filter(|_| count > 0);
    let span = match strides {
        None => count,
        Some(strides) => 1 + last_index(&tensor.shape, strides),
    };
    let mut bytes = vec![0; span * size];
    read_exact_at(file, &mut bytes, tensor.offset)?;
    Ok(match strides {
        None => bytes,
        Some(strides) => gather(&bytes, &tensor.shape, strides, size),
    })
}

/// Reads some rows of the tensor into as many bytes as they have: straight from the file if they lie there as they should.
pub(super) fn read_rows(
    file: &File,
    tensor: &StoredTensor,
    rows: Range<usize>,
    bytes: &mut [u8],
) -> std::io::Result<()> {
    let row = tensor.dtype.size_in_bytes() * tensor.shape.iter().skip(1).product::<usize>();
    let (start, end) = (row * rows.start, row * rows.end);
    match tensor.strides {
        None => read_exact_at(file, bytes, tensor.offset + start as u64),
        Some(_) => {
            bytes.copy_from_slice(&read(file, tensor)?[start..end]);
            Ok(())
        }
    }
}

/// The place of the last number, counted from the first; the shape has no zero.
fn last_index(shape: &[usize], strides: &[usize]) -> usize {
    shape.iter().zip(strides).map(|(dim, stride)| (dim - 1) * stride).sum()
}

/// The numbers of `size` bytes at the indices of the shape, the last index fastest; the shape has no zero.
fn gather(bytes: &[u8], shape: &[usize], strides: &[usize], size: usize) -> Vec<u8> {
    let mut gathered = Vec::with_capacity(shape.iter().product::<usize>() * size);
    let (outer, columns) = shape.split_at(shape.len().saturating_sub(1));
    let (columns, step) = (columns.first().unwrap_or(&1), strides.last().unwrap_or(&0));
    let mut index = vec![0; outer.len()];
    loop {
        let row: usize = index.iter().zip(strides).map(|(index, stride)| index * stride).sum();
        for column in 0..*columns {
            let start = (row + column * step) * size;
            gathered.extend_from_slice(&bytes[start..start + size]);
        }
        if !advance(&mut index, outer) {
            return gathered;
        }
    }
}

/// Counts one up, the last index fastest; false after the last.
fn advance(index: &mut [usize], shape: &[usize]) -> bool {
    for (index, dim) in index.iter_mut().zip(shape).rev() {
        *index += 1;
        if *index < *dim {
            return true;
        }
        *index = 0;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposed_and_skipping() {
        let bytes: Vec<u8> = (0..24).collect();
        // [2, 3, 4] seen as [4, 2, 3].
        let seen = gather(&bytes, &[4, 2, 3], &[1, 12, 4], 1);
        assert_eq!(seen[..8], [0, 4, 8, 12, 16, 20, 1, 5]);
        assert_eq!((seen.len(), seen[23]), (24, 23));
        // Every second number of two bytes, twice.
        assert_eq!(gather(&bytes, &[2, 2], &[0, 2], 2), [0, 1, 4, 5, 0, 1, 4, 5]);
        assert_eq!(gather(&bytes, &[], &[], 2), [0, 1]);
        assert_eq!(last_index(&[4, 2, 3], &[1, 12, 4]), 23);
    }
}
