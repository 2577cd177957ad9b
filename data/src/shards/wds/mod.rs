//! Tars of samples, as the Python package `webdataset` reads and writes them.

mod group;
mod index;
mod name;
mod packing;
mod reader;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use self::index::{Index, Slot};
use self::packing::{Packing, unpack};
use super::cache::{Cache, blocks};
use super::parallel::in_parallel;
use super::pattern;
use super::spool::{Spool, read_at};
use super::stamp::Stamped;
use crate::decode::DecodeOptions;
use crate::error::{Error, Result};
use crate::folder::EXTENSIONS;
use crate::picture::Picture;
use crate::source::{Part, Sample, Source, Target};

/// How many unpacked shards are kept.
const SPOOLS: u64 = 8;

/// How many are kept at most where batches reach over more; they fill `TMPDIR`.
const MAX_SPOOLS: u64 = 64;

/// How many samples are mixed.
const BUFFER: usize = 10_000;

/// Samples in tars.
///
/// A sample is what follows each other under one key, the name up to the first dot of its last part: `dir/0001.jpg`,
/// `dir/0001.cls`. Its image is the first it has of `.jpg`, `.jpeg`, `.png`, `.webp`, `.tif`, `.tiff`, `.npy`. Its class is the
/// whole number in `.cls`, or else under `label`, `cls` or `class` in `.json`; a negative one is none. Samples without
/// an image are left out.
///
/// Tars may be compressed by gzip: those are unpacked into temporary files (in `TMPDIR`) when they are read,
/// eight at a time, or up to 64 where the batches under way need them.
#[derive(Debug)]
pub struct WebDataset {
    options: DecodeOptions,
    folder: PathBuf,
    shards: Vec<Index>,
    /// The number of each shard's first sample, and that of all samples.
    starts: Vec<usize>,
    /// Shards unpacked, or why that cannot be.
    spools: Cache<Result<Spool, String>>,
}

impl WebDataset {
    /// Lists the samples of all tars that `pattern` names: `/data/train-{000000..000123}.tar`, `/data/*.tar`, a folder
    /// of tars, several separated by `::`. Only headers and labels are read of plain tars; compressed ones are read once.
    ///
    /// # Errors
    /// [`Error::Setting`] for a pattern that no file fits; [`Error::Shard`] for a file that is not a whole tar, whose
    /// names lead out of a folder, or which repeats a name within a sample, and for tars without a single image;
    /// [`Error::Io`].
    pub fn open(pattern: &str, options: DecodeOptions) -> Result<Self> {
        Self::open_files(pattern::files(pattern, &[".tar", ".tar.gz", ".tgz"])?, options)
    }

    /// Lists the samples of these tars, in this order.
    ///
    /// # Errors
    /// See [`open`](Self::open).
    pub fn open_files(files: Vec<PathBuf>, options: DecodeOptions) -> Result<Self> {
        let shards = in_parallel(&files, |path| {
            let (file, handle) = Stamped::open(path)?;
            Index::read(file, handle)
        })?;
        let mut starts = vec![0];
        for shard in &shards {
            starts.push(starts[starts.len() - 1] + shard.samples.len());
        }
        let folder = pattern::common_folder(&files);
        let data = Self { options, folder, shards, starts, spools: Cache::new(SPOOLS) };
        match data.is_empty() {
            true => Err(data.no_images()),
            false => {
                data.report();
                Ok(data)
            }
        }
    }

    /// How many samples are left out because they have no image.
    pub fn without_image(&self) -> usize {
        self.shards.iter().map(|shard| shard.rest.without_image).sum()
    }

    fn no_images(&self) -> Error {
        let mut found: Vec<&str> = Vec::new();
        for shard in &self.shards {
            found.extend(shard.rest.extensions.keys().map(String::as_str));
        }
        found.sort_unstable();
        found.dedup();
        let found = match &found[..] {
            [] => "no named file at all".to_owned(),
            some => some.iter().map(|name| format!(".{name}")).collect::<Vec<_>>().join(" "),
        };
        let expected = EXTENSIONS.map(|name| format!(".{name}")).join(" ");
        let count = self.shards.len();
        let reason = format!("no image in {count} tar(s): looked for {expected}, found {found}");
        match self.shards.first() {
            Some(shard) => shard.file.error(reason),
            None => Error::Shard { path: self.folder.clone(), reason },
        }
    }

    /// Says what was left out.
    fn report(&self) {
        for shard in &self.shards {
            let (file, rest) = (shard.file.path.display(), &shard.rest);
            if rest.not_files > 0 {
                tracing::warn!(%file, count = rest.not_files, "links and other special entries are left out");
            }
            if rest.odd_labels > 0 {
                tracing::warn!(%file, count = rest.odd_labels, "labels that are no class numbers are left out");
            }
            if rest.without_image > 0 {
                tracing::debug!(%file, count = rest.without_image, "samples without an image are left out");
            }
        }
    }

    fn samples_per_shard(&self) -> usize {
        (self.len() / self.shards.len().max(1)).max(1)
    }

    /// How many samples are mixed.
    fn buffer(&self) -> usize {
        let packed = self.shards.iter().any(|shard| shard.packing != Packing::Plain);
        // Half of the unpacked shards belong to the block that is being read, half to the one that comes next.
        let at_hand = self.samples_per_shard().saturating_mul(SPOOLS as usize / 2);
        if packed { BUFFER.min(at_hand) } else { BUFFER }
    }

    /// The number of the shard that holds a sample, and the sample's number in it.
    fn find(&self, index: usize) -> Result<(usize, usize)> {
        let len = self.len();
        if index >= len {
            return Err(Error::NoSuchSample { index, len });
        }
        let shard = self.starts.partition_point(|&start| start <= index) - 1;
        Ok((shard, index - self.starts[shard]))
    }

    fn read(&self, shard: usize, slot: Slot) -> Result<Bytes> {
        let Index { file, packing, .. } = &self.shards[shard];
        let len = slot.len as usize;
        match *packing {
            Packing::Plain => read_at(&mut file.reopen()?, file.len, slot.offset, len),
            Packing::Gzip { unpacked } => {
                let spool = self.spool(shard, unpacked)?;
                let spool = spool.as_ref().as_ref();
                spool.map_err(|reason| file.error(reason))?.read(slot.offset, len)
            }
        }
        .map_err(|e| file.io(e))
    }

    /// A shard unpacked. That it cannot be is remembered too, or each of its samples would try it anew.
    fn spool(&self, shard: usize, unpacked: u64) -> Result<Arc<Result<Spool, String>>> {
        self.spools.get(shard, || match unpack(&self.shards[shard].file, unpacked) {
            Ok(spool) => Ok((Ok(spool), 1)),
            Err(Error::Shard { reason, .. }) => Ok((Err(reason), 1)),
            Err(e) => Err(e),
        })
    }
}

impl Source for WebDataset {
    fn len(&self) -> usize {
        self.starts[self.shards.len()]
    }

    /// The tar below the folder that holds all of them, and the key: `train-000000.tar/dir/0001`.
    fn id(&self, index: usize) -> String {
        match self.find(index) {
            Ok((shard, sample)) => {
                let shard = &self.shards[shard];
                format!("{}/{}", shard.file.name_below(&self.folder), shard.key(sample))
            }
            Err(e) => e.to_string(),
        }
    }

    fn get(&self, index: usize) -> Result<Sample> {
        let (shard, sample) = self.find(index)?;
        let slot = self.shards[shard].samples[sample];
        let id = self.id(index);
        let bytes = self.read(shard, slot).map_err(|e| e.of_sample(id.clone()))?;
        Ok(Sample { id, picture: Picture::encoded(bytes, self.options), target: slot.target() })
    }

    fn target(&self, index: usize) -> Result<Target> {
        let (shard, sample) = self.find(index)?;
        Ok(self.shards[shard].samples[sample].target())
    }

    /// One part; as many samples are mixed as are cheap to keep at hand.
    fn parts(&self) -> Vec<Part> {
        vec![Part::sharded(self.shards.iter().map(|shard| shard.samples.len()), self.buffer())]
    }

    /// Makes room for all shards that they lie in.
    fn expect(&self, in_flight: usize) {
        let a_block = self.buffer().div_ceil(self.samples_per_shard()).saturating_add(1);
        let shards = blocks(in_flight, self.buffer()).saturating_mul(a_block as u64);
        self.spools.raise(shards.min(self.shards.len() as u64).min(MAX_SPOOLS));
    }
}

impl Slot {
    fn target(&self) -> Target {
        match self.class {
            Self::NO_CLASS => Target::None,
            class => Target::Class(class as usize),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Batches that lie in more shards than are kept without being told.
    #[test]
    fn shards_in_flight_stay_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..20 {
            let mut tar = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_size(3);
            tar.append_data(&mut header, format!("{number}.png"), &b"abc"[..]).unwrap();
            let file = std::fs::File::create(folder.path().join(format!("{number}.tgz"))).unwrap();
            let mut writer = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
            writer.write_all(&tar.into_inner().unwrap()).unwrap();
            writer.finish().unwrap();
        }
        let made = |in_flight: Option<usize>| {
            let pattern = folder.path().to_str().unwrap();
            let data = WebDataset::open(pattern, DecodeOptions::default()).unwrap();
            let parts = data.parts();
            in_flight.into_iter().for_each(|in_flight| data.expect(in_flight));
            assert_eq!(data.parts(), parts);
            (0..40).for_each(|index| drop(data.get(index % 20).unwrap()));
            data.spools.made.lock().unwrap().len()
        };
        assert_eq!((made(None), made(Some(4)), made(Some(20))), (40, 40, 20));
    }
}
