//! Palettes of TIFF files.

use super::tiff_directory::{Directory, tag};

const BLACK_IS_ZERO: u32 = 1;

/// A copy of the file whose first image says that it is grey, so that a decoder gives the indices as they are; `None`
/// if the file has no such tag.
pub(super) fn as_grey(bytes: &[u8]) -> Option<Vec<u8>> {
    let directory = Directory::of(bytes)?;
    let mut copy = bytes.to_vec();
    directory.set(&mut copy, directory.entry(tag::PHOTOMETRIC)?, BLACK_IS_ZERO)?;
    Some(copy)
}

/// The colours of `indices` of `bits` bits each. `map` holds all reds, then all greens, then all blues, of which
/// Pillow takes the high byte.
pub(super) fn look_up(indices: &[u8], bits: u8, map: &[u16]) -> Result<Vec<u8>, String> {
    let colours = 1_usize << bits;
    if map.len() < 3 * colours {
        return Err(format!(
            "its palette has {} entries where {} are needed",
            map.len(),
            3 * colours
        ));
    }
    let high_byte = |at: usize| (map[at] >> 8) as u8;
    let colour =
        |&index: &u8| [0, colours, 2 * colours].map(|band| high_byte(band + usize::from(index)));
    Ok(indices.iter().flat_map(colour).collect())
}
