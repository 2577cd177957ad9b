//! References as text.

use longmae_hub::{Reference, RepoKind};

fn parts(text: &str) -> (RepoKind, String, String, Option<String>) {
    let reference: Reference = text.parse().unwrap_or_else(|error| panic!("{error}"));
    let (repo, path) = (reference.repo(), reference.path().map(str::to_owned));
    (repo.kind(), repo.id().to_owned(), reference.revision().to_owned(), path)
}

#[test]
fn forms_that_python_knows() {
    use RepoKind::{Dataset, Model};
    for (text, kind, id, revision, path) in [
        ("hf://org/name", Model, "org/name", "main", None),
        ("hf://models/org/name", Model, "org/name", "main", None),
        ("hf://gpt2", Model, "gpt2", "main", None),
        ("hf://gpt2@v1/config.json", Model, "gpt2", "v1", Some("config.json")),
        ("hf://datasets/mnist", Dataset, "mnist", "main", None),
        ("hf://datasets/mnist@main/a/b", Dataset, "mnist", "main", Some("a/b")),
        ("hf://datasets/org/name", Dataset, "org/name", "main", None),
        (
            "hf://datasets/org/name/data/*.parquet",
            Dataset,
            "org/name",
            "main",
            Some("data/*.parquet"),
        ),
        ("hf://org/name@v1.0", Model, "org/name", "v1.0", None),
        ("hf://org/name@a%2Fb/f", Model, "org/name", "a/b", Some("f")),
        (
            "hf://org/name@refs%2Fconvert%2Fparquet/f",
            Model,
            "org/name",
            "refs/convert/parquet",
            Some("f"),
        ),
        (
            "hf://org/name@refs/convert/parquet/f",
            Model,
            "org/name",
            "refs/convert/parquet",
            Some("f"),
        ),
        ("hf://org/name@refs/pr/12", Model, "org/name", "refs/pr/12", None),
        ("hf://org/name@refs/heads", Model, "org/name", "refs", Some("heads")),
        ("hf://org/name/file@2.txt", Model, "org/name", "main", Some("file@2.txt")),
        ("hf://org/name/a b.txt", Model, "org/name", "main", Some("a b.txt")),
    ] {
        let expected = (kind, id.to_owned(), revision.to_owned(), path.map(str::to_owned));
        assert_eq!(parts(text), expected, "{text}");
    }
}

#[test]
fn what_is_written_is_read_back() {
    for text in [
        "hf://org/name",
        "hf://gpt2",
        "hf://gpt2@main/config.json",
        "hf://datasets/mnist",
        "hf://datasets/org/name@refs/convert/parquet/default/train/0000.parquet",
        "hf://org/name@feature%2Fx/a/**/b.txt",
        "hf://org/name@100%25",
        "hf://models/datasets/name",
    ] {
        let reference: Reference = text.parse().unwrap();
        assert_eq!(reference.to_string(), text);
    }
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let reference = Reference::new(RepoKind::Model, "gpt2").unwrap();
    assert_eq!(reference.clone().with_path("a").unwrap().to_string(), "hf://gpt2@main/a");
    let pinned = reference.pinned(commit).unwrap();
    assert_eq!(pinned.to_string(), format!("hf://gpt2@{commit}"));
    assert_eq!((pinned.revision(), pinned.commit()), ("main", Some(commit)));
    let branch: Reference = "hf://org/name@dev".parse().unwrap();
    let pinned = branch.pinned(commit).unwrap();
    assert_eq!((pinned.revision(), pinned.commit()), ("dev", Some(commit)));
}

#[test]
fn bad_forms_say_what_is_wrong() {
    for (text, reason) in [
        ("org/name", "lacks `hf://`"),
        ("hf://", "is empty"),
        ("hf://datasets", "missing after `datasets`"),
        ("hf://datasets/", "missing after `datasets`"),
        ("hf://dataset/org/name", "written `datasets/`"),
        ("hf://spaces/org/name", "not supported"),
        ("hf:///etc/passwd", "is empty"),
        ("hf://org/", "is empty"),
        ("hf://org//file", "is empty"),
        ("hf://org/name/", "path: it is empty"),
        ("hf://org/name/a//b", "an empty part"),
        ("hf://org/name//a", "absolute"),
        ("hf://org/name/../other", "`.` or `..`"),
        ("hf://org/../name", "starts or ends with"),
        ("hf://org/na me", "' '"),
        ("hf://org/name ", "' '"),
        ("hf://org/name/file ", "whitespace"),
        ("hf://org/a--b", "`--`"),
        ("hf://org/name@", "it is empty"),
        ("hf://org/name@a b", "whitespace"),
        ("hf://org/name@..%2Fx", "`..`"),
        ("hf://org/name@%2Fx", "absolute"),
        ("hf://org/name@a:b", "`:`"),
        ("hf://org/name@%ff", "UTF-8"),
        ("hf://org/name/data/[a", "glob"),
        ("hf://org/name/a***", "glob"),
    ] {
        let error = text.parse::<Reference>().unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains(text), "{text}: {error}");
    }
}

#[test]
fn paths_mean_files_folders_and_globs() {
    let matches = |path: &str, file: &str| {
        format!("hf://datasets/org/name/{path}").parse::<Reference>().unwrap().matches(file)
    };
    assert!(matches("data", "data/train/a.parquet"));
    assert!(matches("data/a.parquet", "data/a.parquet"));
    assert!(!matches("data/a", "data/a.parquet"));
    assert!(matches("data/*.parquet", "data/a.parquet"));
    assert!(!matches("data/*.parquet", "data/train/a.parquet"));
    assert!(matches("data/**/*.parquet", "data/train/x/a.parquet"));
    assert!(matches("**/train-0000?-of-*.parquet", "d/train-00001-of-00002.parquet"));
    assert!(matches("data[1]/a", "data[1]/a"));
    assert!("hf://org/name".parse::<Reference>().unwrap().matches("anything"));
}
