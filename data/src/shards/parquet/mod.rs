//! Parquet files of images, as the Hugging Face Hub keeps datasets.

mod column;
mod columns;
mod features;
mod file;
mod guard;
mod labels;
mod rows;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use self::file::{Group, ParquetFile};
use self::labels::{NO_CLASS, labels};
use self::rows::Rows;
use super::cache::{Cache, blocks};
use super::parallel::in_parallel;
use super::pattern;
use super::stamp::Stamped;
use crate::decode::DecodeOptions;
use crate::error::{Error, Result};
use crate::picture::Picture;
use crate::source::{Part, Sample, Source, Target};

/// How many bytes of unpacked images are kept by default.
const CACHE: u64 = 256 << 20;

/// Into how many shares the cache is divided: what is larger than two goes to a temporary file, which counts as one.
const SHARES: u64 = 8;

/// How many times the bytes that are asked for are kept at most, where batches reach over more.
const MOST: u64 = 16;

/// Images in the rows of Parquet files.
///
/// The images are in a column `image` or `img`, or the only struct column with `bytes`, or the only binary column that
/// holds image files; either a struct of `bytes` and `path`, or plain binary. Classes are in the first of `label`,
/// `labels`, `cls`, `class`, `target`, `fine_label`, `coarse_label` that is a column of whole numbers; null and negative
/// ones are none, nor are those beyond the names of the classes. Their names are those that the package `datasets` writes.
///
/// Row groups are unpacked when they are read, and as many kept as [`cached`](Self::cached) says; large ones in
/// temporary files (in `TMPDIR`). Read plain, uncompressed or compressed by snappy, gzip, LZ4 or zstd; plain and
/// dictionary encoding.
#[derive(Debug)]
pub struct ParquetFiles {
    options: DecodeOptions,
    folder: PathBuf,
    files: Vec<ParquetFile>,
    /// The file of each row group, and its number there.
    groups: Vec<(usize, usize)>,
    /// The number of each row group's first sample, and that of all samples.
    starts: Vec<usize>,
    classes: Vec<String>,
    cache_bytes: u64,
    /// Row groups, or why they cannot be read.
    rows: Cache<Result<Rows, String>>,
    labels: Cache<Vec<u32>>,
}

impl ParquetFiles {
    /// Reads the footers of all files that `pattern` names: `/data/train-*.parquet`, `/data/{00..17}.parquet`, a folder
    /// of `.parquet` files, several separated by `::`. No image is read.
    ///
    /// # Errors
    /// [`Error::Setting`] for a pattern that no file fits; [`Error::Shard`] for a file that is no whole Parquet file, is
    /// encrypted or has no column of images, and for files without a row; [`Error::Io`].
    pub fn open(pattern: &str, options: DecodeOptions) -> Result<Self> {
        Self::open_files(pattern::files(pattern, &[".parquet"])?, options)
    }

    /// Reads the footers of these files, in this order.
    ///
    /// # Errors
    /// See [`open`](Self::open).
    pub fn open_files(paths: Vec<PathBuf>, options: DecodeOptions) -> Result<Self> {
        let files = in_parallel(&paths, |path| ParquetFile::open(path))?;
        let (mut groups, mut starts) = (Vec::new(), vec![0]);
        for (number, file) in files.iter().enumerate() {
            for (group, Group { rows, .. }) in file.groups.iter().enumerate() {
                groups.push((number, group));
                starts.push(starts[starts.len() - 1] + rows);
            }
        }
        if starts[groups.len()] == 0 {
            let path = paths.into_iter().next().unwrap_or_default();
            return Err(Error::Shard { path, reason: "there are no rows".into() });
        }
        let same = files.iter().all(|file| file.classes == files[0].classes);
        let classes = if same { files[0].classes.clone() } else { Vec::new() };
        Ok(Self {
            options,
            folder: pattern::common_folder(&paths),
            files,
            groups,
            starts,
            classes,
            cache_bytes: CACHE,
            rows: Cache::new(CACHE),
            labels: Cache::new(u64::MAX),
        })
    }

    /// Keeps this many bytes of unpacked images instead of 256 MiB. The order of an epoch depends on it. A loader whose
    /// batches reach over more row groups than that holds keeps more, up to 16 times as much.
    pub fn cached(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes;
        self.rows = Cache::new(bytes);
        self
    }

    /// The number of the row group that holds a sample, and the sample's row in it.
    fn find(&self, index: usize) -> Result<(usize, usize)> {
        let len = self.len();
        if index >= len {
            return Err(Error::NoSuchSample { index, len });
        }
        let group = self.starts.partition_point(|&start| start <= index) - 1;
        Ok((group, index - self.starts[group]))
    }

    fn group(&self, number: usize) -> (&Stamped, &Group) {
        let (file, group) = self.groups[number];
        (&self.files[file].stamp, &self.files[file].groups[group])
    }

    fn is_spooled(&self, group: &Group) -> bool {
        group.image_bytes() > self.cache_bytes / SHARES * 2
    }

    /// How much of the cache a row group takes.
    fn cost(&self, group: &Group) -> u64 {
        match self.is_spooled(group) {
            true => self.cache_bytes / SHARES,
            false => group.image_bytes(),
        }
    }

    fn image(&self, number: usize, row: usize) -> Result<Bytes> {
        let (file, group) = self.group(number);
        let rows = self.rows.get(number, || {
            match Rows::read(file, group, self.is_spooled(group)) {
                Ok(rows) => Ok((Ok(rows), self.cost(group))),
                // Remembered, or each of its rows would try it anew.
                Err(Error::Shard { reason, .. }) => Ok((Err(reason), 0)),
                Err(e) => Err(e),
            }
        })?;
        rows.as_ref().as_ref().map_err(|reason| file.error(reason))?.image(file, row)
    }

    /// The class of a row. The labels of its group are read on their own, and kept.
    fn class(&self, number: usize, row: usize) -> Result<Target> {
        let (file, group) = self.groups[number];
        let file = &self.files[file];
        let labels: Arc<Vec<u32>> = self.labels.get(number, || {
            Ok::<_, Error>((labels(file, &file.groups[group], self.classes.len())?, 0))
        })?;
        Ok(match labels.get(row) {
            None | Some(&NO_CLASS) => Target::None,
            Some(&class) => Target::Class(class as usize),
        })
    }

    /// How many rows are mixed, and what a block of them takes in the cache, in bytes.
    fn block(&self) -> (usize, u64) {
        let groups = (0..self.groups.len()).map(|number| self.group(number).1);
        let (largest, all) = groups.fold((0, 0_u64), |(largest, all), group| {
            let cost = self.cost(group);
            (cost.max(largest), all.saturating_add(cost))
        });
        // A block ends with the group that reaches the number, so it may be larger by that.
        let half = self.cache_bytes / 2;
        let room = half.saturating_sub(largest) as f64;
        let buffer = (room / all.max(1) as f64 * self.len() as f64) as usize;
        (buffer.max(1), half.max(largest))
    }
}

impl Source for ParquetFiles {
    fn len(&self) -> usize {
        self.starts[self.groups.len()]
    }

    /// The file below the folder that holds all of them, and the row: `train-00000-of-00001.parquet#0`.
    fn id(&self, index: usize) -> String {
        match self.find(index) {
            Ok((group, _)) => {
                let (file, number) = self.groups[group];
                let row = index - self.starts[group - number];
                format!("{}#{row}", self.files[file].stamp.name_below(&self.folder))
            }
            Err(e) => e.to_string(),
        }
    }

    fn get(&self, index: usize) -> Result<Sample> {
        let (group, row) = self.find(index)?;
        let id = self.id(index);
        let bytes = self.image(group, row).map_err(|e| e.of_sample(id.clone()))?;
        let target = self.class(group, row).map_err(|e| e.of_sample(id.clone()))?;
        Ok(Sample { id, picture: Picture::encoded(bytes, self.options), target })
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn target(&self, index: usize) -> Result<Target> {
        let (group, row) = self.find(index)?;
        self.class(group, row).map_err(|e| e.of_sample(self.id(index)))
    }

    /// One part of row groups; as many rows are mixed as fit into half of the cache.
    fn parts(&self) -> Vec<Part> {
        let lengths = self.starts.windows(2).map(|pair| pair[1] - pair[0]);
        vec![Part::sharded(lengths, self.block().0)]
    }

    /// Makes room for all row groups that they lie in.
    fn expect(&self, in_flight: usize) {
        let (buffer, cost) = self.block();
        let bytes = blocks(in_flight, buffer).saturating_mul(cost);
        self.rows.raise(bytes.min(self.cache_bytes.saturating_mul(MOST)));
    }
}
