//! Entries in a row that make one sample.

use std::collections::HashSet;

use super::index::Slot;

/// The largest image, in bytes.
pub(super) const MAX_IMAGE: u32 = 1 << 30;

/// What one entry is of its sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Part {
    /// An image, and how far down its extension is in the order of preference.
    Image { rank: usize, offset: u64, len: u32 },
    /// The class of a `.cls` file; `None` for a negative number.
    Class(Option<u32>),
    /// The class of a `.json` file.
    JsonClass(Option<u32>),
    /// A label that is no number.
    OddLabel,
    /// Something else.
    Other,
}

impl Part {
    /// What a `.cls` or `.json` file says.
    pub fn label(extension: &str, bytes: &[u8]) -> Self {
        if extension == "cls" {
            let number = std::str::from_utf8(bytes).ok().and_then(|text| text.trim().parse().ok());
            return number.map_or(Self::OddLabel, |number| match class(number) {
                Ok(class) => Self::Class(class),
                Err(()) => Self::OddLabel,
            });
        }
        let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) else {
            return Self::OddLabel;
        };
        let number = ["label", "cls", "class"].iter().find_map(|name| value.get(name)?.as_i64());
        match number.map(class) {
            None => Self::Other,
            Some(Ok(class)) => Self::JsonClass(class),
            Some(Err(())) => Self::OddLabel,
        }
    }
}

/// A class's number; negative ones mean that it is not known.
fn class(number: i64) -> Result<Option<u32>, ()> {
    match u32::try_from(number) {
        Ok(class) if class < Slot::NO_CLASS => Ok(Some(class)),
        _ if number < 0 => Ok(None),
        _ => Err(()),
    }
}

/// A complete sample.
#[derive(Debug, PartialEq)]
pub(super) struct Complete {
    pub key: String,
    /// Where its image begins, and how long it is.
    pub image: Option<(u64, u32)>,
    pub class: Option<u32>,
}

/// The sample whose entries are being read.
///
/// As in `webdataset.tariterators.group_by_keys`: entries in a row with the same key are a sample; a key that comes
/// again later is another sample; the same extension twice within a sample is an error.
#[derive(Debug, Default)]
pub(super) struct Groups {
    current: Option<Group>,
}

#[derive(Debug, Default)]
struct Group {
    key: String,
    extensions: HashSet<String>,
    image: Option<(usize, u64, u32)>,
    class: Option<Option<u32>>,
    json_class: Option<Option<u32>>,
}

impl Groups {
    /// The key of the sample that is being read.
    pub fn key(&self) -> Option<&str> {
        self.current.as_ref().map(|group| group.key.as_str())
    }

    /// The sample read so far; the next entry begins another.
    pub fn finish(&mut self) -> Option<Complete> {
        self.current.take().map(|group| Complete {
            key: group.key,
            image: group.image.map(|(_, offset, len)| (offset, len)),
            class: group.class.or(group.json_class).flatten(),
        })
    }

    /// Adds an entry to the sample.
    pub fn add(&mut self, key: &str, extension: String, part: Part) -> Result<(), String> {
        let new = || Group { key: key.to_owned(), ..Default::default() };
        let group = self.current.get_or_insert_with(new);
        if !group.extensions.insert(extension) {
            return Err("the sample has a file of that extension already".into());
        }
        match part {
            Part::Image { rank, offset, len }
                if group.image.is_none_or(|(best, ..)| rank < best) =>
            {
                group.image = Some((rank, offset, len));
            }
            Part::Class(class) => group.class = Some(class),
            Part::JsonClass(class) => group.json_class = Some(class),
            Part::Image { .. } | Part::OddLabel | Part::Other => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_whole_numbers() {
        let class = |class| Part::Class(class);
        for (text, part) in [
            ("7", class(Some(7))),
            (" 42\n", class(Some(42))),
            ("-1", class(None)),
            ("cat", Part::OddLabel),
            ("4294967295", Part::OddLabel),
            ("", Part::OddLabel),
        ] {
            assert_eq!(Part::label("cls", text.as_bytes()), part, "{text}");
        }
        let class = |class| Part::JsonClass(class);
        for (text, part) in [
            (r#"{"label": 3, "cls": 4}"#, class(Some(3))),
            (r#"{"label": "cat", "class": 5}"#, class(Some(5))),
            (r#"{"label": -1}"#, class(None)),
            (r#"{"caption": "a cat"}"#, Part::Other),
            ("[1]", Part::Other),
            ("{", Part::OddLabel),
        ] {
            assert_eq!(Part::label("json", text.as_bytes()), part, "{text}");
        }
    }

    #[test]
    fn cls_goes_before_json_and_jpg_before_png() {
        let mut groups = Groups::default();
        let image = |rank, offset| Part::Image { rank, offset, len: 1 };
        groups.add("a", "png".into(), image(2, 10)).unwrap();
        groups.add("a", "cls".into(), Part::Class(Some(1))).unwrap();
        groups.add("a", "jpg".into(), image(0, 20)).unwrap();
        groups.add("a", "json".into(), Part::JsonClass(Some(2))).unwrap();
        assert!(groups.add("a", "jpg".into(), image(0, 30)).is_err());
        let sample = groups.finish().unwrap();
        assert_eq!((sample.image, sample.class), (Some((20, 1)), Some(1)));
        assert!(groups.key().is_none() && groups.finish().is_none());
    }
}
