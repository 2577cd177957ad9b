//! Without the Hub: the cache is used, or what is missing is named.

mod common;

use std::fs;

use common::{Answer, COMMIT, File, Server, hub};
use longmae_hub::{Error, Hub, ListingOrigin, Reference};

fn files() -> Vec<File> {
    vec![File::small("README.md", "hello"), File::large("data/a.bin", 5000)]
}

fn reference() -> Reference {
    "hf://datasets/org/data".parse().unwrap()
}

#[test]
fn offline_uses_the_cache_and_sends_nothing() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(|asked| hub(asked, &files()));
    let online = server.client(cache.path()).build().unwrap();
    let path = online.fetch(&reference(), "data/a.bin").unwrap();
    let before = server.asked().len();
    let offline = server.client(cache.path()).offline(true).build().unwrap();
    assert_eq!(offline.fetch(&reference(), "data/a.bin").unwrap(), path);
    assert_eq!(offline.info(&reference()).unwrap().commit, COMMIT);
    let pinned = reference().pinned(COMMIT).unwrap();
    assert_eq!(offline.fetch(&pinned, "data/a.bin").unwrap(), path);

    // What the cache holds, which need not be all.
    let listing = offline.list(&reference()).unwrap();
    assert_eq!(listing.origin, ListingOrigin::Snapshot);
    assert_eq!(listing.files.len(), 1);
    let entry = &listing.files[0];
    assert_eq!((entry.path.as_str(), entry.size), ("data/a.bin", 5000));
    #[cfg(unix)]
    assert_eq!(entry.etag().unwrap(), files()[1].etag());
    assert_eq!(server.asked().len(), before);

    // The Hub's own list, kept.
    let complete = online.list(&reference()).unwrap();
    assert_eq!(complete.files.len(), 2);
    assert_eq!(offline.list(&reference()).unwrap(), complete);
}

#[test]
fn what_is_missing_is_named() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(|asked| hub(asked, &files()));
    let offline = Hub::builder(cache.path()).offline(true).build().unwrap();
    let says = |error: Error, parts: &[&str]| {
        let error = error.to_string();
        for part in parts {
            assert!(error.contains(part), "{part}: {error}");
        }
    };
    let folder = cache.path().join("datasets--org--data");
    let folder = folder.to_str().unwrap();
    let common = ["offline", "dataset `org/data`", "`main`", folder];
    let file = |name: &str| offline.fetch(&reference(), name).unwrap_err();
    says(file("data/a.bin"), &[&common[..], &["the file `data/a.bin`"]].concat());
    says(offline.info(&reference()).unwrap_err(), &[&common[..], &["the revision"]].concat());
    let pinned = reference().pinned(COMMIT).unwrap();
    says(offline.list(&pinned).unwrap_err(), &["the list of files", COMMIT, folder]);

    server.client(cache.path()).build().unwrap().fetch(&reference(), "README.md").unwrap();
    says(file("data/a.bin"), &[&common[..], &["the file `data/a.bin`"]].concat());
    // A link whose blob is gone is no file.
    let blob = cache.path().join("datasets--org--data/blobs").join(files()[0].etag());
    fs::remove_file(blob).unwrap();
    says(file("README.md"), &[&common[..], &["the file `README.md`"]].concat());
}

#[test]
fn a_hub_that_fails_leaves_the_cache_in_use() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(|asked| hub(asked, &files()));
    let path =
        server.client(cache.path()).build().unwrap().fetch(&reference(), "README.md").unwrap();
    let failing = Server::start(|_| Answer::new(503));
    let client = failing.client(cache.path()).build().unwrap();
    assert_eq!(client.fetch(&reference(), "README.md").unwrap(), path);
    assert_eq!(failing.asked().len(), 1);
    let error = client.fetch(&reference(), "data/a.bin").unwrap_err();
    assert!(matches!(error, Error::Status { status: 503, .. }), "{error}");
    // A refusal is not a failure.
    let refusing = Server::start(|_| Answer::refusal(404, "RepoNotFound"));
    let client = refusing.client(cache.path()).build().unwrap();
    let error = client.fetch(&reference(), "README.md").unwrap_err();
    assert!(matches!(error, Error::RepoNotFound { .. }), "{error}");
}

#[test]
fn a_hub_that_fails_leaves_the_kept_list_in_use() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(|asked| hub(asked, &files()));
    let online = server.client(cache.path()).build().unwrap();
    let failing = Server::start(|_| Answer::new(503));
    let client = failing.client(cache.path()).build().unwrap();
    // Nothing is cached: the failure is told, not that the cache is empty.
    for error in [client.list(&reference()).unwrap_err(), client.info(&reference()).unwrap_err()] {
        assert!(matches!(error, Error::Status { status: 503, .. }), "{error}");
    }
    let pinned = reference().pinned(COMMIT).unwrap();
    let error = client.list(&pinned).unwrap_err();
    assert!(matches!(error, Error::Status { status: 503, .. }), "{error}");

    // A file, but no list: all that is known, after all attempts.
    online.fetch(&reference(), "README.md").unwrap();
    let before = failing.asked().len();
    let listing = client.list(&reference()).unwrap();
    assert_eq!((listing.files.len(), listing.origin), (1, ListingOrigin::Snapshot));
    assert_eq!(failing.asked().len(), before + 1 + 3);

    // The list, asked for once.
    let complete = online.list(&reference()).unwrap();
    let before = failing.asked().len();
    assert_eq!(client.list(&reference()).unwrap(), complete);
    assert_eq!(client.info(&reference()).unwrap().commit, COMMIT);
    assert_eq!(failing.asked().len(), before + 2);
    let unreachable = Hub::builder(cache.path()).endpoint("http://127.0.0.1:9").build().unwrap();
    assert_eq!(unreachable.list(&reference()).unwrap(), complete);
    // A refusal is not a failure.
    let refusing = Server::start(|_| Answer::refusal(404, "RepoNotFound"));
    let error = refusing.client(cache.path()).build().unwrap().list(&reference()).unwrap_err();
    assert!(matches!(error, Error::RepoNotFound { .. }), "{error}");
}

#[test]
fn a_deleted_blob_is_downloaded_again() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(|asked| hub(asked, &files()));
    let client = server.client(cache.path()).build().unwrap();
    client.fetch(&reference(), "README.md").unwrap();
    let blob = cache.path().join("datasets--org--data/blobs").join(files()[0].etag());
    fs::remove_file(&blob).unwrap();
    let path = client.fetch(&reference(), "README.md").unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), "hello");
}

#[test]
fn a_branch_that_moved_is_noted() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(|asked| hub(asked, &files()));
    let reference: Reference = "hf://datasets/org/data@refs/convert/parquet".parse().unwrap();
    server.client(cache.path()).build().unwrap().fetch(&reference, "README.md").unwrap();
    let noted = cache.path().join("datasets--org--data/refs/refs/convert/parquet");
    assert_eq!(fs::read_to_string(&noted).unwrap(), COMMIT);
    let moved = "f".repeat(40);
    let other = moved.clone();
    let server = Server::start(move |asked| {
        let mut answer = hub(asked, &files());
        answer.headers.retain(|(name, _)| name != "X-Repo-Commit");
        if asked.method == "GET" {
            return File::small("README.md", "news").answer(asked);
        }
        let file = File::small("README.md", "news");
        Answer::new(200)
            .with("X-Repo-Commit", &other)
            .with("ETag", format!("\"{}\"", file.etag()))
            .body(file.bytes)
    });
    let client = server.client(cache.path()).build().unwrap();
    let path = client.fetch(&reference, "README.md").unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), "news");
    assert_eq!(fs::read_to_string(&noted).unwrap(), moved);
}
