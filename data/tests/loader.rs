//! The loader: order, resuming, corrupt samples, errors.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use longmae_data::rng::Purpose;
use longmae_data::{
    Error, Image, Item, Join, Loader, LoaderConfig, LoaderState, MaxCorrupt, Normalize, Pixels,
    Result, Sample, Samples, Size, Source, Target, TrainTransform, split,
};
use rand::RngCore;

/// Images that know their number; some of them corrupt, some slow.
#[derive(Default)]
struct Numbered {
    len: usize,
    corrupt: Vec<usize>,
    panics: Option<usize>,
    slow: bool,
    read: AtomicUsize,
}

impl Numbered {
    fn new(len: usize) -> Self {
        Self { len, ..Default::default() }
    }
}

impl Source for Numbered {
    fn len(&self) -> usize {
        self.len
    }

    fn id(&self, index: usize) -> String {
        index.to_string()
    }

    fn get(&self, index: usize) -> Result<Sample> {
        self.read.fetch_add(1, Ordering::SeqCst);
        assert_ne!(self.panics, Some(index), "sample {index} panics");
        if self.slow {
            // Uneven, so that batches are finished out of order.
            std::thread::sleep(Duration::from_millis((index as u64 * 7) % 5));
        }
        if self.corrupt.contains(&index) {
            let reason = Box::new(Error::Truncated { format: "JPEG" });
            return Err(Error::Sample { id: self.id(index), reason });
        }
        let pixels = (0..12 * 12 * 3).map(|i| (i * (index + 1)) as u8).collect();
        let image = Image::new(12, 12, 3, Pixels::U8(pixels))?;
        Ok(Sample { id: self.id(index), picture: image.into(), target: Target::Class(index) })
    }
}

/// A batch: for each item its id, position, first pixels, and a number drawn for its mask.
type Batch = Vec<(String, u64, Vec<f32>, u64)>;

fn loader(source: Numbered, config: LoaderConfig) -> Result<Loader<Batch>> {
    loader_of(Arc::new(source), config)
}

fn loader_of(source: Arc<dyn Source>, config: LoaderConfig) -> Result<Loader<Batch>> {
    let transform = TrainTransform::new(Size::new(8, 6)?, Normalize::for_channels(3));
    let collate = |samples: Samples| {
        let entry = |(item, pixels): (&Item, &[f32])| {
            let drawn = item.rng(Purpose::Mask).next_u64();
            (item.id.clone(), item.position, pixels.to_vec(), drawn)
        };
        Ok(samples.iter().map(entry).collect())
    };
    Loader::new(source, Arc::new(transform), collate, config)
}

fn config() -> LoaderConfig {
    LoaderConfig {
        start: LoaderState::seeded(3),
        batch_size: 4,
        group: 8,
        workers: 2,
        epochs: Some(3),
        ..Default::default()
    }
}

fn all(loader: Loader<Batch>) -> Vec<Batch> {
    loader.map(|batch| batch.unwrap()).collect()
}

fn ids(batches: &[Batch]) -> Vec<usize> {
    batches.iter().flatten().map(|(id, ..)| id.parse().unwrap()).collect()
}

#[test]
fn the_number_of_workers_and_the_queue_change_nothing() {
    let run = |workers, queue| {
        let source = Numbered { slow: true, corrupt: vec![2, 9], ..Numbered::new(37) };
        all(loader(source, LoaderConfig { workers, queue, repeat: 2, ..config() }).unwrap())
    };
    let one = run(1, 1);
    assert_eq!(one.len(), 3 * 18);
    assert_eq!(one, run(2, 3));
    assert_eq!(one, run(4, 9));
}

#[test]
fn an_epoch_has_each_sample_once_and_whole_groups_only() {
    let mut loader = loader(Numbered::new(37), config()).unwrap();
    assert_eq!(loader.batches_per_epoch(), 8);
    let epoch = |loader: &mut Loader<Batch>| {
        let batches: Vec<_> = (0..8).map(|_| loader.next_batch().unwrap().unwrap()).collect();
        ids(&batches)
    };
    let (first, second) = (epoch(&mut loader), epoch(&mut loader));
    for ids in [&first, &second] {
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 32);
    }
    assert_ne!(first, second);
    epoch(&mut loader);
    assert!(loader.next_batch().is_none() && loader.next_batch().is_none());
}

#[test]
fn evaluation_sees_everything_in_order() {
    let settings = LoaderConfig { shuffle: false, drop_last: false, epochs: Some(1), ..config() };
    let batches = all(loader(Numbered::new(10), settings).unwrap());
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2]);
    assert_eq!(ids(&batches), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_sample_drawn_again_is_cropped_and_masked_anew() {
    let settings = LoaderConfig { repeat: 3, epochs: Some(1), ..config() };
    let batches = all(loader(Numbered::new(8), settings).unwrap());
    let draws: Vec<_> = batches.iter().flatten().filter(|(id, ..)| id == "5").collect();
    assert_eq!(draws.len(), 3);
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        assert_ne!(draws[a].2, draws[b].2);
        assert_ne!(draws[a].3, draws[b].3);
    }
    // Every pass has every sample.
    for pass in ids(&batches).chunks(8) {
        let mut pass = pass.to_vec();
        pass.sort_unstable();
        assert_eq!(pass, (0..8).collect::<Vec<_>>());
    }
}

#[test]
fn a_loader_goes_on_from_any_state() {
    let source = || Numbered { corrupt: vec![1, 20], ..Numbered::new(37) };
    let whole = all(loader(source(), config()).unwrap());
    let mut running = loader(source(), config()).unwrap();
    for done in 0..whole.len() {
        let state = running.state();
        let saved = serde_json::to_string(&state).unwrap();
        let start = serde_json::from_str(&saved).unwrap();
        let rest = all(loader(source(), LoaderConfig { start, ..config() }).unwrap());
        assert_eq!(rest, whole[done..], "from {state:?}");
        running.next_batch().unwrap().unwrap();
    }
    assert_eq!(running.state(), LoaderState { seed: 3, epoch: 3, position: 0 });
    let wrong = LoaderConfig { start: LoaderState { seed: 3, epoch: 0, position: 3 }, ..config() };
    let message = loader(source(), wrong).err().unwrap().to_string();
    assert!(message.contains("start position 3") && message.contains("batch size 4"), "{message}");
}

#[test]
fn a_corrupt_sample_is_replaced_by_the_next_good_one_and_told_once() {
    let settings = || LoaderConfig { shuffle: false, group: 4, epochs: Some(2), ..config() };
    let source = || Numbered { corrupt: vec![2, 3, 11], ..Numbered::new(12) };
    for workers in [1, 4] {
        let mut loader = loader(source(), LoaderConfig { workers, ..settings() }).unwrap();
        let mut batches = Vec::new();
        let mut told = Vec::new();
        while let Some(batch) = loader.next_batch() {
            batches.push(batch.unwrap());
            told.push(loader.corrupt().len());
        }
        // 2 and 3 are replaced by 4, and 11, at the end, by the first.
        assert_eq!(ids(&batches[..3]), [0, 1, 4, 4, 4, 5, 6, 7, 8, 9, 10, 0]);
        assert_eq!(
            batches[0].iter().map(|(_, position, ..)| *position).collect::<Vec<_>>(),
            [0, 1, 2, 3]
        );
        assert_eq!(told, [2, 2, 3, 3, 3, 3]);
        assert_eq!(loader.corrupt()[0].id, "2");
        assert_eq!(loader.corrupt()[0].reason, "the JPEG file is truncated");
    }
}

#[test]
fn more_corrupt_samples_than_the_limit_are_an_error_at_the_same_batch() {
    let run = |workers| {
        let source = Numbered { corrupt: vec![1, 6, 14, 17], ..Numbered::new(20) };
        let settings = LoaderConfig {
            shuffle: false,
            group: 4,
            workers,
            max_corrupt: MaxCorrupt::Count(2),
            ..config()
        };
        let mut loader = loader(source, settings).unwrap();
        let good =
            std::iter::from_fn(|| loader.next_batch().unwrap().map_err(|e| e.to_string()).ok())
                .count();
        assert!(loader.next_batch().is_none(), "a loader has ended after an error");
        (good, loader.corrupt().to_vec())
    };
    assert_eq!(run(1), run(4));
    assert_eq!(run(1).0, 3);

    let source = Numbered { corrupt: vec![0], ..Numbered::new(8) };
    let settings = LoaderConfig { max_corrupt: MaxCorrupt::Count(0), ..config() };
    let message = loader(source, settings).unwrap().find_map(Result::err).unwrap().to_string();
    assert!(message.contains("corrupt samples: 1, more than the limit of 0"), "{message}");
    assert!(message.contains("0 (the JPEG file is truncated)"), "{message}");
}

#[test]
fn corrupt_samples_are_counted_on_where_a_run_goes_on() {
    let settings = |workers, max| LoaderConfig {
        shuffle: false,
        group: 4,
        workers,
        max_corrupt: MaxCorrupt::Count(max),
        ..config()
    };
    let source = || Numbered { corrupt: vec![1, 6, 14, 17], ..Numbered::new(20) };
    let mut whole = loader(source(), settings(2, 4)).unwrap();
    whole.by_ref().take(2).for_each(|batch| drop(batch.unwrap()));
    let (start, known_corrupt) = (whole.state(), whole.corrupt().to_vec());
    assert_eq!(known_corrupt.len(), 2);
    whole.by_ref().for_each(|batch| drop(batch.unwrap()));
    for workers in [1, 3] {
        let known_corrupt = known_corrupt.clone();
        let on = LoaderConfig { start, known_corrupt, ..settings(workers, 4) };
        let mut rest = loader(source(), on).unwrap();
        rest.by_ref().for_each(|batch| drop(batch.unwrap()));
        assert_eq!(rest.corrupt(), whole.corrupt(), "each once, in the order they were met");
    }
    // The third ends it, as it would have in one go.
    let on = LoaderConfig { start, known_corrupt, ..settings(1, 2) };
    let message = loader(source(), on).unwrap().find_map(Result::err).unwrap().to_string();
    assert!(message.contains("corrupt samples: 3, more than the limit of 2"), "{message}");
}

#[test]
fn nothing_but_corrupt_samples_is_an_error() {
    for max_corrupt in [MaxCorrupt::Count(1_000), MaxCorrupt::Auto, MaxCorrupt::Share(1.0)] {
        let source = Numbered { corrupt: (0..40).collect(), ..Numbered::new(40) };
        let error = loader(source, LoaderConfig { max_corrupt, ..config() })
            .unwrap()
            .next_batch()
            .unwrap()
            .unwrap_err();
        assert!(
            matches!(error, Error::AllCorrupt { .. } | Error::TooManyCorrupt { .. }),
            "{error}"
        );
    }
}

#[test]
fn too_few_samples_and_wrong_settings_say_what_to_do() {
    let message = loader(Numbered::new(5), config()).err().unwrap().to_string();
    assert!(
        message.contains("5 samples")
            && message.contains("takes 8")
            && message.contains("lower the"),
        "{message}"
    );
    assert!(loader(Numbered::new(5), LoaderConfig { repeat: 2, ..config() }).is_ok());
    assert!(loader(Numbered::new(5), LoaderConfig { drop_last: false, ..config() }).is_ok());
    assert!(loader(Numbered::new(0), LoaderConfig { drop_last: false, ..config() }).is_err());
    for wrong in [
        LoaderConfig { workers: 0, ..config() },
        LoaderConfig { queue: 0, ..config() },
        LoaderConfig { batch_size: 0, ..config() },
        LoaderConfig { group: 6, ..config() },
        LoaderConfig { repeat: 0, ..config() },
    ] {
        assert!(matches!(loader(Numbered::new(50), wrong), Err(Error::Setting { .. })));
    }
}

#[test]
fn a_panic_or_an_error_in_a_worker_reaches_the_caller() {
    let source = Numbered { panics: Some(9), ..Numbered::new(16) };
    let settings = LoaderConfig { shuffle: false, group: 4, ..config() };
    let mut panicking = loader(source, settings.clone()).unwrap();
    assert!(panicking.next_batch().unwrap().is_ok() && panicking.next_batch().unwrap().is_ok());
    let message = panicking.next_batch().unwrap().unwrap_err().to_string();
    assert!(message.contains("sample 9 panics"), "{message}");

    let transform =
        Arc::new(TrainTransform::new(Size::square(8).unwrap(), Normalize::for_channels(1)));
    let collate = |_: Samples| Ok(());
    let source: Arc<dyn Source> = Arc::new(Numbered::new(16));
    let mut wrong = Loader::new(Arc::clone(&source), transform, collate, settings.clone()).unwrap();
    let message = wrong.next().unwrap().unwrap_err().to_string();
    assert!(message.contains("0 (the image has 3 channels where 1 are expected)"), "{message}");

    let transform =
        Arc::new(TrainTransform::new(Size::square(8).unwrap(), Normalize::for_channels(3)));
    let collate = |_: Samples| -> Result<(), _> { Err("no room".into()) };
    let mut refused = Loader::new(source, transform, collate, settings).unwrap();
    assert!(refused.next().unwrap().unwrap_err().to_string().contains("no room"));
}

#[test]
fn no_more_is_read_ahead_than_the_queue_allows() {
    let source = Arc::new(Numbered::new(1_000));
    let settings = LoaderConfig { queue: 3, workers: 4, epochs: None, ..config() };
    let mut loader = loader_of(Arc::clone(&source) as Arc<dyn Source>, settings).unwrap();
    for given_out in 0..5 {
        let allowed = 4 * (3 + given_out);
        let deadline = Instant::now() + Duration::from_secs(20);
        while source.read.load(Ordering::SeqCst) < allowed && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(source.read.load(Ordering::SeqCst), allowed);
        loader.next_batch().unwrap().unwrap();
    }
}

#[test]
fn dropping_the_loader_ends_the_workers_soon() {
    let source = Arc::new(Numbered { slow: true, ..Numbered::new(100_000) });
    let settings = LoaderConfig { batch_size: 50_000, group: 50_000, ..config() };
    let loader = loader_of(Arc::clone(&source) as Arc<dyn Source>, settings).unwrap();
    let start = Instant::now();
    drop(loader);
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(Arc::strong_count(&source), 1, "a worker still holds the source");
}

#[test]
fn a_held_out_share_can_be_loaded() {
    let (train, val) = split(Arc::new(Numbered::new(40)), 0.25, 1).unwrap();
    let settings = LoaderConfig { shuffle: false, drop_last: false, epochs: Some(1), ..config() };
    let load = |part| ids(&all(loader_of(Arc::new(part), settings.clone()).unwrap()));
    let (train, val) = (load(train), load(val));
    assert_eq!((train.len(), val.len()), (30, 10));
    assert!(val.iter().all(|id| !train.contains(id)));
}

/// What an optimiser step sees, in the order of positions, whatever number of ranks shares it.
fn steps(world: usize, batch_size: usize, aug_repeats: usize) -> Vec<Batch> {
    let of_rank = |rank| {
        let source = Numbered { corrupt: vec![4], ..Numbered::new(45) };
        let settings = LoaderConfig { rank, world, batch_size, group: 16, aug_repeats, ..config() };
        all(loader(source, settings).unwrap())
    };
    let ranks: Vec<_> = (0..world).map(of_rank).collect();
    let micro = 16 / (batch_size * world);
    let count = ranks[0].len() / micro;
    assert!(ranks.iter().all(|batches| batches.len() == count * micro));
    let step = |step: usize| {
        let batches = ranks.iter().flat_map(|rank| &rank[step * micro..(step + 1) * micro]);
        let mut items: Batch = batches.flatten().cloned().collect();
        items.sort_by_key(|(_, position, ..)| *position);
        items
    };
    (0..count).map(step).collect()
}

#[test]
fn ranks_share_an_epoch_without_overlap_and_without_a_trace() {
    let alone = steps(1, 16, 1);
    assert_eq!(alone.len(), 6);
    for epoch in alone.chunks(2) {
        let mut positions: Vec<_> = epoch.iter().flatten().map(|item| item.1).collect();
        positions.dedup();
        assert_eq!(positions, (0..32).collect::<Vec<_>>());
    }
    for (world, batch_size) in [(1, 4), (2, 8), (2, 2), (4, 4), (16, 1)] {
        assert!(steps(world, batch_size, 1) == alone, "{world} ranks of {batch_size}");
    }
    assert!(steps(4, 2, 3) == steps(1, 16, 3));
}

/// A run that goes on with other ranks goes on with the same samples.
#[test]
fn the_number_of_ranks_may_change_between_steps() {
    let alone = steps(1, 16, 1);
    let start = LoaderState { seed: 3, epoch: 1, position: 16 };
    let of_rank = |rank| {
        let source = Numbered { corrupt: vec![4], ..Numbered::new(45) };
        let settings = LoaderConfig { rank, world: 2, batch_size: 8, group: 16, start, ..config() };
        loader(source, settings).unwrap().next_batch().unwrap().unwrap()
    };
    assert_eq!([of_rank(0), of_rank(1)].concat(), alone[3]);
}

#[test]
fn evaluation_is_shared_to_the_last_sample() {
    for world in [2, 3] {
        let of_rank = |rank| {
            let settings = LoaderConfig {
                shuffle: false,
                drop_last: false,
                epochs: Some(1),
                rank,
                world,
                batch_size: 4,
                group: 4 * world,
                ..config()
            };
            let loader = loader(Numbered::new(18), settings).unwrap();
            let expected = loader.batches_per_epoch();
            let batches = all(loader);
            assert_eq!(batches.len() as u64, expected);
            ids(&batches)
        };
        let mut seen: Vec<_> = (0..world).flat_map(of_rank).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..18).collect::<Vec<_>>());
    }
}

/// Repeated augmentation: side by side, read once, cropped and masked anew.
#[test]
fn repeats_side_by_side_are_read_once() {
    let source = Arc::new(Numbered::new(8));
    let settings = LoaderConfig { aug_repeats: 4, epochs: Some(1), ..config() };
    let loader = loader_of(Arc::clone(&source) as Arc<dyn Source>, settings).unwrap();
    let batches = all(loader);
    assert_eq!(batches.len(), 8);
    assert_eq!(source.read.load(Ordering::SeqCst), 8);
    for batch in &batches {
        assert!(batch.iter().all(|item| item.0 == batch[0].0));
        assert!(batch[1..].iter().all(|item| item.2 != batch[0].2 && item.3 != batch[0].3));
    }
}

#[test]
fn joined_sources_are_drawn_by_their_weights() {
    let part = |len| Arc::new(Numbered::new(len)) as Arc<dyn Source>;
    let joined = Arc::new(Join::new(vec![(part(10), 2.0), (part(12), 0.5)]).unwrap());
    let settings = LoaderConfig { batch_size: 1, group: 1, ..config() };
    let run = |workers| {
        let settings = LoaderConfig { workers, ..settings.clone() };
        all(loader_of(joined.clone(), settings).unwrap()).concat()
    };
    let drawn = run(1);
    assert!(drawn == run(3));
    assert_eq!(drawn.len(), 3 * 26);
    for epoch in drawn.chunks(26) {
        let of = |name: &str| epoch.iter().filter(|item| item.0 == name).collect::<Vec<_>>();
        for index in 0..10 {
            let twice = of(&format!("0/{index}"));
            assert_eq!(twice.len(), 2);
            assert!(twice[0].2 != twice[1].2 && twice[0].3 != twice[1].3, "crop and mask");
        }
        assert_eq!(epoch.iter().filter(|item| item.0.starts_with("1/")).count(), 6);
    }
}

#[test]
fn settings_of_ranks_that_cannot_be_are_refused() {
    for (rank, world, group, expected) in
        [(2, 2, 8, "rank 2"), (0, 0, 8, "world 0"), (0, 3, 8, "group 8")]
    {
        let settings = LoaderConfig { rank, world, group, ..config() };
        let message = loader(Numbered::new(20), settings).err().unwrap().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

/// Weights belong to training: an evaluation sees each sample once.
#[test]
fn evaluation_of_joined_sources_knows_no_weights() {
    let part = |len| Arc::new(Numbered::new(len)) as Arc<dyn Source>;
    let joined = Arc::new(Join::new(vec![(part(4), 10.0), (part(8), 0.01)]).unwrap());
    let settings = LoaderConfig { shuffle: false, drop_last: false, epochs: Some(1), ..config() };
    let seen = all(loader_of(joined, settings).unwrap()).concat();
    let ids: Vec<_> = seen.iter().map(|item| item.0.as_str()).collect();
    assert_eq!(ids.len(), 12);
    assert_eq!((ids[3], ids[4]), ("0/3", "1/0"));
}

#[test]
fn an_epoch_beyond_memory_is_refused() {
    let huge = LoaderConfig { repeat: 1 << 28, ..config() };
    let message = loader(Numbered::new(37), huge).err().unwrap().to_string();
    assert!(message.contains("at most 1073741824 can be put in order"), "{message}");
}

/// A full disk is no fault of the sample that was to be unpacked there.
#[test]
fn what_is_wrong_with_the_machine_ends_the_run() {
    struct Full;
    impl Source for Full {
        fn len(&self) -> usize {
            50
        }
        fn id(&self, index: usize) -> String {
            index.to_string()
        }
        fn get(&self, index: usize) -> Result<Sample> {
            let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
            let reason = Box::new(Error::Io { path: "/tmp".into(), source });
            Err(Error::Sample { id: self.id(index), reason })
        }
    }
    let mut loader = loader_of(Arc::new(Full), config()).unwrap();
    let message = loader.next_batch().unwrap().unwrap_err().to_string();
    assert!(message.contains("/tmp: ") && loader.corrupt().is_empty(), "{message}");
}
