//! Images with their objects, as a source.

use std::path::{Component, Path, PathBuf};

use super::annotations::{CocoAnnotations, CocoCategory, CocoImage, wrong};
use super::splits::{Split, is_of_instances};
use crate::decode::DecodeOptions;
use crate::error::{Error, Result};
use crate::folder::{ImageFolder, check_folder};
use crate::instances::Instances;
use crate::picture::Picture;
use crate::source::{Sample, Source, Target};

/// The split that is read if none is named.
const DEFAULT_SPLIT: &str = "train2017";

/// The images of COCO with their objects.
///
/// A folder as COCO is laid out has a folder of images for each split, and `annotations/instances_SPLIT.json`. Images
/// without annotations are kept, with no objects. A split that has no file of annotations but
/// `annotations/image_info_SPLIT.json`, or no file at all, gives images without a target.
///
/// Images are in the order of their numbers, split by split. That a file is missing shows when its sample is read.
#[derive(Clone, Debug)]
pub struct Coco {
    options: DecodeOptions,
    categories: Vec<CocoCategory>,
    classes: Vec<String>,
    images: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    path: PathBuf,
    id: String,
    /// The image's number in its file of annotations, if there is one.
    number: Option<i64>,
    target: Target,
}

impl Entry {
    /// An image of a file of annotations, which must say where it is and how large.
    fn of(image: CocoImage, annotated: bool, folder: &Path, prefix: &str) -> Result<Self, String> {
        let CocoImage { id, file_name, size, instances } = image;
        let file_name = file_name.ok_or_else(|| format!("image {id} has no file name"))?;
        let below = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if file_name.is_empty() || !Path::new(&file_name).components().all(below) {
            return Err(format!(
                "image {id} has the file name {file_name:?}, which is no path below a folder"
            ));
        }
        let size =
            size.ok_or_else(|| format!("image {id} ({file_name}) has no height and width"))?;
        let target = match annotated {
            true => Target::Instances(Instances { size, list: instances }),
            false => Target::None,
        };
        let path = folder.join(&file_name);
        Ok(Self { path, id: format!("{prefix}{file_name}"), number: Some(id), target })
    }

    /// What is known of it.
    fn annotated(&self) -> Result<CocoImage> {
        let (Some(id), Target::Instances(instances)) = (self.number, &self.target) else {
            return Err(wrong(&self.path, "this image has no annotations".into()));
        };
        Ok(CocoImage {
            id,
            file_name: Some(self.id.clone()),
            size: Some(instances.size),
            instances: instances.list.clone(),
        })
    }
}

impl Coco {
    /// Opens splits of a COCO folder, by default `train2017`; several are joined by `+`, as in
    /// `train2017+unlabeled2017`. No image is opened.
    ///
    /// # Errors
    /// [`Error::NoSuchFolder`], [`Error::NotAFolder`], [`Error::Io`]; [`Error::Annotations`] for a split that is not
    /// there, splits whose categories differ, and files that contradict themselves, with the id that does.
    pub fn open(
        root: impl AsRef<Path>,
        splits: Option<&str>,
        options: DecodeOptions,
    ) -> Result<Self> {
        let root = root.as_ref();
        check_folder(root)?;
        let mut coco = Self::empty(options);
        let mut seen = Vec::new();
        for name in splits.unwrap_or(DEFAULT_SPLIT).split('+').map(str::trim) {
            if seen.contains(&name) {
                return Err(wrong(root, format!("the split {name} is named twice")));
            }
            seen.push(name);
            let split = Split::find(root, name)?;
            match &split.annotations {
                Some(file) => coco.add(&split.images, file, &format!("{name}/"))?,
                None => coco.add_folder(&split.images, &format!("{name}/"))?,
            }
        }
        Ok(coco)
    }

    /// Opens a folder of images with a file of annotations in COCO's format.
    ///
    /// # Errors
    /// See [`open`](Self::open).
    pub fn from_files(
        images: impl AsRef<Path>,
        annotations: impl AsRef<Path>,
        options: DecodeOptions,
    ) -> Result<Self> {
        check_folder(images.as_ref())?;
        let mut coco = Self::empty(options);
        coco.add(images.as_ref(), annotations.as_ref(), "")?;
        Ok(coco)
    }

    fn empty(options: DecodeOptions) -> Self {
        Self { options, categories: Vec::new(), classes: Vec::new(), images: Vec::new() }
    }

    /// The categories that objects count, in the order of their numbers.
    pub fn categories(&self) -> &[CocoCategory] {
        &self.categories
    }

    /// The number that a file of annotations gives an image, or `None` without one and beyond the end.
    pub fn image_id(&self, index: usize) -> Option<i64> {
        self.images.get(index)?.number
    }

    /// All that is known of the images, as a file of annotations says it: what detections are compared with.
    ///
    /// # Errors
    /// [`Error::Annotations`] where splits use a number for two images, or an image has no annotations.
    pub fn annotations(&self) -> Result<CocoAnnotations> {
        let mut images = self.images.iter().map(Entry::annotated).collect::<Result<Vec<_>>>()?;
        images.sort_by_key(|image| image.id);
        if let Some(pair) = images.windows(2).find(|pair| pair[0].id == pair[1].id) {
            let name = |image: &CocoImage| image.file_name.clone().unwrap_or_default();
            let reason = format!(
                "two images have the id {}: {} and {}",
                pair[0].id,
                name(&pair[0]),
                name(&pair[1])
            );
            return Err(wrong(Path::new("the splits together"), reason));
        }
        Ok(CocoAnnotations { categories: self.categories.clone(), images, annotated: true })
    }

    /// The path of an image, or `None` beyond the end.
    pub fn path(&self, index: usize) -> Option<&Path> {
        self.images.get(index).map(|entry| entry.path.as_path())
    }

    fn add(&mut self, folder: &Path, file: &Path, prefix: &str) -> Result<()> {
        let CocoAnnotations { categories, images, annotated } = CocoAnnotations::read(file)?;
        if !annotated && is_of_instances(file) {
            return Err(wrong(file, "it has no list of annotations".into()));
        }
        let classes: Vec<_> = categories.iter().map(|category| category.name.clone()).collect();
        if self.classes.is_empty() {
            (self.classes, self.categories) = (classes, categories);
        } else if annotated && classes != self.classes {
            let (found, expected) = (classes.len(), self.classes.len());
            return Err(wrong(
                file,
                format!("its {found} categories are not the {expected} of the splits before it"),
            ));
        }
        for image in images {
            let entry = Entry::of(image, annotated, folder, prefix);
            self.images.push(entry.map_err(|reason| wrong(file, reason))?);
        }
        Ok(())
    }

    /// Images of which nothing is known.
    fn add_folder(&mut self, folder: &Path, prefix: &str) -> Result<()> {
        let listed = ImageFolder::open(folder, self.options)?;
        self.images.extend((0..listed.len()).filter_map(|i| {
            let path = listed.path(i)?.to_path_buf();
            let id = format!("{prefix}{}", listed.id(i));
            Some(Entry { path, id, number: None, target: Target::None })
        }));
        Ok(())
    }

    fn entry(&self, index: usize) -> Result<&Entry> {
        self.images.get(index).ok_or(Error::NoSuchSample { index, len: self.images.len() })
    }
}

impl Source for Coco {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn id(&self, index: usize) -> String {
        self.images[index].id.clone()
    }

    fn get(&self, index: usize) -> Result<Sample> {
        let entry = self.entry(index)?;
        let bytes = std::fs::read(&entry.path)
            .map_err(|source| Error::Io { path: entry.path.clone(), source })
            .map_err(|e| e.of_sample(entry.path.display().to_string()))?;
        let picture = Picture::encoded(bytes, self.options);
        Ok(Sample { id: entry.id.clone(), picture, target: entry.target.clone() })
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn target(&self, index: usize) -> Result<Target> {
        Ok(self.entry(index)?.target.clone())
    }
}
