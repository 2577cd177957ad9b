//! Every kind of source: a run that goes on in a new process gives the very batches that were next, and ranks share
//! an epoch.

#[path = "common/child.rs"]
mod child;
mod common;
#[path = "common/every_source.rs"]
mod every_source;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use common::shards::class;
use every_source::Described;
use longmae_data::rng::Purpose;
use longmae_data::{
    Loader, LoaderConfig, LoaderState, Normalize, Part, Samples, Size, TrainTransform,
};
use rand::RngCore;
use serde_json::json;

/// Samples a batch.
const BATCH: usize = 4;
/// Batches compared after each of five stops: 1,000 samples in all.
const COMPARED: usize = 50;

/// Names, classes, pixels to the bit, and what a mask would be drawn from.
fn digest(samples: &Samples) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (item, pixels) in samples.iter() {
        (&item.id, class(&item.target)).hash(&mut hasher);
        pixels.iter().for_each(|value| value.to_bits().hash(&mut hasher));
        let mut rng = item.rng(Purpose::Mask);
        [(); 4].map(|()| rng.next_u64()).hash(&mut hasher);
    }
    hasher.finish()
}

fn transform(channels: usize) -> Arc<TrainTransform> {
    let size = Size::square(8).unwrap();
    Arc::new(TrainTransform::new(size, Normalize::for_channels(channels)))
}

fn loader(described: &Described, start: LoaderState, workers: usize) -> Loader<u64> {
    let config =
        LoaderConfig { start, workers, batch_size: BATCH, group: BATCH, ..Default::default() };
    let collate = |samples: Samples| Ok(digest(&samples));
    Loader::new(described.open(), transform(described.channels), collate, config).unwrap()
}

fn next(loader: &mut Loader<u64>, count: usize) -> Vec<u64> {
    (0..count).map(|_| loader.next_batch().unwrap().unwrap()).collect()
}

/// In the child: what comes after each of the states, with another number of workers each.
fn go_on(task: &serde_json::Value) {
    let described = Described::from_json(&task["source"]);
    let states: Vec<LoaderState> = serde_json::from_value(task["states"].clone()).unwrap();
    let after: Vec<_> = states
        .into_iter()
        .zip([2, 3, 4, 5, 6])
        .map(|(state, workers)| next(&mut loader(&described, state, workers), COMPARED))
        .collect();
    child::answer(&json!(after));
}

#[test]
fn a_new_process_goes_on_with_the_very_next_batch() {
    if let Some(task) = child::task() {
        return go_on(&task);
    }
    let folder = tempfile::tempdir().unwrap();
    for described in every_source::write(folder.path()) {
        let mut running = loader(&described, LoaderState::seeded(11), 1);
        let epoch = running.batches_per_epoch() as usize;
        assert!(epoch >= 2, "{}", described.spec);
        // Near the start, in the middle, before an epoch's end, at it, and in a later epoch.
        let stops = [1, epoch / 2, epoch - 1, epoch, 2 * epoch + epoch / 2];
        let (mut states, mut batches) = (vec![running.state()], Vec::new());
        for _ in 0..stops[4] + COMPARED {
            batches.extend(next(&mut running, 1));
            states.push(running.state());
        }
        assert!(running.corrupt().is_empty(), "{:?}", running.corrupt());
        assert_eq!((states[epoch].epoch, states[epoch].position), (1, 0), "{}", described.spec);
        let stopped = stops.map(|stop| states[stop]);
        let task = json!({"source": described.to_json(), "states": stopped});
        let answer = child::run("a_new_process_goes_on_with_the_very_next_batch", &task);
        for (stop, after) in stops.into_iter().zip(answer.as_array().unwrap()) {
            let expected = json!(batches[stop..stop + COMPARED]);
            assert_eq!(*after, expected, "{} after {stop} batches", described.spec);
        }
    }
}

/// The names of all samples that a rank gives out in an epoch.
fn names_of_rank(described: &Described, rank: usize) -> Vec<String> {
    let config = LoaderConfig {
        rank,
        world: 2,
        workers: 2,
        batch_size: BATCH,
        group: 2 * BATCH,
        drop_last: false,
        epochs: Some(1),
        start: LoaderState::seeded(3),
        ..Default::default()
    };
    let collate = |samples: Samples| Ok(samples.items.into_iter().map(|item| item.id).collect());
    let source = described.open();
    let loader: Loader<Vec<String>> =
        Loader::new(source, transform(described.channels), collate, config).unwrap();
    loader.flat_map(Result::unwrap).collect()
}

/// How often a part's sample may be drawn.
fn allowed(part: &Part) -> std::ops::RangeInclusive<usize> {
    part.weight.floor() as usize..=part.weight.ceil() as usize
}

#[test]
fn two_ranks_together_give_each_sample_once() {
    let folder = tempfile::tempdir().unwrap();
    for described in every_source::write(folder.path()) {
        let mut drawn = BTreeMap::<String, usize>::new();
        let ranks = [0, 1].map(|rank| names_of_rank(&described, rank));
        assert!(ranks.iter().all(|names| !names.is_empty()));
        ranks.into_iter().flatten().for_each(|name| *drawn.entry(name).or_default() += 1);
        let source = described.open();
        let parts = source.parts();
        let draws: usize = parts.iter().map(Part::draws).sum();
        assert_eq!(drawn.values().sum::<usize>(), draws, "{}", described.spec);
        for part in parts {
            for index in part.samples.clone() {
                let times = drawn.remove(&source.id(index)).unwrap_or(0);
                assert!(allowed(&part).contains(&times), "{}: {times}", source.id(index));
            }
        }
        assert!(drawn.is_empty(), "{drawn:?}");
    }
}

/// All kinds, so that none is forgotten here when one is added.
#[test]
fn every_kind_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let all = every_source::write(folder.path());
    let specs: Vec<_> = all.iter().map(|described| described.spec.as_str()).collect();
    for kind in ["list:", "wds:", "parquet:", "coco:", "ade20k:", "mnist:", "cifar10:", "demo"] {
        assert!(specs.iter().any(|spec| spec.starts_with(kind)), "{kind}");
    }
    assert!(specs.iter().any(|spec| Path::new(spec).is_dir()) && specs.contains(&"synthetic"));
}
