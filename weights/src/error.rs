//! What can go wrong with a checkpoint, said so that the reader knows which file, what was found and what to do.

use crate::{Kind, Layout, Mismatch};
use std::path::PathBuf;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of reading, writing or fitting a checkpoint.
///
/// Each message is whole: what the system or candle said is in it, and so is not repeated as a
/// [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no file at the path.
    #[error("no checkpoint at `{path}`: there is no such file")]
    NotFound {
        /// The file asked for.
        path: PathBuf,
    },
    /// The path is a folder, or a device, or a pipe.
    #[error("`{path}` is {found}; a checkpoint is one file, such as `model.safetensors`")]
    NotAFile {
        /// The path asked for.
        path: PathBuf,
        /// What it is instead.
        found: &'static str,
    },
    /// The file has no bytes.
    #[error("`{path}` is empty (0 bytes): a download or a copy that did not happen?")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file is of another format.
    #[error("`{path}` is neither a safetensors file nor PyTorch's: it looks like {found}")]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// What its first bytes look like, and what to do about it.
        found: &'static str,
    },
    /// The file ends before its tensors do.
    #[error(
        "`{path}` is truncated: it has {found} bytes, by its header it should have at least {expected}"
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The file's length in bytes.
        found: u64,
        /// The length in bytes that the header calls for; a lower bound where the header itself is cut.
        expected: u64,
    },
    /// The file goes on after its tensors.
    #[error("`{path}` is damaged: it has {found} bytes, by its header it should have {expected}")]
    TrailingBytes {
        /// The file.
        path: PathBuf,
        /// The file's length in bytes.
        found: u64,
        /// The length in bytes that the header calls for.
        expected: u64,
    },
    /// The header is not what the safetensors format asks for: broken JSON, a name given twice, overlapping tensors.
    #[error("`{path}` has a malformed safetensors header: {reason}")]
    BadHeader {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A PyTorch file is damaged, or not as torch writes it.
    #[error("`{path}` is a malformed PyTorch file: {reason}")]
    BadPth {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A PyTorch file holds no state dict, or not the one asked for.
    #[error("`{path}` holds no dict of tensors {reason}")]
    NoStateDict {
        /// The file.
        path: PathBuf,
        /// Where none is, and what is there instead.
        reason: String,
    },
    /// A PyTorch file holds several state dicts, and none was chosen.
    #[error("`{path}` holds several state dicts, say which one: {found}")]
    SeveralStateDicts {
        /// The file.
        path: PathBuf,
        /// Their keys and sizes.
        found: String,
    },
    /// A tensor of a PyTorch file's state dict cannot be read.
    #[error("`{path}`: tensor `{name}` {reason}")]
    BadTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What it is instead of a dense tensor of known numbers in the file.
        reason: String,
    },
    /// A tensor's number format can be neither read nor written here.
    #[error(
        "`{path}`: tensor `{name}` is of type {dtype}; known are F16, BF16, F32, F64, U8, U32, I16, I32 and I64"
    )]
    UnsupportedDtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The safetensors name of the type found.
        dtype: String,
    },
    /// One of the `longmae.*` metadata entries is missing or makes no sense.
    #[error("`{path}`: metadata `{key}` {reason}")]
    Metadata {
        /// The file.
        path: PathBuf,
        /// The metadata key.
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The file was written by a later version of longmae.
    #[error(
        "`{path}` has metadata format {found}, this longmae reads up to {}: it was written by a newer longmae, update this one",
        crate::FORMAT
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The format found.
        found: u64,
    },
    /// The file holds no tensor of that name.
    #[error("`{path}` holds no tensor `{name}`")]
    NoSuchTensor {
        /// The file.
        path: PathBuf,
        /// The tensor asked for.
        name: String,
    },
    /// The file's tensors are not the model's; nothing was loaded.
    #[error(transparent)]
    Mismatch(Box<Mismatch>),
    /// A tensor cannot be made one for the model; nothing was loaded.
    #[error("`{path}`: `{name}` cannot be adapted: {reason}")]
    Adapt {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What stands against it.
        reason: String,
    },
    /// A list of named tensors or variables gives one name twice.
    #[error("`{path}`: the model gives the name `{name}` to two tensors")]
    DuplicateName {
        /// The file to be written or loaded.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// A tensor to be saved has a name that a file of this kind cannot hold.
    #[error("`{path}`: a file of kind `{kind}` cannot hold a tensor named `{name}`")]
    WrongName {
        /// The file to be written.
        path: PathBuf,
        /// The kind of file.
        kind: Kind,
        /// The name.
        name: String,
    },
    /// There is no layout of that name.
    #[error("there is no layout `{found}`; there are {expected}")]
    UnknownLayout {
        /// The name found.
        found: String,
        /// The names of all layouts.
        expected: String,
    },
    /// A layout, or the package whose it is, has no place for a part of the model.
    #[error("layout `{layout}` cannot hold {what}: {reason}")]
    CannotHold {
        /// The layout.
        layout: Layout,
        /// The tensor or the setting.
        what: String,
        /// Why, and what can be done.
        reason: &'static str,
    },
    /// The model's keys have no bias, and the file's have one that is not zero.
    #[error(
        "`{path}`: the model's attention keys have no bias, but the file's have one that is not zero: {}",
        .names.join(", ")
    )]
    KeyBias {
        /// The file.
        path: PathBuf,
        /// The biases whose keys' third is not zero.
        names: Vec<String>,
    },
    /// The tensors are no masked autoencoder's.
    #[error("`{path}` {reason}")]
    NotAModel {
        /// The file.
        path: PathBuf,
        /// What is missing or contradicts itself.
        reason: String,
    },
    /// Neither the file nor one beside it says what is needed to use the model.
    #[error(
        "neither `{path}` nor a config.json beside it says: {}. Give what is missing",
        .keys.join(", ")
    )]
    Unsaid {
        /// The file.
        path: PathBuf,
        /// What has to be given.
        keys: Vec<String>,
    },
    /// A JSON file beside the weights makes no sense, or is another model's.
    #[error("`{path}` {reason}")]
    Config {
        /// The JSON file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system refused to read or write.
    #[error("cannot {action} `{path}`: {reason}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done, as a verb.
        action: &'static str,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// candle could not make, convert or copy a tensor.
    #[error("`{path}`, tensor `{name}`: {reason}")]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// candle's reason.
        reason: Box<candle_core::Error>,
    },
}
