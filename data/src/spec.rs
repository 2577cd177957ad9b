//! Sources by name, as a command line or a recipe gives them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use crate::decode::DecodeOptions;
use crate::error::{Error, Result};
use crate::source::Source;
use crate::transform::Size;
use crate::{Demo, ImageFolder, Join, Packed, PackedKind, PackedPart, PathList, Synthetic};

/// The names of sources, for messages.
const KNOWN: &str =
    "a folder, list:FILE, mnist:DIR, fashion-mnist:DIR, cifar10:DIR, cifar100:DIR, demo, synthetic";

/// What data is wanted, not yet looked at: `FOLDER`, `KIND:PLACE`, `KIND:PLACE#PART`, or several joined by `;`, each
/// with a weight before it if it is not to be drawn once an epoch: `coco:/data/coco;0.5*/data/others`.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    entries: Vec<(Entry, f64)>,
}

/// One source.
#[derive(Clone, Debug, PartialEq)]
enum Entry {
    Demo,
    Synthetic,
    Folder(PathBuf),
    List(PathBuf),
    Packed(PackedKind, PathBuf, PackedPart),
}

/// What is needed beside a [`Spec`] to open it.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// How images are decoded.
    pub decode: DecodeOptions,
    /// The size of synthetic images.
    pub synthetic_size: Size,
    /// The number of synthetic images.
    pub synthetic_len: usize,
    /// The seed of synthetic images.
    pub seed: u64,
}

impl Default for OpenOptions {
    /// Three channels; a thousand synthetic images of 224 x 224.
    fn default() -> Self {
        let synthetic_size = Size { height: 224, width: 224 };
        Self { decode: DecodeOptions::default(), synthetic_size, synthetic_len: 1000, seed: 0 }
    }
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
    if let Some((number, rest)) = part.split_once('*')
        && let Ok(weight) = number.trim().parse::<f64>()
    {
        return match weight > 0.0 && weight <= 1e6 {
            true => Ok((entry(rest.trim(), text)?, weight)),
            false => Err(refused(
                text,
                format!("the weight {weight} is not above 0 and at most 1000000"),
            )),
        };
    }
    Ok((entry(part, text)?, 1.0))
}

fn entry(part: &str, text: &str) -> Result<Entry> {
    Ok(match part {
        "" => return Err(refused(text, format!("a source is missing; there are {KNOWN}"))),
        "demo" => Entry::Demo,
        "synthetic" => Entry::Synthetic,
        _ => match part.split_once(':') {
            Some(("list", file)) => Entry::List(PathBuf::from(file)),
            Some(("mnist", place)) => packed(PackedKind::Mnist, place)?,
            Some(("fashion-mnist", place)) => packed(PackedKind::FashionMnist, place)?,
            Some(("cifar10", place)) => packed(PackedKind::Cifar10, place)?,
            Some(("cifar100", place)) => packed(PackedKind::Cifar100, place)?,
            _ => Entry::Folder(PathBuf::from(part)),
        },
    })
}

/// `DIR`, `DIR#train` or `DIR#test`.
fn packed(kind: PackedKind, place: &str) -> Result<Entry> {
    let (folder, part) = match place.rsplit_once('#') {
        Some((folder, part)) => (folder, part.parse()?),
        None => (place, PackedPart::default()),
    };
    Ok(Entry::Packed(kind, PathBuf::from(folder), part))
}

fn refused(text: &str, expected: String) -> Error {
    Error::Setting { name: "data", found: format!("`{text}`"), expected }
}

impl Spec {
    /// Opens the sources: lists folders, reads indices. No image is decoded.
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

impl Entry {
    fn open(&self, options: &OpenOptions) -> Result<Arc<dyn Source>> {
        let decode = options.decode;
        Ok(match self {
            Self::Demo => Arc::new(Demo::new(decode)),
            Self::Synthetic => Arc::new(Synthetic {
                len: options.synthetic_len,
                height: options.synthetic_size.height,
                width: options.synthetic_size.width,
                channels: decode.channels,
                seed: options.seed,
            }),
            Self::Folder(path) => Arc::new(ImageFolder::open(path, decode)?),
            Self::List(path) => Arc::new(PathList::open(path, decode)?),
            Self::Packed(kind, path, part) => Arc::new(Packed::open(*kind, path, *part, decode)?),
        })
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Demo => f.write_str("demo"),
            Self::Synthetic => f.write_str("synthetic"),
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::List(path) => write!(f, "list:{}", path.display()),
            Self::Packed(kind, path, part) => write!(f, "{kind}:{}#{part}", path.display()),
        }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (entry, weight)) in self.entries.iter().enumerate() {
            let separator = if number > 0 { ";" } else { "" };
            match weight {
                1.0 => write!(f, "{separator}{entry}")?,
                weight => write!(f, "{separator}{weight}*{entry}")?,
            }
        }
        Ok(())
    }
}
