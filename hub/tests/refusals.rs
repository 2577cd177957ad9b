//! What the Hub's refusals say to the reader.

mod common;

use common::{Answer, COMMIT, File, Server, TOKEN, hub};
use longmae_hub::{Error, Hub, Reference};

fn refused(answer: Answer, token: Option<&str>) -> Error {
    let server = Server::start(move |_| answer.clone());
    let cache = tempfile::tempdir().unwrap();
    let client = server.client(cache.path()).token(token.unwrap_or("")).build().unwrap();
    let reference: Reference = "hf://datasets/org/data@v9".parse().unwrap();
    let error = client.fetch(&reference, "a/b.txt").unwrap_err();
    assert_eq!(server.asked().len(), 1, "a refusal is final: {error}");
    let shown = format!("{error} {error:?} {client:?}");
    assert!(!shown.contains(TOKEN), "{shown}");
    error
}

#[test]
fn each_code_has_its_meaning() {
    for (status, code, token, parts) in [
        (404, "RepoNotFound", None, &["no dataset `org/data`", "private", "set HF_TOKEN"][..]),
        (401, "RepoNotFound", None, &["no dataset `org/data`", "set HF_TOKEN"]),
        (401, "", None, &["no dataset `org/data`", "set HF_TOKEN"]),
        (404, "RepoNotFound", Some(TOKEN), &["no dataset `org/data`", "does not give access"]),
        (404, "RevisionNotFound", None, &["dataset `org/data`", "no revision `v9`"]),
        (404, "EntryNotFound", None, &["no file `a/b.txt`", "`v9`"]),
        (404, "", None, &["no file `a/b.txt`"]),
        (401, "GatedRepo", None, &["gated", "/datasets/org/data", "set HF_TOKEN"]),
        (403, "GatedRepo", Some(TOKEN), &["gated", "does not give access"]),
        (403, "", None, &["forbids", "403", "set HF_TOKEN"]),
    ] {
        let error = refused(Answer::refusal(status, code), token).to_string();
        for part in parts {
            assert!(error.contains(part), "{status} {code}: {error}");
        }
    }
}

#[test]
fn a_bad_token_says_so() {
    let answer =
        Answer::new(401).with("X-Error-Message", "Invalid credentials in Authorization header");
    let error = refused(answer, Some(TOKEN));
    assert!(matches!(&error, Error::BadToken { origin } if origin == "the program"), "{error}");
    let error = refused(Answer::new(401), Some(TOKEN));
    assert!(matches!(error, Error::BadToken { .. }), "{error}");
}

#[test]
fn a_server_that_repeats_the_token_does_not_get_it_shown() {
    let answer = Answer::new(403).with("X-Error-Message", format!("go away, {TOKEN}"));
    let error = refused(answer, Some(TOKEN));
    assert!(error.to_string().contains("go away, [token]"), "{error}");
}

#[test]
fn a_page_that_is_no_hub_is_recognised() {
    let server = Server::start(|_| Answer::new(200).body("<html>log in to this network</html>"));
    let cache = tempfile::tempdir().unwrap();
    let client = server.client(cache.path()).build().unwrap();
    let reference: Reference = "hf://org/data".parse().unwrap();
    let error = client.fetch(&reference, "a").unwrap_err().to_string();
    assert!(error.contains("X-Repo-Commit") && error.contains("HF_ENDPOINT"), "{error}");
    let error = client.info(&reference).unwrap_err().to_string();
    assert!(error.contains("JSON"), "{error}");
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for endpoint in ["", "huggingface.co", "ftp://x", "https://", "https://x?y", "https://me:pw@x"]
    {
        let error = Hub::builder("x").endpoint(endpoint).build().unwrap_err().to_string();
        assert!(error.contains("endpoint") && !error.contains("pw"), "{endpoint}: {error}");
    }
    assert!(Hub::builder("").build().is_err());
    assert!(Hub::builder("x").token("a\nb").build().is_err());
    let error = Hub::builder("x").certificates("no-such-file").build().unwrap_err();
    assert!(error.to_string().contains("no-such-file"), "{error}");
    assert_eq!(Hub::builder("x").build().unwrap().endpoint(), "https://huggingface.co");
}

#[test]
fn a_revision_is_resolved_to_a_commit() {
    let server = Server::start(|asked| hub(asked, &[File::small("a", "b")]));
    let cache = tempfile::tempdir().unwrap();
    let client = server.client(cache.path()).token(TOKEN).build().unwrap();
    let info = |text: &str| client.info(&text.parse().unwrap());
    let found = info("hf://datasets/org/data@refs/convert/parquet").unwrap();
    assert_eq!((found.commit.as_str(), found.private), (COMMIT, Some(false)));
    let error = info("hf://datasets/org/data@nothing").unwrap_err();
    assert!(matches!(error, Error::RevisionNotFound { .. }), "{error}");
    let error = info("hf://datasets/org/other").unwrap_err();
    assert!(matches!(error, Error::RepoNotFound { .. }), "{error}");
    let bad = Server::start(|_| Answer::new(200).body(r#"{"sha":"../../x"}"#));
    let error =
        bad.client(cache.path()).build().unwrap().info(&"hf://org/a".parse().unwrap()).unwrap_err();
    assert!(error.to_string().contains("names no commit"), "{error}");
}
