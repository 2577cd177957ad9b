//! Large files, by the protocol of Git LFS: whole (`basic`), or in parts (the Hub's own `multipart`).

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::upload::{Failure, Hashed, Part};
use crate::refusal::Subject;
use crate::submit::{JSON, Submission};
use crate::{Error, Hub, Progress, Reference, Result};

const LFS_JSON: &str = "application/vnd.git-lfs+json";
/// The public Hub, which a mirror's answers may name in its place.
const PUBLIC: &str = "https://huggingface.co/";

#[derive(Serialize)]
struct Batch<'a> {
    operation: &'a str,
    transfers: [&'a str; 2],
    objects: [Object<'a>; 1],
    hash_algo: &'a str,
    #[serde(rename = "ref")]
    revision: Named<'a>,
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Object<'a> {
    oid: &'a str,
    size: u64,
}

#[derive(Deserialize)]
struct BatchAnswer {
    objects: Vec<ObjectAnswer>,
}

#[derive(Deserialize)]
struct ObjectAnswer {
    oid: String,
    actions: Option<Actions>,
    error: Option<ObjectError>,
}

#[derive(Deserialize)]
struct ObjectError {
    code: u16,
    message: String,
}

#[derive(Deserialize)]
struct Actions {
    upload: Option<Action>,
    verify: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    href: String,
    /// A text each; `chunk_size` may be a number.
    #[serde(default)]
    header: BTreeMap<String, serde_json::Value>,
}

#[derive(Serialize)]
struct Completion<'a> {
    oid: &'a str,
    parts: Vec<DonePart>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DonePart {
    part_number: usize,
    etag: String,
}

/// The upload of one large file.
pub(super) struct Large<'a> {
    pub(super) hub: &'a Hub,
    pub(super) reference: &'a Reference,
    pub(super) file: &'a Hashed<'a>,
    pub(super) progress: &'a dyn Fn(Progress<'_>),
}

impl Large<'_> {
    /// Whether it was sent: the storage may have it.
    pub(super) fn run(&self) -> Result<bool> {
        self.send().map_err(|reason| Error::Upload {
            repo: self.reference.repo().clone(),
            path: self.file.path().to_owned(),
            reason: Box::new(reason),
        })
    }

    fn send(&self) -> Result<bool> {
        let Some(Actions { upload: Some(upload), verify }) = self.ask()? else { return Ok(false) };
        let href = self.on_this_hub(&upload.href);
        match upload.header.get("chunk_size") {
            Some(size) => self.send_parts(&href, size, &upload.header)?,
            None => self.send_whole(&href, &upload.header)?,
        }
        if let Some(verify) = verify {
            let object = Object { oid: &self.file.sha256, size: self.file.size };
            self.tell(&self.on_this_hub(&verify.href), JSON, &object)?;
        }
        Ok(true)
    }

    /// Asks what to do. A file at a time, right before it is sent, since signed addresses do not last long.
    fn ask(&self) -> Result<Option<Actions>> {
        let repo = self.reference.repo();
        let (endpoint, kind, id) = (self.hub.endpoint(), repo.kind().prefix(), repo.id());
        let url = format!("{endpoint}/{kind}{id}.git/info/lfs/objects/batch");
        let batch = Batch {
            operation: "upload",
            transfers: ["basic", "multipart"],
            objects: [Object { oid: &self.file.sha256, size: self.file.size }],
            hash_algo: "sha256",
            revision: Named { name: self.reference.revision() },
        };
        let answer: BatchAnswer = self.hub.http.post(&url, LFS_JSON, &batch, &self.subject())?;
        let object = answer.objects.into_iter().find(|object| object.oid == self.file.sha256);
        match object {
            Some(ObjectAnswer { error: Some(ObjectError { code, message }), .. }) => {
                Err(self.refused(format!("the storage refuses it ({code}): {message}")))
            }
            Some(object) => Ok(object.actions),
            None => Err(Error::Protocol { url, reason: "it says nothing of the file".into() }),
        }
    }

    fn send_whole(&self, url: &str, headers: &Headers) -> Result<()> {
        let headers: Vec<(&str, &str)> =
            headers.iter().filter_map(|(name, value)| Some((&**name, value.as_str()?))).collect();
        self.put(url, headers, 0, self.file.size).map(|_| ())
    }

    /// Sends part by part; a part that fails is sent again, the others are not.
    fn send_parts(&self, url: &str, size: &serde_json::Value, headers: &Headers) -> Result<()> {
        let wrong = |reason: String| Error::Protocol { url: crate::http::shown(url), reason };
        let size = size.as_u64().or_else(|| size.as_str()?.parse().ok());
        let size = size.filter(|size| *size > 0);
        let size = size.ok_or_else(|| wrong("its chunk_size is no size".into()))?;
        let number = |name: &str| name.parse::<usize>().ok();
        let parts = headers.iter().filter_map(|(name, url)| Some((number(name)?, url.as_str()?)));
        let parts: BTreeMap<usize, &str> = parts.collect();
        let expected = self.file.size.div_ceil(size);
        if parts.len() as u64 != expected {
            let found = parts.len();
            return Err(wrong(format!("{found} addresses for {expected} parts of {size} bytes")));
        }
        let mut done = Vec::with_capacity(parts.len());
        for (i, part) in parts.values().enumerate() {
            let start = i as u64 * size;
            let reply = self.put(part, Vec::new(), start, size.min(self.file.size - start))?;
            let etag = reply.header("etag").filter(|etag| !etag.is_empty()).ok_or_else(|| {
                let reason = "no ETag for a part".into();
                Error::Protocol { url: reply.shown_url(), reason }
            })?;
            done.push(DonePart { part_number: i + 1, etag: etag.to_owned() });
        }
        self.tell(url, LFS_JSON, &Completion { oid: &self.file.sha256, parts: done })
    }

    /// Sends bytes of the file, with as many attempts as are allowed.
    fn put(
        &self,
        url: &str,
        headers: Vec<(&str, &str)>,
        start: u64,
        length: u64,
    ) -> Result<crate::http::Reply> {
        let failure = Failure::default();
        let open = || {
            let part = Part::open(self.file, start, length, self.progress, &failure)?;
            Ok(Box::new(part) as Box<dyn std::io::Read>)
        };
        let submission =
            Submission { method: "PUT", url, headers, length, open: &open, anywhere: true };
        self.hub.http.retry.run(|| {
            let sent = self.hub.http.submit(&submission, &self.subject());
            sent.map_err(|error| failure.take().unwrap_or(error))
        })
    }

    /// Tells the Hub, or whom it names, something that needs no answer.
    fn tell(&self, url: &str, content_type: &str, body: &impl Serialize) -> Result<()> {
        self.hub.http.post::<IgnoredAny>(url, content_type, body, &self.subject()).map(|_| ())
    }

    /// An address of the public Hub, as its mirrors repeat it, on the Hub that is asked; others as they are.
    fn on_this_hub(&self, href: &str) -> String {
        match href.strip_prefix(PUBLIC) {
            Some(rest) => format!("{}/{rest}", self.hub.endpoint()),
            None => href.to_owned(),
        }
    }

    fn subject(&self) -> Subject<'_> {
        Subject::writing(self.reference)
    }

    fn refused(&self, reason: String) -> Error {
        Error::Push { repo: self.reference.repo().clone(), reason }
    }
}

type Headers = BTreeMap<String, serde_json::Value>;
