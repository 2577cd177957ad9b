//! What a revision is.

use serde::Deserialize;

use crate::cache::RepoCache;
use crate::refusal::Subject;
use crate::retry::Retry;
use crate::{Error, Hub, Reference, Result, path};

/// What the Hub says of a repository at a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepoInfo {
    /// The commit that the revision stands for: 40 hexadecimal digits.
    pub commit: String,
    /// Whether only some may see it; `None` if it is the cache that answers.
    pub private: Option<bool>,
}

#[derive(Deserialize)]
struct Answer {
    sha: Option<String>,
    private: Option<bool>,
}

impl Hub {
    /// Resolves the revision to a commit: by the Hub, or by what the cache noted last: offline, and with a warning in the
    /// log if the Hub cannot be reached or fails.
    ///
    /// The cache is not changed: it learns what a revision stands for once a file of that commit is there.
    ///
    /// # Errors
    /// Those of the Hub ([`Error::RepoNotFound`], [`Error::RevisionNotFound`], ...); offline [`Error::NotCached`].
    pub fn info(&self, reference: &Reference) -> Result<RepoInfo> {
        let cache = RepoCache::new(&self.cache, reference.repo());
        let cached = self.cached_commit(&cache, reference);
        let cached = cached.map(|commit| RepoInfo { commit, private: None });
        if self.offline {
            return cached;
        }
        match (self.info_online(reference, &self.patience(cached.is_ok())), cached) {
            (Err(error), Ok(cached)) if error.is_passing() => {
                tracing::warn!(%error, commit = cached.commit, "using the commit that the cache knows");
                Ok(cached)
            }
            (answer, _) => answer,
        }
    }

    /// How often to ask: with something to fall back on there is no need for patience.
    pub(crate) fn patience(&self, fallback: bool) -> Retry {
        if fallback { self.http.retry.once() } else { self.http.retry.clone() }
    }

    pub(crate) fn info_online(&self, reference: &Reference, retry: &Retry) -> Result<RepoInfo> {
        let repo = reference.repo();
        let url = format!(
            "{}/api/{}/{}/revision/{}",
            self.endpoint(),
            repo.kind().plural(),
            repo.id(),
            path::encode_segment(reference.at())
        );
        let (answer, _): (Answer, _) =
            self.http.json(&url, &Subject::new(reference, None), retry)?;
        match answer.sha.filter(|sha| path::is_commit(sha)) {
            Some(commit) => Ok(RepoInfo { commit, private: answer.private }),
            None => Err(Error::Protocol { url, reason: "it names no commit (`sha`)".into() }),
        }
    }

    /// The commit by the reference itself or by the cache.
    pub(crate) fn cached_commit(&self, cache: &RepoCache, reference: &Reference) -> Result<String> {
        match reference.commit() {
            Some(commit) => Ok(commit.to_owned()),
            None => cache
                .commit_of(reference.revision())?
                .ok_or_else(|| cache.missing("the revision", reference)),
        }
    }
}
