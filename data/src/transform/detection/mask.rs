//! Motions of masks.

use super::Motion;
use crate::error::Result;
use crate::rle::Rle;
use crate::transform::Size;

/// The mask after a motion; what comes in from outside does not belong to it.
pub(super) fn moved(motion: &Motion, mask: &Rle) -> Result<Rle> {
    let from = mask.size();
    let to = motion.size(from)?;
    let (rows, columns) = sources(motion, from, to);
    let bitmap = mask.to_bitmap();
    let row = |y: &Option<usize>| y.map(|y| &bitmap[y * from.width..(y + 1) * from.width]);
    let moved: Vec<u8> = rows
        .iter()
        .flat_map(|y| {
            let row = row(y);
            columns.iter().map(move |x| row.zip(*x).map_or(0, |(row, x)| row[x]))
        })
        .collect();
    Rle::from_bitmap(&moved, to)
}

/// Which row each row of the result comes from, and which column each column.
fn sources(motion: &Motion, from: Size, to: Size) -> (Vec<Option<usize>>, Vec<Option<usize>>) {
    let shifted = |by: usize, len: usize, end: usize| -> Vec<_> {
        (by..by + len).map(|at| (at < end).then_some(at)).collect()
    };
    let same = || shifted(0, to.height, from.height);
    match *motion {
        Motion::Flip => (same(), (0..from.width).rev().map(Some).collect()),
        Motion::Resize(_) => (nearest(from.height, to.height), nearest(from.width, to.width)),
        Motion::Crop { top, left, .. } => {
            (shifted(top, to.height, from.height), shifted(left, to.width, from.width))
        }
        Motion::Pad { .. } => (same(), shifted(0, to.width, from.width)),
    }
}

/// Pillow's `NEAREST`, which adds up steps instead of multiplying.
fn nearest(from: usize, to: usize) -> Vec<Option<usize>> {
    let step = from as f64 / to as f64;
    let places = std::iter::successors(Some(step * 0.5), |place| Some(place + step));
    places.take(to).map(|place| Some(place as usize).filter(|&at| at < from)).collect()
}
