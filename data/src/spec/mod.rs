//! Sources by name, as a command line or a recipe gives them.

mod entry;
mod options;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use entry::Entry;
#[cfg(feature = "hub")]
pub use options::OnProgress;
pub use options::OpenOptions;

use crate::decode::DecodeOptions;
use crate::error::{Error, Result};
use crate::join::MAX_WEIGHT;
use crate::source::Source;
use crate::{Coco, Join};

/// What data is wanted, not yet looked at: `FOLDER`, `KIND:PLACE` or `KIND:PLACE#PART`.
///
/// | | |
/// |---|---|
/// | `FOLDER` | an [`ImageFolder`](crate::ImageFolder) |
/// | `list:FILE` | a [`PathList`](crate::PathList) |
/// | `wds:PATTERN` | tars, a [`WebDataset`](crate::WebDataset) |
/// | `parquet:PATTERN` | [`ParquetFiles`](crate::ParquetFiles) |
/// | `hf://datasets/ORG/NAME[@REV][/PATH][#SPLIT]` | a dataset of the Hugging Face Hub (feature `hub`) |
/// | `coco:FOLDER[#SPLIT+SPLIT]` | [`Coco`] |
/// | `coco:FOLDER#FILE.json` | the images below a folder, with a file of annotations in COCO's format: [`Coco::from_files`] |
/// | `ade20k:FOLDER[#SPLIT]` | [`Ade20k`](crate::Ade20k) |
/// | `mnist:`, `fashion-mnist:`, `cifar10:`, `cifar100:` with `FOLDER[#train\|test]` | [`Packed`](crate::Packed) |
/// | `demo`, `synthetic` | [`Demo`](crate::Demo), [`Synthetic`](crate::Synthetic) |
///
/// Several are joined by `;`, each with a weight before it if it is not to be drawn once an epoch:
/// `coco:/data/coco;0.5*/data/others`. See [`Join`].
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    entries: Vec<(Entry, f64)>,
}

impl FromStr for Spec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let entries =
            text.split(';').map(|part| weighted(part.trim(), text)).collect::<Result<_>>()?;
        Ok(Self { entries })
    }
}

/// `N*SOURCE`, or `SOURCE`.
fn weighted(part: &str, text: &str) -> Result<(Entry, f64)> {
    let Some((weight, rest)) = split_weight(part) else {
        return Ok((Entry::parse(part, text)?, 1.0));
    };
    let entry = Entry::parse(rest, text)?;
    match weight > 0.0 && weight <= MAX_WEIGHT {
        true => Ok((entry, weight)),
        false => {
            let expected = format!("the weight {weight} is not above 0 and at most {MAX_WEIGHT}");
            Err(refused(text, expected))
        }
    }
}

/// The number before a star, and what follows it.
fn split_weight(part: &str) -> Option<(f64, &str)> {
    let (number, rest) = part.split_once('*')?;
    Some((number.trim().parse().ok()?, rest.trim()))
}

fn refused(text: &str, expected: impl Into<String>) -> Error {
    Error::Setting { name: "data", found: format!("`{text}`"), expected: expected.into() }
}

impl Spec {
    /// Opens the sources: lists folders, reads indices, fetches from the Hub. No image is decoded.
    ///
    /// # Errors
    /// Whatever a source refuses.
    pub fn open(&self, options: &OpenOptions) -> Result<Arc<dyn Source>> {
        let mut sources = self
            .entries
            .iter()
            .map(|(entry, weight)| Ok((entry.open(options)?, *weight)))
            .collect::<Result<Vec<_>>>()?;
        match sources.pop() {
            Some((only, 1.0)) if sources.is_empty() => Ok(only),
            last => {
                sources.extend(last);
                Ok(Arc::new(Join::new(sources)?))
            }
        }
    }
}

impl Spec {
    /// Opens images with their objects, which only `coco:` has: one such source, without a weight.
    ///
    /// # Errors
    /// [`Error::Setting`] for other sources, and what [`Coco::open`] refuses.
    pub fn open_coco(&self, decode: DecodeOptions) -> Result<Coco> {
        let only = match self.entries.as_slice() {
            [(entry, 1.0)] => entry.open_coco(decode),
            _ => None,
        };
        only.unwrap_or_else(|| {
            let expected = "images with boxes: coco:FOLDER[#SPLIT+SPLIT], or \
                            coco:IMAGES#ANNOTATIONS.json";
            Err(refused(&self.to_string(), expected))
        })
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (entry, weight)) in self.entries.iter().enumerate() {
            let separator = if number > 0 { ";" } else { "" };
            let entry = entry.to_string();
            // A folder may be named as if it had a weight.
            match *weight == 1.0 && split_weight(&entry).is_none() {
                true => write!(f, "{separator}{entry}")?,
                false => write!(f, "{separator}{weight}*{entry}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_alike() {
        for text in [
            "demo",
            "synthetic",
            "/data/images",
            "list:/data/files.txt",
            "list:/data/files#2.txt",
            #[cfg(feature = "shards")]
            "wds:/data/{000..123}.tar",
            #[cfg(feature = "shards")]
            "parquet:/data/*.parquet",
            "coco:/data/coco#train2017+unlabeled2017",
            "coco:/data/images#/data/instances.json",
            "ade20k:/data/ade",
            "fashion-mnist:/data/f#test",
            "10*coco:/data/coco;0.5*/data/others",
            "1*2*demo",
        ] {
            let spec: Spec = text.parse().unwrap();
            assert_eq!(spec.to_string(), text);
        }
    }

    /// A folder may have a star or a colon in its name.
    #[test]
    fn folders_are_what_nothing_else_is() {
        for text in ["a*b", "C:\\images", "other:thing", "images#train"] {
            assert_eq!(text.parse::<Spec>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_there_is() {
        for (text, expected) in [
            ("", "a source is missing"),
            ("demo;", "a source is missing"),
            ("0*demo", "the weight 0"),
            ("NaN*demo", "the weight NaN"),
            ("coco:", "a place must follow"),
            #[cfg(feature = "shards")]
            ("wds:", "a place must follow"),
            #[cfg(not(feature = "shards"))]
            ("wds:x.tar", "without the feature `shards`"),
            #[cfg(not(feature = "hub"))]
            ("hf://datasets/org/name", "without the feature `hub`"),
            ("coco:/data#", "a part the #"),
            ("mnist:/data#val", "val"),
        ] {
            let message = text.parse::<Spec>().unwrap_err().to_string();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }
}
