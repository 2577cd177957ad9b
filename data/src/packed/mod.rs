//! Small data sets whose images lie packed in few files: MNIST, Fashion-MNIST, CIFAR.

mod cifar;
mod idx;
mod names;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bytes::Bytes;

use crate::decode::{DecodeOptions, from_bytes};
use crate::error::{Error, Result};
use crate::source::{Sample, Source, Target};

/// The most bytes of images that are taken into memory: twenty times MNIST, or the larger EMNIST.
const MOST_BYTES: u64 = 1 << 30;

/// Which of the well-known data sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackedKind {
    /// Handwritten digits, grey, 28 x 28.
    Mnist,
    /// Pieces of clothing, grey, 28 x 28.
    FashionMnist,
    /// Photographs of ten kinds of things, 32 x 32.
    Cifar10,
    /// Photographs of a hundred kinds of things, 32 x 32; targets are the fine labels.
    Cifar100,
}

/// Which part of a data set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PackedPart {
    /// What is learnt from.
    #[default]
    Train,
    /// What is tested on.
    Test,
}

impl fmt::Display for PackedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mnist => "mnist",
            Self::FashionMnist => "fashion-mnist",
            Self::Cifar10 => "cifar10",
            Self::Cifar100 => "cifar100",
        })
    }
}

impl fmt::Display for PackedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Test => "test",
        })
    }
}

impl FromStr for PackedPart {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "train" => Ok(Self::Train),
            "test" => Ok(Self::Test),
            _ => Err(Error::Setting {
                name: "part",
                found: format!("`{text}`"),
                expected: "must be train or test".into(),
            }),
        }
    }
}

/// One part of a small data set, in memory, in the files its authors publish.
///
/// MNIST and Fashion-MNIST: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
/// `t10k-labels-idx1-ubyte`, each also packed as `.gz`, in the folder or in `MNIST/raw` or `FashionMNIST/raw` below it.
/// CIFAR-10: `data_batch_1.bin` and so on and `test_batch.bin`, in the folder or in `cifar-10-batches-bin` below it.
/// CIFAR-100: `train.bin` and `test.bin`, in the folder or in `cifar-100-binary` below it.
///
/// Channels are as [`decode`](crate::decode) gives them: three repeat grey, one makes colours grey.
#[derive(Clone, Debug)]
pub struct Packed {
    kind: PackedKind,
    part: PackedPart,
    classes: Vec<String>,
    channels: usize,
    images: Images,
}

/// Images of one size, and their classes.
#[derive(Clone)]
struct Images {
    height: usize,
    width: usize,
    /// 1 or 3.
    bands: usize,
    /// `[images, height, width, bands]`.
    pixels: Bytes,
    /// A number an image.
    labels: Vec<u8>,
}

impl fmt::Debug for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { height, width, bands, labels, .. } = self;
        write!(f, "Images({} x {height} x {width} x {bands})", labels.len())
    }
}

impl Packed {
    /// Reads a part of a data set from the files in `folder`.
    ///
    /// # Errors
    /// [`Error::NoSuchFolder`]; [`Error::Packed`] for a file that is missing, damaged or of another kind; [`Error::Io`];
    /// [`Error::Channels`] if the channels asked for cannot be made from the images.
    pub fn open(
        kind: PackedKind,
        folder: impl AsRef<Path>,
        part: PackedPart,
        options: DecodeOptions,
    ) -> Result<Self> {
        let folder = folder.as_ref();
        if !folder.is_dir() {
            return Err(Error::NoSuchFolder(folder.to_path_buf()));
        }
        let classes = names::of(kind);
        let images = match kind {
            PackedKind::Mnist => idx::open(folder, "MNIST/raw", part)?,
            PackedKind::FashionMnist => idx::open(folder, "FashionMNIST/raw", part)?,
            PackedKind::Cifar10 => cifar::ten(folder, part)?,
            PackedKind::Cifar100 => cifar::hundred(folder, part)?,
        };
        if let Some(at) = images.labels.iter().position(|&l| usize::from(l) >= classes.len()) {
            let (label, most) = (images.labels[at], classes.len() - 1);
            let reason = format!("image {at} of {part} has label {label}, more than {most}");
            return Err(refused(folder, reason));
        }
        let channels = options.channels;
        if channels != 1 && channels != 3 {
            return Err(Error::Channels { found: images.bands, expected: channels });
        }
        Ok(Self { kind, part, classes, channels, images })
    }
}

impl Source for Packed {
    fn len(&self) -> usize {
        self.images.labels.len()
    }

    fn id(&self, index: usize) -> String {
        format!("{}/{}/{index:05}", self.kind, self.part)
    }

    fn get(&self, index: usize) -> Result<Sample> {
        let target = self.target(index)?;
        let Images { height, width, bands, pixels, .. } = &self.images;
        let len = height * width * bands;
        let pixels = pixels[index * len..(index + 1) * len].to_vec();
        let image = from_bytes((*width, *height), *bands, pixels, self.channels)?;
        Ok(Sample { id: self.id(index), picture: image.into(), target })
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn target(&self, index: usize) -> Result<Target> {
        match self.images.labels.get(index) {
            Some(&label) => Ok(Target::Class(usize::from(label))),
            None => Err(Error::NoSuchSample { index, len: self.len() }),
        }
    }
}

/// The first of the files that is there.
fn existing(candidates: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    candidates.into_iter().find(|path| path.is_file())
}

fn refused(path: &Path, reason: impl Into<String>) -> Error {
    Error::Packed { path: path.to_path_buf(), reason: reason.into() }
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::Io { path: path.to_path_buf(), source }
}
