//! Lists of paths of images.

use std::path::{Path, PathBuf};

use crate::decode::DecodeOptions;
use crate::error::{Error, Result};
use crate::picture::Picture;
use crate::source::{Sample, Source, Target};

/// The images that a text file lists: one path a line, in UTF-8, and the number of its class behind it if they have one.
///
/// A path and a class are separated by a tab, or by blanks, since a number that ends a line is taken for its class. (A
/// path that itself ends in a blank and a number is told apart by a tab and a class behind it.) Either all lines have a
/// class or none has. Relative paths start at the folder of the list. Empty lines and lines that begin with `#` are left
/// out. Names of samples are the paths as written.
#[derive(Clone, Debug)]
pub struct PathList {
    folder: PathBuf,
    options: DecodeOptions,
    files: Vec<(String, Target)>,
}

/// Classes are numbers below this.
const MOST_CLASSES: usize = 1 << 24;

impl PathList {
    /// Reads a list; no image is opened yet.
    ///
    /// # Errors
    /// [`Error::Io`] for a list that cannot be read, [`Error::Line`] for a line that says something that cannot be;
    /// [`Error::Setting`] for a list of nothing.
    pub fn open(path: impl AsRef<Path>, options: DecodeOptions) -> Result<Self> {
        let path = path.as_ref();
        let text =
            std::fs::read(path).map_err(|source| Error::Io { path: path.to_path_buf(), source })?;
        Self::from_text(&text, path, options)
    }

    /// The list with this text, which stands at `path`.
    ///
    /// # Errors
    /// See [`open`](Self::open).
    pub fn from_text(text: &[u8], path: &Path, options: DecodeOptions) -> Result<Self> {
        let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
        let mut files: Vec<(String, Target)> = Vec::new();
        for (number, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let refused =
                |reason| Error::Line { path: path.to_path_buf(), line: number + 1, reason };
            let line = std::str::from_utf8(line).map_err(|_| refused("it is not UTF-8".into()))?;
            let Some((name, target)) = entry(line.trim()).map_err(refused)? else { continue };
            let first = files.first().map_or(&target, |(_, first)| first);
            if (first == &Target::None) != (target == Target::None) {
                let (with, without) =
                    if target == Target::None { ("has", "no") } else { ("has no", "a") };
                let reason = format!("there is {without} class, while the first path {with} one");
                return Err(refused(reason));
            }
            files.push((name.to_owned(), target));
        }
        if files.is_empty() {
            let found = path.display().to_string();
            return Err(Error::Setting {
                name: "list",
                found,
                expected: "must name at least one image".into(),
            });
        }
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        Ok(Self { folder, options, files })
    }

    /// Where an image is, or `None` beyond the end.
    pub fn path(&self, index: usize) -> Option<PathBuf> {
        self.files.get(index).map(|(name, _)| self.folder.join(name))
    }
}

/// The path and the class on a line, if there is something on it.
fn entry(line: &str) -> Result<Option<(&str, Target)>, String> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    if let Some((name, class)) = line.split_once('\t') {
        let number = number(class.trim()).ok_or_else(|| wrong_class(class))?;
        return Ok(Some((name.trim_end(), Target::Class(number?))));
    }
    if let Some((name, class)) = line.rsplit_once(char::is_whitespace)
        && let Some(number) = number(class)
    {
        return Ok(Some((name.trim_end(), Target::Class(number?))));
    }
    Ok(Some((line, Target::None)))
}

/// The class that `text` is, if it is an integer at all.
fn number(text: &str) -> Option<Result<usize, String>> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = text.parse().ok().filter(|&number| number < MOST_CLASSES);
    Some(number.ok_or_else(|| wrong_class(text)))
}

fn wrong_class(text: &str) -> String {
    let start: String = text.chars().take(40).collect();
    format!("class {start:?} is not an integer from 0 to {}", MOST_CLASSES - 1)
}

impl Source for PathList {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn id(&self, index: usize) -> String {
        self.files[index].0.clone()
    }

    fn get(&self, index: usize) -> Result<Sample> {
        let target = self.target(index)?;
        let path = self.folder.join(&self.files[index].0);
        let bytes = std::fs::read(&path)
            .map_err(|source| Error::Io { path: path.clone(), source })
            .map_err(|e| e.of_sample(path.display().to_string()))?;
        Ok(Sample { id: self.id(index), picture: Picture::encoded(bytes, self.options), target })
    }

    fn target(&self, index: usize) -> Result<Target> {
        match self.files.get(index) {
            Some((_, target)) => Ok(target.clone()),
            None => Err(Error::NoSuchSample { index, len: self.files.len() }),
        }
    }
}
