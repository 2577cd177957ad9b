//! Palettes of TIFF files.

const PHOTOMETRIC: u16 = 262;
const BLACK_IS_ZERO: u16 = 1;

/// A copy of the file whose first image says that it is grey, so that a decoder gives the indices as they are; `None`
/// if the file is not a classic TIFF or has no such tag.
pub(super) fn as_grey(bytes: &[u8]) -> Option<Vec<u8>> {
    let little = bytes.starts_with(b"II");
    let u16_at = |at: usize| {
        let word = bytes.get(at..at + 2)?.try_into().ok()?;
        Some(if little { u16::from_le_bytes(word) } else { u16::from_be_bytes(word) })
    };
    let u32_at = |at: usize| {
        let word = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(if little { u32::from_le_bytes(word) } else { u32::from_be_bytes(word) })
    };
    (u16_at(2)? == 42).then_some(())?;
    let directory = u32_at(4)? as usize;
    // An entry has 12 bytes: tag, type, count, and a short value in the first two of the last four.
    let mut entries = (0..usize::from(u16_at(directory)?)).map(|i| directory + 2 + 12 * i);
    let value = entries.find(|&at| u16_at(at) == Some(PHOTOMETRIC))? + 8;
    let grey = if little { BLACK_IS_ZERO.to_le_bytes() } else { BLACK_IS_ZERO.to_be_bytes() };
    let mut copy = bytes.to_vec();
    copy.get_mut(value..value + 2)?.copy_from_slice(&grey);
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
