//! Downloads, from servers that behave and servers that do not.

mod common;

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{Answer, Asked, COMMIT, File, Server, TOKEN, hub, names};
use longmae_hub::{Error, Reference};

fn reference() -> Reference {
    "hf://datasets/org/data".parse().unwrap()
}

fn files() -> Vec<File> {
    vec![File::small("README.md", "hello"), File::large("data/a.bin", 300_000)]
}

/// A server whose file `data/a.bin` is answered by `get`, given how many GETs came before.
fn with_get(get: impl Fn(&Asked, &File, usize) -> Answer + Send + Sync + 'static) -> Server {
    let count = AtomicUsize::new(0);
    Server::start(move |asked| {
        let files = files();
        if asked.method == "GET" && asked.path.ends_with("/data/a.bin") {
            return get(asked, &files[1], count.fetch_add(1, Ordering::SeqCst));
        }
        hub(asked, &files)
    })
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// No blob and no snapshot stands under its final name.
fn assert_nothing_final(cache: &Path) {
    let left = names(cache);
    assert!(left.iter().all(|name| name.ends_with(".incomplete")), "{left:?}");
}

#[test]
fn the_cache_is_laid_out_as_python_does() {
    let (cache, server) = (folder(), Server::start(|asked| hub(asked, &files())));
    let client = server.client(cache.path()).build().unwrap();
    let path = client.fetch(&reference(), "data/a.bin").unwrap();
    client.fetch(&reference(), "README.md").unwrap();
    let root = cache.path().join("datasets--org--data");
    assert_eq!(path, root.join("snapshots").join(COMMIT).join("data/a.bin"));
    assert_eq!(fs::read(&path).unwrap(), files()[1].bytes);
    assert_eq!(fs::read_to_string(root.join("refs/main")).unwrap(), COMMIT);
    let [small, large] = [files()[0].etag(), files()[1].etag()];
    let mut expected = vec![
        format!("datasets--org--data/blobs/{small}"),
        format!("datasets--org--data/blobs/{large}"),
        "datasets--org--data/refs/main".into(),
        format!("datasets--org--data/snapshots/{COMMIT}/README.md"),
        format!("datasets--org--data/snapshots/{COMMIT}/data/a.bin"),
    ];
    expected.sort();
    assert_eq!(names(cache.path()), expected);
    #[cfg(unix)]
    {
        let target = fs::read_link(&path).unwrap();
        assert_eq!(target, Path::new("../../../blobs").join(&large));
    }
}

#[test]
fn what_is_cached_is_not_downloaded_again() {
    let (cache, server) = (folder(), Server::start(|asked| hub(asked, &files())));
    let client = server.client(cache.path()).build().unwrap();
    client.fetch(&reference(), "data/a.bin").unwrap();
    client.fetch(&reference(), "data/a.bin").unwrap();
    assert_eq!((server.count("HEAD", "a.bin"), server.count("GET", "a.bin")), (2, 1));
    // A commit does not change: no request at all.
    let pinned = reference().pinned(COMMIT).unwrap();
    client.fetch(&pinned, "data/a.bin").unwrap();
    assert_eq!(server.asked().len(), 3);
    // The same contents under another name: linked, not downloaded.
    let twin = Server::start(|asked| {
        let mut files = files();
        files[1].path = "twin.bin".into();
        hub(asked, &files)
    });
    let client = twin.client(cache.path()).build().unwrap();
    let path = client.fetch(&reference(), "twin.bin").unwrap();
    assert_eq!(fs::read(path).unwrap(), files()[1].bytes);
    assert_eq!(twin.count("GET", "twin"), 0);
}

#[test]
fn a_cut_download_is_resumed() {
    let server = with_get(|asked, file, count| match count {
        0 => file.answer(asked).cut(100_000),
        _ => file.answer(asked),
    });
    let cache = folder();
    let client = server.client(cache.path()).build().unwrap();
    let path = client.fetch(&reference(), "data/a.bin").unwrap();
    assert_eq!(fs::read(path).unwrap(), files()[1].bytes);
    let starts: Vec<Option<usize>> =
        server.asked().iter().filter(|a| a.method == "GET").map(Asked::from).collect();
    assert_eq!(starts, [None, Some(100_000)]);
}

#[test]
fn a_later_process_resumes_too() {
    let cache = folder();
    let cutting = with_get(|asked, file, _| match asked.from() {
        None => file.answer(asked).cut(70_000),
        // Nothing new from here on.
        Some(_) => file.answer(asked).cut(0),
    });
    let error = cutting.client(cache.path()).build().unwrap().fetch(&reference(), "data/a.bin");
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Cut { done: 70_000, total: Some(300_000), .. }), "{error}");
    assert_nothing_final(cache.path());

    let server = with_get(|asked, file, _| file.answer(asked));
    let client = server.client(cache.path()).build().unwrap();
    let seen = Mutex::new(Vec::new());
    let path = client
        .fetch_with(&reference(), "data/a.bin", &|p| {
            assert_eq!((p.path, p.total), ("data/a.bin", Some(300_000)));
            seen.lock().unwrap().push(p.done);
        })
        .unwrap();
    assert_eq!(fs::read(path).unwrap(), files()[1].bytes);
    let seen = seen.into_inner().unwrap();
    assert_eq!((seen[0], seen[seen.len() - 1]), (70_000, 300_000));
    assert!(seen.is_sorted(), "{seen:?}");
}

#[test]
fn a_damaged_beginning_is_noticed_and_downloaded_again() {
    let (cache, server) = (folder(), with_get(|asked, file, _| file.answer(asked)));
    let blobs = cache.path().join("datasets--org--data/blobs");
    fs::create_dir_all(&blobs).unwrap();
    // Part of another file; and once as long as the whole, and longer.
    for length in [1000, 300_000, 300_001] {
        fs::write(blobs.join(format!("{}.incomplete", files()[1].etag())), vec![1; length])
            .unwrap();
        let client = server.client(cache.path()).build().unwrap();
        let path = client.fetch(&reference(), "data/a.bin").unwrap();
        assert_eq!(fs::read(&path).unwrap(), files()[1].bytes);
        fs::remove_file(path).unwrap();
        fs::remove_file(blobs.join(files()[1].etag())).unwrap();
    }
}

#[test]
fn a_server_that_ignores_ranges_starts_again() {
    let server = with_get(|asked, file, count| {
        let whole = Asked { headers: Vec::new(), ..asked.clone() };
        match count {
            0 => file.answer(&whole).cut(100_000),
            _ => file.answer(&whole),
        }
    });
    let cache = folder();
    let client = server.client(cache.path()).build().unwrap();
    let path = client.fetch(&reference(), "data/a.bin").unwrap();
    assert_eq!(fs::read(path).unwrap(), files()[1].bytes);
}

#[test]
fn cut_again_and_again_it_gives_up_with_nothing_broken() {
    // Ranges ignored: it never gets further.
    let server = with_get(|asked, file, _| {
        let whole = Asked { headers: Vec::new(), ..asked.clone() };
        file.answer(&whole).cut(100_000)
    });
    let cache = folder();
    let client = server.client(cache.path()).build().unwrap();
    let error = client.fetch(&reference(), "data/a.bin").unwrap_err();
    assert!(matches!(error, Error::Cut { done: 100_000, .. }), "{error}");
    assert_eq!(server.count("GET", "a.bin"), 3);
    assert_nothing_final(cache.path());
}

#[test]
fn a_small_file_is_not_resumed() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |asked| {
        let answer = hub(asked, &files());
        match asked.method == "GET" && count.fetch_add(1, Ordering::SeqCst) == 0 {
            true => answer.cut(2),
            false => answer,
        }
    });
    let cache = folder();
    let client = server.client(cache.path()).build().unwrap();
    let path = client.fetch(&reference(), "README.md").unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), "hello");
    assert!(server.asked().iter().all(|asked| asked.from().is_none()));
}

#[test]
fn wrong_contents_and_sizes_are_refused() {
    type Get = fn(&Asked, &File, usize) -> Answer;
    let wrong_hash: Get = |asked, file, _| {
        let mut other = file.clone();
        other.bytes[5] ^= 1;
        other.answer(asked)
    };
    let too_few: Get = |_, file, _| file.describe(Answer::new(200)).body(&file.bytes[..299_999]);
    let too_many: Get = |_, file, _| {
        let longer = [&file.bytes[..], b"x"].concat();
        file.describe(Answer::new(200)).body(longer)
    };
    // As chunks, so that no header gives it away.
    let chunks: Get = |_, file, _| {
        let mut body = format!("{:x}\r\n", file.bytes.len() + 1).into_bytes();
        body.extend([&file.bytes[..], b"x\r\n0\r\n\r\n"].concat());
        file.describe(Answer::new(200)).with("Transfer-Encoding", "chunked").body(body)
    };
    for (get, what) in
        [(wrong_hash, "SHA-256"), (too_few, "size"), (too_many, "size"), (chunks, "size")]
    {
        let (cache, server) = (folder(), with_get(get));
        let client = server.client(cache.path()).build().unwrap();
        let error = client.fetch(&reference(), "data/a.bin").unwrap_err();
        assert!(matches!(&error, Error::Damaged { what: found, .. } if *found == what), "{error}");
        assert_eq!(names(cache.path()), [""; 0]);
        assert_eq!(server.count("GET", "a.bin"), 1);
    }
}

#[test]
fn too_few_bytes_in_chunks_are_a_cut() {
    let server = with_get(|_, file, _| {
        let body = [b"3e8\r\n", &file.bytes[..1000], b"\r\n0\r\n\r\n"].concat();
        file.describe(Answer::new(200)).with("Transfer-Encoding", "chunked").body(body)
    });
    let cache = folder();
    let client = server.client(cache.path()).build().unwrap();
    let error = client.fetch(&reference(), "data/a.bin").unwrap_err();
    assert!(matches!(error, Error::Cut { done: 1000, .. }), "{error}");
    assert_nothing_final(cache.path());
}

#[test]
fn an_answer_to_another_range_is_not_appended() {
    for range in ["bytes 0-299999/300000", "bytes 7-299999/300000", "nonsense"] {
        let server = with_get(move |asked, file, count| match (count, asked.from()) {
            (0, _) => file.answer(asked).cut(1000),
            (_, Some(_)) => file
                .describe(Answer::new(206))
                .with("Content-Range", range)
                .body(file.bytes.clone()),
            (_, None) => file.answer(asked),
        });
        let cache = folder();
        let client = server.client(cache.path()).build().unwrap();
        let path = client.fetch(&reference(), "data/a.bin").unwrap();
        assert_eq!(fs::read(path).unwrap(), files()[1].bytes);
        assert_eq!(server.count("GET", "a.bin"), 3);
    }
}

#[test]
fn a_server_that_only_drips_is_given_up() {
    let server = with_get(|asked, file, _| file.answer(asked).cut(10));
    let cache = folder();
    let client = server.client(cache.path()).build().unwrap();
    let error = client.fetch(&reference(), "data/a.bin").unwrap_err();
    assert!(matches!(error, Error::Cut { done: 30, .. }), "{error}");
    assert_nothing_final(cache.path());
}

#[test]
fn many_cuts_with_progress_in_between_are_borne() {
    let server = Server::start(|asked| {
        let file = File::large("b.bin", 2_000_000);
        let answer = hub(asked, std::slice::from_ref(&file));
        if asked.method == "GET" { answer.cut(200_000) } else { answer }
    });
    let cache = folder();
    let client = server.client(cache.path()).build().unwrap();
    client.fetch(&reference(), "b.bin").unwrap();
    assert_eq!(server.count("GET", "b.bin"), 10);
}

#[test]
fn large_files_come_from_elsewhere_without_the_token() {
    let elsewhere = Server::start(|asked| {
        let file = &files()[1];
        assert!(asked.path.contains("signature=abc"));
        // Its ETag is its own affair.
        Answer { headers: Vec::new(), ..file.answer(asked) }.with("ETag", "\"cdn\"")
    });
    let url = elsewhere.url.clone();
    let server = Server::start(move |asked| {
        let file = &files()[1];
        if asked.path.starts_with("/datasets/org/data/resolve/") {
            return Answer::new(302)
                .with("Location", format!("{url}/bucket/x?signature=abc"))
                .with("X-Repo-Commit", COMMIT)
                .with("X-Linked-Etag", format!("\"{}\"", file.etag()))
                .with("X-Linked-Size", file.bytes.len())
                .with("ETag", "\"redirect\"");
        }
        hub(asked, &files())
    });
    let cache = folder();
    let client = server.client(cache.path()).token(TOKEN).build().unwrap();
    let path = client.fetch(&reference(), "data/a.bin").unwrap();
    assert_eq!(fs::read(path).unwrap(), files()[1].bytes);
    let bearer = format!("Bearer {TOKEN}");
    assert!(server.asked().iter().all(|a| a.header("authorization") == Some(bearer.as_str())));
    assert_eq!(elsewhere.asked().len(), 1);
    assert_eq!(elsewhere.asked()[0].header("authorization"), None);
}

#[test]
fn signatures_do_not_show_in_errors() {
    let elsewhere = Server::start(|_| Answer::new(403));
    let url = elsewhere.url.clone();
    let server = with_get(move |_, _, _| {
        Answer::new(302).with("Location", format!("{url}/bucket/x?signature=abc"))
    });
    let cache = folder();
    let client = server.client(cache.path()).token(TOKEN).build().unwrap();
    let error = client.fetch(&reference(), "data/a.bin").unwrap_err();
    assert!(matches!(error, Error::Status { status: 403, .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("abc"), "{error:?}");
}

#[test]
fn redirects_within_the_hub_keep_the_token() {
    let server = Server::start(|asked| match asked.path.strip_prefix("/datasets/org/old/") {
        Some(rest) => Answer::new(307).with("Location", format!("/datasets/org/data/{rest}")),
        None => hub(asked, &files()),
    });
    let cache = folder();
    let client = server.client(cache.path()).token(TOKEN).build().unwrap();
    let renamed: Reference = "hf://datasets/org/old".parse().unwrap();
    let path = client.fetch(&renamed, "README.md").unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), "hello");
    assert!(server.asked().iter().all(|a| a.header("authorization").is_some()));
}

#[test]
fn redirects_in_a_circle_end() {
    let server = Server::start(|asked| Answer::new(302).with("Location", &asked.path));
    let cache = folder();
    let client = server.client(cache.path()).build().unwrap();
    let error = client.fetch(&reference(), "README.md").unwrap_err();
    assert!(error.to_string().contains("redirects more than"), "{error}");
    let server = Server::start(|_| Answer::new(302).with("Location", "file:///etc/passwd"));
    let client = server.client(cache.path()).build().unwrap();
    let error = client.fetch(&reference(), "README.md").unwrap_err();
    assert!(error.to_string().contains("no http(s) address"), "{error}");
}

#[test]
fn hostile_headers_do_not_become_paths() {
    for (name, value) in [
        ("ETag", "\"../../../x\""),
        ("ETag", "\"\""),
        ("ETag", "\".hidden\""),
        ("X-Repo-Commit", "../../x"),
        ("X-Repo-Commit", "main"),
    ] {
        let server = Server::start(move |asked| {
            let mut answer = hub(asked, &files());
            answer.headers.retain(|(key, _)| key != name);
            answer.with(name, value)
        });
        let cache = folder();
        let client = server.client(cache.path()).build().unwrap();
        let error = client.fetch(&reference(), "README.md").unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{name} {value}: {error}");
        assert_eq!(names(cache.path()), [""; 0]);
    }
    let server = Server::start(|asked| hub(asked, &files()));
    let cache = folder();
    let client = server.client(cache.path()).build().unwrap();
    for name in ["../x", "/etc/passwd", "a/../b", ""] {
        let error = client.fetch(&reference(), name).unwrap_err();
        assert!(matches!(error, Error::Name { .. }), "{name}: {error}");
    }
    assert!(server.asked().is_empty());
}

#[test]
fn threads_that_want_one_file_download_it_once() {
    let server = with_get(|asked, file, _| {
        std::thread::sleep(Duration::from_millis(100));
        file.answer(asked)
    });
    let cache = folder();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            // Each with a client of its own, as processes have.
            let client = server.client(cache.path()).build().unwrap();
            scope.spawn(move || {
                let path = client.fetch(&reference(), "data/a.bin").unwrap();
                assert_eq!(fs::read(path).unwrap(), files()[1].bytes);
            });
        }
    });
    assert_eq!(server.count("GET", "a.bin"), 1);
}

#[test]
fn passing_failures_are_repeated_and_others_not() {
    for status in [408, 500, 502, 503, 504] {
        let server = with_get(move |asked, file, count| match count {
            0 | 1 => Answer::new(status),
            _ => file.answer(asked),
        });
        let cache = folder();
        let client = server.client(cache.path()).build().unwrap();
        client.fetch(&reference(), "data/a.bin").unwrap();
        assert_eq!(server.count("GET", "a.bin"), 3, "{status}");
    }
    let server = with_get(|_, _, _| Answer::new(500));
    let cache = folder();
    let client = server.client(cache.path()).build().unwrap();
    let error = client.fetch(&reference(), "data/a.bin").unwrap_err();
    assert!(matches!(error, Error::Status { status: 500, .. }), "{error}");
    assert_eq!(server.count("GET", "a.bin"), 3);
    let server = with_get(|_, _, _| Answer::new(418));
    let client = server.client(cache.path()).build().unwrap();
    client.fetch(&reference(), "data/a.bin").unwrap_err();
    assert_eq!(server.count("GET", "a.bin"), 1);
}

#[test]
fn too_many_requests_are_waited_for_up_to_a_limit() {
    let limited = |wait: &'static str| {
        with_get(move |asked, file, count| match count {
            0 => Answer::new(429).with("Retry-After", wait),
            _ => file.answer(asked),
        })
    };
    let (cache, server) = (folder(), limited("1"));
    let client = server.client(cache.path()).build().unwrap();
    let start = Instant::now();
    client.fetch(&reference(), "data/a.bin").unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));

    let (cache, server) = (folder(), limited("3600"));
    let client = server.client(cache.path()).build().unwrap();
    let start = Instant::now();
    let error = client.fetch(&reference(), "data/a.bin").unwrap_err();
    assert!(matches!(error, Error::RateLimited { wait: Some(3600), .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(server.count("GET", "a.bin"), 1);
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    let server = Server::start(|asked| {
        std::thread::sleep(Duration::from_secs(3));
        hub(asked, &files())
    });
    let cache = folder();
    let client = server
        .client(cache.path())
        .timeout(Duration::from_millis(100))
        .attempts(1)
        .build()
        .unwrap();
    let start = Instant::now();
    let error = client.fetch(&reference(), "README.md").unwrap_err();
    assert!(matches!(error, Error::Network { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(2));
}
