//! One source by name.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(feature = "hub")]
use longmae_hub::{Hub, Progress, Reference, RepoKind};

use super::{OpenOptions, refused};
use crate::error::Result;
use crate::source::Source;
use crate::{
    Ade20k, Coco, DecodeOptions, Demo, ImageFolder, Packed, PackedKind, PackedPart, PathList,
    Synthetic,
};
#[cfg(feature = "shards")]
use crate::{ParquetFiles, WebDataset};

/// The names of sources, for messages.
const KNOWN: &str = "a folder, list:FILE, wds:PATTERN, parquet:PATTERN, hf://datasets/ORG/NAME[#SPLIT], \
    coco:FOLDER[#SPLIT+SPLIT|#FILE.json], ade20k:FOLDER[#SPLIT], mnist:, fashion-mnist:, cifar10: or \
    cifar100:FOLDER[#train|test], demo, synthetic";

/// One source.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Entry {
    Demo,
    Synthetic,
    Folder(PathBuf),
    List(PathBuf),
    #[cfg(feature = "shards")]
    WebDataset(String),
    #[cfg(feature = "shards")]
    Parquet(String),
    Coco(PathBuf, Option<String>),
    Ade20k(PathBuf, Option<String>),
    Packed(PackedKind, PathBuf, PackedPart),
    #[cfg(feature = "hub")]
    Hub(Reference, Option<String>),
}

impl Entry {
    /// Reads a source's name; `text` is all that was given, for messages.
    pub fn parse(part: &str, text: &str) -> Result<Self> {
        match part {
            "" => return Err(refused(text, format!("a source is missing; there are {KNOWN}"))),
            "demo" => return Ok(Self::Demo),
            "synthetic" => return Ok(Self::Synthetic),
            _ => {}
        }
        let Some((kind, rest)) = part.split_once(':') else {
            return Ok(Self::Folder(PathBuf::from(part)));
        };
        let place = || place(rest, text);
        let packed = |kind| place().and_then(|(folder, part)| packed(kind, folder, part));
        Ok(match kind {
            "list" => place().map(|_| Self::List(PathBuf::from(rest)))?,
            #[cfg(feature = "shards")]
            "wds" => place().map(|_| Self::WebDataset(rest.to_owned()))?,
            #[cfg(feature = "shards")]
            "parquet" => place().map(|_| Self::Parquet(rest.to_owned()))?,
            #[cfg(not(feature = "shards"))]
            "wds" | "parquet" => return Err(lacks(text, "shards")),
            "coco" => place().map(|(folder, split)| Self::Coco(folder, split))?,
            "ade20k" => place().map(|(folder, split)| Self::Ade20k(folder, split))?,
            "mnist" => packed(PackedKind::Mnist)?,
            "fashion-mnist" => packed(PackedKind::FashionMnist)?,
            "cifar10" => packed(PackedKind::Cifar10)?,
            "cifar100" => packed(PackedKind::Cifar100)?,
            #[cfg(feature = "hub")]
            "hf" => hub(part, text)?,
            #[cfg(not(feature = "hub"))]
            "hf" => return Err(lacks(text, "hub")),
            _ => Self::Folder(PathBuf::from(part)),
        })
    }

    /// Opens a source of images with their objects; none if this is no such source.
    pub fn open_coco(&self, decode: DecodeOptions) -> Option<Result<Coco>> {
        match self {
            Self::Coco(path, part) => Some(open_coco(path, part.as_deref(), decode)),
            _ => None,
        }
    }

    pub fn open(&self, options: &OpenOptions) -> Result<Arc<dyn Source>> {
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
            #[cfg(feature = "shards")]
            Self::WebDataset(pattern) => Arc::new(WebDataset::open(pattern, decode)?),
            #[cfg(feature = "shards")]
            Self::Parquet(pattern) => Arc::new(ParquetFiles::open(pattern, decode)?),
            Self::Coco(path, part) => Arc::new(open_coco(path, part.as_deref(), decode)?),
            Self::Ade20k(path, split) => Arc::new(Ade20k::open(path, split.as_deref(), decode)?),
            Self::Packed(kind, path, part) => Arc::new(Packed::open(*kind, path, *part, decode)?),
            #[cfg(feature = "hub")]
            Self::Hub(reference, split) => open_hub(reference, split.as_deref(), options)?,
        })
    }
}

/// `PLACE#PART`, or `PLACE`.
fn place(rest: &str, text: &str) -> Result<(PathBuf, Option<String>)> {
    let (place, part) = match rest.rsplit_once('#') {
        Some((place, part)) => (place, Some(part.to_owned())),
        None => (rest, None),
    };
    if place.is_empty() || part.as_ref().is_some_and(String::is_empty) {
        return Err(refused(text, "a place must follow the colon, and a part the #"));
    }
    Ok((PathBuf::from(place), part))
}

/// Splits of a folder, or the images of a folder with a file of annotations, by the end of its name.
fn open_coco(folder: &Path, part: Option<&str>, decode: DecodeOptions) -> Result<Coco> {
    match part.filter(|part| part.ends_with(".json")) {
        Some(file) => Coco::from_files(folder, file, decode),
        None => Coco::open(folder, part, decode),
    }
}

/// A part is `train` or `test`.
fn packed(kind: PackedKind, folder: PathBuf, part: Option<String>) -> Result<Entry> {
    let part = part.map_or(Ok(PackedPart::default()), |part| part.parse())?;
    Ok(Entry::Packed(kind, folder, part))
}

/// `hf://datasets/ORG/NAME[@REV][/PATH][#SPLIT]`.
#[cfg(feature = "hub")]
fn hub(part: &str, text: &str) -> Result<Entry> {
    let (place, split) = match part.split_once('#') {
        Some((_, "")) => return Err(refused(text, "a split must follow the #")),
        Some((place, split)) => (place, Some(split.to_owned())),
        None => (part, None),
    };
    let reference: Reference = place.parse()?;
    match reference.repo().kind() {
        RepoKind::Dataset => Ok(Entry::Hub(reference, split)),
        _ => Err(refused(text, "this is a model; a dataset is hf://datasets/ORG/NAME")),
    }
}

#[cfg(not(all(feature = "hub", feature = "shards")))]
fn lacks(text: &str, feature: &str) -> crate::Error {
    refused(text, format!("this program was built without the feature `{feature}`"))
}

#[cfg(feature = "hub")]
fn open_hub(
    reference: &Reference,
    split: Option<&str>,
    options: &OpenOptions,
) -> Result<Arc<dyn Source>> {
    let hub = match &options.hub {
        Some(hub) => hub.clone(),
        None => Arc::new(Hub::from_env()?),
    };
    let tell = |progress: Progress<'_>| options.progress.iter().for_each(|tell| tell(progress));
    crate::hub_dataset::open(&hub, reference, split, options.decode, &tell)
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut place = |kind: &str, path: &Path, part: Option<&str>| {
            write!(f, "{kind}{}", path.display())?;
            part.map_or(Ok(()), |part| write!(f, "#{part}"))
        };
        match self {
            Self::Demo => f.write_str("demo"),
            Self::Synthetic => f.write_str("synthetic"),
            Self::Folder(path) => place("", path, None),
            Self::List(path) => place("list:", path, None),
            #[cfg(feature = "shards")]
            Self::WebDataset(pattern) => write!(f, "wds:{pattern}"),
            #[cfg(feature = "shards")]
            Self::Parquet(pattern) => write!(f, "parquet:{pattern}"),
            Self::Coco(path, split) => place("coco:", path, split.as_deref()),
            Self::Ade20k(path, split) => place("ade20k:", path, split.as_deref()),
            Self::Packed(kind, path, part) => {
                place(&format!("{kind}:"), path, Some(&part.to_string()))
            }
            #[cfg(feature = "hub")]
            Self::Hub(reference, None) => write!(f, "{reference}"),
            #[cfg(feature = "hub")]
            Self::Hub(reference, Some(split)) => write!(f, "{reference}#{split}"),
        }
    }
}
