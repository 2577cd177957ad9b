//! Lists of files, page by page.

mod common;

use common::{Answer, COMMIT, File, Server, hub, names, page};
use longmae_hub::{Error, ListingOrigin, Reference};

fn files() -> Vec<File> {
    let mut files: Vec<File> =
        (0..5).map(|i| File::large(&format!("data/{i}.bin"), 100 + i)).collect();
    files.push(File::small("README.md", "hello"));
    files
}

/// Two files a page; the next page's address is another host's, as behind a mirror.
fn paged() -> Server {
    Server::start(|asked| {
        let files = files();
        let Some((_, query)) = asked.path.split_once("recursive=true") else {
            return hub(asked, &files);
        };
        let start: usize = query.strip_prefix("&cursor=").map_or(0, |c| c.parse().unwrap());
        let end = (start + 2).min(files.len());
        let answer = Answer::new(200).body(page(&files[start..end]));
        match end < files.len() {
            true => {
                let url = format!("https://huggingface.co/api/x?recursive=true&cursor={end}");
                answer.with("Link", format!("<{url}>; rel=\"next\""))
            }
            false => answer,
        }
    })
}

#[test]
fn pages_are_followed_and_the_list_is_kept() {
    let (server, cache) = (paged(), tempfile::tempdir().unwrap());
    let client = server.client(cache.path()).build().unwrap();
    let whole: Reference = "hf://datasets/org/data".parse().unwrap();
    let listing = client.list(&whole).unwrap();
    assert_eq!((listing.commit.as_str(), listing.origin), (COMMIT, ListingOrigin::Hub));
    assert_eq!(server.count("GET", "/tree/"), 3);
    let mut expected: Vec<_> =
        files().into_iter().map(|f| (f.path.clone(), f.bytes.len() as u64, f.etag())).collect();
    expected.sort();
    let found: Vec<_> = listing
        .files
        .iter()
        .map(|f| (f.path.clone(), f.size, f.etag().unwrap().to_owned()))
        .collect();
    assert_eq!(found, expected);
    // Only the revision is asked for the second time; nothing for a commit.
    assert_eq!(client.list(&whole).unwrap(), listing);
    assert_eq!(server.asked().len(), 5);
    let pinned = whole.pinned(COMMIT).unwrap();
    assert_eq!(client.list(&pinned).unwrap(), listing);
    assert_eq!(server.asked().len(), 5);

    let some = |text: &str| -> Vec<String> {
        let files = client.list(&text.parse().unwrap()).unwrap().files;
        files.into_iter().map(|file| file.path).collect()
    };
    assert_eq!(some("hf://datasets/org/data/README.md"), ["README.md"]);
    assert_eq!(some("hf://datasets/org/data/data").len(), 5);
    assert_eq!(some("hf://datasets/org/data/data/[12].bin"), ["data/1.bin", "data/2.bin"]);
    assert_eq!(some("hf://datasets/org/data/nothing"), [""; 0]);
}

#[test]
fn hostile_names_are_refused() {
    for name in ["../x", "/etc/passwd", "a/../../x", "a//b", "a\\\\..\\\\b", "", "a\\u0000b"] {
        let server = Server::start(move |asked| hub(asked, &[File::small(name, "x")]));
        let cache = tempfile::tempdir().unwrap();
        let client = server.client(cache.path()).build().unwrap();
        let error = client.list(&"hf://datasets/org/data".parse().unwrap()).unwrap_err();
        assert!(matches!(error, Error::Name { .. }), "{name}: {error}");
        assert_eq!(names(cache.path()), [""; 0]);
    }
    // Nor from a list that someone put into the cache.
    let (server, cache) = (paged(), tempfile::tempdir().unwrap());
    let trees = cache.path().join("datasets--org--data/trees");
    std::fs::create_dir_all(&trees).unwrap();
    let bad = r#"{"format_version":1,"files":{"../x":{"size":1,"blob_id":"a"}}}"#;
    std::fs::write(trees.join(format!("{COMMIT}.json")), bad).unwrap();
    let client = server.client(cache.path()).build().unwrap();
    let listing = client.list(&"hf://datasets/org/data".parse().unwrap()).unwrap();
    assert_eq!(listing.files.len(), 6);
}

#[test]
fn pages_that_do_not_end_do() {
    let server = Server::start(|asked| match asked.path.contains("/tree/") {
        true => Answer::new(200)
            .body(page(&files()))
            .with("Link", "<https://x/y?recursive=true&cursor=1>; rel=\"next\""),
        false => hub(asked, &files()),
    });
    let cache = tempfile::tempdir().unwrap();
    let client = server.client(cache.path()).build().unwrap();
    let error = client.list(&"hf://datasets/org/data".parse().unwrap()).unwrap_err();
    assert!(error.to_string().contains("do not end"), "{error}");
}

#[test]
fn pages_of_folders_only_end_too() {
    let server = Server::start(|asked| {
        let Some((_, query)) = asked.path.split_once("recursive=true") else {
            return hub(asked, &files());
        };
        let number: usize = query.strip_prefix("&cursor=").map_or(0, |c| c.parse().unwrap());
        let next = format!("<https://x/y?recursive=true&cursor={}>; rel=\"next\"", number + 1);
        Answer::new(200).body(page(&[])).with("Link", next)
    });
    let cache = tempfile::tempdir().unwrap();
    let client = server.client(cache.path()).build().unwrap();
    let error = client.list(&"hf://datasets/org/data".parse().unwrap()).unwrap_err();
    assert!(error.to_string().contains("do not end"), "{error}");
}
