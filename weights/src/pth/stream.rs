//! The stream that torch wrote before 1.6: four pickles (a magic number, the protocol, the system, the object), a pickle
//! of the storages' keys, and for each key the number of its numbers and they themselves.

use super::object::{Object, Pickle, short};
use super::pickle::{self, Fault};
use super::rebuild::{StorageId, storage_id};
use super::{MAX_PICKLE, Storage, Storages, bad, table};
use crate::stored::{Contents, Source};
use crate::{Error, Result};
use std::collections::BTreeMap;

/// 0x1950a86a20f9469cfc6c, the lowest byte first.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// The protocol that there has ever been.
const PROTOCOL: i64 = 1001;
/// Bytes looked at first for the pickles, and by how much more when they go on.
const WINDOW: u64 = 64 << 10;
const GROWTH: u64 = 8;

pub(super) fn read(source: Source<'_>, part: Option<&str>) -> Result<Contents> {
    let most = source.length.min(MAX_PICKLE);
    let mut window = WINDOW.min(most);
    loop {
        let bytes = source.read(0, window)?;
        match pickles(source, &bytes)? {
            Some((object, storages)) => return table(source, &object, &storages, part),
            None if window < most => window = (window * GROWTH).min(most),
            None if most < source.length => {
                return Err(bad(source, format!("its pickles go on after {MAX_PICKLE} bytes")));
            }
            None => {
                return Err(bad(source, "it ends in the middle of its pickles: was it cut short?"));
            }
        }
    }
}

/// The object and the storages' places; none if the pickles are longer than the bytes.
fn pickles<'b>(source: Source<'_>, bytes: &'b [u8]) -> Result<Option<(Pickle<'b>, Storages)>> {
    let mut at = 0;
    let mut next = || match pickle::read(&bytes[at..]) {
        Ok(pickle) => {
            at += pickle.length;
            Ok(Some(pickle))
        }
        Err(Fault::Short) => Ok(None),
        Err(Fault::Bad(reason)) => Err(bad(source, reason)),
    };
    let Some(magic) = next()? else { return Ok(None) };
    if !matches!(magic.get(magic.root), Object::Long(number) if **number == MAGIC) {
        return Err(Error::UnknownFormat {
            path: source.path.to_owned(),
            found: "a Python pickle that torch.save did not write",
        });
    }
    let (Some(protocol), Some(system), Some(object), Some(keys)) =
        (next()?, next()?, next()?, next()?)
    else {
        return Ok(None);
    };
    if protocol.int(protocol.root) != Some(PROTOCOL) {
        return Err(bad(source, format!("its protocol is not {PROTOCOL}")));
    }
    check_byte_order(source, &system)?;
    let storages = storages(source, &object, &keys, at as u64)?;
    Ok(Some((object, storages)))
}

fn check_byte_order(source: Source<'_>, system: &Pickle<'_>) -> Result<()> {
    let entry = system.dict(system.root).and_then(|dict| system.value(dict, "little_endian"));
    match entry.map(|entry| system.get(entry)) {
        None | Some(Object::Bool(true)) => Ok(()),
        Some(_) => Err(bad(source, "its byte order is big-endian, expected little-endian")),
    }
}

/// The storages after the pickles, in the order of their keys.
fn storages(
    source: Source<'_>,
    object: &Pickle<'_>,
    keys: &Pickle<'_>,
    mut at: u64,
) -> Result<Storages> {
    let said = said(source, object)?;
    let Object::List(list) = keys.get(keys.root) else {
        return Err(bad(
            source,
            format!("its storages' keys are {}, expected a list", keys.describe(keys.root)),
        ));
    };
    let truncated = |expected| Error::Truncated {
        path: source.path.to_owned(),
        found: source.length,
        expected,
    };
    let mut storages = Storages::new();
    for key in list {
        let storage = keys.text(*key).and_then(|key| said.get(key));
        let Some(StorageId { key, element, count }) = storage else {
            return Err(bad(source, "it lists a storage that no tensor is in"));
        };
        let start = at + 8;
        if start > source.length {
            return Err(truncated(start));
        }
        let found = source.read(at, 8)?.try_into().map(u64::from_le_bytes).unwrap_or_default();
        if found != *count as u64 {
            return Err(bad(
                source,
                format!("its storage `{}` has {found} numbers, expected {count}", short(key)),
            ));
        }
        let length = found.saturating_mul(element.size as u64);
        at = start.saturating_add(length);
        if at > source.length {
            return Err(truncated(at));
        }
        if storages.insert((*key).to_owned(), Storage { offset: start, length }).is_some() {
            return Err(bad(source, format!("it lists the storage `{}` twice", short(key))));
        }
    }
    Ok(storages)
}

/// What the object says of its storages. Where it says two things of one, the first counts, as in torch.
fn said<'p>(source: Source<'_>, object: &Pickle<'p>) -> Result<BTreeMap<&'p str, StorageId<'p>>> {
    let mut said = BTreeMap::new();
    for entry in &object.objects {
        if let Object::Persistent(id) = entry {
            // Classes of modules, kept with a whole model, have another tag.
            if object.tuple(*id).and_then(|entry| object.text(*entry.first()?)) == Some("module") {
                continue;
            }
            let storage =
                storage_id(object, *id).map_err(|reason| bad(source, format!("it {reason}")))?;
            said.entry(storage.key).or_insert(storage);
        }
    }
    Ok(said)
}
