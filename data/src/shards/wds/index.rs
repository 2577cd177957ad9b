//! What one tar holds.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read, Seek};

use tar::{Archive, Entry, EntryType};

use super::group::{Groups, MAX_IMAGE, Part};
use super::name;
use super::packing::{Packing, gunzip};
use super::reader::{Metered, Unpacked};
use crate::error::Result;
use crate::folder::EXTENSIONS;
use crate::shards::stamp::Stamped;

/// The largest entry that is read for a label.
const MAX_LABEL: u64 = 1 << 20;

/// The most bytes of headers before a file: its long name, and what pax says about it.
const MAX_HEADERS: u64 = 1 << 20;

/// The samples of one shard.
#[derive(Debug)]
pub(super) struct Index {
    pub file: Stamped,
    pub packing: Packing,
    pub samples: Vec<Slot>,
    /// The samples' keys, one after the other.
    keys: String,
    /// What was met and is no sample.
    pub rest: Rest,
}

/// Where a sample lies. There may be many millions of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// Where its image begins in the unpacked tar.
    pub offset: u64,
    /// The image's length.
    pub len: u32,
    /// Its class; [`Slot::NO_CLASS`] if there is none.
    pub class: u32,
    /// Where its key ends among the keys.
    key_end: usize,
}

/// What was met in a shard and gives no sample.
#[derive(Clone, Debug, Default)]
pub(super) struct Rest {
    /// Samples without an image.
    pub without_image: usize,
    /// Links, devices, sparse files.
    pub not_files: usize,
    /// Labels that are no number of a class.
    pub odd_labels: usize,
    /// How many entries have which extension.
    pub extensions: BTreeMap<String, usize>,
}

impl Slot {
    pub const NO_CLASS: u32 = u32::MAX;
}

impl Index {
    /// Reads the headers of a tar; of one that is compressed, everything.
    pub fn read(file: Stamped, handle: std::fs::File) -> Result<Self> {
        let packing = Packing::of(&file, &handle)?;
        let mut index =
            Self { file, packing, samples: Vec::new(), keys: String::new(), rest: Rest::default() };
        match packing {
            Packing::Plain => index.scan_plain(handle)?,
            Packing::Gzip { .. } => index.scan_gzip(handle)?,
        }
        index.samples.shrink_to_fit();
        index.keys.shrink_to_fit();
        Ok(index)
    }

    /// The key of a sample.
    pub fn key(&self, sample: usize) -> &str {
        let start = sample.checked_sub(1).map_or(0, |before| self.samples[before].key_end);
        &self.keys[start..self.samples[sample].key_end]
    }

    fn scan_plain(&mut self, handle: std::fs::File) -> Result<()> {
        self.scan(handle, self.file.len).map(|_| ())
    }

    fn scan_gzip(&mut self, handle: std::fs::File) -> Result<()> {
        let reader = Unpacked::new(gunzip(handle), self.file.len);
        let mut reader = self.scan(reader, u64::MAX)?;
        // What is left holds the checksum.
        let end = reader.count();
        io::copy(&mut reader, &mut io::sink()).map_err(|e| self.at(end, &e))?;
        self.packing = Packing::Gzip { unpacked: reader.count() };
        Ok(())
    }

    /// Takes in all entries of a tar of at most `len` bytes; the reader behind them.
    fn scan<R: Read + Seek>(&mut self, reader: R, len: u64) -> Result<R> {
        let allowance = Cell::new(0);
        let mut archive = Archive::new(Metered { inner: reader, allowance: &allowance });
        let mut entries = archive.entries_with_seek().map_err(|e| self.file.io(e))?;
        let (mut groups, mut end) = (Groups::default(), 0);
        loop {
            // The crate reads long names and pax records whole, whatever size they claim.
            allowance.set(MAX_HEADERS);
            let Some(entry) = entries.next() else { break };
            let mut entry = entry.map_err(|e| self.at(end, &e))?;
            let next = self.end_of(&entry, len)?;
            allowance.set(MAX_LABEL);
            self.take(&mut entry, &mut groups).map_err(|reason| {
                let start = entry.raw_file_position();
                self.file.error(format!("`{}` at byte {start}: {reason}", shown(&entry)))
            })?;
            end = next;
        }
        self.finish(&mut groups);
        let mut reader = archive.into_inner().inner;
        let read = reader.stream_position().map_err(|e| self.file.io(e))?;
        self.check_end(end, read)?;
        Ok(reader)
    }

    /// Where an entry ends, padding included.
    fn end_of<R: Read>(&self, entry: &Entry<'_, R>, len: u64) -> Result<u64> {
        let (start, size) = (entry.raw_file_position(), entry.header().entry_size());
        // A pax record may give another size than the header.
        let size = size.map_err(|e| self.at(start, &e))?.max(entry.size());
        let end = start.checked_add(size).filter(|&end| end <= len);
        end.and_then(|end| end.checked_next_multiple_of(512)).ok_or_else(|| {
            self.file.error(format!(
                "the tar is truncated: `{}` at byte {start} has {size} bytes, the file ends at {len}",
                shown(entry)
            ))
        })
    }

    /// Takes in one entry.
    fn take<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        groups: &mut Groups,
    ) -> Result<(), String> {
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if name::is_hostile(&path) {
            return Err("refused: the name leads out of the folder".into());
        }
        if !is_file(entry)? {
            self.rest.not_files += usize::from(entry.header().entry_type() != EntryType::Directory);
            return Ok(());
        }
        let Some((key, extension)) = name::split(&path).filter(|_| !name::is_meta(&path)) else {
            return Ok(());
        };
        if groups.key() != Some(key) {
            self.finish(groups);
        }
        let part = self.part(entry, &extension)?;
        if let Some(count) = self.rest.extensions.get_mut(&extension) {
            *count += 1;
        } else if self.rest.extensions.len() < 20 {
            self.rest.extensions.insert(extension.clone(), 1);
        }
        groups.add(key, extension, part)
    }

    /// What an entry is of its sample.
    fn part<R: Read>(&mut self, entry: &mut Entry<'_, R>, extension: &str) -> Result<Part, String> {
        if let Some(rank) = EXTENSIONS.iter().position(|known| *known == extension) {
            let (offset, size) = (entry.raw_file_position(), entry.size());
            return match u32::try_from(size).ok().filter(|&len| len <= MAX_IMAGE) {
                Some(len) => Ok(Part::Image { rank, offset, len }),
                None => Err(format!("an image of {size} bytes, more than {MAX_IMAGE}")),
            };
        }
        if !matches!(extension, "cls" | "json") {
            return Ok(Part::Other);
        }
        let mut bytes = Vec::new();
        if entry.size() <= MAX_LABEL {
            entry.read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        }
        let part = Part::label(extension, &bytes);
        self.rest.odd_labels += usize::from(matches!(part, Part::OddLabel));
        Ok(part)
    }

    /// Keeps the sample that is complete.
    fn finish(&mut self, groups: &mut Groups) {
        let Some(sample) = groups.finish() else { return };
        let Some((offset, len)) = sample.image else {
            self.rest.without_image += 1;
            return;
        };
        self.keys.push_str(&sample.key);
        let class = sample.class.unwrap_or(Slot::NO_CLASS);
        self.samples.push(Slot { offset, len, class, key_end: self.keys.len() });
    }

    /// A tar ends with blocks of zeros: one that does not has lost an unknown part.
    fn check_end(&self, end: u64, read: u64) -> Result<()> {
        match read >= end.saturating_add(512) {
            true => Ok(()),
            false => Err(self
                .file
                .error(format!("the tar is truncated: after byte {end} its end mark is missing"))),
        }
    }

    fn at(&self, offset: u64, error: &io::Error) -> crate::Error {
        if error.kind() == io::ErrorKind::FileTooLarge {
            return self.file.error(format!("refused: after byte {offset}: {error}"));
        }
        self.file.error(format!("not a whole tar: after byte {offset}: {error}"))
    }
}

fn shown<R: Read>(entry: &Entry<'_, R>) -> String {
    String::from_utf8_lossy(&entry.path_bytes()).chars().take(200).collect()
}

/// Whether an entry is a file with its content in one piece.
fn is_file<R: Read>(entry: &mut Entry<'_, R>) -> Result<bool, String> {
    if !matches!(entry.header().entry_type(), EntryType::Regular | EntryType::Continuous) {
        return Ok(false);
    }
    let Some(mut extensions) = entry.pax_extensions().map_err(|e| e.to_string())? else {
        return Ok(true);
    };
    Ok(!extensions.any(|one| one.is_ok_and(|one| one.key_bytes().starts_with(b"GNU.sparse."))))
}
