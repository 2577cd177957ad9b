//! `longmae data`.

mod common;

use common::{image_folder, longmae, longmae_command, stderr, stdout};

#[test]
fn inspect_tells_what_there_is_and_draws_it() {
    let dir = tempfile::tempdir().unwrap();
    let (data, sheet) = (image_folder(dir.path()), dir.path().join("sheet.png"));
    std::fs::write(data.join("broken.png"), "no picture").unwrap();
    let (data, file) = (data.display().to_string(), sheet.display().to_string());
    let args = ["data", "inspect", &data, "--image-size", "32", "--patch-size", "8"];
    let output = longmae(&[&args[..], &["--sheet", &file, "--samples", "3"]].concat());
    let text = stdout(&output);
    assert!(output.status.success(), "{}", stderr(&output));
    for expected in
        ["images       13; looked at 13", "corrupt      1", "broken.png", "JPEG: 12", "--mean 0."]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(std::fs::read(&sheet).unwrap().starts_with(b"\x89PNG"));
}

#[test]
fn bench_prints_one_line_of_json() {
    let args =
        ["data", "bench", "demo", "--image-size", "32", "--batch-size", "4", "--epochs", "2"];
    let output = longmae(&args);
    let text = stdout(&output);
    assert_eq!(text.lines().count(), 1, "{text} {}", stderr(&output));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    for key in ["images_per_second", "decode_images_per_second"] {
        assert!(json[key].as_f64().unwrap() > 0.0, "{json}");
    }
    assert_eq!(json["images"], 12);
}

#[test]
fn mistakes_are_named() {
    for (args, code, expected) in [
        (&["data", "bench", "demo", "--epochs", "1"][..], 2, "epochs 1"),
        (&["data", "inspect", "demo", "--images", "few"], 2, "images `few`"),
        (&["data", "inspect", "demo", "--samples", "0"], 2, "samples 0"),
        (&["data", "inspect", "0*demo"], 2, "weight 0"),
        (&["data", "inspect", "demo;"], 2, "a source is missing"),
        (&["data", "inspect", "/no/such/folder"], 1, "/no/such/folder: no such folder"),
        (&["data", "bench", "demo", "--batch-size", "64"], 1, "an epoch has 12 images"),
    ] {
        let output = longmae(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{args:?}: {}", stderr(&output));
    }
}

/// Offline, what the cache lacks is named; nothing is asked of the network.
#[test]
fn a_dataset_of_the_hub_that_is_not_cached_is_named() {
    let cache = tempfile::tempdir().unwrap();
    let output = longmae_command(&["data", "inspect", "hf://datasets/org/name"])
        .env("HF_HOME", cache.path())
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("org/name") && message.contains("HF_HUB_OFFLINE"), "{message}");
}
