//! How the Hub wants each file: in the commit itself, or in the storage of large files.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::upload::Hashed;
use crate::refusal::Subject;
use crate::submit::JSON;
use crate::{Error, Hub, Reference, Result};

/// Files of one question, as Python asks.
const FILES_AT_ONCE: usize = 256;
/// The most bytes that a commit may be asked to hold of one file; the Hub's own limit is below it.
const MAX_INLINE: u64 = 32 << 20;

/// Where a file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Nowhere: the revision has it.
    Unchanged,
    /// Into the commit.
    Inline,
    /// Into the storage of large files; the commit names it.
    Large,
}

#[derive(Serialize)]
struct Question<'a> {
    files: Vec<FileQuestion<'a>>,
}

#[derive(Serialize)]
struct FileQuestion<'a> {
    path: &'a str,
    sample: String,
    size: u64,
}

#[derive(Deserialize)]
struct Answer {
    files: Vec<FileAnswer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileAnswer {
    path: String,
    upload_mode: String,
    #[serde(default)]
    should_ignore: bool,
    oid: Option<String>,
}

impl Hub {
    /// The way of each file, in their order.
    pub(super) fn ways(&self, reference: &Reference, files: &[Hashed<'_>]) -> Result<Vec<Way>> {
        let url = self.api_url(reference.repo(), "preupload", reference.revision());
        let mut ways = Vec::with_capacity(files.len());
        for some in files.chunks(FILES_AT_ONCE) {
            let question = Question { files: some.iter().map(ask).collect() };
            let answer: Answer =
                self.http.post(&url, JSON, &question, &Subject::writing(reference))?;
            let answers: HashMap<&str, &FileAnswer> =
                answer.files.iter().map(|file| (file.path.as_str(), file)).collect();
            for file in some {
                let answer = answers.get(file.path()).ok_or_else(|| Error::Protocol {
                    url: url.clone(),
                    reason: format!("it says nothing of `{}`", file.path()),
                })?;
                ways.push(way(reference, &url, file, answer)?);
            }
        }
        Ok(ways)
    }
}

fn ask<'a>(file: &'a Hashed<'_>) -> FileQuestion<'a> {
    FileQuestion { path: file.path(), sample: STANDARD.encode(&file.sample), size: file.size }
}

fn way(reference: &Reference, url: &str, file: &Hashed<'_>, answer: &FileAnswer) -> Result<Way> {
    let wrong = |reason| Error::Protocol { url: url.to_owned(), reason };
    if answer.should_ignore {
        let reason = format!("its .gitignore leaves out `{}`", file.path());
        return Err(Error::Push { repo: reference.repo().clone(), reason });
    }
    if answer.oid.as_deref().is_some_and(|oid| file.is(oid)) {
        return Ok(Way::Unchanged);
    }
    match answer.upload_mode.as_str() {
        // The storage takes no empty files.
        _ if file.size == 0 => Ok(Way::Inline),
        "lfs" => Ok(Way::Large),
        "regular" if file.size <= MAX_INLINE => Ok(Way::Inline),
        "regular" => {
            let size = file.size;
            Err(wrong(format!("it wants the {size} bytes of `{}` in the commit", file.path())))
        }
        other => Err(wrong(format!("the upload mode `{other}`, expected `lfs` or `regular`"))),
    }
}
