//! `longmae visualize`: a picture of what an encoder makes of each patch.

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use common::{fails, image_folder, longmae_command, photographs, small, succeeds};
use longmae_data::{DecodeOptions, Image, Pixels, decode};

/// A cell of the picture: images of 32 x 32 are shown five times as large.
const CELL: usize = 160;
const MARGIN: usize = 28;
const GAP: usize = 14;

fn visualize(folder: &Path, args: &[&str]) -> Output {
    let mut command = longmae_command(&[&["visualize"], args].concat());
    command.current_dir(folder).env("RAYON_NUM_THREADS", "1").output().unwrap()
}

fn train(folder: &Path) {
    succeeds(&small(folder, &["--data", "demo", "--max-steps", "1", "--out", "run"]));
}

fn read(path: &Path) -> Image {
    decode(&fs::read(path).unwrap(), &DecodeOptions::default()).unwrap()
}

/// The colours of a panel's patches, row by row, in a picture of so many rows.
fn patches(sheet: &Image, (rows, row): (usize, usize), column: usize) -> Vec<[u8; 3]> {
    let Pixels::U8(bytes) = &sheet.pixels else { panic!("bytes expected") };
    let top = sheet.height - MARGIN - (rows - row) * CELL - (rows - row - 1) * GAP;
    let left = MARGIN + column * (CELL + GAP);
    let patch = CELL / 4;
    let colour = |y: usize, x: usize| {
        let at = ((top + y) * sheet.width + left + x) * 3;
        [bytes[at], bytes[at + 1], bytes[at + 2]]
    };
    (0..16)
        .map(|place| {
            let (y, x) = (place / 4 * patch, place % 4 * patch);
            let first = colour(y, x);
            assert_eq!(colour(y + patch - 1, x + patch - 1), first, "a patch is of one colour");
            first
        })
        .collect()
}

#[test]
fn components_use_the_whole_range_over_all_images() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    train(folder);
    image_folder(folder);
    let count = photographs().len();
    let said = succeeds(&visualize(folder, &["run", "images", "--out", "a.png"]));
    assert!(said.contains("first three principal components"), "{said}");
    let sheet = read(&folder.join("a.png"));
    assert_eq!(sheet.width, 2 * MARGIN + 2 * CELL + GAP);
    let all: Vec<[u8; 3]> = (0..count).flat_map(|row| patches(&sheet, (count, row), 1)).collect();
    for colour in 0..3 {
        let values = || all.iter().map(|rgb| rgb[colour]);
        assert_eq!((values().min(), values().max()), (Some(0), Some(255)));
    }
    let first = fs::read(folder.join("a.png")).unwrap();
    succeeds(&visualize(folder, &["run/encoder.safetensors", "images", "--out", "a.png"]));
    // The title names the weights; the panels are the same.
    assert_eq!(
        patches(&read(&folder.join("a.png")), (count, 3), 1),
        patches(&sheet, (count, 3), 1)
    );
    succeeds(&visualize(folder, &["run", "images", "--out", "a.png"]));
    assert!(fs::read(folder.join("a.png")).unwrap() == first);
}

#[test]
fn attention_has_a_map_a_head() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    train(folder);
    let image = photographs()[0].display().to_string();
    let args = ["run", &image, "--out", "a.png", "--kind", "attention"];
    succeeds(&visualize(folder, &args));
    let sheet = read(&folder.join("a.png"));
    assert_eq!(sheet.width, 2 * MARGIN + 6 * CELL + 5 * GAP);
    for column in 1..6 {
        // The greatest weight is the lightest shade.
        let map = patches(&sheet, (1, 0), column);
        assert!(map.contains(&[252, 253, 191]), "{column}: {map:?}");
        assert!(map.iter().any(|colour| colour != &map[0]), "{column}: {map:?}");
    }
    // Another size has other patches.
    succeeds(&visualize(folder, &[&args[..], &["--image-size", "64x96"]].concat()));
    assert_eq!(read(&folder.join("a.png")).width, 2 * MARGIN + 6 * 192 + 5 * GAP);
}

#[test]
fn mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    train(folder);
    image_folder(folder);
    fs::write(folder.join("text.png"), "no image").unwrap();
    for (args, code, parts) in [
        (&["run"][..], 2, &["<IMAGE>"][..]),
        (&["run", "images"], 2, &["--out"]),
        (&["run", "images", "--out", "a.jpg"], 2, &["a.jpg", ".png"]),
        (&["run", "images", "--out", "none/a.png"], 1, &["none/a.png", "no such folder"]),
        (&["run", "images", "--out", "a.png", "--kind", "tsne"], 2, &["tsne", "pca"]),
        (&["run", "images", "--out", "a.png", "--image-size", "30"], 1, &["30"]),
        (&["none", "images", "--out", "a.png"], 1, &["none"]),
        (&["run", "absent.jpg", "--out", "a.png"], 1, &["absent.jpg"]),
        (&["run", "text.png", "--out", "a.png"], 1, &["text.png"]),
        (&["run", "images/absent", "--out", "a.png"], 1, &["images/absent"]),
    ] {
        fails(&visualize(folder, args), code, parts);
        assert!(!folder.join("a.png").exists());
    }
}
