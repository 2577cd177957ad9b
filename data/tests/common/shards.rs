//! What the tests of sources kept in shards need.
#![allow(dead_code, reason = "each test file takes what it needs")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longmae_data::rng::{Purpose, stream};
use longmae_data::{
    DecodeOptions, Error, Loader, LoaderConfig, LoaderState, Normalize, Pixels, Result, Samples,
    Size, Source, Target, TrainTransform,
};
use rand::Rng;

/// A file of `tests/fixtures/shards`.
pub fn shard(name: &str) -> PathBuf {
    super::fixture("shards").join(name)
}

/// The number of the picture that a sample shows, see `make.py`.
pub fn number(source: &dyn Source, index: usize) -> usize {
    let sample = source.get(index).unwrap();
    let image = sample.image().unwrap();
    let Pixels::U8(pixels) = &image.pixels else { panic!("bytes expected") };
    assert_eq!((image.height, image.width, image.channels), (4, 4, 3));
    let i = pixels[2];
    assert_eq!(pixels, &[10 * i, 255 - 10 * i, i].repeat(16));
    usize::from(i)
}

/// The numbers of all pictures, with the classes.
pub fn contents(source: &dyn Source) -> Vec<(usize, Option<usize>)> {
    let entry = |index: usize| {
        let target = source.target(index).unwrap();
        assert_eq!(source.get(index).unwrap().target, target);
        assert_eq!(source.get(index).unwrap().id, source.id(index));
        (number(source, index), class(&target))
    };
    (0..source.len()).map(entry).collect()
}

pub fn class(target: &Target) -> Option<usize> {
    match target {
        Target::Class(class) => Some(*class),
        _ => None,
    }
}

/// How many samples, bytes, and samples of each class there are.
pub fn summary(source: &dyn Source) -> (usize, BTreeMap<Option<usize>, usize>) {
    let mut classes = BTreeMap::new();
    for index in 0..source.len() {
        *classes.entry(class(&source.target(index).unwrap())).or_default() += 1;
    }
    (source.len(), classes)
}

type Batch = Vec<(String, Option<usize>, Vec<f32>)>;

fn loader(source: &Arc<dyn Source>, start: LoaderState, workers: usize) -> Loader<Batch> {
    let transform = TrainTransform::new(Size::square(3).unwrap(), Normalize::for_channels(3));
    let collate = |samples: Samples| {
        Ok(samples.iter().map(|(i, p)| (i.id.clone(), class(&i.target), p.to_vec())).collect())
    };
    let (epochs, batch_size) = (Some(2), 4);
    let config =
        LoaderConfig { start, workers, epochs, batch_size, group: 4, ..Default::default() };
    Loader::new(Arc::clone(source), Arc::new(transform), collate, config).unwrap()
}

/// Neither workers nor resuming change what is drawn, and an epoch draws each sample once.
pub fn check_loading(source: Arc<dyn Source>) {
    let start = LoaderState::seeded(5);
    let (mut running, mut batches, mut states) =
        (loader(&source, start, 1), Vec::new(), Vec::new());
    let per_epoch = running.batches_per_epoch() as usize;
    loop {
        states.push(running.state());
        let Some(batch) = running.next_batch() else { break };
        batches.push(batch.unwrap());
    }
    assert!(running.corrupt().is_empty(), "{:?}", running.corrupt());
    let mut ids: Vec<_> = batches[..per_epoch].iter().flatten().map(|(id, ..)| id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), per_epoch * 4);
    assert_ne!(batches[..per_epoch], batches[per_epoch..]);
    for workers in [2, 4] {
        let again: Vec<_> = loader(&source, start, workers).map(Result::unwrap).collect();
        assert_eq!(batches, again);
    }
    for (number, state) in states.iter().enumerate() {
        let rest: Vec<_> = loader(&source, *state, 2).map(Result::unwrap).collect();
        assert_eq!(batches[number..], rest, "from {state:?}");
    }
}

/// Decoding that damaged pictures cannot make slow.
pub fn small_pictures() -> DecodeOptions {
    DecodeOptions { max_pixels: 10_000, ..Default::default() }
}

/// Opens and reads everything of a damaged file; how many samples were read, or why it does not open.
fn read_all(open: &dyn Fn(&Path) -> Result<Box<dyn Source>>, path: &Path) -> Result<usize> {
    let source = open(path)?;
    let mut read = 0;
    for index in 0..source.len() {
        match source.get(index).and_then(|sample| sample.image().map(|_| ())) {
            Ok(()) => read += 1,
            Err(Error::Sample { id, .. }) => assert_eq!(id, source.id(index)),
            Err(e) => panic!("not an error of the sample: {e}"),
        }
    }
    Ok(read)
}

/// A file cut at every place that `step` divides: an error that names it, for all but the places that `whole` allows.
pub fn check_truncations(
    bytes: &[u8],
    name: &str,
    step: usize,
    open: &dyn Fn(&Path) -> Result<Box<dyn Source>>,
    whole: &dyn Fn(usize) -> bool,
) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    for len in (0..bytes.len()).step_by(step) {
        std::fs::write(&path, &bytes[..len]).unwrap();
        match read_all(open, &path) {
            Ok(_) => assert!(whole(len), "{name} cut to {len} bytes is taken for whole"),
            Err(e) => {
                assert!(!whole(len), "{name} cut to {len} bytes: {e}");
                assert!(e.to_string().contains(name), "{e}");
            }
        }
    }
}

/// Changes bytes at random, `times` times: errors or samples, quickly, without much memory.
pub fn check_mutations(
    bytes: &[u8],
    name: &str,
    times: u64,
    open: &dyn Fn(&Path) -> Result<Box<dyn Source>>,
) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let (start, mut refused, mut read) = (Instant::now(), 0, 0);
    for seed in 0..times {
        let mut rng = stream(seed, 0, 0, Purpose::Augment);
        let mut bytes = bytes.to_vec();
        // Half of the changes go to the end, where Parquet has its footer.
        let from = if seed % 2 == 0 { 0 } else { bytes.len() / 2 };
        for _ in 0..rng.random_range(1..=4) {
            let place = rng.random_range(from..bytes.len());
            bytes[place] = match rng.random_range(0..4) {
                0 => 0xff,
                1 => 0,
                _ => rng.random(),
            };
        }
        std::fs::write(&path, &bytes).unwrap();
        let one = Instant::now();
        match read_all(open, &path) {
            Ok(samples) => read += samples,
            Err(_) => refused += 1,
        }
        assert!(
            one.elapsed() < Duration::from_secs(20),
            "{name}, seed {seed}: {:?}",
            one.elapsed()
        );
    }
    assert!(refused > 0 && read > 0, "{name}: {refused} refused, {read} samples read");
    assert!(start.elapsed() < Duration::from_secs(300), "{name}: {:?}", start.elapsed());
    if let Some(peak) = peak_memory() {
        assert!(peak < 1 << 30, "{name}: {peak} bytes of memory");
    }
}

/// The most memory that this process has had, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024)
}
