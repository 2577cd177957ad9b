//! Requests: the token only to the Hub itself, redirects by hand.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use ureq::http::{HeaderMap, Request, Uri, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use crate::refusal::{self, Subject};
use crate::retry::Retry;
use crate::token::Token;
use crate::{Error, HubBuilder, Result};

pub(crate) const MAX_REDIRECTS: usize = 10;
/// The most bytes of one JSON answer; the Hub's pages hold a thousand files.
const MAX_JSON: u64 = 64 << 20;
/// The Hub takes longer to put together a commit, or the parts of a large file, than to answer a question.
const SLOWER_ANSWERS: u32 = 12;
const USER_AGENT: &str = concat!("longmae-hub/", env!("CARGO_PKG_VERSION"));

/// Where to stop following redirects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follow {
    /// At the first that leaves the Hub: its headers describe the file.
    Within,
    /// Nowhere.
    Anywhere,
}

/// An answer, and the headers of the redirects that led to it.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) redirects: Vec<HeaderMap>,
    pub(crate) body: Body,
    pub(crate) url: String,
}

impl Reply {
    /// A header of the final answer.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        text(&self.headers, name)
    }

    /// A header of the first answer that has it.
    pub(crate) fn first_header(&self, name: &str) -> Option<&str> {
        self.redirects.iter().chain([&self.headers]).find_map(|headers| text(headers, name))
    }

    /// The body as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&mut self) -> Result<T> {
        let body = self.body.with_config().limit(MAX_JSON).read_to_vec();
        let body = body.map_err(|error| failure(&self.url, &error))?;
        serde_json::from_slice(&body).map_err(|error| Error::Protocol {
            url: self.shown_url(),
            reason: format!("its JSON: {error}"),
        })
    }

    /// The final address without its query, which may be a signature.
    pub(crate) fn shown_url(&self) -> String {
        shown(&self.url)
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// The connection to one Hub.
pub(crate) struct Http {
    pub(crate) agent: Agent,
    endpoint: String,
    origin: String,
    token: Option<Token>,
    /// How long to wait for the answer to what is sent.
    pub(crate) answer_timeout: Duration,
    pub(crate) retry: Retry,
}

/// Without the agent: a proxy's address may hold a password.
impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, token, retry, .. } = self;
        f.debug_struct("Http")
            .field("endpoint", endpoint)
            .field("token", token)
            .field("retry", retry)
            .finish_non_exhaustive()
    }
}

impl Http {
    pub(crate) fn new(settings: &HubBuilder) -> Result<Self> {
        let origin = check_endpoint(&settings.endpoint)?;
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(settings.timeout))
            .timeout_resolve(Some(settings.timeout))
            .timeout_per_read(Some(settings.timeout))
            .timeout_per_write(Some(settings.timeout))
            // The body's length must be the file's.
            .accept_encoding("identity")
            .max_idle_age(Duration::from_secs(10))
            .user_agent(USER_AGENT);
        if !settings.proxy_from_environment {
            config = config.proxy(None);
        }
        if let Some(file) = &settings.certificates {
            config = config.tls_config(TlsConfig::builder().root_certs(authorities(file)?).build());
        }
        Ok(Self {
            agent: config.build().into(),
            endpoint: settings.endpoint.clone(),
            origin,
            token: settings.token.clone(),
            answer_timeout: settings.timeout * SLOWER_ANSWERS,
            retry: settings.retry.clone(),
        })
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Whether an address has the Hub's own scheme, host and port: only there does the token go.
    pub(crate) fn is_own(&self, url: &str) -> bool {
        origin_of(url).as_ref() == Some(&self.origin)
    }

    pub(crate) fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    /// One attempt at a request; statuses of 400 and above become errors.
    pub(crate) fn send(
        &self,
        method: &str,
        url: &str,
        range_from: Option<u64>,
        follow: Follow,
        subject: &Subject<'_>,
    ) -> Result<Reply> {
        let mut url = url.to_owned();
        let mut redirects = Vec::new();
        loop {
            let response = self.exchange(method, &url, range_from)?;
            let (parts, body) = response.into_parts();
            let status = parts.status.as_u16();
            let reply = Reply { status, headers: parts.headers, redirects, body, url };
            if status >= 400 {
                return Err(refusal::explain(self, reply, subject));
            }
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return Ok(reply);
            }
            let next = target(&reply)?;
            if follow == Follow::Within && !self.is_own(&next) {
                return Ok(reply);
            }
            if reply.redirects.len() >= MAX_REDIRECTS {
                let reason = format!("it redirects more than {MAX_REDIRECTS} times");
                return Err(Error::Protocol { url: reply.shown_url(), reason });
            }
            redirects = reply.redirects;
            redirects.push(reply.headers);
            url = next;
        }
    }

    fn exchange(
        &self,
        method: &str,
        url: &str,
        range_from: Option<u64>,
    ) -> Result<ureq::http::Response<Body>> {
        let mut request = Request::builder().method(method).uri(url);
        if let Some(token) = self.token.as_ref().filter(|_| self.is_own(url)) {
            request = request.header(header::AUTHORIZATION, token.bearer());
        }
        if let Some(from) = range_from {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        let request = request.body(()).map_err(|_| Error::Protocol {
            url: shown(url),
            reason: "the address is malformed".into(),
        })?;
        self.agent.run(request).map_err(|error| failure(url, &error))
    }

    /// A JSON answer and its headers, with as many attempts as `retry` allows.
    pub(crate) fn json<T: DeserializeOwned>(
        &self,
        url: &str,
        subject: &Subject<'_>,
        retry: &Retry,
    ) -> Result<(T, HeaderMap)> {
        retry.run(|| {
            let mut reply = self.send("GET", url, None, Follow::Anywhere, subject)?;
            let value = reply.json()?;
            Ok((value, reply.headers))
        })
    }
}

/// The origin of an endpoint that can be one.
fn check_endpoint(endpoint: &str) -> Result<String> {
    let wrong = |reason: &str| {
        let reason = format!("`{}`: {reason}", shown(endpoint));
        Error::Setting { name: "endpoint (HF_ENDPOINT)".into(), reason }
    };
    if endpoint.contains('@') {
        return Err(Error::Setting {
            name: "endpoint (HF_ENDPOINT)".into(),
            reason: "it must not hold a user or password (not shown); set HF_TOKEN".into(),
        });
    }
    if endpoint.contains(['?', '#']) {
        return Err(wrong("it must not have a query"));
    }
    origin_of(endpoint).ok_or_else(|| wrong("expected http:// or https:// and a host"))
}

/// Scheme, host and port of an `http` or `https` address.
fn origin_of(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let usual = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let host = uri.host().filter(|host| !host.is_empty())?.to_ascii_lowercase();
    Some(format!("{scheme}://{host}:{}", uri.port_u16().unwrap_or(usual)))
}

/// Where a redirect leads, as a whole address.
pub(crate) fn target(reply: &Reply) -> Result<String> {
    let wrong = |reason: &str| Error::Protocol { url: reply.shown_url(), reason: reason.into() };
    let location =
        reply.header("location").ok_or_else(|| wrong("a redirect without a Location"))?;
    let (scheme, rest) = reply.url.split_once("://").ok_or_else(|| wrong("no scheme"))?;
    let whole = if location.contains("://") {
        location.to_owned()
    } else if let Some(after) = location.strip_prefix("//") {
        format!("{scheme}://{after}")
    } else if location.starts_with('/') {
        let host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        format!("{scheme}://{host}{location}")
    } else {
        let path = rest.split(['?', '#']).next().unwrap_or(rest);
        let folder = path.rsplit_once('/').map_or(path, |(folder, _)| folder);
        format!("{scheme}://{folder}/{location}")
    };
    match origin_of(&whole) {
        Some(_) => Ok(whole),
        None => Err(wrong("it redirects to something that is no http(s) address")),
    }
}

/// An address without its query, for messages.
pub(crate) fn shown(url: &str) -> String {
    url.split(['?', '#']).next().unwrap_or(url).to_owned()
}

/// What went wrong on the way; worth another attempt unless it is the client's or the server's own doing.
pub(crate) fn failure(url: &str, error: &ureq::Error) -> Error {
    use ureq::Error as E;
    let url = shown(url);
    match error {
        // So rustls reports a certificate that it does not trust; it will not trust the next one either.
        E::Io(io) if io.kind() == ErrorKind::InvalidData => Error::Protocol {
            url,
            reason: format!("{io}; SSL_CERT_FILE names other certificate authorities to trust"),
        },
        E::Io(_) | E::Timeout(_) | E::HostNotFound | E::ConnectionFailed => {
            Error::Network { url, reason: error.to_string() }
        }
        // ureq counts a connection that is closed before the answer's end among its protocol errors.
        E::Protocol(_) => Error::Network { url, reason: error.to_string() },
        // Its text would hold the whole address.
        E::BadUri(_) => Error::Protocol { url, reason: "the address is malformed".into() },
        other => Error::Protocol { url, reason: other.to_string() },
    }
}

fn authorities(file: &Path) -> Result<RootCerts> {
    let pem = std::fs::read(file).map_err(Error::io("read the certificates in", file))?;
    let mut found = Vec::new();
    for item in ureq::tls::parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(error) => {
                let reason = format!("`{}`: {error}", file.display());
                return Err(Error::Setting { name: "certificates (SSL_CERT_FILE)".into(), reason });
            }
        }
    }
    if found.is_empty() {
        let reason = format!("`{}` holds no certificate", file.display());
        return Err(Error::Setting { name: "certificates (SSL_CERT_FILE)".into(), reason });
    }
    Ok(RootCerts::Specific(Arc::new(found)))
}
