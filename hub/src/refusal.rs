//! What the Hub's refusals mean; the codes are those of `huggingface_hub`'s `hf_raise_for_status`.

use crate::http::{Http, Reply};
use crate::{Error, Reference, Repo};

/// The most bytes of an explanation.
const MAX_MESSAGE: u64 = 1 << 16;

/// What a request was about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) repo: &'a Repo,
    pub(crate) revision: &'a str,
    pub(crate) path: Option<&'a str>,
    /// Whether something was to be changed.
    pub(crate) write: bool,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(reference: &'a Reference, path: Option<&'a str>) -> Self {
        Self { repo: reference.repo(), revision: reference.revision(), path, write: false }
    }

    pub(crate) fn writing(reference: &'a Reference) -> Self {
        Self { write: true, ..Self::new(reference, None) }
    }
}

/// The error for an answer of 400 and above.
pub(crate) fn explain(http: &Http, mut reply: Reply, subject: &Subject<'_>) -> Error {
    // Other hosts, where large files lie, know nothing of tokens and repositories.
    let from_hub = http.is_own(&reply.url);
    let message = if from_hub { said(&mut reply) } else { None };
    let message = message.map(|text| clean(http, &text));
    let code = reply.header("x-error-code").unwrap_or_default();
    let repo = subject.repo.clone();
    let with_token = http.token().is_some();
    let invalid = message.as_deref().is_some_and(|text| text.starts_with("Invalid credentials"));
    match (reply.status, code, http.token()) {
        (429, ..) => Error::RateLimited { url: reply.shown_url(), wait: asked_wait(&reply) },
        (_, "RevisionNotFound", _) => {
            Error::RevisionNotFound { repo, revision: subject.revision.to_owned() }
        }
        (_, "EntryNotFound", _) => not_found(&reply, subject, message),
        (_, "GatedRepo", _) => {
            let page = format!("{}/{}{}", http.endpoint(), repo.kind().prefix(), repo.id());
            Error::Gated { repo, page, with_token }
        }
        (401 | 403, _, None) if from_hub && subject.write => Error::NoToken { repo },
        (401, code, Some(token)) if from_hub && (invalid || code != "RepoNotFound") => {
            Error::BadToken { origin: token.origin().to_owned() }
        }
        (_, "RepoNotFound", _) | (401, ..) if from_hub => {
            Error::RepoNotFound { repo, endpoint: http.endpoint().to_owned(), with_token }
        }
        (403, ..) if from_hub && subject.write => Error::NotWritable { repo, message },
        (409 | 412, ..) if from_hub && subject.write => Error::Conflict { repo, message },
        (403, ..) if from_hub => Error::Forbidden { repo, message, with_token },
        (404, ..) if from_hub => not_found(&reply, subject, message),
        (status, ..) => {
            Error::Status { url: reply.shown_url(), status, message, wait: asked_wait(&reply) }
        }
    }
}

fn not_found(reply: &Reply, subject: &Subject<'_>, message: Option<String>) -> Error {
    match subject.path {
        Some(path) => Error::FileNotFound {
            repo: subject.repo.clone(),
            revision: subject.revision.to_owned(),
            path: path.to_owned(),
        },
        None => Error::Status { url: reply.shown_url(), status: reply.status, message, wait: None },
    }
}

/// What the Hub says itself: in a header, or as `error` in a body of JSON.
fn said(reply: &mut Reply) -> Option<String> {
    if let Some(text) = reply.header("x-error-message") {
        return Some(text.to_owned());
    }
    let body = reply.body.with_config().limit(MAX_MESSAGE).read_to_vec().ok()?;
    let json: serde_json::Value = serde_json::from_slice(&body).ok()?;
    json["error"].as_str().map(str::to_owned)
}

/// A server's words, short, in one line, and without the token.
fn clean(http: &Http, text: &str) -> String {
    let text = http.token().map_or_else(|| text.to_owned(), |token| token.redact(text));
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

/// Seconds to wait: from the Hub's own `ratelimit: "api";r=0;t=55` if nothing remains, else `Retry-After`. A date in
/// `Retry-After` is passed over, as `huggingface_hub` does.
fn asked_wait(reply: &Reply) -> Option<u64> {
    let limit = reply.header("ratelimit").and_then(|value| {
        let number = |name: &str| {
            value.split(';').find_map(|part| part.trim().strip_prefix(name)?.trim().parse().ok())
        };
        (number("r=") == Some(0u64)).then(|| number("t=")).flatten()
    });
    limit.or_else(|| reply.header("retry-after")?.trim().parse().ok())
}
