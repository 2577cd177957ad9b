//! What can go wrong between here and the Hub, said so that the reader knows what to do.

use std::path::PathBuf;

use crate::Repo;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of reading a reference, of talking to the Hub, or of its cache on this disk.
///
/// Each message is whole, and none holds a token or a signed address: addresses are shown without their query.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is no reference to the Hub.
    #[error(
        "`{text}` is no reference to the Hub: {reason}; expected hf://[datasets/]ORG/NAME[@REVISION][/PATH]"
    )]
    Reference {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file name, from the caller or from the server, that must not become a path on this disk.
    #[error("refused the file name {name:?} in {repo}: {reason}")]
    Name {
        /// The repository.
        repo: Repo,
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A setting of the client makes no sense.
    #[error("{name}: {reason}")]
    Setting {
        /// The variable or the builder's method.
        name: String,
        /// What is wrong with it; never a token.
        reason: String,
    },
    /// The Hub knows the token as none of its own.
    #[error(
        "the Hub refuses the token from {origin} as invalid (status 401): make a new one at https://huggingface.co/settings/tokens, or unset it for public repositories"
    )]
    BadToken {
        /// Where the token came from: a variable, a file, the program.
        origin: String,
    },
    /// There is no such repository, or it is private; the Hub does not tell them apart.
    #[error("no {repo} at {endpoint}, or it is private{}", hint(*.with_token))]
    RepoNotFound {
        /// The repository.
        repo: Repo,
        /// The Hub that was asked.
        endpoint: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// The repository is there, but its owner wants to be asked first.
    #[error(
        "{repo} is gated: ask for access at {page}{}",
        hint(*.with_token)
    )]
    Gated {
        /// The repository.
        repo: Repo,
        /// Its page on the Hub.
        page: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// The repository has no such branch, tag or commit.
    #[error("{repo} has no revision `{revision}` (branch, tag or commit)")]
    RevisionNotFound {
        /// The repository.
        repo: Repo,
        /// The revision asked for.
        revision: String,
    },
    /// The revision has no such file.
    #[error("{repo} has no file `{path}` at revision `{revision}`")]
    FileNotFound {
        /// The repository.
        repo: Repo,
        /// The revision asked for.
        revision: String,
        /// The file asked for.
        path: String,
    },
    /// The Hub forbids it.
    #[error("the Hub forbids access to {repo} (status 403{}){}", said(.message), hint(*.with_token))]
    Forbidden {
        /// The repository.
        repo: Repo,
        /// What the server said.
        message: Option<String>,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// Too many requests, and the server wants longer than the client may wait, or kept saying so.
    #[error(
        "the Hub wants fewer requests (status 429) at {url}{}: try later, or set HF_TOKEN for a higher limit",
        wait.map_or(String::new(), |wait| format!("; it asks to wait {wait} s"))
    )]
    RateLimited {
        /// The address, without its query.
        url: String,
        /// How long the server asks to wait, in seconds.
        wait: Option<u64>,
    },
    /// The server failed, and kept failing.
    #[error("{url} answered with status {status}{}", said(.message))]
    Status {
        /// The address, without its query.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What the server said.
        message: Option<String>,
        /// How long the server asks to wait, in seconds.
        wait: Option<u64>,
    },
    /// The server could not be reached, or the connection broke before an answer.
    #[error("cannot reach {url}: {reason}")]
    Network {
        /// The address, without its query.
        url: String,
        /// Why.
        reason: String,
    },
    /// The connection was cut in the middle of a file, again and again.
    #[error(
        "the download of `{path}` of {repo} was cut after {done} of {} bytes: {reason}",
        total.map_or("an unknown number of".into(), |total| total.to_string())
    )]
    Cut {
        /// The repository.
        repo: Repo,
        /// The file.
        path: String,
        /// Bytes received.
        done: u64,
        /// Bytes expected.
        total: Option<u64>,
        /// Why.
        reason: String,
    },
    /// What was downloaded is not the file; nothing of it is kept.
    #[error(
        "the download of `{path}` of {repo} is damaged: its {what} is {found}, expected {expected}"
    )]
    Damaged {
        /// The repository.
        repo: Repo,
        /// The file.
        path: String,
        /// What was compared.
        what: &'static str,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// The server's answer is not what a Hub answers.
    #[error("{url} does not answer as the Hub does: {reason}")]
    Protocol {
        /// The address, without its query.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// Offline, and the cache has not what is asked for.
    #[error(
        "offline, and {what} of {repo} at revision `{revision}` is not in the cache `{}`: fetch it once online, with HF_HUB_OFFLINE unset",
        cache.display()
    )]
    NotCached {
        /// What is missing: a file, the list of files, the revision.
        what: String,
        /// The repository.
        repo: Repo,
        /// The revision.
        revision: String,
        /// The repository's folder in the cache.
        cache: PathBuf,
    },
    /// Offline, nothing can be pushed.
    #[error("offline: nothing can be pushed to {repo}; unset HF_HUB_OFFLINE")]
    Offline {
        /// The repository.
        repo: Repo,
    },
    /// Pushing without a token.
    #[error(
        "pushing to {repo} needs an access token that may write: set HF_TOKEN (https://huggingface.co/settings/tokens)"
    )]
    NoToken {
        /// The repository.
        repo: Repo,
    },
    /// The token does not suffice for writing.
    #[error(
        "the Hub does not let the token write to {repo} (status 403{}): it needs the right to write there",
        said(.message)
    )]
    NotWritable {
        /// The repository.
        repo: Repo,
        /// What the server said.
        message: Option<String>,
    },
    /// Something else was changed at the same time.
    #[error("a push to {repo} conflicts with another change{}; nothing was committed, try again", said(.message))]
    Conflict {
        /// The repository.
        repo: Repo,
        /// What the server said.
        message: Option<String>,
    },
    /// A push that makes no sense, or that the Hub will not have.
    #[error("cannot push to {repo}: {reason}")]
    Push {
        /// The repository.
        repo: Repo,
        /// Why.
        reason: String,
    },
    /// A file could not be uploaded; nothing was committed.
    #[error("cannot upload `{path}` to {repo}: {reason}; nothing was committed")]
    Upload {
        /// The repository.
        repo: Repo,
        /// The file in it.
        path: String,
        /// Why.
        reason: Box<Error>,
    },
    /// The operating system refused.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was being done, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl Error {
    /// Whether the same request may succeed a moment later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::RateLimited { .. } | Self::Network { .. } | Self::Cut { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 500 | 502 | 503 | 504),
            Self::Upload { reason, .. } => reason.is_passing(),
            _ => false,
        }
    }

    /// The pause that the server asked for, in seconds.
    pub(crate) fn asked_wait(&self) -> Option<u64> {
        match self {
            Self::RateLimited { wait, .. } | Self::Status { wait, .. } => *wait,
            Self::Upload { reason, .. } => reason.asked_wait(),
            _ => None,
        }
    }

    /// An error of the file system.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

fn hint(with_token: bool) -> &'static str {
    if with_token {
        "; the token that was sent does not give access to it"
    } else {
        "; if you have access, set HF_TOKEN"
    }
}

fn said(message: &Option<String>) -> String {
    message.as_ref().map_or(String::new(), |message| format!(": {message}"))
}
