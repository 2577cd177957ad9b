//! The categories that a detector finds, and how other data counts them.

use anyhow::bail;
use longmae_data::{Coco, CocoCategory};
use longmae_weights::{CategoryInfo, Checkpoint};

/// Categories, in the order of the head's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Categories(pub Vec<CategoryInfo>);

/// What a detector's file says of its categories.
pub enum Stored {
    Named(Categories),
    /// How many there are.
    Numbered(usize),
}

impl Stored {
    pub fn of(checkpoint: &Checkpoint) -> anyhow::Result<Self> {
        let count = heads(checkpoint)?;
        let known = checkpoint.metadata().and_then(|metadata| metadata.info.detector.as_ref());
        let Some(detector) = known else { return Ok(Self::Numbered(count)) };
        if detector.categories.len() != count {
            bail!(
                "{}: its metadata names {} categories, its head tells {count}",
                checkpoint.path().display(),
                detector.categories.len()
            );
        }
        Ok(Self::Named(Categories(detector.categories.clone())))
    }

    /// Those that the file names; else those of the validation data, in their order; else numbers.
    pub fn or_of(self, validation: Option<&Coco>) -> anyhow::Result<Categories> {
        let (count, what) = match self {
            Self::Named(categories) => return Ok(categories),
            Self::Numbered(count) => (count, "the validation data"),
        };
        let Some(coco) = validation else {
            let numbered =
                |number: usize| CategoryInfo { id: number as i64 + 1, name: number.to_string() };
            return Ok(Categories((0..count).map(numbered).collect()));
        };
        let categories = Categories::of(coco, what)?;
        if categories.len() != count {
            bail!(
                "{what} has {} categories, the detector tells {count} and does not name them",
                categories.len()
            );
        }
        Ok(categories)
    }
}

/// The number that a file of annotations gives each category; none for one that it has not.
pub type Ids = Vec<Option<i64>>;

/// Names that a message lists.
const SHOWN: usize = 8;

impl Categories {
    /// Those of a dataset.
    pub fn of(coco: &Coco, what: &str) -> anyhow::Result<Self> {
        let info =
            |category: &CocoCategory| CategoryInfo { id: category.id, name: category.name.clone() };
        let all: Vec<CategoryInfo> = coco.categories().iter().map(info).collect();
        if all.is_empty() {
            bail!("{what}: its annotations name no categories");
        }
        Ok(Self(all))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// What other data calls them. It may lack some; one that only it has could never be found.
    pub fn ids_in(&self, coco: &Coco, what: &str) -> anyhow::Result<Ids> {
        let theirs = Self::of(coco, what)?;
        if theirs == *self {
            return Ok(theirs.0.iter().map(|category| Some(category.id)).collect());
        }
        let unknown: Vec<&str> = theirs
            .0
            .iter()
            .filter(|category| self.0.iter().all(|own| own.name != category.name))
            .map(|category| category.name.as_str())
            .collect();
        if !unknown.is_empty() {
            bail!(
                "{what}: {} of its {} categories are not among those trained on: {}{}",
                unknown.len(),
                theirs.len(),
                unknown[..unknown.len().min(SHOWN)].join(", "),
                if unknown.len() > SHOWN { ", ..." } else { "" }
            );
        }
        let id = |own: &CategoryInfo| {
            let mut same = theirs.0.iter().filter(|category| category.name == own.name);
            match (same.next(), same.next()) {
                (Some(_), Some(_)) => bail!("{what}: two categories are called {}", own.name),
                (found, _) => Ok(found.map(|category| category.id)),
            }
        };
        self.0.iter().map(id).collect()
    }
}

/// How many categories a detector's file tells.
fn heads(checkpoint: &Checkpoint) -> anyhow::Result<usize> {
    let file = checkpoint.stored();
    let names =
        ["roi_heads.box_predictor.cls_score.bias", "roi_heads.box_predictor.0.cls_score.bias"];
    let rows = names.iter().find_map(|name| file.shape(name)?.first().copied());
    match rows.and_then(|rows| rows.checked_sub(1)).filter(|count| *count > 0) {
        Some(count) => Ok(count),
        None => bail!(
            "{}: this file holds no detector (no `{}`); train one first: longmae detect --init-weights {} --data coco:FOLDER",
            checkpoint.path().display(),
            names[0],
            checkpoint.path().display()
        ),
    }
}
