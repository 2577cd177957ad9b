//! The files of a repository.

use std::path::Path;

use serde::Deserialize;

use crate::cache::{self, RepoCache};
use crate::refusal::Subject;
use crate::{Error, Hub, Reference, Result, path, tree};

/// More files and folders than this are taken for a server that never ends.
const MAX_ITEMS: usize = 5_000_000;
/// So are more pages; the Hub's hold a thousand files.
const MAX_PAGES: usize = 10_000;

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileEntry {
    /// Its name from the repository's root, with slashes.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// Git's hash of the file, or of the pointer that stands for a large one.
    pub oid: Option<String>,
    /// The SHA-256 of a large file (LFS).
    pub sha256: Option<String>,
    pub(crate) xet_hash: Option<String>,
}

impl FileEntry {
    /// The name of its contents in the cache: the SHA-256 of a large file, else git's hash.
    pub fn etag(&self) -> Option<&str> {
        self.sha256.as_deref().or(self.oid.as_deref())
    }
}

/// Where a list of files comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListingOrigin {
    /// From the Hub, or from the cache's copy of the Hub's list: it is complete.
    Hub,
    /// From the files that the cache happens to hold, offline or without an answer: there may be more on the Hub.
    Snapshot,
}

/// The files of a repository at a commit, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// The commit.
    pub commit: String,
    /// The files that the reference means.
    pub files: Vec<FileEntry>,
    /// Whether these are all.
    pub origin: ListingOrigin,
}

/// An entry of the Hub's answer.
#[derive(Deserialize)]
struct Item {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    oid: Option<String>,
    lfs: Option<Lfs>,
    #[serde(rename = "xetHash")]
    xet_hash: Option<String>,
}

#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

impl Hub {
    /// The files that the reference means: all of them, or by its path one, those in a folder, those of a glob.
    ///
    /// A commit's list never changes, so the cache keeps it and a second call costs one request, or none for a
    /// [pinned](Reference::pinned) reference. Offline the kept list is used, or else what files the cache holds, which
    /// [`Listing::origin`] tells apart; and so it is, with a warning in the log, if the Hub cannot be reached or fails.
    /// Fetch with `reference.pinned(&listing.commit)`, so that all files are of one commit.
    ///
    /// # Errors
    /// Those of the Hub; [`Error::Name`] for names that must not become paths; offline [`Error::NotCached`].
    pub fn list(&self, reference: &Reference) -> Result<Listing> {
        let cache = RepoCache::new(&self.cache, reference.repo());
        let commit = match reference.commit() {
            Some(commit) => commit.to_owned(),
            None => self.info(reference)?.commit,
        };
        let (mut files, origin) = match tree::read(&cache.tree(&commit)) {
            Some(files) => (files, ListingOrigin::Hub),
            None => self.list_anew(&cache, reference, &commit)?,
        };
        files.retain(|file| reference.matches(&file.path));
        Ok(Listing { commit, files, origin })
    }

    /// The files where the cache has no list: the Hub's list, which is kept, or else those that the cache holds.
    fn list_anew(
        &self,
        cache: &RepoCache,
        reference: &Reference,
        commit: &str,
    ) -> Result<(Vec<FileEntry>, ListingOrigin)> {
        let held = || snapshot(cache, reference, commit);
        if self.offline {
            return Ok((held()?, ListingOrigin::Snapshot));
        }
        match self.list_online(reference, commit) {
            Ok(files) => {
                if let Err(error) = tree::write(&cache.tree(commit), &files) {
                    tracing::debug!(%error, "the list of files was not kept");
                }
                Ok((files, ListingOrigin::Hub))
            }
            Err(error) if error.is_passing() => match held() {
                Ok(files) if !files.is_empty() => {
                    tracing::warn!(%error, commit, "using only the files that the cache holds");
                    Ok((files, ListingOrigin::Snapshot))
                }
                _ => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    fn list_online(&self, reference: &Reference, commit: &str) -> Result<Vec<FileEntry>> {
        let repo = reference.repo();
        let first = format!(
            "{}/api/{}/{}/tree/{commit}?recursive=true",
            self.endpoint(),
            repo.kind().plural(),
            repo.id()
        );
        let subject = Subject::new(reference, None);
        let (mut url, mut files) = (first.clone(), Vec::new());
        let (mut pages, mut seen) = (0, 0);
        loop {
            let (items, headers): (Vec<Item>, _) =
                self.http.json(&url, &subject, &self.http.retry)?;
            let empty = items.is_empty();
            (pages, seen) = (pages + 1, seen + items.len());
            for item in items.into_iter().filter(|item| item.kind == "file") {
                files.push(entry(reference, item)?);
            }
            let link = headers.get("link").and_then(|link| link.to_str().ok());
            let Some(query) = link.and_then(next_query) else { break };
            let next = format!("{}?{query}", first.split('?').next().unwrap_or(&first));
            if empty || next == url || pages >= MAX_PAGES || seen > MAX_ITEMS {
                let reason = "its pages of files do not end".into();
                return Err(Error::Protocol { url: crate::http::shown(&url), reason });
            }
            url = next;
        }
        files.sort_by(|a: &FileEntry, b| a.path.cmp(&b.path));
        files.dedup_by(|a, b| a.path == b.path);
        Ok(files)
    }
}

fn entry(reference: &Reference, item: Item) -> Result<FileEntry> {
    path::check(&item.path).map_err(|reason| Error::Name {
        repo: reference.repo().clone(),
        name: item.path.clone(),
        reason,
    })?;
    Ok(FileEntry {
        path: item.path,
        size: item.lfs.as_ref().map_or(item.size, |lfs| lfs.size),
        oid: item.oid,
        sha256: item.lfs.map(|lfs| lfs.oid),
        xet_hash: item.xet_hash,
    })
}

/// The query of the address after `rel="next"`. Only this part is used: the address of a mirror need not be its own.
fn next_query(link: &str) -> Option<&str> {
    link.split(',').find_map(|part| {
        let (url, rest) = part.trim().strip_prefix('<')?.split_once('>')?;
        rest.contains("rel=\"next\"").then(|| url.split_once('?').map(|(_, query)| query))?
    })
}

/// The files that the cache holds of a commit.
fn snapshot(cache: &RepoCache, reference: &Reference, commit: &str) -> Result<Vec<FileEntry>> {
    let root = cache.snapshot(commit);
    let mut files = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let path = root.join(&folder);
        let entries = match std::fs::read_dir(&path) {
            Err(error) if folder.is_empty() && cache::is_absent(error.kind()) => {
                return Err(cache.missing("the list of files", reference));
            }
            other => other.map_err(Error::io("read the folder", &path))?,
        };
        for item in entries {
            let item = item.map_err(Error::io("read the folder", &path))?;
            let Some(name) = item.file_name().to_str().map(str::to_owned) else { continue };
            let name = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            // A link whose blob is gone is no file.
            match std::fs::metadata(item.path()) {
                Ok(found) if found.is_dir() => folders.push(name),
                Ok(found) => files.push(cached_entry(&item.path(), name, found.len())),
                Err(_) => {}
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn cached_entry(path: &Path, name: String, size: u64) -> FileEntry {
    let target = std::fs::read_link(path).ok();
    let etag = target.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    let etag = etag.map(str::to_owned);
    let (sha256, oid) = match etag {
        Some(etag) if path::is_sha256(&etag) => (Some(etag), None),
        other => (None, other),
    };
    FileEntry { path: name, size, oid, sha256, xet_hash: None }
}
