//! Numbers that go bad.

mod common;

use std::fs;
use std::path::Path;

use common::{losses, records, small, stderr, succeeds};

/// An image of 32 x 32 numbers in one band, as NumPy's `save` writes it.
fn npy(path: &Path, pixels: &[f32; 1024]) {
    let mut header = "{'descr': '<f4', 'fortran_order': False, 'shape': (32, 32), }".to_owned();
    header.push_str(&" ".repeat(128 - 10 - 1 - header.len()));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend(pixels.iter().flat_map(|pixel| pixel.to_le_bytes()));
    fs::write(path, bytes).unwrap();
}

/// Twelve images, the fifth with one pixel of another value.
fn images(folder: &Path, planted: f32) {
    let folder = folder.join("images");
    fs::create_dir_all(&folder).unwrap();
    for image in 0..12 {
        let mut pixels = [0.0; 1024];
        for (i, pixel) in pixels.iter_mut().enumerate() {
            *pixel = ((i * (image + 3)) % 97) as f32 / 97.0;
        }
        if image == 5 {
            pixels[500] = planted;
        }
        npy(&folder.join(format!("image-{image:02}.npy")), &pixels);
    }
}

const RUN: [&str; 11] = [
    "--data",
    "images",
    "--channels",
    "1",
    "--epochs",
    "3",
    "--save-every",
    "1",
    "--keep",
    "99",
    "--flip",
];

fn weights(run: &Path, step: usize) -> Vec<u8> {
    let path = run.join(format!("checkpoints/step-{step:08}/model.safetensors"));
    let bytes = fs::read(path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[8 + header..].to_vec()
}

/// The whole image is taken, so that its bad pixel is in every epoch.
#[test]
fn a_bad_pixel_costs_its_steps_and_nothing_else() {
    for (name, planted) in [("nan", f32::NAN), ("inf", f32::INFINITY), ("huge", f32::MAX)] {
        let folder = tempfile::tempdir().unwrap();
        images(folder.path(), planted);
        let args = [&RUN[..], &["--crop", "none", "--out", "run"]].concat();
        let output = small(folder.path(), &args);
        let said = succeeds(&output);
        let run = folder.path().join("run");
        let skipped = records(&run, "skip");
        assert_eq!(skipped.len(), 3, "{name}: once an epoch\n{said}\n{}", stderr(&output));
        assert_eq!(losses(&run).len(), 6, "{name}");
        assert!(losses(&run).iter().all(|(_, loss)| loss.is_finite()), "{name}");
        assert!(said.contains("3 steps skipped"), "{name}: {said}");
        let log = fs::read_to_string(run.join("log.txt")).unwrap();
        let warnings: Vec<&str> = log.lines().filter(|line| line.contains("not finite,")).collect();
        assert_eq!(warnings.len(), 3, "{log}");
        assert!(warnings.iter().all(|line| line.contains("image-05.npy")), "{name}: {log}");
        for step in skipped.iter().map(|line| line["step"].as_u64().unwrap() as usize) {
            if step > 1 {
                let before = weights(&run, step - 1);
                assert!(before == weights(&run, step), "{name}: step {step} moved weights");
            }
        }
    }
}

#[test]
fn numbers_that_stay_bad_end_the_run_and_keep_its_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    images(folder.path(), 0.5);
    let args = [&RUN[..], &["--crop", "none", "--out", "run"]].concat();
    succeeds(&small(folder.path(), &args));
    let run = folder.path().join("run");
    let before = weights(&run, 9);
    // Every image goes bad after step 9; the run is to go on for more epochs.
    for image in 0..12 {
        npy(&folder.path().join(format!("images/image-{image:02}.npy")), &[f32::NAN; 1024]);
    }
    let more = ["--resume", "run", "--epochs", "10", "--allow-changes", "epochs"];
    let output = common::pretrain(folder.path(), &more);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    let last = text.lines().last().unwrap();
    for part in ["error: the run ended early", "10 steps in a row", "image-", "--resume run"] {
        assert!(last.contains(part), "`{part}` is not in {last}");
    }
    assert!(!text.contains("panicked"), "{text}");
    assert!(before == weights(&run, 9), "the last good checkpoint is as it was");
}
