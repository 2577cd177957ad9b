//! COCO's strings of run lengths: five bits a character, the lowest first; a sixth bit says that more follow. From the
//! fourth run on, the difference to the last but one is written, in two's complement.

use super::{Rle, pixels, refused};
use crate::error::Result;
use crate::size::Size;

/// As many characters as a difference of two numbers of 32 bits needs.
const LONGEST: u32 = 7;

impl Rle {
    /// Reads a mask from its compressed string, the `counts` that pycocotools writes.
    ///
    /// # Errors
    /// [`Error::Mask`](crate::Error::Mask) for a character that is none of these strings, a string that ends within a
    /// run, a run below zero or beyond the image, and whatever [`new`](Self::new) refuses.
    pub fn parse(text: &str, size: Size) -> Result<Self> {
        let pixels = i64::from(pixels(size)?);
        let mut counts: Vec<u32> = Vec::with_capacity(text.len() / 2);
        let mut rest = text.bytes();
        while rest.len() > 0 {
            let mut run = number(&mut rest)?;
            if counts.len() > 2 {
                run += i64::from(counts[counts.len() - 2]);
            }
            match u32::try_from(run) {
                Ok(count) if run <= pixels => counts.push(count),
                _ => {
                    return Err(refused(format!(
                        "run {} of its string has {run} pixels, the image of {} x {} has {pixels}",
                        counts.len(),
                        size.height,
                        size.width
                    )));
                }
            }
        }
        Self::new(counts, size)
    }

    /// The mask as a compressed string, as pycocotools writes it.
    pub fn to_compressed(&self) -> String {
        let counts = self.counts();
        let mut text = String::new();
        for (i, &count) in counts.iter().enumerate() {
            let before = if i > 2 { i64::from(counts[i - 2]) } else { 0 };
            let mut rest = i64::from(count) - before;
            loop {
                let bits = (rest & 0x1f) as u8;
                rest >>= 5;
                // The last character's highest bit is the sign.
                let more = if bits & 0x10 == 0 { rest != 0 } else { rest != -1 };
                text.push(char::from(48 + bits + if more { 0x20 } else { 0 }));
                if !more {
                    break;
                }
            }
        }
        text
    }
}

/// The number at the start of `rest`.
fn number(rest: &mut impl Iterator<Item = u8>) -> Result<i64> {
    let mut value = 0;
    for place in 0..LONGEST {
        let Some(byte) = rest.next() else {
            return Err(refused("its string ends within a number".into()));
        };
        let bits = match byte {
            48..=111 => i64::from(byte - 48),
            _ => {
                return Err(refused(format!(
                    "its string has the byte {byte}, not within 48..=111"
                )));
            }
        };
        value |= (bits & 0x1f) << (5 * place);
        if bits & 0x20 == 0 {
            let sign = if bits & 0x10 == 0 { 0 } else { -1 << (5 * (place + 1)) };
            return Ok(value | sign);
        }
    }
    Err(refused(format!("a number of its string is longer than {LONGEST} characters")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_that_cannot_be_are_refused() {
        let size = Size::new(4, 5).unwrap();
        for (text, expected) in [
            ("d0\u{7f}", "the byte 127"),
            ("é", "the byte 195"),
            ("P", "ends within a number"),
            ("PPPPPPPPPPPP0", "longer than 7 characters"),
            ("O", "run 0 of its string has -1 pixels"),
            ("e0", "run 0 of its string has 21 pixels"),
            ("1110I", "run 4 of its string has -6 pixels"),
            ("11", "its runs have 2 pixels"),
            ("", "its runs have 0 pixels"),
        ] {
            let message = Rle::parse(text, size).unwrap_err().to_string();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }
}
