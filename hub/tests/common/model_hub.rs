//! A Hub of models that can be pushed to: repositories with branches and commits, and a storage of large files on another
//! host, which takes no tokens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::{Answer, Asked, Server, TOKEN};

/// Beyond this many bytes a file is a large one.
pub const LARGE: usize = 16_384;
/// What the storage's addresses hold and nobody may see.
pub const SIGNATURE: &str = "signed-by-the-hub";

/// A file of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blob {
    Small(Vec<u8>),
    /// The SHA-256 of what the storage has.
    Large(String),
}

#[derive(Debug, Clone, Default)]
pub struct Repository {
    pub private: bool,
    /// Commits by branch, the first one first.
    pub branches: BTreeMap<String, Vec<Commit>>,
}

#[derive(Debug, Clone)]
pub struct Commit {
    pub id: String,
    pub message: String,
    pub files: BTreeMap<String, Blob>,
}

#[derive(Default)]
pub struct State {
    pub repos: BTreeMap<String, Repository>,
    /// The storage, by SHA-256.
    pub stored: BTreeMap<String, Vec<u8>>,
    parts: BTreeMap<(String, usize), Vec<u8>>,
    /// The size of parts, where large files are to come in parts.
    pub chunk: Option<usize>,
    /// A pattern of a `.gitignore`: the end of a name.
    pub ignored: Option<String>,
    /// Answers that are given once instead: for a method and a part of the address.
    instead: Vec<(String, String, Answer)>,
    /// After how many bytes of the body the next uploads to the storage are cut.
    pub cuts: Vec<usize>,
    /// Whether the next commit is made without its answer arriving.
    pub lose_answer: bool,
    commits: usize,
}

pub struct ModelHub {
    pub server: Server,
    pub storage: Server,
    state: Arc<Mutex<State>>,
}

impl ModelHub {
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let (cutting, storing) = (Arc::clone(&state), Arc::clone(&state));
        let storage = Server::start_cutting(
            move |asked| {
                let mut state = cutting.lock().unwrap();
                (asked.method == "PUT" && !state.cuts.is_empty()).then(|| state.cuts.remove(0))
            },
            move |asked| storing.lock().unwrap().storage(asked),
        );
        let (url, serving) = (storage.url.clone(), Arc::clone(&state));
        let server = Server::start(move |asked| serving.lock().unwrap().hub(asked, &url));
        Self { server, storage, state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Gives this answer once, to a request with this method whose address contains `part`.
    pub fn instead(&self, method: &str, part: &str, answer: Answer) {
        self.state().instead.push((method.into(), part.into(), answer));
    }

    /// A file of a branch, with the contents that the storage has.
    pub fn file(&self, id: &str, branch: &str, path: &str) -> Option<Vec<u8>> {
        let state = self.state();
        match state.repos.get(id)?.branches.get(branch)?.last()?.files.get(path)? {
            Blob::Small(bytes) => Some(bytes.clone()),
            Blob::Large(oid) => Some(state.stored[oid].clone()),
        }
    }

    /// The messages of a branch's commits, the first one first.
    pub fn messages(&self, id: &str, branch: &str) -> Vec<String> {
        let state = self.state();
        let commits = state.repos.get(id).and_then(|repo| repo.branches.get(branch));
        commits.into_iter().flatten().map(|commit| commit.message.clone()).collect()
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What git calls contents.
fn git_oid(bytes: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", bytes.len()));
    hash.update(bytes);
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn ok(value: &Value) -> Answer {
    Answer::new(200).with("Content-Type", "application/json").body(value.to_string())
}

fn error(status: u16, text: &str) -> Answer {
    Answer { status, ..ok(&json!({ "error": text })) }
}

fn json_of(asked: &Asked) -> Value {
    serde_json::from_slice(&asked.body).unwrap()
}

/// The server's own address.
fn home(asked: &Asked) -> String {
    format!("http://{}", asked.header("host").unwrap())
}

/// `%2F` in a revision.
fn decoded(text: &str) -> String {
    text.replace("%2F", "/").replace("%2f", "/")
}

impl State {
    /// A repository with one empty commit, as the Hub makes it.
    pub fn add_repo(&mut self, id: &str, private: bool) {
        let first = self.new_commit("initial commit", BTreeMap::new());
        let branches = BTreeMap::from([("main".to_owned(), vec![first])]);
        self.repos.insert(id.to_owned(), Repository { private, branches });
    }

    fn new_commit(&mut self, message: &str, files: BTreeMap<String, Blob>) -> Commit {
        self.commits += 1;
        let id = sha256(self.commits.to_string().as_bytes())[..40].to_owned();
        Commit { id, message: message.to_owned(), files }
    }

    fn hub(&mut self, asked: &Asked, storage: &str) -> Answer {
        let fits = |(method, part, _): &(String, String, Answer)| {
            *method == asked.method && asked.path.contains(part.as_str())
        };
        if let Some(place) = self.instead.iter().position(fits) {
            return self.instead.remove(place).2;
        }
        let authorized = asked.header("authorization") == Some(&format!("Bearer {TOKEN}"));
        // Python sends no token there.
        let signed = asked.path.ends_with(&format!("/info/lfs/complete?{SIGNATURE}"));
        let path = asked.path.split('?').next().unwrap().to_owned();
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (asked.method.as_str(), parts.as_slice()) {
            ("POST", _) if !authorized && !signed => error(401, "Invalid username or password."),
            ("POST", ["api", "repos", "create"]) => self.create(asked),
            // The Python library has a model card looked at first.
            ("POST", ["api", "validate-yaml"]) => ok(&json!({ "errors": [], "warnings": [] })),
            ("POST", [org, name, "info", "lfs", rest @ ..]) => {
                let id = format!("{org}/{}", name.trim_end_matches(".git"));
                self.lfs(asked, &id, rest, storage)
            }
            (method, ["api", "models", org, name, rest @ ..]) => {
                let id = format!("{org}/{name}");
                let seen = self.repos.get(&id).is_some_and(|repo| !repo.private || authorized);
                match (method, rest) {
                    _ if !seen => Answer::refusal(404, "RepoNotFound"),
                    ("POST", ["branch", branch]) => self.create_branch(&id, &decoded(branch)),
                    ("POST", ["preupload", revision]) => {
                        self.preupload(asked, &id, &decoded(revision))
                    }
                    ("POST", ["commit", revision]) => self.commit(asked, &id, &decoded(revision)),
                    (_, []) => self.info(&id, "main"),
                    (_, ["revision", revision]) => self.info(&id, &decoded(revision)),
                    (_, ["tree", revision]) => self.tree(&id, &decoded(revision)),
                    _ => Answer::new(404),
                }
            }
            (_, [org, name, "resolve", revision, file @ ..]) => {
                let id = format!("{org}/{name}");
                let seen = self.repos.get(&id).is_some_and(|repo| !repo.private || authorized);
                if !seen {
                    return Answer::refusal(404, "RepoNotFound");
                }
                self.resolve(asked, &id, &decoded(revision), &file.join("/"), storage)
            }
            _ => Answer::new(404),
        }
    }

    fn create(&mut self, asked: &Asked) -> Answer {
        let body = json_of(asked);
        assert_eq!(body["type"].as_str().unwrap_or("model"), "model");
        let organization = body["organization"].as_str().expect("an organization");
        let id = format!("{organization}/{}", body["name"].as_str().unwrap());
        if organization == "theirs" {
            return error(403, "You don't have the rights to create a model under \"theirs\"");
        }
        if self.repos.contains_key(&id) {
            return error(409, "You already created this model repo");
        }
        let private = body["private"] == true || body["visibility"] == "private";
        self.add_repo(&id, private);
        ok(&json!({ "url": format!("{}/{id}", home(asked)), "name": id }))
    }

    fn create_branch(&mut self, id: &str, branch: &str) -> Answer {
        let branches = &mut self.repos.get_mut(id).unwrap().branches;
        if branches.contains_key(branch) {
            return error(409, "Reference already exists");
        }
        let commits = branches["main"].clone();
        branches.insert(branch.to_owned(), commits);
        ok(&json!({}))
    }

    /// A branch's last commit, or a commit by its hash.
    fn at(&self, id: &str, revision: &str) -> Option<&Commit> {
        let branches = &self.repos[id].branches;
        let last = branches.get(revision).and_then(|commits| commits.last());
        last.or_else(|| branches.values().flatten().find(|commit| commit.id == revision))
    }

    fn info(&self, id: &str, revision: &str) -> Answer {
        let Some(commit) = self.at(id, revision) else {
            return Answer::refusal(404, "RevisionNotFound");
        };
        let siblings: Vec<Value> =
            commit.files.keys().map(|path| json!({ "rfilename": path })).collect();
        let private = self.repos[id].private;
        ok(&json!({
            "id": id, "modelId": id, "sha": commit.id, "private": private, "tags": [], "siblings": siblings,
        }))
    }

    fn contents<'a>(&'a self, blob: &'a Blob) -> &'a [u8] {
        match blob {
            Blob::Small(bytes) => bytes,
            Blob::Large(oid) => &self.stored[oid],
        }
    }

    fn tree(&self, id: &str, revision: &str) -> Answer {
        let Some(commit) = self.at(id, revision) else {
            return Answer::refusal(404, "RevisionNotFound");
        };
        let item = |(path, blob): (&String, &Blob)| {
            let bytes = self.contents(blob);
            let (size, oid) = (bytes.len(), git_oid(bytes));
            match blob {
                Blob::Small(_) => {
                    json!({ "type": "file", "path": path, "size": size, "oid": oid })
                }
                Blob::Large(sha) => json!({
                    "type": "file", "path": path, "size": size, "oid": oid,
                    "lfs": { "oid": sha, "size": size, "pointerSize": 130 },
                }),
            }
        };
        ok(&commit.files.iter().map(item).collect())
    }

    fn preupload(&self, asked: &Asked, id: &str, revision: &str) -> Answer {
        let Some(commit) = self.at(id, revision) else {
            return Answer::refusal(404, "RevisionNotFound");
        };
        let answer = |file: &Value| {
            let path = file["path"].as_str().unwrap();
            let size = file["size"].as_u64().unwrap() as usize;
            let sample = STANDARD.decode(file["sample"].as_str().unwrap()).unwrap();
            assert_eq!(sample.len(), size.min(512));
            let oid = commit.files.get(path).map(|blob| match blob {
                Blob::Small(bytes) => git_oid(bytes),
                Blob::Large(oid) => oid.clone(),
            });
            let ignored = self.ignored.as_ref().is_some_and(|end| path.ends_with(end));
            let mode = if size > LARGE { "lfs" } else { "regular" };
            json!({ "path": path, "uploadMode": mode, "shouldIgnore": ignored, "oid": oid })
        };
        let body = json_of(asked);
        let files: Vec<Value> = body["files"].as_array().unwrap().iter().map(answer).collect();
        ok(&json!({ "files": files }))
    }

    fn lfs(&mut self, asked: &Asked, id: &str, rest: &[&str], storage: &str) -> Answer {
        let (body, home) = (json_of(asked), home(asked));
        match rest {
            ["objects", "batch"] => {
                assert_eq!(body["operation"], "upload");
                assert_eq!(body["hash_algo"], "sha256");
                let objects = body["objects"].as_array().unwrap().iter();
                let objects: Vec<Value> =
                    objects.map(|object| self.instruct(object, id, &home, storage)).collect();
                ok(&json!({ "transfer": "basic", "objects": objects }))
            }
            ["verify"] => {
                let stored = self.stored.get(body["oid"].as_str().unwrap());
                let size = stored.map(|bytes| bytes.len() as u64);
                if size == body["size"].as_u64() { ok(&json!({})) } else { error(404, "not there") }
            }
            ["complete"] => {
                let oid = body["oid"].as_str().unwrap();
                let mut whole = Vec::new();
                for part in body["parts"].as_array().unwrap() {
                    let number = part["partNumber"].as_u64().unwrap() as usize;
                    let bytes = &self.parts[&(oid.to_owned(), number)];
                    assert_eq!(part["etag"], format!("\"{}\"", git_oid(bytes)));
                    whole.extend_from_slice(bytes);
                }
                assert_eq!(sha256(&whole), oid);
                self.stored.insert(oid.to_owned(), whole);
                ok(&json!({}))
            }
            _ => Answer::new(404),
        }
    }

    fn instruct(&self, object: &Value, id: &str, home: &str, storage: &str) -> Value {
        let oid = object["oid"].as_str().unwrap();
        let size = object["size"].as_u64().unwrap() as usize;
        if self.stored.contains_key(oid) {
            return json!({ "oid": oid, "size": size });
        }
        let verify = json!({ "href": format!("{home}/{id}.git/info/lfs/verify") });
        let upload = match self.chunk {
            None => json!({ "href": format!("{storage}/{oid}?signature={SIGNATURE}") }),
            Some(chunk) => {
                let mut header = json!({ "chunk_size": chunk.to_string() });
                for number in 1..=size.div_ceil(chunk) {
                    let url = format!("{storage}/{oid}/{number:05}?signature={SIGNATURE}");
                    header[format!("{number:05}")] = url.into();
                }
                let complete = format!("{home}/{id}.git/info/lfs/complete?{SIGNATURE}");
                json!({ "href": complete, "header": header })
            }
        };
        json!({ "oid": oid, "size": size, "actions": { "upload": upload, "verify": verify } })
    }

    fn commit(&mut self, asked: &Asked, id: &str, revision: &str) -> Answer {
        assert_eq!(asked.header("content-type"), Some("application/x-ndjson"));
        let Some(last) = self.at(id, revision) else {
            return Answer::refusal(404, "RevisionNotFound");
        };
        let mut files = last.files.clone();
        let text = String::from_utf8(asked.body.clone()).unwrap();
        let mut message = String::new();
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let value = &line["value"];
            let path = || value["path"].as_str().unwrap().to_owned();
            match line["key"].as_str().unwrap() {
                "header" => message = value["summary"].as_str().unwrap().to_owned(),
                "file" => {
                    let bytes = STANDARD.decode(value["content"].as_str().unwrap()).unwrap();
                    files.insert(path(), Blob::Small(bytes));
                }
                "lfsFile" => {
                    let oid = value["oid"].as_str().unwrap();
                    if !self.stored.contains_key(oid) {
                        return error(400, "LFS object not uploaded");
                    }
                    files.insert(path(), Blob::Large(oid.to_owned()));
                }
                other => panic!("{other}"),
            }
        }
        let commit = self.new_commit(&message, files);
        let oid = commit.id.clone();
        self.repos.get_mut(id).unwrap().branches.get_mut(revision).unwrap().push(commit);
        if std::mem::take(&mut self.lose_answer) {
            return Answer::new(502);
        }
        let url = format!("{}/{id}/commit/{oid}", home(asked));
        ok(&json!({ "success": true, "commitOid": oid, "commitUrl": url }))
    }

    fn resolve(
        &self,
        asked: &Asked,
        id: &str,
        revision: &str,
        path: &str,
        storage: &str,
    ) -> Answer {
        let Some(commit) = self.at(id, revision) else {
            return Answer::refusal(404, "RevisionNotFound");
        };
        let Some(blob) = commit.files.get(path) else {
            return Answer::refusal(404, "EntryNotFound");
        };
        let bytes = self.contents(blob);
        match blob {
            Blob::Small(_) => part_of(asked, bytes)
                .with("X-Repo-Commit", &commit.id)
                .with("ETag", format!("\"{}\"", git_oid(bytes))),
            Blob::Large(oid) => Answer::new(302)
                .with("Location", format!("{storage}/{oid}?signature={SIGNATURE}"))
                .with("X-Repo-Commit", &commit.id)
                .with("X-Linked-Size", bytes.len())
                .with("X-Linked-ETag", format!("\"{oid}\"")),
        }
    }

    fn storage(&mut self, asked: &Asked) -> Answer {
        // As S3: a signature and a token are one too many.
        if asked.header("authorization").is_some() || !asked.path.ends_with(SIGNATURE) {
            return Answer::new(400);
        }
        let path = asked.path.split('?').next().unwrap();
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (asked.method.as_str(), parts.as_slice()) {
            ("PUT", [oid]) if sha256(&asked.body) == *oid => {
                self.stored.insert((*oid).to_owned(), asked.body.clone());
                Answer::new(200)
            }
            ("PUT", [oid, number]) => {
                let place = ((*oid).to_owned(), number.parse().unwrap());
                self.parts.insert(place, asked.body.clone());
                Answer::new(200).with("ETag", format!("\"{}\"", git_oid(&asked.body)))
            }
            (_, [oid]) => match self.stored.get(*oid) {
                Some(bytes) => part_of(asked, bytes).with("ETag", format!("\"{oid}\"")),
                None => Answer::new(404),
            },
            _ => Answer::new(400),
        }
    }
}

/// Bytes, or the part of them that a Range header asks for.
fn part_of(asked: &Asked, bytes: &[u8]) -> Answer {
    match asked.from() {
        Some(from) if from < bytes.len() => Answer::new(206)
            .with("Content-Range", format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len()))
            .body(&bytes[from..]),
        Some(_) => Answer::new(416),
        None => Answer::new(200).body(bytes),
    }
}
