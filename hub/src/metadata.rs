//! What a file is, by the headers of the answer to `HEAD .../resolve/REVISION/PATH`.

use crate::http::{Follow, Reply};
use crate::refusal::Subject;
use crate::retry::Retry;
use crate::{Error, Hub, Reference, Result, path};

/// A file at a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) commit: String,
    /// The SHA-256 of large files, git's blob hash of others; a safe file name.
    pub(crate) etag: String,
    pub(crate) size: Option<u64>,
}

impl Hub {
    pub(crate) fn resolve_url(&self, reference: &Reference, revision: &str, name: &str) -> String {
        let repo = reference.repo();
        format!(
            "{}/{}{}/resolve/{}/{}",
            self.endpoint(),
            repo.kind().prefix(),
            repo.id(),
            path::encode_segment(revision),
            path::encode_path(name)
        )
    }

    pub(crate) fn metadata(
        &self,
        reference: &Reference,
        name: &str,
        retry: &Retry,
    ) -> Result<Metadata> {
        let url = self.resolve_url(reference, reference.at(), name);
        let subject = Subject::new(reference, Some(name));
        retry.run(|| read(&self.http.send("HEAD", &url, None, Follow::Within, &subject)?))
    }
}

fn read(reply: &Reply) -> Result<Metadata> {
    let wrong = |reason: String| Error::Protocol { url: reply.shown_url(), reason };
    let commit = reply.first_header("x-repo-commit").ok_or_else(|| {
        wrong("no X-Repo-Commit header; is HF_ENDPOINT a Hub, and is no proxy in between?".into())
    })?;
    if !path::is_commit(commit) {
        return Err(wrong(format!("its X-Repo-Commit {commit:?} is no commit hash")));
    }
    let etag = reply
        .first_header("x-linked-etag")
        .or_else(|| reply.header("etag"))
        .ok_or_else(|| wrong("no ETag header".into()))?;
    let etag = etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"');
    if !is_file_name(etag) {
        return Err(wrong(format!("its ETag {etag:?} cannot be a file name")));
    }
    // A redirect's own length is not the file's.
    let length = (reply.status < 300).then(|| reply.header("content-length")).flatten();
    let size = reply.first_header("x-linked-size").or(length).and_then(|text| text.parse().ok());
    Ok(Metadata { commit: commit.to_owned(), etag: etag.to_owned(), size })
}

fn is_file_name(etag: &str) -> bool {
    (1..=128).contains(&etag.len())
        && !etag.starts_with('.')
        && etag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}
