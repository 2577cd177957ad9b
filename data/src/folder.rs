//! Folders of images.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::decode::DecodeOptions;
use crate::error::{Error, Result};
use crate::picture::Picture;
use crate::source::{Sample, Source, Target};

/// The extensions of the files taken from a folder, in any case. The format itself is told by content.
pub const EXTENSIONS: [&str; 7] = ["jpg", "jpeg", "png", "webp", "tif", "tiff", "npy"];

/// The images below a folder.
///
/// If the folder has no image directly in it but subfolders with images, each of these subfolders is a class, numbered
/// in the order of their names as torchvision's `ImageFolder` does; images may lie at any depth below. Otherwise all
/// images below the folder are taken, without a target. Hidden files and folders are left out, links are followed.
#[derive(Clone, Debug)]
pub struct ImageFolder {
    root: PathBuf,
    options: DecodeOptions,
    classes: Vec<String>,
    files: Vec<(PathBuf, Target)>,
}

impl ImageFolder {
    /// Lists the images below `path`; none is opened yet.
    ///
    /// # Errors
    /// [`Error::NoSuchFolder`], [`Error::NotAFolder`], [`Error::NoImages`], or [`Error::Io`] for a folder that cannot
    /// be read.
    pub fn open(path: impl AsRef<Path>, options: DecodeOptions) -> Result<Self> {
        let root = path.as_ref().to_path_buf();
        check_folder(&root)?;
        let images = images_below(&root)?;
        if images.is_empty() {
            return Err(Error::NoImages {
                path: root,
                extensions: EXTENSIONS.map(|e| format!(".{e}")).join(" "),
            });
        }
        let (classes, files) = with_targets(&root, images);
        Ok(Self { root, options, classes, files })
    }

    /// The path of an image, or `None` beyond the end.
    pub fn path(&self, index: usize) -> Option<&Path> {
        self.files.get(index).map(|(path, _)| path.as_path())
    }
}

impl Source for ImageFolder {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn id(&self, index: usize) -> String {
        let path = &self.files[index].0;
        path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().into_owned()
    }

    fn get(&self, index: usize) -> Result<Sample> {
        let Some((path, target)) = self.files.get(index) else {
            return Err(Error::NoSuchSample { index, len: self.files.len() });
        };
        let bytes = std::fs::read(path)
            .map_err(|source| Error::Io { path: path.clone(), source })
            .map_err(|e| e.of_sample(path.display().to_string()))?;
        let picture = Picture::encoded(bytes, self.options);
        Ok(Sample { id: self.id(index), picture, target: target.clone() })
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn target(&self, index: usize) -> Result<Target> {
        match self.files.get(index) {
            Some((_, target)) => Ok(target.clone()),
            None => Err(Error::NoSuchSample { index, len: self.files.len() }),
        }
    }
}

/// An error unless `root` is a folder.
pub(crate) fn check_folder(root: &Path) -> Result<()> {
    match std::fs::metadata(root) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(Error::NotAFolder(root.into())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(Error::NoSuchFolder(root.into())),
        Err(source) => Err(Error::Io { path: root.into(), source }),
    }
}

/// All image files below `root`, ordered as torchvision orders them: by folder, then by name.
fn images_below(root: &Path) -> Result<Vec<PathBuf>> {
    let visible = |entry: &walkdir::DirEntry| entry.depth() == 0 || !is_hidden(entry.file_name());
    let mut images = Vec::new();
    for entry in WalkDir::new(root).follow_links(true).into_iter().filter_entry(visible) {
        match entry {
            Ok(entry) if entry.file_type().is_file() && is_image(entry.path()) => {
                images.push(entry.into_path())
            }
            Ok(_) => {}
            // A link back to a folder that contains it: what is below has been listed already.
            Err(e) if e.loop_ancestor().is_some() => {}
            Err(e) => match e.path() {
                // A link to nowhere: as an image, it is a sample that cannot be read; else it is nothing.
                Some(path) if path.is_symlink() => {
                    images.extend(is_image(path).then(|| path.to_path_buf()))
                }
                path => {
                    let path = path.unwrap_or(root).to_path_buf();
                    return Err(Error::Io { path, source: e.into() });
                }
            },
        }
    }
    images.sort_by(|a, b| order_key(a).cmp(&order_key(b)));
    Ok(images)
}

fn order_key(path: &Path) -> (&[u8], &[u8]) {
    (
        path.parent().map_or(&[], |folder| folder.as_os_str().as_encoded_bytes()),
        path.file_name().map_or(&[], OsStr::as_encoded_bytes),
    )
}

/// The classes, and each file with its own, ordered by class.
fn with_targets(root: &Path, images: Vec<PathBuf>) -> (Vec<String>, Vec<(PathBuf, Target)>) {
    let Some(names) = images.iter().map(|path| class_name(root, path)).collect::<Option<Vec<_>>>()
    else {
        return (Vec::new(), images.into_iter().map(|path| (path, Target::None)).collect());
    };
    let mut classes = names.clone();
    classes.sort_unstable();
    classes.dedup();
    let index = |name| classes.partition_point(|class| class < name);
    let mut files: Vec<_> =
        images.into_iter().zip(&names).map(|(path, name)| (index(name), path)).collect();
    files.sort_by_key(|(class, _)| *class);
    let files = files.into_iter().map(|(class, path)| (path, Target::Class(class))).collect();
    (classes, files)
}

/// The first folder below `root` on the way to `path`, or `None` if `path` lies directly in `root`.
fn class_name(root: &Path, path: &Path) -> Option<String> {
    let mut parts = path.strip_prefix(root).ok()?.components();
    let first = parts.next()?;
    parts.next().map(|_| first.as_os_str().to_string_lossy().into_owned())
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

fn is_image(path: &Path) -> bool {
    path.extension().and_then(OsStr::to_str).is_some_and(|extension| {
        EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension))
    })
}
