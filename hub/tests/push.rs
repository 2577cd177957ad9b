//! Pushing, to servers that behave and servers that do not.

mod common;

use std::fs;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use common::model_hub::{ModelHub, SIGNATURE, sha256};
use common::{Answer, Server, TOKEN};
use longmae_hub::{Error, Hub, Outcome, PushOptions, PushReport, Reference, Upload};

const WEIGHTS: usize = 300_000;

fn weights() -> Vec<u8> {
    (0..WEIGHTS).map(|i| (i * 7 + i / 251) as u8).collect()
}

fn uploads() -> Vec<Upload> {
    vec![Upload::bytes("encoder.safetensors", weights()), Upload::bytes("README.md", "about")]
}

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

fn client(server: &Server) -> Hub {
    server.client("unused".as_ref()).token(TOKEN).build().unwrap()
}

fn options() -> PushOptions {
    PushOptions::new("Add weights")
}

fn push(hub: &ModelHub) -> Result<PushReport, Error> {
    client(&hub.server).push(&reference("hf://org/model"), &uploads(), &options())
}

fn outcomes(report: &PushReport) -> Vec<Outcome> {
    report.files.iter().map(|file| file.outcome).collect()
}

/// Nothing shows what must not be shown.
#[track_caller]
fn assert_discreet(error: &Error) {
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(TOKEN) && !shown.contains(SIGNATURE), "{shown}");
}

#[track_caller]
fn says(error: &Error, parts: &[&str]) {
    assert_discreet(error);
    for part in parts {
        assert!(error.to_string().contains(part), "`{part}` is not in: {error}");
    }
}

#[test]
fn a_repository_is_made_and_filled() {
    let hub = ModelHub::start();
    let report = push(&hub).unwrap();
    assert!(report.created);
    assert_eq!(outcomes(&report), [Outcome::Sent; 2]);
    assert_eq!(report.files[0].size, WEIGHTS as u64);
    assert_eq!(report.page, format!("{}/org/model", hub.server.url));
    assert_eq!(hub.file("org/model", "main", "encoder.safetensors").unwrap(), weights());
    assert_eq!(hub.file("org/model", "main", "README.md").unwrap(), b"about");
    assert_eq!(hub.messages("org/model", "main"), ["initial commit", "Add weights"]);
    assert_eq!(hub.state().repos["org/model"].branches["main"][1].id, report.commit);
    assert!(!hub.state().repos["org/model"].private);
    // The token went to the Hub with every request, and nowhere else.
    let bearer = format!("Bearer {TOKEN}");
    assert!(hub.server.asked().iter().all(|a| a.header("authorization") == Some(&bearer)));
    assert_eq!(hub.storage.asked().len(), 1);
    assert!(hub.storage.asked()[0].header("authorization").is_none());
    assert_eq!(hub.server.count("POST", "/info/lfs/verify"), 1);
}

#[test]
fn what_is_there_is_not_sent_again() {
    let hub = ModelHub::start();
    let first = push(&hub).unwrap();
    let again = push(&hub).unwrap();
    assert_eq!((again.created, &again.commit), (false, &first.commit));
    assert_eq!(outcomes(&again), [Outcome::Unchanged; 2]);
    assert_eq!(hub.messages("org/model", "main").len(), 2);

    // One file changed: the other is no part of the commit.
    let files = [Upload::bytes("README.md", "more"), uploads().remove(0)];
    let report = client(&hub.server).push(&reference("hf://org/model"), &files, &options());
    assert_eq!(outcomes(&report.unwrap()), [Outcome::Sent, Outcome::Unchanged]);
    let commit = hub.server.asked().into_iter().rfind(|a| a.path.contains("/commit/")).unwrap();
    assert!(!String::from_utf8_lossy(&commit.body).contains("safetensors"));

    // Another repository: the storage has the contents.
    let report = client(&hub.server).push(&reference("hf://org/other"), &uploads(), &options());
    assert_eq!(outcomes(&report.unwrap()), [Outcome::Stored, Outcome::Sent]);
    assert_eq!(hub.storage.count("PUT", ""), 1);
    assert_eq!(hub.file("org/other", "main", "encoder.safetensors").unwrap(), weights());
}

#[test]
fn files_of_other_names_stay() {
    let hub = ModelHub::start();
    push(&hub).unwrap();
    let file = [Upload::bytes("notes/a b#1.txt", "kept as it is")];
    client(&hub.server).push(&reference("hf://org/model"), &file, &options()).unwrap();
    assert_eq!(hub.file("org/model", "main", "README.md").unwrap(), b"about");
    assert_eq!(hub.file("org/model", "main", "notes/a b#1.txt").unwrap(), b"kept as it is");
}

#[test]
fn empty_files_go_into_the_commit() {
    let hub = ModelHub::start();
    let file = [Upload::bytes("empty", "")];
    client(&hub.server).push(&reference("hf://org/model"), &file, &options()).unwrap();
    assert_eq!(hub.file("org/model", "main", "empty").unwrap(), b"");
}

#[test]
fn large_files_go_in_parts_where_the_hub_wants_it() {
    let hub = ModelHub::start();
    hub.state().chunk = Some(70_000);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights");
    fs::write(&path, weights()).unwrap();
    let file = [Upload::file("encoder.safetensors", &path)];
    let seen = Mutex::new(Vec::new());
    let tell = |progress: longmae_hub::Progress<'_>| {
        assert_eq!((progress.path, progress.total), ("encoder.safetensors", Some(WEIGHTS as u64)));
        seen.lock().unwrap().push(progress.done);
    };
    let reference = reference("hf://org/model");
    client(&hub.server).push_with(&reference, &file, &options(), &tell).unwrap();
    assert_eq!(hub.file("org/model", "main", "encoder.safetensors").unwrap(), weights());
    assert_eq!(hub.storage.count("PUT", "/0000"), 5);
    let seen = seen.into_inner().unwrap();
    assert!(seen.is_sorted() && seen.first() == Some(&0), "{seen:?}");
    assert_eq!(seen.last(), Some(&(WEIGHTS as u64)));
}

#[test]
fn a_cut_part_is_sent_again_alone() {
    let hub = ModelHub::start();
    hub.state().chunk = Some(100_000);
    hub.state().cuts = vec![10_000, 99_999];
    push(&hub).unwrap();
    assert_eq!(hub.file("org/model", "main", "encoder.safetensors").unwrap(), weights());
    let counts = ["/00001", "/00002", "/00003"].map(|part| hub.storage.count("PUT", part));
    assert_eq!(counts, [3, 1, 1]);
}

#[test]
fn a_cut_upload_is_sent_again() {
    let hub = ModelHub::start();
    hub.state().cuts = vec![100_000, 0];
    let report = push(&hub).unwrap();
    assert_eq!(outcomes(&report), [Outcome::Sent; 2]);
    assert_eq!(hub.storage.count("PUT", ""), 3);
    assert_eq!(hub.file("org/model", "main", "encoder.safetensors").unwrap(), weights());
}

#[test]
fn nothing_is_committed_when_an_upload_fails() {
    let hub = ModelHub::start();
    hub.state().cuts = vec![1000; 3];
    let error = push(&hub).unwrap_err();
    assert!(matches!(&error, Error::Upload { path, .. } if path == "encoder.safetensors"));
    says(&error, &["`encoder.safetensors`", "model `org/model`", "nothing was committed"]);
    assert_eq!(hub.server.count("POST", "/commit/"), 0);
    assert_eq!(hub.messages("org/model", "main"), ["initial commit"]);

    // Another process, later: two files, of which one had arrived.
    let files = [Upload::bytes("a.bin", vec![1; 50_000]), Upload::bytes("b.bin", vec![2; 50_000])];
    let reference = reference("hf://org/model");
    hub.state().stored.insert(sha256(&[1; 50_000]), vec![1; 50_000]);
    let report = client(&hub.server).push(&reference, &files, &options()).unwrap();
    assert_eq!(outcomes(&report), [Outcome::Stored, Outcome::Sent]);
}

#[test]
fn a_commit_whose_answer_is_lost_is_not_made_twice() {
    let hub = ModelHub::start();
    hub.state().lose_answer = true;
    let report = push(&hub).unwrap();
    assert_eq!(hub.messages("org/model", "main"), ["initial commit", "Add weights"]);
    assert_eq!(hub.state().repos["org/model"].branches["main"][1].id, report.commit);
    assert_eq!(outcomes(&report), [Outcome::Sent; 2]);
}

#[test]
fn failures_are_waited_for_and_tried_again() {
    let hub = ModelHub::start();
    for part in ["/repos/create", "/preupload/", "/objects/batch", "/lfs/verify", "/commit/"] {
        hub.instead("POST", part, Answer::new(503));
    }
    hub.instead("GET", "/revision/main", Answer::new(500));
    push(&hub).unwrap();
    assert_eq!(hub.messages("org/model", "main"), ["initial commit", "Add weights"]);

    // As long as the server asks for, and not when that is too long.
    hub.instead("POST", "/preupload/", Answer::new(429).with("Retry-After", "1"));
    let start = Instant::now();
    push(&hub).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    hub.instead("POST", "/preupload/", Answer::new(429).with("Retry-After", "3600"));
    let error = push(&hub).unwrap_err();
    assert!(matches!(error, Error::RateLimited { wait: Some(3600), .. }), "{error}");
    for _ in 0..3 {
        hub.instead("POST", "/preupload/", Answer::new(502));
    }
    let error = push(&hub).unwrap_err();
    assert!(matches!(error, Error::Status { status: 502, .. }), "{error}");
}

#[test]
fn branches_are_made_and_pushed_to() {
    let hub = ModelHub::start();
    let report = client(&hub.server)
        .push(&reference("hf://org/model@runs%2Fa"), &uploads(), &options())
        .unwrap();
    assert!(report.created);
    assert_eq!(hub.messages("org/model", "main"), ["initial commit"]);
    assert_eq!(hub.messages("org/model", "runs/a"), ["initial commit", "Add weights"]);
    assert_eq!(hub.server.count("POST", "/branch/runs%2Fa"), 1);
    let file = [Upload::bytes("README.md", "more")];
    let report =
        client(&hub.server).push(&reference("hf://org/model@runs%2Fa"), &file, &options()).unwrap();
    assert!(!report.created);
    assert_eq!(hub.server.count("POST", "/branch/"), 1);
    assert_eq!(hub.messages("org/model", "runs/a").len(), 3);

    let error = client(&hub.server)
        .push(&reference("hf://org/model@refs/pr/7"), &file, &options())
        .unwrap_err();
    assert!(matches!(error, Error::RevisionNotFound { .. }), "{error}");
}

#[test]
fn somebody_may_be_faster() {
    let hub = ModelHub::start();
    // Asked before it was made, made before it was to be made: twice by the repository, once more by the branch.
    hub.state().add_repo("org/model", false);
    hub.instead("GET", "/revision/main", Answer::refusal(404, "RepoNotFound"));
    hub.instead("GET", "/revision/main", Answer::refusal(404, "RepoNotFound"));
    assert!(!push(&hub).unwrap().created);
    assert_eq!(hub.server.count("POST", "/repos/create"), 1);
    hub.instead("GET", "/revision/new", Answer::refusal(404, "RevisionNotFound"));
    hub.instead("POST", "/branch/new", Answer::new(409));
    let mut state = hub.state();
    let commits = state.repos["org/model"].branches["main"].clone();
    state.repos.get_mut("org/model").unwrap().branches.insert("new".into(), commits);
    drop(state);
    let file = [Upload::bytes("README.md", "more")];
    client(&hub.server).push(&reference("hf://org/model@new"), &file, &options()).unwrap();

    // Something else of the account is being made.
    let busy = r#"{"error":"another conflicting operation is in progress"}"#;
    hub.instead("POST", "/repos/create", Answer::new(409).body(busy));
    let error = client(&hub.server).push(&reference("hf://org/b"), &file, &options()).unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    says(&error, &["another conflicting operation"]);
}

#[test]
fn what_is_to_be_private_is() {
    let private = PushOptions { private: Some(true), ..options() };
    let hub = ModelHub::start();
    let model = reference("hf://org/model");
    client(&hub.server).push(&model, &uploads(), &private).unwrap();
    assert!(hub.state().repos["org/model"].private);
    client(&hub.server).push(&model, &uploads(), &private).unwrap();

    // One that is public, found so before anything is sent; on another branch too.
    hub.state().add_repo("org/public", false);
    for text in ["hf://org/public", "hf://org/public@new"] {
        let before = hub.server.count("POST", "");
        let error = client(&hub.server).push(&reference(text), &uploads(), &private).unwrap_err();
        says(&error, &["model `org/public`", "it is public"]);
        assert_eq!(hub.server.count("POST", ""), before);
    }
}

#[test]
fn refusals_say_what_is_missing() {
    let model = reference("hf://org/model");
    let hub = ModelHub::start();
    let without = hub.server.client("unused".as_ref()).build().unwrap();
    let error = without.push(&model, &uploads(), &options()).unwrap_err();
    assert!(matches!(error, Error::NoToken { .. }), "{error}");
    says(&error, &["model `org/model`", "set HF_TOKEN"]);

    let theirs = reference("hf://theirs/model");
    let error = client(&hub.server).push(&theirs, &uploads(), &options()).unwrap_err();
    assert!(matches!(error, Error::NotWritable { .. }), "{error}");
    says(&error, &["model `theirs/model`", "You don't have the rights"]);

    hub.state().add_repo("org/model", false);
    let refused = |part: &str, answer: Answer| {
        hub.instead("POST", part, answer);
        push(&hub).unwrap_err()
    };
    let error =
        refused("/preupload/", Answer::new(401).with("X-Error-Message", "Invalid credentials"));
    assert!(matches!(error, Error::BadToken { .. }), "{error}");
    let error = refused("/preupload/", Answer::refusal(404, "RepoNotFound"));
    assert!(matches!(error, Error::RepoNotFound { .. }), "{error}");
    let error =
        refused("/commit/", Answer::new(403).with("X-Error-Message", format!("not {TOKEN}")));
    says(&error, &["403", "not [token]"]);
    for status in [409, 412] {
        let error =
            refused("/commit/", Answer::new(status).body(r#"{"error":"A commit has happened"}"#));
        assert!(matches!(error, Error::Conflict { .. }), "{error}");
        says(&error, &["A commit has happened", "nothing was committed"]);
    }
    let error = refused("/commit/", Answer::new(400).body(r#"{"error":"license is not valid"}"#));
    says(&error, &["400", "license is not valid"]);
    assert_eq!(hub.messages("org/model", "main"), ["initial commit"]);
}

#[test]
fn offline_nothing_is_sent() {
    let hub = ModelHub::start();
    let client = hub.server.client("unused".as_ref()).offline(true).build().unwrap();
    let error = client.push(&reference("hf://org/model"), &uploads(), &options()).unwrap_err();
    says(&error, &["offline", "model `org/model`", "HF_HUB_OFFLINE"]);
    assert!(hub.server.asked().is_empty());
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_sent() {
    let hub = ModelHub::start();
    let refused = |text: &str, files: &[Upload], message: &str| {
        let options = PushOptions::new(message);
        client(&hub.server).push(&reference(text), files, &options).unwrap_err()
    };
    let named = |name: &str| [Upload::bytes(name, "x")];
    let commit = "hf://org/model@0123456789abcdef0123456789abcdef01234567";
    says(&refused(commit, &uploads(), "m"), &["a commit", "branch"]);
    says(&refused("hf://org/model/a/b", &uploads(), "m"), &["has a path, `a/b`"]);
    says(&refused("hf://org/model", &[], "m"), &["no files"]);
    says(&refused("hf://org/model", &uploads(), " "), &["message"]);
    for name in ["../x", "/x", "", "a\\b", ".git/config", "a/.git/hooks"] {
        says(&refused("hf://org/model", &named(name), "m"), &[&format!("{name:?}")]);
    }
    let twice = [named("a").to_vec(), named("a").to_vec()].concat();
    says(&refused("hf://org/model", &twice, "m"), &["two files", "\"a\""]);
    says(
        &refused("hf://org/model", &[Upload::file("a", "/no/such/file")], "m"),
        &["/no/such/file"],
    );
    assert!(hub.server.asked().is_empty());
}

#[test]
fn what_the_repository_ignores_is_named() {
    let hub = ModelHub::start();
    hub.state().ignored = Some(".safetensors".into());
    says(&push(&hub).unwrap_err(), &["its .gitignore leaves out `encoder.safetensors`"]);
    assert_eq!(hub.server.count("POST", "/commit/"), 0);
}

#[test]
fn answers_that_are_none_are_noticed() {
    let refused = |part: &str, body: String| {
        let hub = ModelHub::start();
        hub.state().add_repo("org/model", false);
        hub.instead("POST", part, Answer::new(200).body(body));
        let error = push(&hub).unwrap_err();
        assert_eq!(hub.server.count("POST", "/commit/"), usize::from(part == "/commit/"));
        error
    };
    let oid = sha256(&weights());
    let action = |upload: &str| {
        format!(
            r#"{{"objects":[{{"oid":"{oid}","size":{WEIGHTS},"actions":{{"upload":{upload}}}}}]}}"#
        )
    };
    says(&refused("/preupload/", "<html>".into()), &["JSON"]);
    says(&refused("/preupload/", r#"{"files":[]}"#.into()), &["nothing of `encoder.safetensors`"]);
    let mode = r#"{"files":[{"path":"encoder.safetensors","uploadMode":"xet"}]}"#;
    says(&refused("/preupload/", mode.into()), &["upload mode `xet`"]);
    says(&refused("/objects/batch", r#"{"objects":[]}"#.into()), &["nothing of the file"]);
    let full =
        format!(r#"{{"objects":[{{"oid":"{oid}","error":{{"code":507,"message":"full"}}}}]}}"#);
    says(&refused("/objects/batch", full), &["(507): full", "`encoder.safetensors`"]);
    for (upload, part) in [
        (r#"{"href":"http://127.0.0.1:9/x?secret","header":{"chunk_size":"no"}}"#, "chunk_size"),
        (r#"{"href":"http://127.0.0.1:9/x","header":{"chunk_size":0}}"#, "chunk_size"),
        (
            r#"{"href":"http://127.0.0.1:9/x","header":{"chunk_size":200000,"1":"http://x"}}"#,
            "2 parts",
        ),
        (r#"{"href":"http://127.0.0.1:9/x","header":{"bad name":"x"}}"#, "malformed"),
        (r#"{"href":"nowhere"}"#, "nowhere"),
    ] {
        let error = refused("/objects/batch", action(upload));
        says(&error, &[part, "`encoder.safetensors`"]);
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    says(&refused("/commit/", r#"{"commitOid":"../x"}"#.into()), &["no commit hash"]);
}

/// The storage may send an upload on, the Hub may not: its requests hold the token and the files.
#[test]
fn redirects_are_followed_with_the_body() {
    let hub = ModelHub::start();
    let oid = sha256(&weights());
    let target = format!("{}/{oid}?signature={SIGNATURE}", hub.storage.url);
    let between = Server::start(move |_| Answer::new(307).with("Location", &target));
    let batch = format!(
        r#"{{"objects":[{{"oid":"{oid}","size":{WEIGHTS},"actions":{{"upload":{{"href":"{}/x"}}}}}}]}}"#,
        between.url
    );
    hub.instead("POST", "/objects/batch", Answer::new(200).body(batch));
    push(&hub).unwrap();
    assert_eq!(hub.file("org/model", "main", "encoder.safetensors").unwrap(), weights());
    assert!(between.asked()[0].header("authorization").is_none());

    let elsewhere = Server::start(|_| Answer::new(200).body("{}"));
    for status in [307, 302] {
        let answer = Answer::new(status).with("Location", format!("{}/x", elsewhere.url));
        hub.instead("POST", "/preupload/", answer);
        let error = push(&hub).unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{error}");
    }
    assert!(elsewhere.asked().is_empty());
}

#[test]
fn what_was_pushed_is_fetched() {
    let hub = ModelHub::start();
    let report = push(&hub).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let client = hub.server.client(cache.path()).build().unwrap();
    let reference = reference("hf://org/model");
    let listing = client.list(&reference).unwrap();
    assert_eq!(listing.commit, report.commit);
    for (name, expected) in [("encoder.safetensors", weights()), ("README.md", b"about".to_vec())] {
        assert_eq!(fs::read(client.fetch(&reference, name).unwrap()).unwrap(), expected);
    }
}
