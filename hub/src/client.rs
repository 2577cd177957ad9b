//! The client and how it is made.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::environment::Environment;
use crate::http::Http;
use crate::retry::Retry;
use crate::token::Token;
use crate::{Error, Result};

const ENDPOINT: &str = "https://huggingface.co";
const TIMEOUT: Duration = Duration::from_secs(10);

/// A client of one Hub with one cache on this disk. It may be shared between threads.
#[derive(Debug)]
pub struct Hub {
    pub(crate) http: Http,
    pub(crate) cache: PathBuf,
    pub(crate) offline: bool,
}

impl Hub {
    /// The client that the environment asks for, by the variables of `huggingface_hub`: `HF_TOKEN`,
    /// `HUGGING_FACE_HUB_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_DISABLE_IMPLICIT_TOKEN`, `HF_ENDPOINT`, `HF_HOME`,
    /// `XDG_CACHE_HOME`, `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE`,
    /// `HF_HUB_DOWNLOAD_TIMEOUT`; and `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, `SSL_CERT_FILE`.
    ///
    /// # Errors
    /// [`Error::Setting`] and [`Error::Io`] for variables that make no sense and files that cannot be read.
    pub fn from_env() -> Result<Self> {
        HubBuilder::from_env()?.build()
    }

    /// A client that is told everything; see [`HubBuilder::new`].
    pub fn builder(cache: impl Into<PathBuf>) -> HubBuilder {
        HubBuilder::new(cache)
    }

    /// The cache's folder (`.../huggingface/hub`).
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// Whether only the cache is used.
    pub fn is_offline(&self) -> bool {
        self.offline
    }

    /// The Hub's address, without a slash at its end.
    pub fn endpoint(&self) -> &str {
        self.http.endpoint()
    }
}

/// The settings of a [`Hub`].
#[derive(Debug, Clone)]
pub struct HubBuilder {
    pub(crate) cache: PathBuf,
    pub(crate) endpoint: String,
    pub(crate) token: Option<Token>,
    pub(crate) offline: bool,
    pub(crate) timeout: Duration,
    pub(crate) retry: Retry,
    pub(crate) certificates: Option<PathBuf>,
    pub(crate) proxy_from_environment: bool,
    bad_token: Option<String>,
}

impl HubBuilder {
    /// The public Hub without a token, with this folder as cache. No variable is read.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self {
            cache: cache.into(),
            endpoint: ENDPOINT.into(),
            token: None,
            offline: false,
            timeout: TIMEOUT,
            retry: Retry::default(),
            certificates: None,
            proxy_from_environment: false,
            bad_token: None,
        }
    }

    /// What the environment says, to be changed by the methods below; see [`Hub::from_env`].
    ///
    /// # Errors
    /// As [`Hub::from_env`].
    pub fn from_env() -> Result<Self> {
        let variable = |name: &str| std::env::var(name).ok();
        Environment { variable: &variable, user: std::env::home_dir() }.builder()
    }

    /// Another cache folder.
    pub fn cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache = folder.into();
        self
    }

    /// Another Hub: `http://` or `https://`, a host, perhaps a port and a path.
    pub fn endpoint(mut self, url: &str) -> Self {
        self.endpoint = url.trim_end_matches('/').to_owned();
        self
    }

    /// The access token, or none for `""`.
    pub fn token(mut self, token: &str) -> Self {
        match Token::new(token, "the program") {
            Ok(token) => (self.token, self.bad_token) = (token, None),
            Err(error) => self.bad_token = Some(error.to_string()),
        }
        self
    }

    /// Whether to use the cache only.
    pub fn offline(mut self, offline: bool) -> Self {
        self.offline = offline;
        self
    }

    /// How long to wait for a connection, and for each piece of an answer; 10 seconds if not said.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Attempts in a row that bring nothing new before a request is given up (at least 1; 5 if not said).
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.retry.attempts = attempts.max(1);
        self
    }

    /// The pause after the first failed attempt, doubled with each (half a second if not said), and the longest pause
    /// (five minutes if not said): a server that asks for a longer one is not waited for.
    pub fn pauses(mut self, first: Duration, longest: Duration) -> Self {
        (self.retry.backoff, self.retry.longest) = (first, longest);
        self
    }

    /// A PEM file with the certificate authorities to trust instead of Mozilla's.
    pub fn certificates(mut self, file: impl Into<PathBuf>) -> Self {
        self.certificates = Some(file.into());
        self
    }

    /// The client. Nothing is sent, and no folder is made, before it is used.
    ///
    /// # Errors
    /// [`Error::Setting`] for an endpoint or token that cannot be one, [`Error::Io`] for an unreadable certificate file.
    pub fn build(self) -> Result<Hub> {
        if let Some(reason) = self.bad_token {
            return Err(Error::Setting { name: "token".into(), reason });
        }
        if self.cache.as_os_str().is_empty() {
            let reason = "the folder's name is empty".into();
            return Err(Error::Setting { name: "cache".into(), reason });
        }
        Ok(Hub { http: Http::new(&self)?, cache: self.cache, offline: self.offline })
    }
}
