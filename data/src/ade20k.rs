//! ADE20K's scene parsing benchmark, and datasets laid out like it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::decode::DecodeOptions;
use crate::error::{Error, Result};
use crate::folder::{ImageFolder, check_folder};
use crate::label_map::LabelMap;
use crate::picture::Picture;
use crate::source::{Sample, Source, Target};

/// The split that is read if none is named.
const DEFAULT_SPLIT: &str = "training";

/// Files of class names, in order of preference.
const NAMES: [&str; 2] = ["objectInfo150.csv", "objectInfo150.txt"];

/// Images and their label maps: `images/SPLIT/NAME.jpg` and `annotations/SPLIT/NAME.png`.
///
/// In ADE20K's maps, 0 is what has no label, and 1 to 150 are the classes; they are given as they are. The classes'
/// names, the first one that of label 1, come from `objectInfo150.csv` or `objectInfo150.txt`, if there is one.
#[derive(Clone, Debug)]
pub struct Ade20k {
    options: DecodeOptions,
    classes: Vec<String>,
    pairs: Vec<Pair>,
}

#[derive(Clone, Debug)]
struct Pair {
    id: String,
    image: PathBuf,
    labels: PathBuf,
}

impl Ade20k {
    /// Opens a split, by default `training`. No image is opened, and a label map only when it is decoded.
    ///
    /// # Errors
    /// [`Error::NoSuchFolder`], [`Error::NotAFolder`], [`Error::NoImages`]; [`Error::Annotations`] that names images
    /// without a label map, or what is wrong with the file of names.
    pub fn open(
        root: impl AsRef<Path>,
        split: Option<&str>,
        options: DecodeOptions,
    ) -> Result<Self> {
        let (root, split) = (root.as_ref(), split.unwrap_or(DEFAULT_SPLIT));
        check_folder(root)?;
        let (images, labels) =
            (root.join("images").join(split), root.join("annotations").join(split));
        check_split(&root.join("images"), split)?;
        let listed = ImageFolder::open(&images, options)?;
        check_folder(&labels)?;
        let pair = |i: usize| {
            let image = listed.path(i)?.to_path_buf();
            let inner = image.strip_prefix(&images).ok()?.with_extension("png");
            let id = format!("{split}/{}", listed.id(i));
            Some(Pair { id, labels: labels.join(inner), image })
        };
        let pairs: Vec<_> = (0..listed.len()).filter_map(pair).collect();
        check_labels(&labels, &pairs)?;
        Ok(Self { options, classes: class_names(root)?, pairs })
    }

    fn pair(&self, index: usize) -> Result<&Pair> {
        self.pairs.get(index).ok_or(Error::NoSuchSample { index, len: self.pairs.len() })
    }
}

/// An error that names the splits there are, if this one is not.
fn check_split(images: &Path, split: &str) -> Result<()> {
    check_folder(images)?;
    if images.join(split).is_dir() {
        return Ok(());
    }
    let folders = std::fs::read_dir(images)
        .map_err(|source| Error::Io { path: images.into(), source })?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_dir());
    let mut names: Vec<_> =
        folders.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
    names.sort_unstable();
    let reason = match &names[..] {
        [] => format!("no split {split}: there is no folder in it"),
        some => format!("no split {split}; there are {}", some.join(", ")),
    };
    Err(Error::Annotations { path: images.into(), reason })
}

/// An error that names some of the images that have no label map.
fn check_labels(folder: &Path, pairs: &[Pair]) -> Result<()> {
    let missing: Vec<_> = pairs.iter().filter(|pair| !pair.labels.is_file()).collect();
    let Some(first) = missing.first() else { return Ok(()) };
    let name = first.labels.strip_prefix(folder).unwrap_or(&first.labels).display();
    let reason = match missing.len() {
        1 => format!("no label map {name} for the image {}", first.image.display()),
        n => format!("no label maps for {n} images; the first is {name}"),
    };
    Err(Error::Annotations { path: folder.into(), reason })
}

/// The names in ADE20K's file of classes, or none without it.
fn class_names(root: &Path) -> Result<Vec<String>> {
    let Some(path) = NAMES.map(|name| root.join(name)).into_iter().find(|path| path.is_file())
    else {
        return Ok(Vec::new());
    };
    let bytes = std::fs::read(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
    names_of(&String::from_utf8_lossy(&bytes)).map_err(|reason| Error::Annotations { path, reason })
}

/// The last columns of a table of commas or tabulators, in the order of the numbers in the first ones, which are 1, 2,
/// 3 and so on. The line above the table is left out.
fn names_of(table: &str) -> Result<Vec<String>, String> {
    let mut names = BTreeMap::new();
    for line in table.lines().skip(1).filter(|line| !line.trim().is_empty()) {
        let separator = if line.contains('\t') { '\t' } else { ',' };
        // Index, share of the pixels, images for training and for validation, whether it is stuff, name.
        let columns: Vec<_> = line.splitn(6, separator).map(str::trim).collect();
        let ([index, _, _, _, _, name] | [index, _, _, _, name]) = columns[..] else {
            return Err(format!("not a line of five or six columns: {line:?}"));
        };
        let number =
            index.parse::<usize>().map_err(|_| format!("{index:?} is not a class's number"))?;
        let name = name.trim_matches('"').to_owned();
        if names.insert(number, name).is_some() {
            return Err(format!("two classes have the number {number}"));
        }
    }
    match names.keys().copied().eq(1..=names.len()) {
        true => Ok(names.into_values().collect()),
        false => Err(format!("the {} classes are not numbered from 1 on", names.len())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path)
        .map_err(|source| Error::Io { path: path.into(), source })
        .map_err(|e| e.of_sample(path.display().to_string()))
}

impl Source for Ade20k {
    fn len(&self) -> usize {
        self.pairs.len()
    }

    fn id(&self, index: usize) -> String {
        self.pairs[index].id.clone()
    }

    fn get(&self, index: usize) -> Result<Sample> {
        let pair = self.pair(index)?;
        let picture = Picture::encoded(read(&pair.image)?, self.options);
        Ok(Sample { id: pair.id.clone(), picture, target: self.target(index)? })
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn target(&self, index: usize) -> Result<Target> {
        Ok(Target::LabelMap(LabelMap::file(&self.pair(index)?.labels, &self.options)))
    }
}
