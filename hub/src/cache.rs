//! The cache on this disk, laid out as `huggingface_hub` lays it out:
//!
//! ```text
//! datasets--ORG--NAME/blobs/ETAG                 the contents, once each
//! datasets--ORG--NAME/refs/REVISION              a text file with the commit
//! datasets--ORG--NAME/snapshots/COMMIT/PATH      a relative link to the blob
//! datasets--ORG--NAME/trees/COMMIT.json          the list of files
//! .locks/datasets--ORG--NAME/ETAG.lock
//! ```

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Reference, Repo, Result, path};

/// One repository's part of the cache.
pub(crate) struct RepoCache {
    folder: PathBuf,
    locks: PathBuf,
}

impl RepoCache {
    pub(crate) fn new(cache: &Path, repo: &Repo) -> Self {
        let name = repo.folder();
        Self { locks: cache.join(".locks").join(&name), folder: cache.join(name) }
    }

    pub(crate) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    pub(crate) fn lock(&self, etag: &str) -> PathBuf {
        self.locks.join(format!("{etag}.lock"))
    }

    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    pub(crate) fn tree(&self, commit: &str) -> PathBuf {
        self.folder.join("trees").join(format!("{commit}.json"))
    }

    /// The file in a snapshot, if it is there with its contents.
    pub(crate) fn file(&self, commit: &str, name: &str) -> Option<PathBuf> {
        let path = self.snapshot(commit).join(name);
        path.is_file().then_some(path)
    }

    /// The commit that a revision stood for last.
    pub(crate) fn commit_of(&self, revision: &str) -> Result<Option<String>> {
        let path = self.folder.join("refs").join(revision);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|commit| path::is_commit(commit))),
            Err(error) if is_absent(error.kind()) => Ok(None),
            Err(error) => Err(Error::io("read", path)(error)),
        }
    }

    /// Notes which commit a revision stands for.
    pub(crate) fn note_commit(&self, revision: &str, commit: &str) -> Result<()> {
        if revision == commit || self.commit_of(revision)?.as_deref() == Some(commit) {
            return Ok(());
        }
        write_whole(&self.folder.join("refs").join(revision), commit.as_bytes())
    }

    /// Puts the link from a snapshot to a blob.
    pub(crate) fn link(&self, commit: &str, name: &str, etag: &str) -> Result<PathBuf> {
        let path = self.snapshot(commit).join(name);
        make_parent(&path)?;
        if path.is_file() {
            return Ok(path);
        }
        // A link whose blob was deleted.
        if path.symlink_metadata().is_ok() {
            fs::remove_file(&path).map_err(Error::io("replace", &path))?;
        }
        let up = "../".repeat(2 + name.matches('/').count());
        match symlink(&format!("{up}blobs/{etag}"), &self.blob(etag), &path) {
            // Another process was faster.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_file() => Ok(path),
            Err(error) => Err(Error::io("make the link", path)(error)),
            Ok(()) => Ok(path),
        }
    }

    /// The error for what is not there.
    pub(crate) fn missing(&self, what: impl Into<String>, reference: &Reference) -> Error {
        Error::NotCached {
            what: what.into(),
            repo: reference.repo().clone(),
            revision: reference.at().to_owned(),
            cache: self.folder.clone(),
        }
    }
}

#[cfg(unix)]
fn symlink(target: &str, _blob: &Path, path: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}

/// Links need rights that users of Windows seldom have; Python copies there too.
#[cfg(not(unix))]
fn symlink(_target: &str, blob: &Path, path: &Path) -> std::io::Result<()> {
    fs::copy(blob, path).map(|_| ())
}

/// Whether a file is not there, for whatever reason.
pub(crate) fn is_absent(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory)
}

pub(crate) fn make_parent(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(Error::io("make the folder", parent))
}

/// Writes a small file so that no reader sees half of it.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    make_parent(path)?;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}-{count}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| {
        // What is left of it is of no use; the error is already one.
        let _ = fs::remove_file(&temporary);
        Error::io("write", path)(error)
    })
}
