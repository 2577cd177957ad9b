//! Sources by name, as a command line or a recipe gives them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use crate::decode::DecodeOptions;
use crate::error::{Error, Result};
use crate::source::Source;
use crate::transform::Size;
#[cfg(feature = "hub")]
use longmae_hub::{Hub, Progress, Reference};

use crate::{Ade20k, Coco, Demo, ImageFolder, Join, ParquetFiles, Synthetic, WebDataset};

/// The names of sources, for messages.
const KNOWN: &str = "a folder, wds:PATTERN, parquet:PATTERN, hf://datasets/ORG/NAME[#SPLIT], \
    coco:FOLDER[#SPLIT+SPLIT], ade20k:FOLDER[#SPLIT], demo, synthetic";

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
    WebDataset(String),
    #[cfg(feature = "hub")]
    Hub(Reference, Option<String>),
    Parquet(String),
    Coco(PathBuf, Option<String>),
    Ade20k(PathBuf, Option<String>),
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
    /// The client of the Hub, or `None` for the one that the environment describes.
    #[cfg(feature = "hub")]
    pub hub: Option<Arc<Hub>>,
    /// What is told how downloads get on.
    #[cfg(feature = "hub")]
    pub progress: Option<fn(Progress<'_>)>,
}

impl Default for OpenOptions {
    /// Three channels; a thousand synthetic images of 224 x 224.
    fn default() -> Self {
        let synthetic_size = Size { height: 224, width: 224 };
        Self {
            decode: DecodeOptions::default(),
            synthetic_size,
            synthetic_len: 1000,
            seed: 0,
            #[cfg(feature = "hub")]
            hub: None,
            #[cfg(feature = "hub")]
            progress: None,
        }
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
    if let Some(pattern) = part.strip_prefix("wds:") {
        return Ok(Entry::WebDataset(pattern.to_owned()));
    }
    if part.starts_with("hf:") {
        return hub(part, text);
    }
    if let Some(pattern) = part.strip_prefix("parquet:") {
        return Ok(Entry::Parquet(pattern.to_owned()));
    }
    Ok(match part {
        "" => return Err(refused(text, format!("a source is missing; there are {KNOWN}"))),
        "demo" => Entry::Demo,
        "synthetic" => Entry::Synthetic,
        _ => match part.split_once(':') {
            Some(("coco", rest)) => place(rest, text).map(|(p, split)| Entry::Coco(p, split))?,
            Some(("ade20k", rest)) => {
                place(rest, text).map(|(p, split)| Entry::Ade20k(p, split))?
            }
            _ => Entry::Folder(PathBuf::from(part)),
        },
    })
}

/// `hf://datasets/ORG/NAME[@REV][/PATH][#SPLIT]`.
#[cfg(feature = "hub")]
fn hub(part: &str, text: &str) -> Result<Entry> {
    let (place, split) = match part.split_once('#') {
        Some((_, "")) => return Err(refused(text, "a split is missing after #".into())),
        Some((place, split)) => (place, Some(split.to_owned())),
        None => (part, None),
    };
    let reference: Reference = place.parse()?;
    match reference.repo().kind() {
        longmae_hub::RepoKind::Dataset => Ok(Entry::Hub(reference, split)),
        _ => Err(refused(text, "a dataset is wanted: hf://datasets/ORG/NAME".into())),
    }
}

#[cfg(not(feature = "hub"))]
fn hub(_part: &str, text: &str) -> Result<Entry> {
    Err(refused(text, "this program was built without the Hub (feature `hub`)".into()))
}

/// `PLACE#PART`, or `PLACE`.
fn place(rest: &str, text: &str) -> Result<(PathBuf, Option<String>)> {
    let (place, part) = match rest.rsplit_once('#') {
        Some((place, part)) => (place, Some(part.to_owned())),
        None => (rest, None),
    };
    if place.is_empty() || part.as_ref().is_some_and(String::is_empty) {
        return Err(refused(text, "a place must follow the colon, and a part the #".into()));
    }
    Ok((PathBuf::from(place), part))
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
            #[cfg(feature = "hub")]
            Self::Hub(reference, split) => return open_hub(reference, split.as_deref(), options),
            Self::Folder(path) => Arc::new(ImageFolder::open(path, decode)?),
            Self::WebDataset(pattern) => Arc::new(WebDataset::open(pattern, decode)?),
            Self::Parquet(pattern) => Arc::new(ParquetFiles::open(pattern, decode)?),
            Self::Coco(path, split) => Arc::new(Coco::open(path, split.as_deref(), decode)?),
            Self::Ade20k(path, split) => Arc::new(Ade20k::open(path, split.as_deref(), decode)?),
        })
    }
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
        let mut place = |kind: &str, path: &PathBuf, part: &Option<String>| {
            write!(f, "{kind}:{}", path.display())?;
            part.as_ref().map_or(Ok(()), |part| write!(f, "#{part}"))
        };
        match self {
            Self::Demo => f.write_str("demo"),
            Self::Synthetic => f.write_str("synthetic"),
            #[cfg(feature = "hub")]
            Self::Hub(reference, None) => write!(f, "{reference}"),
            #[cfg(feature = "hub")]
            Self::Hub(reference, Some(split)) => write!(f, "{reference}#{split}"),
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::WebDataset(pattern) => write!(f, "wds:{pattern}"),
            Self::Parquet(pattern) => write!(f, "parquet:{pattern}"),
            Self::Coco(path, split) => place("coco", path, split),
            Self::Ade20k(path, split) => place("ade20k", path, split),
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
