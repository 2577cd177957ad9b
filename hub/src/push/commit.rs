//! The commit: all files at once, or none.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::PushOptions;
use super::preupload::Way;
use super::upload::Hashed;
use crate::refusal::Subject;
use crate::{Error, Hub, Reference, Result, path};

const NDJSON: &str = "application/x-ndjson";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    commit_oid: String,
}

impl Hub {
    /// One attempt at a commit of the files that are not unchanged; its hash.
    pub(super) fn commit(
        &self,
        reference: &Reference,
        files: &[Hashed<'_>],
        ways: &[Way],
        options: &PushOptions,
    ) -> Result<String> {
        let url = self.api_url(reference.repo(), "commit", reference.revision());
        let value = json!({ "summary": options.message, "description": options.description });
        let mut body = Vec::new();
        add(&mut body, &json!({ "key": "header", "value": value }));
        for (file, way) in files.iter().zip(ways) {
            match way {
                Way::Unchanged => {}
                Way::Inline => add(&mut body, &inline(file)?),
                Way::Large => add(&mut body, &large(file)),
            }
        }
        let subject = Subject::writing(reference);
        let mut reply = self.http.post_bytes(&url, NDJSON, &body, &subject)?;
        let Answer { commit_oid } = reply.json()?;
        if !path::is_commit(&commit_oid) {
            let reason = format!("its commitOid {commit_oid:?} is no commit hash");
            return Err(Error::Protocol { url, reason });
        }
        Ok(commit_oid)
    }
}

/// A line of JSON.
fn add(body: &mut Vec<u8>, line: &Value) {
    body.extend_from_slice(line.to_string().as_bytes());
    body.push(b'\n');
}

fn inline(file: &Hashed<'_>) -> Result<Value> {
    let content = STANDARD.encode(file.read()?);
    let value = json!({ "content": content, "path": file.path(), "encoding": "base64" });
    Ok(json!({ "key": "file", "value": value }))
}

fn large(file: &Hashed<'_>) -> Value {
    let (path, oid, size) = (file.path(), &file.sha256, file.size);
    let value = json!({ "path": path, "algo": "sha256", "oid": oid, "size": size });
    json!({ "key": "lfsFile", "value": value })
}
