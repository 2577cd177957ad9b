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
    /// Whether only some may see it; `None` offline.
    pub private: Option<bool>,
}

#[derive(Deserialize)]
struct Answer {
    sha: Option<String>,
    private: Option<bool>,
}

impl Hub {
    /// Resolves the revision to a commit: by the Hub, or offline by what the cache noted last.
    ///
    /// The cache is not changed: it learns what a revision stands for once a file of that commit is there.
    ///
    /// # Errors
    /// Those of the Hub ([`Error::RepoNotFound`], [`Error::RevisionNotFound`], ...); offline [`Error::NotCached`].
    pub fn info(&self, reference: &Reference) -> Result<RepoInfo> {
        if self.offline {
            let cache = RepoCache::new(&self.cache, reference.repo());
            let commit = self.cached_commit(&cache, reference)?;
            return Ok(RepoInfo { commit, private: None });
        }
        self.info_online(reference, &self.http.retry)
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
