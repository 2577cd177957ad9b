//! Pushing files to a repository.

mod commit;
mod lfs;
mod preupload;
mod repository;
mod upload;

use std::collections::HashSet;

pub use upload::Upload;

use crate::{Error, Hub, Progress, Reference, Repo, Result, path};
use lfs::Large;
use preupload::Way;
use upload::Hashed;

/// What a push says of itself, and who may see a repository that it makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushOptions {
    /// The commit's first line.
    pub message: String,
    /// More about it; may be empty.
    pub description: String,
    /// Whether a new repository is private; as the account has it if none. With true, nothing is pushed to a repository
    /// that is public.
    pub private: Option<bool>,
}

impl PushOptions {
    /// Options with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), description: String::new(), private: None }
    }
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It was sent.
    Sent,
    /// The storage had its contents, from another repository or a push that was cut off: only named in the commit.
    Stored,
    /// The revision had it already: not part of the commit.
    Unchanged,
}

/// A file after a push.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pushed {
    /// Its name in the repository.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// What a push did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PushReport {
    /// The revision's commit now: 40 hexadecimal digits. An old one, if every file was unchanged.
    pub commit: String,
    /// The repository's page.
    pub page: String,
    /// Whether the repository was made.
    pub created: bool,
    /// The files, in their order.
    pub files: Vec<Pushed>,
}

impl Hub {
    /// Puts files into a repository, in one commit on top of a branch: all of them, or none. The repository and the
    /// branch are made where they are not there; files of other names stay. The reference has no path.
    ///
    /// A push that was cut off and is started again sends only what the Hub's storage does not have.
    ///
    /// # Errors
    /// Offline [`Error::Offline`]; [`Error::NoToken`], [`Error::NotWritable`] and [`Error::BadToken`] for tokens that do
    /// not suffice; [`Error::Conflict`]; [`Error::Push`] for what makes no sense or the Hub will not have;
    /// [`Error::Upload`] for a large file that does not arrive; [`Error::Io`] for one that cannot be read; and those of
    /// every request. Nothing is committed then, but a repository or branch may have been made.
    pub fn push(
        &self,
        reference: &Reference,
        uploads: &[Upload],
        options: &PushOptions,
    ) -> Result<PushReport> {
        self.push_with(reference, uploads, options, &|_| {})
    }

    /// [`Hub::push`], telling how far each large file has come.
    ///
    /// # Errors
    /// As [`Hub::push`].
    pub fn push_with(
        &self,
        reference: &Reference,
        uploads: &[Upload],
        options: &PushOptions,
        progress: &dyn Fn(Progress<'_>),
    ) -> Result<PushReport> {
        let repo = reference.repo();
        check(reference, uploads, options)
            .map_err(|reason| Error::Push { repo: repo.clone(), reason })?;
        if self.offline {
            return Err(Error::Offline { repo: repo.clone() });
        }
        let files: Vec<Hashed<'_>> = uploads.iter().map(Hashed::new).collect::<Result<_>>()?;
        let created = self.make_ready(reference, options)?;
        let mut outcomes = vec![Outcome::Unchanged; files.len()];
        let mut failures = 0;
        loop {
            // Asked again after a failure: a commit may have arrived whose answer did not.
            let ways = self.ways(reference, &files)?;
            if ways.iter().all(|way| *way == Way::Unchanged) {
                let commit = self.info_online(reference, &self.http.retry)?.commit;
                return Ok(self.report(repo, commit, created, &files, &outcomes));
            }
            self.send(reference, &files, &ways, &mut outcomes, progress)?;
            match self.commit(reference, &files, &ways, options) {
                Ok(commit) => return Ok(self.report(repo, commit, created, &files, &outcomes)),
                Err(error) => {
                    failures += 1;
                    self.http.retry.pause(failures, error)?;
                }
            }
        }
    }

    /// Sends what does not go into the commit itself.
    fn send(
        &self,
        reference: &Reference,
        files: &[Hashed<'_>],
        ways: &[Way],
        outcomes: &mut [Outcome],
        progress: &dyn Fn(Progress<'_>),
    ) -> Result<()> {
        for ((file, way), outcome) in files.iter().zip(ways).zip(outcomes) {
            let sent = match way {
                Way::Unchanged => continue,
                Way::Inline => true,
                Way::Large => Large { hub: self, reference, file, progress }.run()?,
            };
            // What an earlier attempt sent is stored now.
            if sent || *outcome == Outcome::Unchanged {
                *outcome = if sent { Outcome::Sent } else { Outcome::Stored };
            }
        }
        Ok(())
    }

    fn report(
        &self,
        repo: &Repo,
        commit: String,
        created: bool,
        files: &[Hashed<'_>],
        outcomes: &[Outcome],
    ) -> PushReport {
        let pushed = |(file, outcome): (&Hashed<'_>, &Outcome)| Pushed {
            path: file.path().to_owned(),
            size: file.size,
            outcome: *outcome,
        };
        let page = format!("{}/{}{}", self.endpoint(), repo.kind().prefix(), repo.id());
        PushReport {
            commit,
            page,
            created,
            files: files.iter().zip(outcomes).map(pushed).collect(),
        }
    }
}

/// What can be seen to be wrong before anything is read or sent; the reason, as the end of a sentence.
fn check(reference: &Reference, uploads: &[Upload], options: &PushOptions) -> Result<(), String> {
    if let Some(path) = reference.path() {
        return Err(format!("the reference has a path, `{path}`; files have names of their own"));
    }
    if reference.commit().is_some() {
        return Err("its revision is a commit, and only a branch can be pushed to".into());
    }
    if uploads.is_empty() {
        return Err("there are no files to push".into());
    }
    if options.message.trim().is_empty() {
        return Err("the commit's message is empty".into());
    }
    let mut seen = HashSet::new();
    for upload in uploads {
        let name = upload.path();
        path::check(name).map_err(|reason| format!("the file name {name:?}: {reason}"))?;
        if name.split('/').any(|part| part == ".git") {
            return Err(format!("the file name {name:?}: it lies in a folder `.git`"));
        }
        if !seen.insert(name) {
            return Err(format!("two files are called {name:?}"));
        }
    }
    Ok(())
}
