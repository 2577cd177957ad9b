//! Whole runs on several ranks.

use std::cell::RefCell;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use longmae_train::{
    Batches, BoxError, Checkpoints, Collective, Decay, Error, Every, MetricsLog, NamedParam,
    Observer, Outcome, Result, SaveEvery, Schedule, Stateful, StepContext, StepKind, StepOutput,
    StepRecord, Task, TrainConfig, Trainer, Watch,
};

use super::model::Model;
use super::sockets::connected;
use super::threads::ranks;

/// The numbers of a rank's batches: all ranks together take one after the other.
struct Numbers {
    next: usize,
    rank: usize,
    world: usize,
    fails_at: Option<usize>,
}

impl Stateful for Numbers {
    fn name(&self) -> &'static str {
        "numbers"
    }

    /// The same on all ranks.
    fn save(&self) -> serde_json::Value {
        self.next.into()
    }

    fn restore(&mut self, state: &serde_json::Value) -> std::result::Result<(), BoxError> {
        self.next = state.as_u64().ok_or("expected a number")? as usize;
        Ok(())
    }
}

impl Batches for Numbers {
    type Batch = usize;

    fn next_batch(&mut self) -> std::result::Result<Option<usize>, BoxError> {
        let number = self.next + self.rank;
        self.next += self.world;
        match self.fails_at {
            Some(bad) if bad == number => Err("the disk is gone".into()),
            _ => Ok(Some(number)),
        }
    }
}

/// The model, and the batch whose loss is not finite.
struct Trained {
    model: Model,
    bad: Option<usize>,
}

impl Task for Trained {
    type Batch = usize;

    fn loss(&self, batch: &usize, _: &StepContext) -> std::result::Result<StepOutput, BoxError> {
        let factor = if self.bad == Some(*batch) { f64::NAN } else { 0.1 };
        Ok(StepOutput { loss: (self.model.loss(*batch, 1) * factor)?, samples: 1 })
    }

    fn parameters(&self) -> Vec<NamedParam> {
        self.model.parameters.clone()
    }

    fn sample_ids(&self, batch: &usize) -> Vec<String> {
        vec![format!("sample-{batch}")]
    }
}

/// What one rank does otherwise than the others.
#[derive(Debug, Clone, Copy, Default)]
struct Fate {
    fails_at: Option<usize>,
    bad: Option<usize>,
    /// Steps after which its observer fails, or asks to stop.
    observer_fails: Option<u64>,
    stops: Option<u64>,
}

/// Notes what a rank was told.
struct Notes<'a> {
    records: &'a RefCell<Vec<StepRecord>>,
    fate: Fate,
    stop: &'a AtomicBool,
}

impl Observer for Notes<'_> {
    fn step(&mut self, record: &StepRecord) -> std::result::Result<(), BoxError> {
        self.records.borrow_mut().push(record.clone());
        if self.fate.observer_fails == Some(record.step) {
            return Err("the terminal is gone".into());
        }
        if self.fate.stops == Some(record.step) {
            self.stop.store(true, Ordering::SeqCst);
        }
        Ok(())
    }
}

struct Ended {
    outcome: Result<Outcome>,
    records: Vec<StepRecord>,
    weights: Vec<f32>,
}

const STEPS: u64 = 20;

/// Runs, or goes on with, one rank's part; rank 0 has its checkpoints in `folder`.
fn go(
    collective: std::sync::Arc<dyn Collective>,
    accum_iter: usize,
    folder: &Path,
    fate: Fate,
) -> Ended {
    let (rank, world) = (collective.rank(), collective.world());
    let schedule =
        Schedule { lr: 1e-3, min_lr: 0.0, warmup_epochs: 0.5, epochs: 4.0, decay: Decay::Cosine };
    let config = TrainConfig {
        accum_iter,
        clip_grad: Some(1.0),
        ema: Some(0.9),
        save_every: SaveEvery::Count(Every::Steps(6)),
        ..TrainConfig::new(STEPS, 5, schedule)
    };
    let mut batches = Numbers { next: 0, rank, world, fails_at: fate.fails_at };
    let task = Trained { model: Model::new(), bad: fate.bad };
    let checkpoints = folder.join(format!("rank-{rank}"));
    let mut trainer = Trainer::new(task, config, &checkpoints).unwrap().among(collective);
    if let Some(checkpoint) = Checkpoints::new(&checkpoints).latest().unwrap() {
        trainer.restore(&checkpoint, &mut batches).unwrap();
    }
    trainer.synchronize(&mut batches).unwrap();
    let (records, stop) = (RefCell::default(), AtomicBool::new(false));
    let mut metrics = MetricsLog::nowhere();
    let mut watch =
        Watch::new(&mut metrics).observer(Notes { records: &records, fate, stop: &stop });
    let outcome = trainer.run(&mut batches, &mut watch, &stop);
    drop(watch);
    let values = |param: &NamedParam| param.var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let weights = trainer.task().model.parameters.iter().flat_map(values).collect();
    Ended { outcome, records: records.into_inner(), weights }
}

/// Two ranks, of which `fate` says how the second fares.
fn two(folder: &Path, fate: Fate) -> [Ended; 2] {
    let ended = ranks(2, |rank| {
        let fate = if rank.rank() == 1 { fate } else { Fate::default() };
        go(rank, 1, folder, fate)
    });
    ended.try_into().ok().unwrap()
}

#[test]
fn two_ranks_are_one_with_twice_the_accumulation() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = two(&folder.path().join("two"), Fate::default());
    let alone = std::sync::Arc::new(longmae_train::Alone);
    let one = go(alone, 2, &folder.path().join("one"), Fate::default());
    assert_eq!(one.records.len(), STEPS as usize);
    for (two, one) in first.records.iter().zip(&one.records) {
        assert!((two.loss - one.loss).abs() <= 1e-6 * one.loss.abs().max(1.0), "{two:?} {one:?}");
    }
    for (two, one) in first.weights.iter().zip(&one.weights) {
        assert!((two - one).abs() < 1e-5, "{two} {one}");
    }
    assert_eq!(first.weights, second.weights);
    // Rank 0 alone writes.
    assert!(!folder.path().join("two/rank-1").exists());
}

#[test]
fn ranks_over_tcp_train_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    for world in [2, 3] {
        let run = |kind: &str| folder.path().join(format!("{kind}-{world}"));
        let threads = ranks(world, |rank| go(rank, 1, &run("threads"), Fate::default()));
        let sockets = connected(world, |rank| go(rank, 1, &run("tcp"), Fate::default()));
        for (tcp, expected) in sockets.iter().zip(&threads) {
            assert_eq!(*tcp.outcome.as_ref().unwrap(), Outcome::Finished);
            assert_eq!(tcp.weights, expected.weights);
        }
    }
}

#[test]
fn rank_0_s_checkpoint_is_everyone_s() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    let [expected, _] = two(&whole, Fate::default());
    // A stop that one rank is asked for is everyone's, after the same step.
    let stopped = two(&cut, Fate { stops: Some(9), ..Fate::default() });
    for ended in &stopped {
        assert_eq!(*ended.outcome.as_ref().unwrap(), Outcome::Stopped);
        assert_eq!(ended.records.len(), 9);
    }
    let resumed = two(&cut, Fate::default());
    for ended in &resumed {
        assert_eq!(ended.records[0].step, 10);
        assert_eq!(ended.weights, expected.weights);
    }
}

#[test]
fn a_rank_that_fails_ends_all_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    // Batch 7 is rank 1's fourth.
    let fates = [
        (Fate { fails_at: Some(7), ..Fate::default() }, "the disk is gone", 3),
        (Fate { observer_fails: Some(4), ..Fate::default() }, "the terminal is gone", 4),
    ];
    for (fate, reason, steps) in fates {
        let [first, second] = two(folder.path(), fate);
        let error = first.outcome.unwrap_err();
        assert!(
            matches!(&error, Error::Rank { rank: 1, reason: found } if found.contains(reason)),
            "{error}"
        );
        assert!(second.outcome.unwrap_err().to_string().contains(reason));
        assert_eq!(first.records.len(), steps);
    }
}

#[test]
fn a_bad_sample_of_one_rank_skips_the_step_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = two(folder.path(), Fate { bad: Some(7), ..Fate::default() });
    for ended in [&first, &second] {
        let skipped: Vec<_> = ended.records.iter().filter(|r| r.kind == StepKind::Skip).collect();
        assert_eq!(skipped.len(), 1);
        assert_eq!(
            (skipped[0].step, skipped[0].samples.as_slice()),
            (4, ["sample-7".to_owned()].as_slice())
        );
    }
    assert!(first.weights.iter().all(|w| w.is_finite()));
    assert_eq!(first.weights, second.weights);
}
