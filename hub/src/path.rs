//! Names that come from outside and become paths or addresses.

use std::path::{Component, Path};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but what RFC 3986 leaves unreserved.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// As [`SEGMENT`], with slashes kept.
const WHOLE_PATH: &AsciiSet = &SEGMENT.remove(b'/');

/// `Err` with what is wrong, unless the name is relative and stays inside any folder that it is put into.
pub(crate) fn check(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("it is empty");
    }
    if name.starts_with('/') {
        return Err("it is an absolute path");
    }
    if name.contains('\\') {
        return Err("it contains a backslash");
    }
    if name.chars().any(char::is_control) {
        return Err("it contains a control character");
    }
    if name.len() > 4096 {
        return Err("it is longer than 4096 bytes");
    }
    for part in name.split('/') {
        match part {
            "" => return Err("it has an empty part"),
            "." | ".." => return Err("it contains `.` or `..`"),
            _ if part.trim() != part => {
                return Err("a part of it starts or ends with whitespace");
            }
            _ => {}
        }
    }
    // Windows: `C:name` is no ordinary component.
    if Path::new(name).components().any(|part| !matches!(part, Component::Normal(_))) {
        return Err("it is an absolute path");
    }
    Ok(())
}

/// A name as one segment of an address: slashes too are encoded, as revisions want it.
pub(crate) fn encode_segment(name: &str) -> String {
    utf8_percent_encode(name, SEGMENT).to_string()
}

/// A path as segments of an address.
pub(crate) fn encode_path(name: &str) -> String {
    utf8_percent_encode(name, WHOLE_PATH).to_string()
}

/// Whether this is a whole commit hash: 40 hexadecimal digits in lower case, as the cache names its folders.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && is_lower_hex(text)
}

/// Whether this is a SHA-256 in hexadecimal digits.
pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && is_lower_hex(text)
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused() {
        for name in [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a//b",
            "a/",
            "./a",
            "a\\b",
            "a\0b",
            "a/ b",
            "a\n",
        ] {
            assert!(check(name).is_err(), "{name:?}");
        }
        for name in ["a", "data/train-00000-of-00002.parquet", "a b.txt", "..a/b..", "ä/ö.bin"] {
            assert_eq!(check(name), Ok(()), "{name:?}");
        }
    }

    #[test]
    fn addresses_are_encoded() {
        assert_eq!(encode_segment("refs/pr/1"), "refs%2Fpr%2F1");
        assert_eq!(encode_path("data/a b#1?.txt"), "data/a%20b%231%3F.txt");
    }
}
