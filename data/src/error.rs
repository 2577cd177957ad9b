//! What can go wrong with data.

use std::path::PathBuf;

/// Too many open files, in the system or the process: the numbers of Linux and macOS.
#[cfg(feature = "codecs")]
const ENFILE: i32 = 23;
#[cfg(feature = "codecs")]
const EMFILE: i32 = 24;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with data. The messages name the file or the value, what was found, and what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was to be read.
        path: PathBuf,
        /// Why it could not be.
        source: std::io::Error,
    },
    /// The data folder does not exist.
    #[error("{}: no such folder", .0.display())]
    NoSuchFolder(PathBuf),
    /// The data folder is a file.
    #[error("{}: not a folder", .0.display())]
    NotAFolder(PathBuf),
    /// The data folder holds nothing that can be read.
    #[error("{}: no image in it or below it (looked for {extensions})", path.display())]
    NoImages {
        /// The folder.
        path: PathBuf,
        /// The extensions looked for.
        extensions: String,
    },
    /// A file that holds many samples is damaged, or holds something else.
    #[error("{}: {reason}", path.display())]
    Shard {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The Hugging Face Hub or its cache refuses.
    #[cfg(feature = "hub")]
    #[error(transparent)]
    Hub(#[from] longmae_hub::Error),
    /// A line of a list of paths says something that cannot be.
    #[error("{}, line {line}: {reason}", path.display())]
    Line {
        /// The list.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
        /// What was found in it, and what was expected.
        reason: String,
    },
    /// A file of a well-known data set is damaged, or is another file.
    #[error("{}: {reason}", path.display())]
    Packed {
        /// The file.
        path: PathBuf,
        /// What was found, and what was expected.
        reason: String,
    },
    /// The file is none of the formats that are read.
    #[error("not an image that can be read: {found} (JPEG, PNG, WebP, TIFF and NPY are read)")]
    UnknownFormat {
        /// What the file is, as far as can be told.
        found: String,
    },
    /// The file ends before the picture does.
    #[error("the {format} file is truncated")]
    Truncated {
        /// The file's format.
        format: &'static str,
    },
    /// The file is damaged, or uses a part of its format that is not supported.
    #[error("cannot decode the {format} file: {reason}")]
    Decode {
        /// The file's format.
        format: &'static str,
        /// What the decoder says.
        reason: String,
    },
    /// The file claims more pixels than allowed.
    #[error("the image claims {width} x {height} pixels, more than the limit of {limit}")]
    TooLarge {
        /// Columns claimed.
        width: u64,
        /// Rows claimed.
        height: u64,
        /// The most pixels allowed.
        limit: u64,
    },
    /// The image is one pixel.
    #[error("the image is a single pixel: there is nothing in it to learn from")]
    SinglePixel,
    /// The image does not have the channels asked for.
    #[error("the image has {found} channels where {expected} are expected")]
    Channels {
        /// Channels of the image.
        found: usize,
        /// Channels asked for.
        expected: usize,
    },
    /// An operation that has no meaning for the image's samples.
    #[error("{operation} takes images of 8-bit samples with 1 or 3 channels, found {found}")]
    Unsuited {
        /// The operation.
        operation: &'static str,
        /// What the image has.
        found: String,
    },
    /// An image's sizes and its samples do not fit together.
    #[error(
        "an image of {height} x {width} pixels and {channels} channels cannot have {samples} samples"
    )]
    Shape {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
        /// Channels.
        channels: usize,
        /// Samples there are.
        samples: usize,
    },
    /// A crop box that is empty or not inside its image.
    #[error(
        "the crop of {crop_height} x {crop_width} pixels at row {top}, column {left} is not inside the image of \
         {height} x {width} pixels"
    )]
    Crop {
        /// First row of the crop.
        top: usize,
        /// First column of the crop.
        left: usize,
        /// Rows of the crop.
        crop_height: usize,
        /// Columns of the crop.
        crop_width: usize,
        /// Rows of the image.
        height: usize,
        /// Columns of the image.
        width: usize,
    },
    /// An image that is not of the size its annotations say.
    #[error(
        "the image has {height} x {width} pixels, its annotations are of one of {expected_height} x {expected_width}"
    )]
    SizesDiffer {
        /// Rows of the image.
        height: usize,
        /// Columns of the image.
        width: usize,
        /// Rows as annotated.
        expected_height: usize,
        /// Columns as annotated.
        expected_width: usize,
    },
    /// A setting that cannot be.
    #[error("{name} {found}: {expected}")]
    Setting {
        /// The setting's name.
        name: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// A sample was asked for that is not there.
    #[error("there is no sample {index}: the data has {len}")]
    NoSuchSample {
        /// The index asked for.
        index: usize,
        /// Samples there are.
        len: usize,
    },
    /// One sample could not be had; the reason lies inside.
    #[error("{id}: {reason}")]
    Sample {
        /// The sample's id.
        id: String,
        /// What was wrong with it.
        reason: Box<Error>,
    },
    /// An epoch is shorter than one effective batch.
    #[error(
        "an epoch has {found} samples ({len} draws of images, {repeat} times) but one step takes {group}: \
         lower the (effective) batch size, draw each image more often, or add images"
    )]
    TooFewSamples {
        /// Samples an epoch: images times repeat.
        found: usize,
        /// Draws of images in one pass.
        len: usize,
        /// How often each is drawn in an epoch.
        repeat: usize,
        /// Samples that one step takes.
        group: usize,
    },
    /// An epoch is longer than its order can be kept.
    #[error(
        "an epoch of {found} samples: at most {limit} can be put in order (lower weights or repeats)"
    )]
    LongEpoch {
        /// Samples of an epoch: draws times repeats.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// More samples are corrupt than the limit allows.
    #[error("corrupt samples: {count}, more than the limit of {limit}; among them: {examples}")]
    TooManyCorrupt {
        /// Distinct corrupt samples met so far.
        count: usize,
        /// How many are allowed.
        limit: usize,
        /// Some of them, with the reason each.
        examples: String,
    },
    /// Every sample is corrupt.
    #[error("not one sample can be read; among the errors: {examples}")]
    AllCorrupt {
        /// Some of them, with the reason each.
        examples: String,
    },
    /// A mask that cannot be: of runs, of a polygon, or of a string.
    #[error("a mask that cannot be: {reason}")]
    Mask {
        /// What is wrong with it.
        reason: String,
    },
    /// A file of annotations that does not say what it should.
    #[error("{}: {reason}", path.display())]
    Annotations {
        /// The file, or the folder.
        path: PathBuf,
        /// What was found in it, and what was expected.
        reason: String,
    },
    /// The caller's collate function failed.
    #[error("putting a batch together failed: {0}")]
    Collate(Box<dyn std::error::Error + Send + Sync>),
    /// A worker thread panicked; this is a fault of the program.
    #[error("a data worker panicked: {0}")]
    WorkerPanic(String),
    /// A worker thread could not be started.
    #[error("cannot start a data worker: {0}")]
    Spawn(std::io::Error),
}

#[cfg(feature = "codecs")]
impl Error {
    /// A setting that must be something else.
    pub(crate) fn setting(name: &'static str, found: impl ToString, expected: &str) -> Self {
        let expected = format!("must be {expected}");
        Self::Setting { name, found: found.to_string(), expected }
    }

    /// Whether this says something of the machine and not of the sample that was asked for: a full disk, too many open
    /// files, a network that is gone. Going on would take good samples for corrupt ones.
    pub(crate) fn is_of_machine(&self) -> bool {
        use std::io::ErrorKind::*;
        match self {
            Self::Sample { reason, .. } => reason.is_of_machine(),
            Self::Io { source, .. } => {
                matches!(
                    source.kind(),
                    StorageFull
                        | QuotaExceeded
                        | ReadOnlyFilesystem
                        | OutOfMemory
                        | StaleNetworkFileHandle
                        | TimedOut
                        | NetworkDown
                        | NetworkUnreachable
                        | HostUnreachable
                ) || matches!(source.raw_os_error(), Some(ENFILE | EMFILE))
            }
            _ => false,
        }
    }

    /// Names the sample that this error is about, unless that is already said.
    pub(crate) fn of_sample(self, id: String) -> Self {
        match self {
            Self::Sample { .. } => self,
            reason => Self::Sample { id, reason: Box::new(reason) },
        }
    }
}
