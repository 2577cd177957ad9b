//! Dependencies between the workspace's crates point one way: the list in ARCHITECTURE.md, read off `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Each crate and all of the workspace's crates that it may depend on.
const ALLOWED: [(&str, &[&str]); 12] = [
    ("longmae-ops", &[]),
    ("longmae-patching", &["longmae-ops"]),
    ("longmae-masking", &["longmae-patching"]),
    ("longmae-vit", &["longmae-ops", "longmae-patching"]),
    ("longmae-mae", &["longmae-ops", "longmae-patching", "longmae-masking", "longmae-vit"]),
    ("longmae-weights", &["longmae-patching"]),
    ("longmae-data", &["longmae-hub"]),
    ("longmae-hub", &[]),
    ("longmae-train", &["longmae-ops"]),
    ("longmae-finetune", &["longmae-ops", "longmae-patching", "longmae-vit", "longmae-data"]),
    ("longmae-report", &["longmae-patching"]),
    // An encoder is to be used with these alone.
    ("longmae-examples", &["longmae-vit", "longmae-weights", "longmae-data"]),
];
/// Crates that may depend on everything.
const TOP: [&str; 3] = ["longmae", "longmae-tests", "longmae-benches"];
/// Crates that no light crate may depend on, however far down.
const HEAVY: [&str; 4] = ["clap", "tokio", "image", "zune-jpeg"];

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The workspace's packages.
fn members(metadata: &Value) -> BTreeMap<&str, &Value> {
    let ids: BTreeSet<&str> = metadata["workspace_members"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .filter(|package| ids.contains(package["id"].as_str().unwrap()))
        .map(|package| (package["name"].as_str().unwrap(), package))
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    let metadata = metadata();
    let members = members(&metadata);
    let listed: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).chain(TOP).collect();
    assert_eq!(members.keys().copied().collect::<BTreeSet<_>>(), listed, "crates of the workspace");
    for (name, allowed) in ALLOWED {
        for dependency in members[name]["dependencies"].as_array().unwrap() {
            let on = dependency["name"].as_str().unwrap();
            let for_tests = dependency["kind"].as_str() == Some("dev");
            if members.contains_key(on) && !for_tests {
                assert!(allowed.contains(&on), "{name} depends on {on}");
            }
        }
    }
}

#[test]
fn light_crates_stay_light() {
    for name in [
        "longmae-ops",
        "longmae-patching",
        "longmae-masking",
        "longmae-vit",
        "longmae-mae",
        "longmae-hub",
        "longmae-finetune",
    ] {
        let found = reachable(name);
        assert!(found.contains(name), "{found:?}");
        for heavy in HEAVY {
            assert!(!found.contains(heavy), "{name} reaches {heavy}");
        }
    }
}

/// Names of all packages that a crate's own build reaches, with the features that it asks for: `cargo metadata` would
/// have those of the whole workspace.
fn reachable(from: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(["--package", from, "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn only_tests_benches_and_examples_stay_unpublished() {
    let metadata = metadata();
    for (name, package) in members(&metadata) {
        let private = package["publish"].as_array().is_some_and(Vec::is_empty);
        let expected = ["longmae-tests", "longmae-benches", "longmae-examples"].contains(&name);
        assert_eq!(private, expected, "{name}");
    }
}
