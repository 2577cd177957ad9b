//! One file of a repository, as a path on this disk.

use std::path::PathBuf;

use crate::cache::RepoCache;
use crate::download::Download;
use crate::lock::Lock;
use crate::metadata::Metadata;
use crate::refusal::Subject;
use crate::{Error, Hub, Progress, Reference, Result, path};

impl Hub {
    /// The path of a file, downloaded if the cache does not have it yet. `file` is its name from the repository's root;
    /// the reference's own path plays no part.
    ///
    /// A file of a commit (a whole hash, or [`Reference::pinned`]) that is in the cache costs no request. For a branch
    /// or tag the Hub is asked what it stands for now; if the Hub cannot be reached or fails, the cache's last state is
    /// used, with a warning in the log.
    ///
    /// # Errors
    /// Those of the Hub; [`Error::Cut`] and [`Error::Damaged`] of the download; offline [`Error::NotCached`].
    pub fn fetch(&self, reference: &Reference, file: &str) -> Result<PathBuf> {
        self.fetch_with(reference, file, &|_| {})
    }

    /// [`Hub::fetch`], telling how far it has come. Nothing is told of a file that is in the cache.
    ///
    /// # Errors
    /// As [`Hub::fetch`].
    pub fn fetch_with(
        &self,
        reference: &Reference,
        file: &str,
        progress: &dyn Fn(Progress<'_>),
    ) -> Result<PathBuf> {
        path::check(file).map_err(|reason| Error::Name {
            repo: reference.repo().clone(),
            name: file.to_owned(),
            reason,
        })?;
        let cache = RepoCache::new(&self.cache, reference.repo());
        if let Some(commit) = reference.commit()
            && let Some(found) = cache.file(commit, file)
        {
            note(&cache, reference, commit);
            return Ok(found);
        }
        let cached = self.cached_file(&cache, reference, file);
        if self.offline {
            return cached;
        }
        let retry = self.patience(cached.is_ok());
        match (self.metadata(reference, file, &retry), cached) {
            (Ok(metadata), _) => self.obtain(&cache, reference, file, &metadata, progress),
            (Err(error), Ok(found)) if error.is_passing() => {
                tracing::warn!(%error, file = %found.display(), "using the cached file");
                Ok(found)
            }
            (Err(error), _) => Err(error),
        }
    }

    fn cached_file(&self, cache: &RepoCache, reference: &Reference, file: &str) -> Result<PathBuf> {
        let missing = || cache.missing(format!("the file `{file}`"), reference);
        // Without the revision the file is missing too: name the file, which says more.
        let commit = match self.cached_commit(cache, reference) {
            Err(Error::NotCached { .. }) => return Err(missing()),
            other => other?,
        };
        cache.file(&commit, file).ok_or_else(missing)
    }

    /// Brings a file that the Hub has described into its place.
    fn obtain(
        &self,
        cache: &RepoCache,
        reference: &Reference,
        file: &str,
        metadata: &Metadata,
        progress: &dyn Fn(Progress<'_>),
    ) -> Result<PathBuf> {
        let Metadata { commit, etag, size } = metadata;
        if let Some(found) = cache.file(commit, file) {
            note(cache, reference, commit);
            return Ok(found);
        }
        let _lock = Lock::take(&cache.lock(etag))?;
        let blob = cache.blob(etag);
        let there = blob
            .metadata()
            .is_ok_and(|blob| blob.is_file() && size.is_none_or(|size| size == blob.len()));
        if !there {
            let download = Download {
                http: &self.http,
                url: self.resolve_url(reference, commit, file),
                subject: Subject::new(reference, Some(file)),
                blob: &blob,
                size: *size,
                sha256: path::is_sha256(etag).then_some(etag.as_str()),
                progress,
            };
            download.run()?;
        }
        let found = cache.link(commit, file, etag)?;
        cache.note_commit(reference.revision(), commit)?;
        Ok(found)
    }
}

/// A cache that is read-only still serves what it has.
fn note(cache: &RepoCache, reference: &Reference, commit: &str) {
    if let Err(error) = cache.note_commit(reference.revision(), commit) {
        tracing::debug!(%error, "the cache was not told what the revision stands for");
    }
}
