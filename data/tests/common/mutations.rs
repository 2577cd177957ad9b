//! Damaging files, to see that whoever reads them bears it.

use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How long one damaged file may keep its reader busy, in a test build on a slow machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// Hands truncations of `bytes` to `read`, a hundred or fewer, and then `count` versions with random damage: bytes
/// replaced, bits flipped, parts removed, doubled or overwritten with what sizes are made of. The damage is the same in
/// each run.
pub fn damaged(name: &str, bytes: &[u8], count: usize, mut read: impl FnMut(&[u8])) {
    let mut timed = |damaged: &[u8], what: &dyn Fn() -> String| {
        let start = Instant::now();
        read(damaged);
        assert!(start.elapsed() < PATIENCE, "{name}, {}: {:?}", what(), start.elapsed());
    };
    for len in (0..bytes.len()).step_by(bytes.len().div_ceil(100).max(1)) {
        timed(&bytes[..len], &|| format!("cut to {len}"));
    }
    for seed in 0..count as u64 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut damaged = bytes.to_vec();
        for _ in 0..rng.random_range(1..=4) {
            damage(&mut damaged, &mut rng);
        }
        timed(&damaged, &|| format!("seed {seed}"));
    }
}

fn damage(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    if bytes.is_empty() {
        return;
    }
    // Half of the damage hits the start, where the headers are.
    let end = if rng.random() { bytes.len().min(64) } else { bytes.len() };
    let at = rng.random_range(0..end);
    let len = rng.random_range(1..=16.min(bytes.len() - at));
    match rng.random_range(0..5) {
        0 => bytes[at] = rng.random(),
        1 => bytes[at] ^= 1 << rng.random_range(0..8),
        2 => drop(bytes.drain(at..at + len)),
        3 => {
            let part = bytes[at..at + len].to_vec();
            bytes.splice(at..at, part);
        }
        _ => {
            let value = [0x00, 0xFF, 0x7F, 0x80][rng.random_range(0..4)];
            bytes[at..at + len.min(4)].fill(value);
        }
    }
}

/// The most memory that this process had so far, in MiB, where the system tells.
pub fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? >> 10)
}
