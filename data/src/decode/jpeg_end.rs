//! Whether a JPEG file has its end.
//!
//! Decoders paint what is missing grey or leave it blurred, and a progressive file is "complete" after any of its scans.
//! libjpeg under Pillow therefore wants the end-of-image marker, and so does this: it walks segment by segment, so that
//! neither a thumbnail's end marker inside a segment nor bytes behind the image mislead it.

const END_OF_IMAGE: u8 = 0xD9;

/// Whether the marker that ends the image is there.
pub(super) fn has_end(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some((marker, after)) = next_marker(rest) {
        rest = match marker {
            END_OF_IMAGE => return true,
            // These stand alone. Restart markers belong to the scan that is being skipped.
            0x01 | 0xD0..=0xD8 => after,
            // The scan's data after this segment's header is no segment: `next_marker` skips it.
            _ => match segment_len(after).and_then(|len| after.get(len..)) {
                Some(rest) => rest,
                None => return false,
            },
        };
    }
    false
}

/// The next marker and what follows it. `FF 00` is a data byte; repeated `FF` fill.
fn next_marker(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let mut rest = bytes;
    loop {
        let start = memchr::memchr(0xFF, rest)?;
        let after = &rest[start..];
        let fill = after.iter().position(|&byte| byte != 0xFF)?;
        rest = &after[fill + 1..];
        if after[fill] != 0 {
            return Some((after[fill], rest));
        }
    }
}

/// The length of a segment, which counts its own two bytes.
fn segment_len(segment: &[u8]) -> Option<usize> {
    let len = u16::from_be_bytes([*segment.first()?, *segment.get(1)?]);
    (len >= 2).then_some(usize::from(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_not_mistaken() {
        let scan = [0xFF, 0xD8, 0xFF, 0xDA, 0, 3, 1, 5, 0xFF, 0, 0xD9, 0xFF, 0xD0, 7];
        assert!(!has_end(&scan));
        assert!(!has_end(&[&scan[..], &[0xFF]].concat()));
        assert!(has_end(&[&scan[..], &[0xFF, END_OF_IMAGE]].concat()));
        assert!(has_end(&[&scan[..], &[0xFF, 0xFF, END_OF_IMAGE, 1, 2, 3]].concat()));
        let thumbnail = [0xFF, 0xD8, 0xFF, 0xE1, 0, 6, 0xFF, END_OF_IMAGE, 1, 2, 9];
        assert!(!has_end(&thumbnail));
        assert!(!has_end(&[]));
    }
}
