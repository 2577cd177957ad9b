//! The list of a commit's files in the cache: `trees/COMMIT.json`, as `huggingface_hub` writes it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{FileEntry, Result, cache, path};

const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Tree {
    format_version: u32,
    files: BTreeMap<String, Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    size: u64,
    blob_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    lfs_sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lfs_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    xet_hash: Option<String>,
}

/// The files of a commit, if the list is there and in a form that is known; else it is asked for again.
pub(crate) fn read(path: &Path) -> Option<Vec<FileEntry>> {
    let tree: Tree = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let known =
        tree.format_version == FORMAT && tree.files.keys().all(|name| path::check(name).is_ok());
    let entry = |(path, entry): (String, Entry)| FileEntry {
        path,
        size: entry.lfs_size.unwrap_or(entry.size),
        oid: Some(entry.blob_id),
        sha256: entry.lfs_sha256,
        xet_hash: entry.xet_hash,
    };
    known.then(|| tree.files.into_iter().map(entry).collect())
}

/// Writes the files of a commit.
pub(crate) fn write(path: &Path, files: &[FileEntry]) -> Result<()> {
    let entry = |file: &FileEntry| {
        let entry = Entry {
            size: file.size,
            blob_id: file.oid.clone().unwrap_or_default(),
            lfs_size: file.sha256.as_ref().map(|_| file.size),
            lfs_sha256: file.sha256.clone(),
            xet_hash: file.xet_hash.clone().filter(|hash| path::is_sha256(hash)),
        };
        (file.path.clone(), entry)
    };
    let tree = Tree { format_version: FORMAT, files: files.iter().map(entry).collect() };
    match serde_json::to_vec(&tree) {
        Ok(json) => cache::write_whole(path, &json),
        Err(error) => Err(crate::Error::io("write", path)(error.into())),
    }
}
