//! Where the parts of a COCO folder are.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::annotations::wrong;
use crate::error::Result;

/// What a split is made of.
pub(super) struct Split {
    /// The folder of its images.
    pub images: PathBuf,
    /// Its file of annotations, or of its images' names; `None` if the folder is all there is.
    pub annotations: Option<PathBuf>,
}

/// Beginnings of the names of the files that are read, in order of preference.
const KINDS: [&str; 2] = ["instances_", "image_info_"];

/// Whether a file's name promises annotations.
pub(super) fn is_of_instances(file: &Path) -> bool {
    file.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with(KINDS[0]))
}

impl Split {
    /// Finds a split by its name, such as `train2017`.
    ///
    /// # Errors
    /// [`Error::Annotations`] that names what is there, if the split is not.
    pub fn find(root: &Path, name: &str) -> Result<Self> {
        let images = root.join(name);
        let is_plain = !name.is_empty() && Path::new(name).file_name() == Some(OsStr::new(name));
        if !is_plain || !images.is_dir() {
            let there = match folders_of_images(root) {
                found if found.is_empty() => "there is no folder of images".to_owned(),
                found => format!("there are {}", found.join(", ")),
            };
            return Err(wrong(root, format!("no folder of images {name}; {there}")));
        }
        let file = |kind: &str| root.join("annotations").join(format!("{kind}{name}.json"));
        let annotations = KINDS.map(file).into_iter().find(|path| path.is_file());
        Ok(Self { images, annotations })
    }
}

/// The names of the folders in `root`, but for that of the annotations.
fn folders_of_images(root: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name != "annotations" && !name.starts_with('.'))
        .collect();
    names.sort_unstable();
    names
}
