//! Folders of images.

mod common;

use std::fs;
use std::path::Path;

use common::fixture;
use longmae_data::{DecodeOptions, Demo, Error, ImageFolder, Source, Synthetic, Target};

fn put(root: &Path, names: &[&str]) {
    for name in names {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(fixture("rgb.png"), path).unwrap();
    }
}

fn open(root: &Path) -> Result<ImageFolder, Error> {
    ImageFolder::open(root, DecodeOptions::default())
}

fn ids(folder: &ImageFolder) -> Vec<String> {
    (0..folder.len()).map(|i| folder.id(i)).collect()
}

#[test]
fn subfolders_with_images_are_classes_in_the_order_of_their_names() {
    let dir = tempfile::tempdir().unwrap();
    put(
        dir.path(),
        &[
            "b/2.JPG",
            "b/1.png",
            "a-1/x.tiff",
            "a/deep/er/1.webp",
            "a/0.jpeg",
            ".git/1.png",
            "b/.hidden.png",
        ],
    );
    fs::create_dir(dir.path().join("empty")).unwrap();
    fs::write(dir.path().join("b/notes.txt"), "no image").unwrap();
    let folder = open(dir.path()).unwrap();
    assert_eq!(folder.classes(), ["a", "a-1", "b"]);
    assert_eq!(ids(&folder), ["a/0.jpeg", "a/deep/er/1.webp", "a-1/x.tiff", "b/1.png", "b/2.JPG"]);
    let targets: Vec<_> = (0..5).map(|i| folder.get(i).unwrap().target).collect();
    assert_eq!(targets, [0, 0, 1, 2, 2].map(Target::Class));
    assert!(matches!(folder.get(5), Err(Error::NoSuchSample { index: 5, len: 5 })));
}

#[test]
fn an_image_beside_the_subfolders_makes_it_a_plain_folder() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), &["z.png", "a/1.png"]);
    let folder = open(dir.path()).unwrap();
    assert!(folder.classes().is_empty());
    assert_eq!(ids(&folder), ["z.png", "a/1.png"]);
    assert_eq!(folder.get(0).unwrap().target, Target::None);
}

#[test]
fn what_is_no_folder_of_images_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let message = |path: &Path| open(path).unwrap_err().to_string();
    let missing = dir.path().join("missing");
    assert_eq!(message(&missing), format!("{}: no such folder", missing.display()));
    let file = dir.path().join("notes.txt");
    fs::write(&file, "text").unwrap();
    assert_eq!(message(&file), format!("{}: not a folder", file.display()));
    let empty = message(dir.path());
    assert!(
        empty.contains("no image in it or below it")
            && empty.contains(".jpg .jpeg .png .webp .tif .tiff .npy"),
        "{empty}"
    );
}

#[test]
fn a_bad_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("text.jpg"), "I am a text").unwrap();
    let error = open(dir.path()).unwrap().get(0).unwrap().image().unwrap_err().to_string();
    assert!(error.contains("text.jpg: not an image that can be read"), "{error}");
}

#[cfg(unix)]
#[test]
fn links_are_followed_but_not_in_circles() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), &["data/a/1.png", "elsewhere/2.png"]);
    let root = dir.path().join("data");
    std::os::unix::fs::symlink(&root, root.join("a/loop")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("elsewhere"), root.join("b")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("nowhere"), root.join("a/0.png")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("nowhere"), root.join("a/link")).unwrap();
    let folder = open(&root).unwrap();
    assert_eq!(ids(&folder), ["a/0.png", "a/1.png", "b/2.png"]);
    assert!(matches!(folder.get(0), Err(Error::Sample { .. })));
    assert!(folder.get(2).is_ok());
}

#[test]
fn the_demo_photographs_can_be_read() {
    let demo = Demo::new(DecodeOptions::default());
    assert!(demo.len() >= 8);
    for i in 0..demo.len() {
        let sample = demo.get(i).unwrap();
        let image = sample.picture.image().unwrap();
        assert!(image.width >= 224 && image.height >= 224, "{}", sample.id);
    }
}

#[test]
fn synthetic_images_are_the_same_each_time() {
    let source = Synthetic { len: 3, height: 4, width: 5, channels: 2, seed: 9 };
    let image = |index| source.get(index).unwrap().picture.into_image().unwrap();
    assert_eq!(image(1), image(1));
    assert_ne!(image(1), image(2));
    assert!(source.get(3).is_err());
}
