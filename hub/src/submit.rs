//! Requests that send something.

use std::io::Read;

use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::SendBody;
use ureq::http::{Request, header};

use crate::http::{Http, MAX_REDIRECTS, Reply, failure, shown, target};
use crate::refusal::{self, Subject};
use crate::{Error, Result};

/// The media type of JSON.
pub(crate) const JSON: &str = "application/json";

/// What the Hub answers with.
const ANSWERS: &str = "application/vnd.git-lfs+json, application/json";

/// A request with a body.
pub(crate) struct Submission<'a> {
    pub(crate) method: &'a str,
    pub(crate) url: &'a str,
    /// Names and values.
    pub(crate) headers: Vec<(&'a str, &'a str)>,
    /// The body's length in bytes.
    pub(crate) length: u64,
    /// Opens the body from its start: a redirect wants it again.
    pub(crate) open: &'a dyn Fn() -> Result<Box<dyn Read + 'a>>,
    /// Whether it may go elsewhere than to the Hub: contents to their storage.
    pub(crate) anywhere: bool,
}

impl Http {
    /// One attempt at sending it; statuses of 400 and above become errors.
    pub(crate) fn submit(
        &self,
        submission: &Submission<'_>,
        subject: &Subject<'_>,
    ) -> Result<Reply> {
        let mut url = submission.url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let reply = self.submit_once(submission, url)?;
            match reply.status {
                400.. => return Err(refusal::explain(self, reply, subject)),
                300..400 => url = self.next(&reply, submission.anywhere)?,
                _ => return Ok(reply),
            }
        }
        let reason = format!("it redirects more than {MAX_REDIRECTS} times");
        Err(Error::Protocol { url: shown(submission.url), reason })
    }

    /// Sends JSON, with as many attempts as are allowed.
    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        url: &str,
        content_type: &str,
        body: &impl Serialize,
        subject: &Subject<'_>,
    ) -> Result<T> {
        let body = serde_json::to_vec(body).map_err(|error| Error::Protocol {
            url: shown(url),
            reason: format!("the question has no JSON: {error}"),
        })?;
        self.retry.run(|| self.post_bytes(url, content_type, &body, subject)?.json())
    }

    /// One attempt at sending bytes to the Hub.
    pub(crate) fn post_bytes(
        &self,
        url: &str,
        content_type: &str,
        body: &[u8],
        subject: &Subject<'_>,
    ) -> Result<Reply> {
        let submission = Submission {
            method: "POST",
            url,
            headers: vec![("content-type", content_type), ("accept", ANSWERS)],
            length: body.len() as u64,
            open: &|| Ok(Box::new(body)),
            anywhere: false,
        };
        self.submit(&submission, subject)
    }

    fn submit_once(&self, submission: &Submission<'_>, url: String) -> Result<Reply> {
        let mut request = Request::builder()
            .method(submission.method)
            .uri(&url)
            .header(header::CONTENT_LENGTH, submission.length);
        for (name, value) in &submission.headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = self.token().filter(|_| self.is_own(&url)) {
            request = request.header(header::AUTHORIZATION, token.bearer());
        }
        let mut reader = (submission.open)()?;
        let request = request.body(SendBody::from_reader(&mut reader)).map_err(|_| {
            let reason = "its address or headers are malformed".into();
            Error::Protocol { url: shown(&url), reason }
        })?;
        let request = self
            .agent
            .configure_request(request)
            .timeout_per_read(Some(self.answer_timeout))
            .build();
        let answer = self.agent.run(request).map_err(|error| failure(&url, &error))?;
        let (parts, body) = answer.into_parts();
        let status = parts.status.as_u16();
        Ok(Reply { status, headers: parts.headers, redirects: Vec::new(), body, url })
    }

    /// Where a redirect asks for the same again.
    fn next(&self, reply: &Reply, anywhere: bool) -> Result<String> {
        let wrong = |reason: String| Error::Protocol { url: reply.shown_url(), reason };
        if !matches!(reply.status, 307 | 308) {
            return Err(wrong(format!("status {} to a request with a body", reply.status)));
        }
        let next = target(reply)?;
        if !anywhere && !self.is_own(&next) {
            return Err(wrong(format!("it redirects to another host, {}", shown(&next))));
        }
        Ok(next)
    }
}
