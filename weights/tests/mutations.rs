//! Twenty thousand damaged files of every container: an error or numbers, no panic, little memory.

use candle_core::Device;
use longmae_weights::{Checkpoint, Result};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::Path;

const FILES: [&str; 5] = [
    "pth_expected.safetensors",
    "pth_zip.pth",
    "pth_zip_5.pth",
    "pth_stream.pth",
    "pth_stream_4.pth",
];
/// Far above what files of some kilobytes take, far below what they may claim. This test has a process of its own.
const MOST_MIB: u64 = 64;

/// Damaged versions of each file: 4000, or what `LONGMAE_MUTATIONS` says.
fn count() -> u64 {
    let more = std::env::var("LONGMAE_MUTATIONS").ok().and_then(|text| text.parse().ok());
    more.unwrap_or(4000)
}

/// One to four damages: bytes replaced, a bit flipped, parts removed, doubled, or overwritten with what sizes are made
/// of. A third of them hits the start, a third the end, where headers and directories are.
fn damage(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    for _ in 0..rng.random_range(1..=4) {
        let near = 64.min(bytes.len());
        let at = match rng.random_range(0..3) {
            0 => rng.random_range(0..near),
            1 => bytes.len() - 1 - rng.random_range(0..near),
            _ => rng.random_range(0..bytes.len()),
        };
        let length = rng.random_range(1..=16.min(bytes.len() - at));
        match rng.random_range(0..6) {
            0 => bytes[at] = rng.random(),
            1 => bytes[at] ^= 1 << rng.random_range(0..8),
            2 if bytes.len() > 100 => drop(bytes.drain(at..at + length)),
            3 => {
                let part = bytes[at..at + length].to_vec();
                bytes.splice(at..at, part);
            }
            4 if at > 50 => bytes.truncate(at),
            _ => {
                bytes[at..at + length.min(8)].fill([0x00, 0xff, 0x7f, 0x80][rng.random_range(0..4)])
            }
        }
    }
}

/// Opens a file and reads all of it. What comes out is as large as the table says, and no larger than the file.
fn read(path: &Path, length: usize) -> Result<()> {
    let file = Checkpoint::open(path)?;
    for name in file.names() {
        let tensor = file.tensor(name, &Device::Cpu)?;
        assert_eq!(Some(tensor.dims()), file.shape(name));
        assert!(tensor.elem_count() * tensor.dtype().size_in_bytes() <= length, "{name}");
    }
    Ok(())
}

#[test]
fn twenty_thousand_mutations_end_in_an_error_or_a_success() {
    let folder = tempfile::tempdir().unwrap();
    for name in FILES {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let whole = std::fs::read(fixtures.join(name)).unwrap();
        let (mut opened, mut refused) = (0, 0);
        for seed in 0..count() {
            let mut bytes = whole.clone();
            damage(&mut bytes, &mut ChaCha8Rng::seed_from_u64(seed));
            // A new file each time: to write over one would wait for the disk.
            let path = folder.path().join(format!("file-{seed}"));
            std::fs::write(&path, &bytes).unwrap();
            let result = read(&path, bytes.len());
            std::fs::remove_file(&path).unwrap();
            match result {
                Ok(()) => opened += 1,
                Err(error) => {
                    let text = error.to_string();
                    assert!(
                        text.contains("/file-") && text.len() < 4000,
                        "{name}, seed {seed}: {text}"
                    );
                    refused += 1;
                }
            }
        }
        assert!(
            opened > 100 && refused > 1000,
            "{name}: damage should reach numbers and headers: {opened} opened, {refused} refused"
        );
    }
    assert!(peak_mib().is_none_or(|peak| peak < MOST_MIB), "{:?} MiB", peak_mib());
}

/// The most memory that this process had so far, where the system tells.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? >> 10)
}
