//! A small HTTP server that answers as the Hub does, or as a broken one.

#![allow(dead_code)]

pub mod model_hub;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longmae_hub::{Hub, HubBuilder};
use sha2::{Digest, Sha256};

/// The commit that `main` stands for.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// The token of these tests.
pub const TOKEN: &str = "hf_testingtoken";

/// What was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Where a Range header starts.
    pub fn from(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The connection is closed after so many bytes of the body.
    pub cut_after: Option<usize>,
}

impl Answer {
    pub fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn cut(mut self, after: usize) -> Self {
        self.cut_after = Some(after);
        self
    }

    /// A refusal with the Hub's code.
    pub fn refusal(status: u16, code: &str) -> Self {
        Self::new(status).with("X-Error-Code", code)
    }
}

/// A running server; it lives as long as the process.
pub struct Server {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Starts one on a port of its own.
    pub fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_cutting(|_| None, answer)
    }

    /// The same; where `cut` says so of what is asked, its body not yet read, the connection is closed after so many
    /// bytes of the body.
    pub fn start_cutting(
        cut: impl Fn(&Asked) -> Option<usize> + Send + Sync + 'static,
        answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer, cut) = (Arc::clone(&asked), Arc::new(answer), Arc::new(cut));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answer, cut) = (Arc::clone(&log), Arc::clone(&answer), Arc::clone(&cut));
                std::thread::spawn(move || {
                    let Some((asked, whole)) = read(&stream, &*cut) else { return };
                    log.lock().unwrap().push(asked.clone());
                    if whole {
                        // A client that went away is its own business.
                        let _ = write(stream, &asked, &answer(&asked));
                    }
                });
            }
        });
        Self { url, asked }
    }

    /// Everything that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How often a method was used on addresses that contain a text.
    pub fn count(&self, method: &str, part: &str) -> usize {
        self.asked().iter().filter(|a| a.method == method && a.path.contains(part)).count()
    }

    /// A client of this server that does not wait long.
    pub fn client(&self, cache: &Path) -> HubBuilder {
        Hub::builder(cache)
            .endpoint(&self.url)
            .timeout(Duration::from_secs(5))
            .attempts(3)
            .pauses(Duration::from_millis(1), Duration::from_secs(2))
    }
}

/// What was asked, and whether it was read to its end.
fn read(stream: &TcpStream, cut: &dyn Fn(&Asked) -> Option<usize>) -> Option<(Asked, bool)> {
    let mut reader = BufReader::new(stream);
    let mut lines = reader.by_ref().lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = Vec::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut asked = Asked { method, path, headers, body: Vec::new() };
    let length = asked.header("content-length").map_or(0, |length| length.parse().unwrap());
    let end = cut(&asked);
    asked.body.resize(end.unwrap_or(length).min(length), 0);
    reader.read_exact(&mut asked.body).ok()?;
    Some((asked, end.is_none()))
}

fn write(mut stream: TcpStream, asked: &Asked, answer: &Answer) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !answer
        .headers
        .iter()
        .any(|(name, _)| name == "Content-Length" || name == "Transfer-Encoding")
    {
        head += &format!("Content-Length: {}\r\n", answer.body.len());
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    if asked.method != "HEAD" {
        let end = answer.cut_after.unwrap_or(usize::MAX).min(answer.body.len());
        stream.write_all(&answer.body[..end])?;
    }
    stream.flush()
}

/// A file of the test repository.
#[derive(Debug, Clone)]
pub struct File {
    pub path: String,
    pub bytes: Vec<u8>,
    /// Whether it lies in LFS: its ETag is its SHA-256 then.
    pub large: bool,
}

impl File {
    pub fn small(path: &str, text: &str) -> Self {
        Self { path: path.into(), bytes: text.into(), large: false }
    }

    pub fn large(path: &str, length: usize) -> Self {
        let bytes = (0..length).map(|i| (i * 7 + i / 251) as u8).collect();
        Self { path: path.into(), bytes, large: true }
    }

    pub fn sha256(&self) -> String {
        Sha256::digest(&self.bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A stand-in for git's hash where the file is small.
    pub fn etag(&self) -> String {
        if self.large { self.sha256() } else { self.sha256()[..40].to_owned() }
    }

    /// The headers by which the Hub describes it.
    pub fn describe(&self, answer: Answer) -> Answer {
        answer.with("X-Repo-Commit", COMMIT).with("ETag", format!("\"{}\"", self.etag()))
    }

    /// The whole file, or from where the Range header says.
    pub fn answer(&self, asked: &Asked) -> Answer {
        let total = self.bytes.len();
        match asked.from() {
            Some(from) if from < total => self
                .describe(Answer::new(206))
                .with("Content-Range", format!("bytes {from}-{}/{total}", total - 1))
                .body(&self.bytes[from..]),
            Some(_) => Answer::new(416),
            None => self.describe(Answer::new(200)).body(self.bytes.clone()),
        }
    }

    fn item(&self) -> String {
        let (path, size, etag) = (&self.path, self.bytes.len(), self.etag());
        if self.large {
            format!(
                r#"{{"type":"file","path":"{path}","size":{size},"oid":"{COMMIT}","lfs":{{"oid":"{etag}","size":{size},"pointerSize":130}}}}"#
            )
        } else {
            format!(r#"{{"type":"file","path":"{path}","size":{size},"oid":"{etag}"}}"#)
        }
    }
}

/// A page of the list of files.
pub fn page(files: &[File]) -> String {
    let mut items = vec![r#"{"type":"directory","path":"data","size":0,"oid":"x"}"#.to_owned()];
    items.extend(files.iter().map(File::item));
    format!("[{}]", items.join(","))
}

/// What the Hub answers for the dataset `org/data` with these files at `main` and at [`COMMIT`].
pub fn hub(asked: &Asked, files: &[File]) -> Answer {
    let path = asked.path.as_str();
    let known =
        |revision: &str| ["main", "v1", "refs%2Fconvert%2Fparquet", COMMIT].contains(&revision);
    if let Some(revision) = path.strip_prefix("/api/datasets/org/data/revision/") {
        if !known(revision) {
            return Answer::refusal(404, "RevisionNotFound");
        }
        return Answer::new(200).body(format!(r#"{{"sha":"{COMMIT}","private":false}}"#));
    }
    if path.starts_with(&format!("/api/datasets/org/data/tree/{COMMIT}?recursive=true")) {
        return Answer::new(200).body(page(files));
    }
    let Some(rest) = path.strip_prefix("/datasets/org/data/resolve/") else {
        return Answer::refusal(404, "RepoNotFound");
    };
    let (revision, name) = rest.split_once('/').unwrap();
    if !known(revision) {
        return Answer::refusal(404, "RevisionNotFound");
    }
    match files.iter().find(|file| file.path == name) {
        Some(file) => file.answer(asked),
        None => Answer::refusal(404, "EntryNotFound"),
    }
}

/// Names of everything below a folder, links not followed, locks left out.
pub fn names(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for item in std::fs::read_dir(next).into_iter().flatten().flatten() {
            if item.file_type().unwrap().is_dir() {
                folders.push(item.path());
            } else {
                let name = item.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.push(name.replace('\\', "/"));
            }
        }
    }
    found.retain(|name| !name.starts_with(".locks"));
    found.sort();
    found
}
