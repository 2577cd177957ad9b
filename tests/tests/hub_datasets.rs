//! Datasets of the Hugging Face Hub by name, against a server that stands in for it.

#[path = "../../hub/tests/common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Answer, Asked, COMMIT, File, Server, TOKEN, hub, names};
use longmae_data::{
    DecodeOptions, Error, OpenOptions, ParquetFiles, Pixels, Result, Source, Spec, Target,
    WebDataset,
};
use longmae_hub::Hub;

/// The commit that `refs/convert/parquet` stands for.
const CONVERTED: &str = "89abcdef0123456789abcdef0123456789abcdef";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/tests/fixtures/shards").join(name)
}

/// A fixture as the file `path` of the dataset.
fn file(path: &str, name: &str) -> File {
    File { path: path.into(), bytes: std::fs::read(fixture(name)).unwrap(), large: true }
}

/// A server of these files.
fn serve(files: Vec<File>) -> Server {
    Server::start(move |asked| hub(asked, &files))
}

/// Opens a dataset by its name, as a command line gives it.
fn open(text: &str, hub: Hub) -> Result<Arc<dyn Source>> {
    let options = OpenOptions { hub: Some(Arc::new(hub)), ..OpenOptions::default() };
    text.parse::<Spec>()?.open(&options)
}

/// Opens it with a cache of its own.
fn open_new(text: &str, server: &Server) -> (Result<Arc<dyn Source>>, tempfile::TempDir) {
    let cache = tempfile::tempdir().unwrap();
    (open(text, server.client(cache.path()).build().unwrap()), cache)
}

/// Targets and pixels of all samples.
fn contents(source: &dyn Source) -> Vec<(Target, Pixels)> {
    let sample = |index| {
        let sample = source.get(index).unwrap();
        (sample.target.clone(), sample.image().unwrap().pixels.clone())
    };
    (0..source.len()).map(sample).collect()
}

/// What a Parquet fixture holds.
fn parquet(name: &str) -> Vec<(Target, Pixels)> {
    let source = ParquetFiles::open_files(vec![fixture(name)], DecodeOptions::default()).unwrap();
    contents(&source)
}

fn message(result: Result<Arc<dyn Source>>) -> String {
    result.err().expect("an error").to_string()
}

#[test]
fn splits_are_read_and_train_is_the_default() {
    let server = serve(vec![
        File::small("README.md", "about"),
        file("data/train-00000-of-00002.parquet", "hub.parquet"),
        file("data/train-00001-of-00002.parquet", "hub.parquet"),
        file("data/test-00000-of-00001.parquet", "zstd.parquet"),
    ]);
    let hub_file = parquet("hub.parquet");
    let (train, _cache) = open_new("hf://datasets/org/data", &server);
    let train = train.unwrap();
    assert_eq!(contents(&*train), [&hub_file[..], &hub_file[..]].concat());
    assert_eq!(train.classes(), ["cat", "dog", "owl"]);
    assert!(train.id(10).ends_with("train-00001-of-00002.parquet#0"), "{}", train.id(10));
    // Nothing is fetched that is not wanted.
    assert_eq!((server.count("GET", "test-0"), server.count("GET", "README.md")), (0, 0));

    let (test, _cache) = open_new("hf://datasets/org/data#test", &server);
    assert_eq!(contents(&*test.unwrap()), parquet("zstd.parquet"));
    // Of a path's files too.
    let (test, _cache) = open_new("hf://datasets/org/data/data#test", &server);
    assert_eq!(contents(&*test.unwrap()), parquet("zstd.parquet"));
    assert_eq!(
        open_new("hf://datasets/org/data/data", &server).0.unwrap().len(),
        20 + hub_file.len()
    );
    let one = "hf://datasets/org/data/data/train-00001-of-00002.parquet";
    assert_eq!(open_new(one, &server).0.unwrap().len(), 10);
    let joined = "hf://datasets/org/data;2*hf://datasets/org/data#test";
    let draws: Vec<_> =
        open_new(joined, &server).0.unwrap().parts().iter().map(|part| part.draws()).collect();
    assert_eq!(draws, [20, 20]);

    let said = message(open_new("hf://datasets/org/data#validation", &server).0);
    assert!(said.contains("no file of a split `validation` (found data/t"), "{said}");
    let said = message(open_new("hf://datasets/org/data@v9", &server).0);
    assert!(said.contains("no revision `v9`"), "{said}");
    let said = message(open_new("hf://org/model", &server).0);
    assert!(said.contains("a dataset is hf://datasets/ORG/NAME"), "{said}");
}

#[test]
fn configurations_are_refused_until_one_is_named() {
    let server = serve(vec![
        file("fine/train-0.parquet", "hub.parquet"),
        file("coarse/train-0.parquet", "zstd.parquet"),
    ]);
    let (several, cache) = open_new("hf://datasets/org/data", &server);
    let said = message(several);
    assert!(said.contains("several configurations (coarse, fine)"), "{said}");
    assert!(said.contains("as in hf://datasets/org/data/FOLDER"), "{said}");
    // Only lists were asked for.
    assert!(names(cache.path()).iter().all(|name| !name.contains("blobs")));
    let (fine, _cache) = open_new("hf://datasets/org/data/fine", &server);
    assert_eq!(contents(&*fine.unwrap()), parquet("hub.parquet"));
}

#[test]
fn tars_are_read_where_there_is_no_parquet_file() {
    let server = serve(vec![
        file("train/a.tar", "pax.tar"),
        file("train/b.tar.gz", "gnu.tar.gz"),
        file("val/a.tar", "pax.tar"),
    ]);
    let (train, _cache) = open_new("hf://datasets/org/data", &server);
    let files = vec![fixture("pax.tar"), fixture("gnu.tar.gz")];
    let expected = WebDataset::open_files(files, DecodeOptions::default()).unwrap();
    assert_eq!(contents(&*train.unwrap()), contents(&expected));
    let (val, _cache) = open_new("hf://datasets/org/data#val", &server);
    assert_eq!(val.unwrap().len(), 7);
}

/// What the Hub answers if `main` has these files and `refs/convert/parquet` those.
fn two_revisions(asked: &Asked, main: &[File], converted: &[File]) -> Answer {
    if asked.path.ends_with("/revision/refs%2Fconvert%2Fparquet") {
        return Answer::new(200).body(format!(r#"{{"sha":"{CONVERTED}","private":false}}"#));
    }
    if !asked.path.contains(CONVERTED) {
        return hub(asked, main);
    }
    let asked = Asked { path: asked.path.replace(CONVERTED, COMMIT), ..asked.clone() };
    let mut answer = hub(&asked, converted);
    for (_, value) in answer.headers.iter_mut().filter(|(_, value)| value == COMMIT) {
        *value = CONVERTED.into();
    }
    answer
}

#[test]
fn the_hubs_own_conversion_is_read_where_the_dataset_has_no_file() {
    let converted = || vec![file("plain_text/train/0000.parquet", "hub.parquet")];
    let main = || vec![File::small("README.md", "about"), File::small("data.py", "pass")];
    let server = Server::start(move |asked| two_revisions(asked, &main(), &converted()));
    let (source, cache) = open_new("hf://datasets/org/data", &server);
    assert_eq!(contents(&*source.unwrap()), parquet("hub.parquet"));
    let snapshot = format!("snapshots/{CONVERTED}/plain_text/train/0000.parquet");
    let left = names(cache.path());
    assert!(left.iter().any(|name| name.ends_with(&snapshot)), "{left:?}");
    let offline = server.client(cache.path()).offline(true).build().unwrap();
    let source = open("hf://datasets/org/data", offline).unwrap();
    assert_eq!(contents(&*source), parquet("hub.parquet"));

    // Neither here nor there.
    let server =
        Server::start(|asked| two_revisions(asked, &[File::small("README.md", "about")], &[]));
    let said = message(open_new("hf://datasets/org/data", &server).0);
    assert!(said.contains("no Parquet file and no tar (found README.md)"), "{said}");
}

#[test]
fn that_there_is_no_conversion_is_not_guessed() {
    for (answer, expected) in [
        (Answer::refusal(404, "RevisionNotFound"), "no Parquet file and no tar (found README.md)"),
        (Answer::new(404), "no Parquet file and no tar (found README.md)"),
        (Answer::new(429), "fewer requests (status 429)"),
        (Answer::new(403), "forbids access"),
    ] {
        let server = Server::start(move |asked| match asked.path.contains("convert") {
            true => answer.clone(),
            false => hub(asked, &[File::small("README.md", "about")]),
        });
        let said = message(open_new("hf://datasets/org/data", &server).0);
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_cut_connection_is_resumed() {
    let count = AtomicUsize::new(0);
    let files = vec![file("data/train-0.parquet", "hub.parquet")];
    let server = Server::start(move |asked| {
        let answer = hub(asked, &files);
        let is_file = asked.method == "GET" && asked.path.ends_with(".parquet");
        match is_file && count.fetch_add(1, Ordering::SeqCst) == 0 {
            true => answer.cut(2000),
            false => answer,
        }
    });
    let (source, _cache) = open_new("hf://datasets/org/data", &server);
    assert_eq!(contents(&*source.unwrap()), parquet("hub.parquet"));
    let asked = server.asked();
    let starts: Vec<_> = asked
        .iter()
        .filter(|asked| asked.method == "GET" && asked.path.ends_with(".parquet"))
        .map(Asked::from)
        .collect();
    assert_eq!(starts, [None, Some(2000)]);
}

#[test]
fn offline_the_cache_is_read_and_what_it_lacks_is_named() {
    let cache = tempfile::tempdir().unwrap();
    let server = serve(vec![
        file("data/train-0.parquet", "hub.parquet"),
        file("data/test-0.parquet", "zstd.parquet"),
    ]);
    let client = |offline| server.client(cache.path()).offline(offline).build().unwrap();
    let name = "hf://datasets/org/data";
    let said = message(open(name, client(true)));
    let folder = cache.path().join("datasets--org--data").display().to_string();
    for part in ["offline", "dataset `org/data`", "`main`", &folder] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(server.asked().is_empty());

    let online = contents(&*open(name, client(false)).unwrap());
    let before = server.asked().len();
    assert_eq!(contents(&*open(name, client(true)).unwrap()), online);
    // The list is kept, the other split's file was never fetched.
    let said = message(open(&format!("{name}#test"), client(true)));
    assert!(said.contains("the file `data/test-0.parquet`") && said.contains("offline"), "{said}");
    assert_eq!(server.asked().len(), before);
}

#[test]
fn a_bad_token_says_so() {
    let server = Server::start(|_| {
        Answer::new(401).with("X-Error-Message", "Invalid credentials in Authorization header")
    });
    let cache = tempfile::tempdir().unwrap();
    let client = server.client(cache.path()).token(TOKEN).build().unwrap();
    let error = open("hf://datasets/org/data", client).err().unwrap();
    assert!(matches!(error, Error::Hub(longmae_hub::Error::BadToken { .. })), "{error:?}");
    let said = format!("{error} {error:?}");
    assert!(said.contains("token") && !said.contains(TOKEN), "{said}");
}

#[test]
fn hostile_names_are_refused() {
    for name in ["../train-0.parquet", "/etc/train.parquet", "data/../../train.parquet"] {
        let server = serve(vec![file(name, "hub.parquet")]);
        let (source, cache) = open_new("hf://datasets/org/data", &server);
        let error = source.err().unwrap();
        assert!(matches!(error, Error::Hub(longmae_hub::Error::Name { .. })), "{error:?}");
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(names(cache.path()), [""; 0]);
        assert_eq!(server.count("GET", "/resolve/"), 0);
    }
}

/// What a dataset holds is not trusted either.
#[test]
fn a_file_that_is_no_parquet_file_is_named() {
    let server = serve(vec![file("data/train-0.parquet", "pax.tar")]);
    let said = message(open_new("hf://datasets/org/data", &server).0);
    assert!(said.contains("train-0.parquet: "), "{said}");
}
