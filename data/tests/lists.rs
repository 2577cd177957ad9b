//! Lists of paths, and data sets by name.

mod common;

use std::fs;
use std::path::Path;

use common::fixture;
use longmae_data::{DecodeOptions, Error, OpenOptions, PathList, Source, Spec, Target};

fn list(text: &str) -> Result<PathList, Error> {
    PathList::from_text(text.as_bytes(), Path::new("/data/list.txt"), DecodeOptions::default())
}

fn entries(text: &str) -> Vec<(String, Target)> {
    let list = list(text).unwrap();
    (0..list.len()).map(|i| (list.id(i), list.target(i).unwrap())).collect()
}

#[test]
fn lines_are_paths_and_perhaps_classes() {
    let text = "\u{FEFF}# images\n\na/1.jpg\t3\r\n  b 2.png   0 \n/c.tif 12\nd 7\t1\n";
    let expected = [("a/1.jpg", 3), ("b 2.png", 0), ("/c.tif", 12), ("d 7", 1)];
    assert_eq!(
        entries(text),
        expected.map(|(name, class)| (name.to_owned(), Target::Class(class)))
    );
    let expected = ["a.jpg", "my photo.png"].map(|name| (name.to_owned(), Target::None));
    assert_eq!(entries("a.jpg\nmy photo.png"), expected);
    let list = list("a.jpg\n/b.jpg").unwrap();
    assert_eq!(list.path(0).unwrap(), Path::new("/data/a.jpg"));
    assert_eq!(list.path(1).unwrap(), Path::new("/b.jpg"));
    assert!(matches!(list.get(2), Err(Error::NoSuchSample { index: 2, len: 2 })));
}

#[test]
fn wrong_lines_are_named() {
    for (text, line) in [
        ("a.jpg\tcat", 1),
        ("a.jpg 1\nb.jpg", 2),
        ("# none\na.jpg\n\nb.jpg 1", 4),
        ("a.jpg -1", 1),
        ("a.jpg 99999999999999999999999", 1),
        ("a.jpg\t16777216", 1),
        ("a\tb\t1", 1),
    ] {
        let error = list(text).err().unwrap_or_else(|| panic!("{text:?}")).to_string();
        assert!(error.starts_with(&format!("/data/list.txt, line {line}: ")), "{error}");
    }
    assert!(list("\n# nothing\n").is_err());
    let bad = PathList::from_text(b"a\n\xFF", Path::new("l"), DecodeOptions::default());
    assert_eq!(bad.unwrap_err().to_string(), "l, line 2: it is not UTF-8");
}

#[test]
fn images_are_found_beside_the_list() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::copy(fixture("rgb.png"), dir.path().join("sub/1.png")).unwrap();
    fs::copy(fixture("array_u1.npy"), dir.path().join("2.npy")).unwrap();
    let path = dir.path().join("list.txt");
    fs::write(&path, "sub/1.png 5\n2.npy 6\nmissing.png 7\n").unwrap();
    let spec: Spec = format!("list:{}", path.display()).parse().unwrap();
    assert_eq!(spec.to_string(), format!("list:{}", path.display()));
    let source = spec.open(&OpenOptions::default()).unwrap();
    assert_eq!((source.len(), source.id(0)), (3, "sub/1.png".into()));
    assert!(source.get(0).unwrap().image().is_ok());
    assert_eq!(source.get(1).unwrap().image().unwrap().width, 5);
    assert_eq!(source.target(1).unwrap(), Target::Class(6));
    assert!(matches!(source.get(2), Err(Error::Sample { .. })));
}
