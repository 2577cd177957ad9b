//! Features to learn from, and features to be tested on.

use std::path::Path;

use anyhow::{Context, bail};
use candle_core::Tensor;
use longmae_data::Target;
use longmae_finetune::probes::Features;

use super::classes::both_features;
use super::{
    About, Classes, EncodeFlags, Encoder, Extraction, Images, Pool, common_classes, extract,
    lines_of_corrupt, read, reference,
};
use crate::exit::usage;
use crate::output::line;
use crate::terminal::plural;

/// Two sets of images by their features.
pub struct Pair {
    /// To learn from.
    pub train: Features,
    /// To be tested on.
    pub validation: Features,
}

/// Where a pair comes from: both sides are images, or `features:FILE` by `longmae embed`.
pub struct PairSource<'a> {
    /// The encoder's weights; none if both sides are files.
    pub weights: Option<&'a str>,
    pub data: &'a str,
    pub validation: &'a str,
    pub encode: &'a EncodeFlags,
    /// `class`, `mean`, or nothing for what a file has, or else the class token.
    pub pool: Option<&'a str>,
    /// Whether nothing is printed of how it goes.
    pub quiet: bool,
}

/// One side: its features are there, or its images are to be encoded.
enum Side {
    Stored { name: String, features: Tensor, targets: Vec<Target>, about: About },
    Images(Images),
}

impl PairSource<'_> {
    /// What the arguments alone show.
    pub fn check(&self) -> anyhow::Result<()> {
        self.encode.check()?;
        if let Some(pool) = self.pool {
            Pool::parse(pool, &["class", "mean"])?;
        }
        let mut stored = 0;
        for name in [self.data, self.validation] {
            match reference(name) {
                Some(_) => stored += 1,
                None => drop(Images::spec(name)?),
            }
        }
        match self.weights {
            None if stored < 2 => Err(usage(
                "WEIGHTS are missing: only if --data and --val-data are features:FILE can they be left out",
            )),
            Some(weights) if stored == 2 => Err(usage(format!(
                "{weights}: both --data and --val-data are features of files, which need no weights"
            ))),
            _ => Ok(()),
        }
    }

    /// Reads, encodes, and settles which class is which.
    pub fn open(&self) -> anyhow::Result<Pair> {
        self.check()?;
        let encoder =
            self.weights.map(|weights| Encoder::open(weights, &self.encode.encoder)).transpose()?;
        let train = self.side(self.data, encoder.as_ref())?;
        let validation = self.side(self.validation, encoder.as_ref())?;
        let classes = common_classes([
            (self.data, train.classes()),
            (self.validation, validation.classes()),
        ])?;
        let pool = self.pool(&[&train, &validation], encoder.as_ref())?;
        self.say(encoder.iter().flat_map(Encoder::lines));
        if classes[1].is_part() {
            let (here, all) = (validation.classes().len(), classes[0].names().len());
            self.say([format!("{}: {here} of {all} classes, told by name", self.validation)]);
        }
        let train = self.labelled(train, &classes[0], encoder.as_ref(), pool)?;
        let validation = self.labelled(validation, &classes[1], encoder.as_ref(), pool)?;
        let [train, validation] = both_features(&classes[0], [train, validation])?;
        if train.dim() != validation.dim() {
            let [a, b] = [train.dim(), validation.dim()];
            bail!("features of {} are {a} wide, of {} {b}", self.data, self.validation);
        }
        Ok(Pair { train, validation })
    }

    fn say(&self, lines: impl IntoIterator<Item = String>) {
        if !self.quiet {
            lines.into_iter().for_each(line);
        }
    }

    fn side(&self, name: &str, encoder: Option<&Encoder>) -> anyhow::Result<Side> {
        match (reference(name), encoder) {
            (Some(path), _) => Side::stored(name, path),
            (None, Some(encoder)) => {
                let images = Images::open(name, encoder)?;
                Classes::check(name, images.source.as_ref())?;
                Ok(Side::Images(images))
            }
            (None, None) => bail!("{name}: there is no encoder"),
        }
    }

    /// The pooling that was asked for, or that files have; all must be of one, and of one image size.
    fn pool(&self, sides: &[&Side], encoder: Option<&Encoder>) -> anyhow::Result<Pool> {
        let stored: Vec<(&str, &About)> = sides.iter().filter_map(|side| side.about()).collect();
        let known = stored.first().map(|(_, about)| about.pool.as_str());
        let wanted = self.pool.or(known).unwrap_or("class");
        let size = encoder.map(|encoder| encoder.vit.config().grid.image_size());
        let size = size.map(|(height, width)| [height, width]);
        let size = size.or_else(|| stored.first().map(|(_, about)| about.image_size));
        for (name, about) in &stored {
            if about.pool != wanted {
                bail!("{name}: its features are `{}`, expected `{wanted}`", about.pool);
            }
            if Some(about.image_size) != size {
                let ([h, w], [height, width]) = (about.image_size, size.unwrap_or_default());
                bail!("{name}: its features are of images of {h}x{w}, expected {height}x{width}");
            }
        }
        Pool::parse(wanted, &["class", "mean"])
    }

    /// Features and labels of a side.
    fn labelled(
        &self,
        side: Side,
        classes: &Classes,
        encoder: Option<&Encoder>,
        pool: Pool,
    ) -> anyhow::Result<(Tensor, Vec<u32>)> {
        let (name, features, targets, ids) = match side {
            Side::Stored { name, features, targets, about } => {
                let About { weights, data, ids, .. } = about;
                let count = plural(ids.len() as u64, "image");
                self.say([format!("{name}: {count} of {data}, by {weights}")]);
                (name, features, targets, ids)
            }
            Side::Images(Images { source, name }) => {
                let encoder = encoder.context("there is no encoder")?;
                let count = plural(source.len() as u64, "image");
                self.say([format!("{name}: {count}, {}", pool.description())]);
                let extraction = Extraction::new(encoder, self.encode, pool)?;
                let extracted = extract(&encoder.vit, &source, &extraction)?;
                self.say(lines_of_corrupt(&extracted.corrupt));
                (name, extracted.features, extracted.targets, extracted.ids)
            }
        };
        let labels = classes.labels(&name, &ids, &targets)?;
        Ok((features, labels))
    }
}

impl Side {
    fn stored(name: &str, path: &Path) -> anyhow::Result<Self> {
        let stored = read(path)?;
        let Some(labels) = stored.labels else { bail!("{name}: its images have no classes") };
        let targets = labels.into_iter().map(|label| Target::Class(label as usize)).collect();
        let (features, about) = (stored.features, stored.about);
        Ok(Self::Stored { name: name.to_owned(), features, targets, about })
    }

    fn classes(&self) -> &[String] {
        match self {
            Self::Stored { about, .. } => &about.classes,
            Self::Images(images) => images.source.classes(),
        }
    }

    fn about(&self) -> Option<(&str, &About)> {
        match self {
            Self::Stored { name, about, .. } => Some((name, about)),
            Self::Images(_) => None,
        }
    }
}
