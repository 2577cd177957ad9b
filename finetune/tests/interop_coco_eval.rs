//! COCO's figures of two thousand random cases against pycocotools' (`fixtures/make_coco_eval.py`).

mod common;

use std::fs;
use std::process::Command;

use common::coco::assert_all_equal;

#[test]
#[allow(clippy::print_stderr, reason = "a skipped test says so")]
fn two_thousand_random_cases_are_as_in_pycocotools() {
    let Some(python) = std::env::var_os("LONGMAE_PYTHON").filter(|path| !path.is_empty()) else {
        eprintln!("skipped: set LONGMAE_PYTHON to a Python with tests/interop/requirements.txt");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("cases.json.gz");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/make_coco_eval.py");
    let made = Command::new(python)
        .args([script, "--count", "2000", "--seed", "1", "--out"])
        .arg(&out)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut text = String::new();
    let mut file = flate2::read::GzDecoder::new(fs::File::open(out).unwrap());
    std::io::Read::read_to_string(&mut file, &mut text).unwrap();
    assert_eq!(assert_all_equal(&text), 2000);
}
