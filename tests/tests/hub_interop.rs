//! The Hub's own client in Python (`LONGMAE_PYTHON`) against the server that stands in for the Hub: it gets what was
//! pushed, and where it pushes itself it asks for the same.

#[path = "../../hub/tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::model_hub::{ModelHub, sha256};
use common::{Asked, TOKEN};
use longmae_hub::{PushOptions, Reference, Upload};
use longmae_tests::{hub_script, last_line};
use serde_json::{Value, json};

fn files() -> [(&'static str, Vec<u8>); 3] {
    let weights = (0..300_000).map(|i| (i * 7 + i / 251) as u8).collect();
    [
        ("README.md", b"# A model\n".to_vec()),
        ("encoder.safetensors", weights),
        ("loss.svg", b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>".to_vec()),
    ]
}

/// The script with this server as the Hub and a cache of its own.
fn script(hub: &ModelHub, cache: &Path) -> Option<Command> {
    let mut command = hub_script(&hub.server.url, cache)?;
    command.env("HF_TOKEN", TOKEN);
    Some(command)
}

fn push(hub: &ModelHub, branch: &str) -> String {
    let uploads = files().map(|(name, bytes)| Upload::bytes(name, bytes));
    let reference: Reference = "hf://org/model".parse().unwrap();
    let reference = reference.with_revision(branch).unwrap();
    let client = hub.server.client("unused".as_ref()).token(TOKEN).build().unwrap();
    let options = PushOptions { private: Some(true), ..PushOptions::new("Add weights") };
    client.push(&reference, &uploads, &options).unwrap().commit
}

#[test]
fn python_downloads_what_was_pushed() {
    for (branch, chunk) in [("main", None), ("runs/a", Some(70_000))] {
        let (hub, cache) = (ModelHub::start(), tempfile::tempdir().unwrap());
        hub.state().chunk = chunk;
        let commit = push(&hub, branch);
        for revision in [branch, &commit] {
            let Some(mut script) = script(&hub, cache.path()) else { return };
            let found = last_line(script.args(["download", "org/model", revision]));
            let found: BTreeMap<String, String> = serde_json::from_str(&found).unwrap();
            let expected = files().map(|(name, bytes)| (name.to_owned(), sha256(&bytes)));
            assert_eq!(found, BTreeMap::from(expected));
        }
    }
}

/// What a client changed by a request: address and contents, in a form that does not depend on how JSON is laid out. Checks
/// that the server has the repository are left out, and so are addresses of its storage, which hold a port.
fn changes(asked: &[Asked]) -> Vec<(String, Vec<Value>)> {
    let parts = |asked: &Asked| {
        let text = String::from_utf8(asked.body.clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let posts = asked.iter().filter(|asked| asked.method == "POST");
    posts.map(|asked| (asked.path.clone(), parts(asked))).collect()
}

#[test]
fn python_pushes_in_the_same_words() {
    for (branch, chunk) in [("main", None), ("runs/a", Some(70_000))] {
        let (ours, theirs) = (ModelHub::start(), ModelHub::start());
        let folder = tempfile::tempdir().unwrap();
        let Some(mut script) = script(&theirs, &folder.path().join("cache")) else { return };
        ours.state().chunk = chunk;
        theirs.state().chunk = chunk;
        push(&ours, branch);
        let source = folder.path().join("files");
        std::fs::create_dir(&source).unwrap();
        for (name, bytes) in files() {
            std::fs::write(source.join(name), bytes).unwrap();
        }
        let source = source.to_str().unwrap().to_owned();
        last_line(script.args(["upload", "org/model", branch, &source]));
        for (name, bytes) in files() {
            assert_eq!(theirs.file("org/model", branch, name), Some(bytes.clone()), "{name}");
            assert_eq!(ours.file("org/model", branch, name), Some(bytes), "{name}");
        }
        let mut theirs = changes(&theirs.server.asked());
        // The card's front matter is checked by the Hub itself; here the owner reads it before it is sent.
        theirs.retain(|(path, _)| !path.starts_with("/api/validate-yaml"));
        let mut ours = changes(&ours.server.asked());
        for (path, body) in ours.iter_mut().chain(&mut theirs) {
            // Newer servers take the word, all take the flag.
            if path == "/api/repos/create" {
                let private = body[0]["private"] == true || body[0]["visibility"] == "private";
                body[0] = json!({ "name": body[0]["name"], "organization": body[0]["organization"], "private": private });
            }
        }
        assert_eq!(ours, theirs);
    }
}

/// The contents of the commit's files are the last word on what arrives.
#[test]
fn small_files_are_in_the_commit() {
    let hub = ModelHub::start();
    push(&hub, "main");
    let changes = changes(&hub.server.asked());
    let (path, lines) = changes.last().unwrap();
    assert_eq!(path, "/api/models/org/model/commit/main");
    let [(_, readme), (_, weights), _] = files();
    let value = |index: usize| lines[index]["value"].clone();
    assert_eq!(value(0), json!({ "summary": "Add weights", "description": "" }));
    assert_eq!(value(1)["content"], STANDARD.encode(readme));
    assert_eq!(
        value(2),
        json!({ "path": "encoder.safetensors", "algo": "sha256", "oid": sha256(&weights), "size": weights.len() })
    );
}
