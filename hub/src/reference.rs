//! `hf://` references: a repository, a revision, a path in it.

use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use crate::{Error, Repo, RepoKind, Result, path, pattern};

const SCHEME: &str = "hf://";
const DEFAULT_REVISION: &str = "main";

/// A reference to a repository of the Hub, at a revision, and to files in it.
///
/// Written `hf://[datasets/]ORG/NAME[@REVISION][/PATH]`, as `huggingface_hub`'s `HfFileSystem` reads it:
///
/// - Without a kind it is a model; `models/` may be written out.
/// - `NAME` alone is one of the old repositories without an organisation (`hf://gpt2`, `hf://datasets/mnist`); a path in
///   it needs a revision (`hf://gpt2@main/config.json`), since `hf://a/b` is the repository `b` of `a`.
/// - A revision is a branch, a tag or a commit. A slash in it is written `%2F`, but `refs/convert/NAME` and `refs/pr/N`
///   may be written as they are. The default is `main`.
/// - The path is a file, a folder, or a glob (`*`, `?`, `[...]` within a folder, `**` across folders).
///
/// ```
/// let reference: longmae_hub::Reference =
///     "hf://datasets/org/images@refs/convert/parquet/default/*.parquet".parse()?;
/// assert_eq!(reference.repo().id(), "org/images");
/// assert_eq!(reference.revision(), "refs/convert/parquet");
/// assert!(reference.matches("default/0000.parquet"));
/// # Ok::<(), longmae_hub::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    repo: Repo,
    revision: Option<String>,
    commit: Option<String>,
    path: Option<String>,
}

impl Reference {
    /// A reference to a whole repository at its default revision; `id` is `ORG/NAME` or `NAME`.
    ///
    /// # Errors
    /// [`Error::Reference`] for a name that the Hub could not have.
    pub fn new(kind: RepoKind, id: &str) -> Result<Self> {
        let repo = Repo::new(kind, id).map_err(|reason| malformed(id, reason))?;
        Ok(Self { repo, revision: None, commit: None, path: None })
    }

    /// The same at a branch, tag or commit; what [`Reference::pinned`] settled is forgotten.
    ///
    /// # Errors
    /// [`Error::Reference`] for a revision that git could not have.
    pub fn with_revision(mut self, revision: &str) -> Result<Self> {
        check_revision(revision).map_err(|reason| malformed(revision, reason))?;
        self.commit = path::is_commit(revision).then(|| revision.to_owned());
        self.revision = Some(revision.to_owned());
        Ok(self)
    }

    /// The same with another file, folder or glob.
    ///
    /// # Errors
    /// [`Error::Reference`] for a path that is absolute or has empty parts, `.` or `..`, and for a malformed glob.
    pub fn with_path(mut self, path: &str) -> Result<Self> {
        path::check(path).map_err(|reason| malformed(path, format!("the path: {reason}")))?;
        pattern::check(path).map_err(|reason| malformed(path, reason))?;
        self.path = Some(path.to_owned());
        Ok(self)
    }

    /// The same, with the revision settled: files come from this commit even if the revision has moved on.
    ///
    /// [`Reference::revision`] stays what it was, so that the cache still learns which commit it stands for.
    ///
    /// # Errors
    /// [`Error::Reference`] unless `commit` is a whole commit hash (40 hexadecimal digits, lower case).
    pub fn pinned(mut self, commit: &str) -> Result<Self> {
        if !path::is_commit(commit) {
            return Err(malformed(commit, "it is no whole commit hash"));
        }
        self.commit = Some(commit.to_owned());
        Ok(self)
    }

    /// The repository.
    pub fn repo(&self) -> &Repo {
        &self.repo
    }

    /// The revision as it was asked for; `main` if nothing was said.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(DEFAULT_REVISION)
    }

    /// The commit, if the revision is one or has been [pinned](Reference::pinned).
    pub fn commit(&self) -> Option<&str> {
        self.commit.as_deref()
    }

    /// The file, folder or glob.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// Whether the path is a glob. A file's own name may hold `[`, so [`Reference::matches`] tries both readings.
    pub fn is_glob(&self) -> bool {
        self.path.as_deref().is_some_and(pattern::is_glob)
    }

    /// Whether a file of the repository is meant: without a path every file is.
    pub fn matches(&self, file: &str) -> bool {
        self.path.as_deref().is_none_or(|path| pattern::matches(path, file))
    }

    /// What to ask the Hub for: the commit where it is known.
    pub(crate) fn at(&self) -> &str {
        self.commit.as_deref().unwrap_or_else(|| self.revision())
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let reject = |reason: String| malformed(text, reason);
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| reject("it lacks `hf://`".into()))?;
        let (kind, rest) = split_kind(rest).map_err(reject)?;
        let (id, revision, path) = split_location(rest);
        let mut reference = Self {
            repo: Repo::new(kind, id).map_err(reject)?,
            revision: None,
            commit: None,
            path: None,
        };
        if let Some(encoded) = revision {
            let revision = percent_decode_str(encoded)
                .decode_utf8()
                .map_err(|_| reject("the revision is not UTF-8".into()))?;
            check_revision(&revision).map_err(reject)?;
            reference = reference.with_revision(&revision)?;
        }
        if let Some(path) = path {
            path::check(path).map_err(|reason| reject(format!("the path: {reason}")))?;
            pattern::check(path).map_err(reject)?;
            reference.path = Some(path.to_owned());
        }
        Ok(reference)
    }
}

/// The kind, and what follows it.
fn split_kind(rest: &str) -> Result<(RepoKind, &str), String> {
    let (first, after) = rest.split_once('/').map_or((rest, None), |(a, b)| (a, Some(b)));
    let kind = match first {
        "datasets" => RepoKind::Dataset,
        "models" => RepoKind::Model,
        "dataset" | "model" => return Err(format!("`{first}/` is written `{first}s/`")),
        "spaces" | "buckets" | "kernels" => {
            return Err(format!("`{first}/` are not supported, only models and datasets"));
        }
        _ => return Ok((RepoKind::Model, rest)),
    };
    match after {
        Some(after) if !after.is_empty() => Ok((kind, after)),
        _ => Err(format!("a name is missing after `{first}`")),
    }
}

/// Repository, revision (still encoded) and path.
fn split_location(rest: &str) -> (&str, Option<&str>, Option<&str>) {
    // An `@` further back is part of a file's name.
    if let Some((id, after)) = rest.split_once('@').filter(|(id, _)| id.matches('/').count() <= 1) {
        let end = special_length(after).unwrap_or_else(|| after.find('/').unwrap_or(after.len()));
        let (revision, path) = after.split_at(end);
        return (id, Some(revision), path.strip_prefix('/'));
    }
    let second =
        rest.find('/').and_then(|first| rest[first + 1..].find('/').map(|more| first + 1 + more));
    match second {
        Some(second) => (&rest[..second], None, Some(&rest[second + 1..])),
        None => (rest, None, None),
    }
}

/// How far `refs/convert/NAME` or `refs/pr/N` goes, if the text starts with one and it is a part of its own.
fn special_length(text: &str) -> Option<usize> {
    let after = |prefix: &str, allowed: fn(char) -> bool| {
        let rest = text.strip_prefix(prefix)?;
        let length = rest.find(|c| !allowed(c)).unwrap_or(rest.len());
        let ends = rest[length..].is_empty() || rest[length..].starts_with('/');
        (length > 0 && ends).then_some(prefix.len() + length)
    };
    after("refs/convert/", |c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-'))
        .or_else(|| after("refs/pr/", |c| c.is_ascii_digit()))
}

/// What git forbids in a reference's name, as far as it could do harm in a path.
fn check_revision(revision: &str) -> Result<(), String> {
    let wrong = |reason: &str| Err(format!("the revision `{revision}`: {reason}"));
    if revision.chars().any(char::is_whitespace) {
        return wrong("it contains whitespace");
    }
    if let Some(bad) = revision.chars().find(|c| "~^:?*[".contains(*c)) {
        return wrong(&format!("it contains `{bad}`"));
    }
    if revision.contains("..") || revision.ends_with(".lock") || revision.ends_with(".tmp") {
        return wrong("it contains `..`, or ends with `.lock` or `.tmp`");
    }
    if revision.len() > 255 {
        return wrong("it is longer than 255 bytes");
    }
    path::check(revision).or_else(wrong)
}

fn malformed(text: &str, reason: impl Into<String>) -> Error {
    Error::Reference { text: text.to_owned(), reason: reason.into() }
}

/// What [`FromStr`] reads back; a pinned reference shows its commit.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        let id = self.repo.id();
        match self.repo.kind() {
            RepoKind::Dataset => f.write_str("datasets/")?,
            // An organisation with the name of a kind.
            RepoKind::Model if split_kind(id) != Ok((RepoKind::Model, id)) => {
                f.write_str("models/")?;
            }
            RepoKind::Model => {}
        }
        f.write_str(id)?;
        let bare_with_path = !id.contains('/') && self.path.is_some();
        if self.revision.is_some() || self.commit.is_some() || bare_with_path {
            let at = self.at();
            if special_length(at) == Some(at.len()) {
                write!(f, "@{at}")?;
            } else {
                write!(f, "@{}", at.replace('%', "%25").replace('/', "%2F"))?;
            }
        }
        self.path.as_ref().map_or(Ok(()), |path| write!(f, "/{path}"))
    }
}
