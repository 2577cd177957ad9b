//! One download: resumed where it can be, verified before it gets its name.

use std::io::Read;
use std::path::Path;

use crate::http::{Follow, Http, Reply};
use crate::partial::Partial;
use crate::refusal::Subject;
use crate::{Error, Progress, Result};

/// Bytes read between two reports.
const PIECE: usize = 1 << 17;
/// Bytes that an attempt must bring for the next failure to count as the first again.
const PROGRESS: u64 = 1 << 17;

/// What is to be downloaded, and where to.
pub(crate) struct Download<'a> {
    pub(crate) http: &'a Http,
    pub(crate) url: String,
    pub(crate) subject: Subject<'a>,
    pub(crate) blob: &'a Path,
    pub(crate) size: Option<u64>,
    /// The hash, for files that have one. Only these are resumed: without a hash nobody could tell whether the rest
    /// belongs to the beginning.
    pub(crate) sha256: Option<&'a str>,
    pub(crate) progress: &'a dyn Fn(Progress<'_>),
}

impl Download<'_> {
    /// Downloads until it is whole; nothing is left under the blob's name otherwise.
    pub(crate) fn run(&self) -> Result<()> {
        let resumable = self.sha256.is_some();
        let mut partial = Partial::open(self.blob, resumable, self.size)?;
        let (mut failures, mut furthest, mut afresh) = (0, partial.done(), false);
        loop {
            let from = partial.done();
            let error = match self.attempt(&mut partial).and_then(|()| self.verify(&partial)) {
                Ok(()) => return partial.finish(self.blob),
                // The beginning, from an earlier attempt, may have been the damaged part.
                Err(error @ Error::Damaged { .. }) if from > 0 && !afresh => {
                    tracing::warn!(%error, "starting again");
                    partial.restart()?;
                    (failures, furthest, afresh) = (0, 0, true);
                    continue;
                }
                Err(error) => error,
            };
            if partial.done() >= furthest.saturating_add(PROGRESS) {
                (failures, furthest) = (0, partial.done());
            }
            failures += 1;
            let keep = resumable && !matches!(error, Error::Damaged { .. });
            if let Err(error) = self.http.retry.pause(failures, error) {
                if !keep {
                    partial.discard()?;
                }
                return Err(error);
            }
            if !keep {
                partial.restart()?;
            }
        }
    }

    /// One request, from where the file ends.
    fn attempt(&self, partial: &mut Partial) -> Result<()> {
        if partial.done() > 0 && Some(partial.done()) == self.size {
            return Ok(());
        }
        let range = Some(partial.done()).filter(|done| *done > 0);
        let reply = match (self.request(range), range) {
            // The file is shorter than what is there, or the server sends another part than it was asked for.
            (Err(Error::Status { status: 416, .. }), Some(_)) => self.request_afresh(partial)?,
            (Ok(reply), Some(from)) if starts_elsewhere(&reply, from) => {
                self.request_afresh(partial)?
            }
            (reply, _) => reply?,
        };
        let total = self.check_start(&reply, partial)?;
        self.receive(reply, partial, total)
    }

    fn request(&self, range_from: Option<u64>) -> Result<Reply> {
        self.http.send("GET", &self.url, range_from, Follow::Anywhere, &self.subject)
    }

    fn request_afresh(&self, partial: &mut Partial) -> Result<Reply> {
        partial.restart()?;
        self.request(None)
    }

    /// Fits the file to where the answer starts; the whole size, if it is known by now.
    fn check_start(&self, reply: &Reply, partial: &mut Partial) -> Result<Option<u64>> {
        let total = match reply.status {
            200 => {
                if partial.done() > 0 {
                    tracing::debug!(url = reply.shown_url(), "the server does not resume");
                    partial.restart()?;
                }
                reply.header("content-length").and_then(|text| text.parse().ok())
            }
            206 if !starts_elsewhere(reply, partial.done()) => {
                reply.header("content-range").and_then(content_range).and_then(|(_, total)| total)
            }
            status => {
                let reason = format!("status {status} instead of the file");
                return Err(Error::Protocol { url: reply.shown_url(), reason });
            }
        };
        match (self.size, total) {
            (Some(expected), Some(found)) if expected != found => {
                Err(self.damaged("size", found.to_string(), expected.to_string()))
            }
            (expected, found) => Ok(expected.or(found)),
        }
    }

    fn receive(&self, reply: Reply, partial: &mut Partial, total: Option<u64>) -> Result<()> {
        let mut body = reply.body.into_reader();
        let mut buffer = vec![0; PIECE];
        loop {
            self.report(partial.done(), total);
            let read = match body.read(&mut buffer) {
                Ok(read) => read,
                Err(error) => return Err(self.cut(partial.done(), total, error.to_string())),
            };
            if read == 0 {
                break;
            }
            partial.write(&buffer[..read])?;
            if let Some(total) = total.filter(|total| partial.done() > *total) {
                let found = format!("{} or more", partial.done());
                return Err(self.damaged("size", found, total.to_string()));
            }
        }
        match total {
            Some(size) if partial.done() < size => {
                Err(self.cut(partial.done(), total, "the server closed the connection".into()))
            }
            _ => Ok(()),
        }
    }

    fn verify(&self, partial: &Partial) -> Result<()> {
        match (self.sha256, partial.sha256()) {
            (Some(expected), found) if expected != found => {
                Err(self.damaged("SHA-256", found, expected.to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn report(&self, done: u64, total: Option<u64>) {
        (self.progress)(Progress { path: self.subject.path.unwrap_or_default(), done, total });
    }

    fn damaged(&self, what: &'static str, found: String, expected: String) -> Error {
        let path = self.subject.path.unwrap_or_default().to_owned();
        Error::Damaged { repo: self.subject.repo.clone(), path, what, found, expected }
    }

    fn cut(&self, done: u64, total: Option<u64>, reason: String) -> Error {
        let path = self.subject.path.unwrap_or_default().to_owned();
        Error::Cut { repo: self.subject.repo.clone(), path, done, total, reason }
    }
}

/// Whether an answer with a part of the file starts somewhere else.
fn starts_elsewhere(reply: &Reply, from: u64) -> bool {
    let range = reply.header("content-range").and_then(content_range);
    reply.status == 206 && range.is_none_or(|(start, _)| start != from)
}

/// Start and total of `bytes START-END/TOTAL`; the total may be `*`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes")?.trim().split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()))
}
