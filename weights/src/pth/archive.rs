//! The zip archive of torch 1.6 and later: `NAME/data.pkl`, a file for each storage `NAME/data/KEY`, `NAME/byteorder`.
//!
//! Entries are stored as they are, so that tensors are read from their places in the file, and nothing can unpack to
//! more than the file. The crate `zip` reads the directory. Checksums are not looked at, since torch can leave them out
//! (`torch.serialization.set_crc32_options`) and does not look at them either.

use super::object::short;
use super::{MAX_PICKLE, Storage, Storages, bad, pickle, table};
use crate::stored::{Contents, Source};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::io::BufReader;
use zip::{CompressionMethod, ZipArchive};

const PICKLE: &str = "/data.pkl";

pub(super) fn read(source: Source<'_>, part: Option<&str>) -> Result<Contents> {
    let mut entries = entries(source)?;
    let mut names = entries.keys().filter(|name| name.ends_with(PICKLE));
    let name = match (names.next(), names.next()) {
        (Some(name), None) => name.clone(),
        (None, _) => {
            return Err(Error::UnknownFormat {
                path: source.path.to_owned(),
                found: "a zip archive that torch.save did not write (it has no `data.pkl`)",
            });
        }
        (Some(a), Some(b)) => {
            return Err(bad(
                source,
                format!("it has two pickles, `{}` and `{}`", short(a), short(b)),
            ));
        }
    };
    let prefix = name.trim_end_matches("data.pkl").to_owned();
    if entries.contains_key(&format!("{prefix}constants.pkl")) {
        return Err(Error::NoStateDict {
            path: source.path.to_owned(),
            reason: "but a TorchScript program: save the module's `state_dict()` with torch.save"
                .to_owned(),
        });
    }
    check_byte_order(source, entries.get(&format!("{prefix}byteorder")))?;
    let pickle = whole(source, &name, entries[&name], MAX_PICKLE)?;
    let pickle = pickle::read(&pickle).map_err(|fault| match fault {
        pickle::Fault::Short => bad(source, "its pickle ends too early"),
        pickle::Fault::Bad(reason) => bad(source, reason),
    })?;
    let data = format!("{prefix}data/");
    let mut storages = Storages::new();
    while let Some((name, storage)) = entries.pop_first() {
        if let Some(key) = name.strip_prefix(&data) {
            storages.insert(key.to_owned(), storage);
        }
    }
    table(source, &pickle, &storages, part)
}

/// Where the entries lie, by name: all within the file, none twice, none over another.
fn entries(source: Source<'_>) -> Result<BTreeMap<String, Storage>> {
    let broken = |e: zip::result::ZipError| match e {
        zip::result::ZipError::Io(e) if e.kind() != std::io::ErrorKind::UnexpectedEof => {
            crate::stored::cannot("read", source.path, e)
        }
        e => bad(source, format!("its zip archive cannot be read ({e}): was it cut short?")),
    };
    let mut zip = ZipArchive::new(BufReader::new(source.file)).map_err(broken)?;
    if zip.has_duplicate_names() {
        return Err(bad(source, "its zip archive has a name twice"));
    }
    if zip.has_overlapping_files().map_err(broken)? {
        return Err(bad(source, "entries of its zip archive overlap"));
    }
    let mut entries = BTreeMap::new();
    for index in 0..zip.len() {
        let entry = zip.by_index_raw(index).map_err(broken)?;
        let name = entry.name().map_err(broken)?.into_owned();
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            return Err(bad(
                source,
                format!(
                    "its entry `{}` is compressed or encrypted; torch.save stores them as they are",
                    short(&name)
                ),
            ));
        }
        let storage =
            Storage { offset: entry.data_start().unwrap_or(u64::MAX), length: entry.size() };
        let end = storage.offset.checked_add(storage.length);
        if entry.compressed_size() != storage.length || end.is_none_or(|end| end > source.length) {
            return Err(bad(
                source,
                format!("its entry `{}` is larger than its place in the file", short(&name)),
            ));
        }
        entries.insert(name, storage);
    }
    Ok(entries)
}

/// An entry's bytes, if they are not more than `most`.
fn whole(source: Source<'_>, name: &str, entry: Storage, most: u64) -> Result<Vec<u8>> {
    match entry.length <= most {
        true => source.read(entry.offset, entry.length),
        false => Err(bad(
            source,
            format!(
                "its entry `{}` has {} bytes, expected at most {most}",
                short(name),
                entry.length
            ),
        )),
    }
}

/// Files without the entry come from little-endian machines too: the entry is as old as the support of others.
fn check_byte_order(source: Source<'_>, entry: Option<&Storage>) -> Result<()> {
    let Some(entry) = entry else { return Ok(()) };
    match whole(source, "byteorder", *entry, 16)?.as_slice() {
        b"little" => Ok(()),
        found => Err(bad(
            source,
            format!("its byte order is `{}`, expected `little`", found.escape_ascii()),
        )),
    }
}
