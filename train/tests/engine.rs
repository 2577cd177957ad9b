//! The engine on a small problem: resuming, accumulation, checkpoints that go bad, numbers that go bad.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Device, Tensor, Var};
use longmae_train::{
    Batches, BestBy, BoxError, Checkpoints, Decay, Error, EvalRecord, Every, Hook, MetricsLog,
    ModelWriter, NamedParam, Observer, Outcome, Progress, SaveEvery, Schedule, Stateful,
    StepContext, StepOutput, StepRecord, Task, TrainConfig, Trainer, Watch,
};
use serde_json::Value;

/// Numbers from a sequence with a state; `bad` is the number that turns into NaN.
struct Numbers {
    next: u64,
    bad: Option<u64>,
}

impl Stateful for Numbers {
    fn name(&self) -> &'static str {
        "numbers"
    }

    fn save(&self) -> Value {
        self.next.into()
    }

    fn restore(&mut self, state: &Value) -> Result<(), BoxError> {
        self.next = state.as_u64().ok_or("expected a number")?;
        Ok(())
    }
}

impl Batches for Numbers {
    type Batch = (u64, f32);

    fn next_batch(&mut self) -> Result<Option<(u64, f32)>, BoxError> {
        self.next += 1;
        let x = (self.next as f32 * 0.7).sin();
        Ok(Some((self.next, if self.bad == Some(self.next) { f32::NAN } else { x })))
    }
}

/// Fits `y = 2x - 1` by `w x + b`.
struct Line {
    w: Var,
    b: Var,
}

impl Line {
    fn new() -> Self {
        let var =
            |value: f32| Var::from_tensor(&Tensor::new(&[value], &Device::Cpu).unwrap()).unwrap();
        Self { w: var(0.3), b: var(0.2) }
    }

    fn values(&self) -> [f32; 2] {
        [&self.w, &self.b].map(|v| v.to_vec1::<f32>().unwrap()[0])
    }
}

impl Task for Line {
    type Batch = (u64, f32);

    fn loss(&self, (_, x): &(u64, f32), _: &StepContext) -> Result<StepOutput, BoxError> {
        let x = f64::from(*x);
        let y = ((self.w.as_tensor() * x)? + self.b.as_tensor())?;
        Ok(StepOutput { loss: (y - (2.0 * x - 1.0))?.sqr()?.sum_all()?, samples: 1 })
    }

    fn parameters(&self) -> Vec<NamedParam> {
        let named = |name: &str, var: &Var, decay| NamedParam {
            name: name.to_owned(),
            var: var.clone(),
            lr_scale: 1.0,
            decay,
        };
        vec![named("w", &self.w, true), named("b", &self.b, false)]
    }

    fn sample_ids(&self, (number, _): &(u64, f32)) -> Vec<String> {
        vec![format!("sample-{number}")]
    }
}

fn config() -> TrainConfig {
    let schedule =
        Schedule { lr: 0.05, min_lr: 0.0, warmup_epochs: 0.5, epochs: 4.0, decay: Decay::Cosine };
    TrainConfig {
        accum_iter: 2,
        clip_grad: Some(1.0),
        save_every: SaveEvery::Count(Every::Steps(7)),
        keep: 3,
        recipe: "key = 1".to_owned(),
        ..TrainConfig::new(40, 10, schedule)
    }
}

/// Stops after a step, as Ctrl-C does.
struct StopAt<'a>(u64, &'a AtomicBool);

impl Observer for StopAt<'_> {
    fn step(&mut self, record: &StepRecord) -> Result<(), BoxError> {
        if record.step == self.0 {
            self.1.store(true, Ordering::SeqCst);
        }
        Ok(())
    }
}

fn log<T: Task>(path: &Path, trainer: &Trainer<T>) -> MetricsLog {
    MetricsLog::open(path, &trainer.progress(), &[]).unwrap()
}

fn start() -> Numbers {
    Numbers { next: 0, bad: None }
}

/// Runs from the latest checkpoint in `folder`, if any, and gives weights and outcome.
fn go(
    folder: &Path,
    config: TrainConfig,
    mut batches: Numbers,
    stop_at: Option<u64>,
) -> ([f32; 2], Outcome) {
    let checkpoints = folder.join("checkpoints");
    let mut trainer = Trainer::new(Line::new(), config, &checkpoints).unwrap();
    if let Some(checkpoint) = Checkpoints::new(&checkpoints).latest().unwrap() {
        trainer.restore(&checkpoint, &mut batches).unwrap();
    }
    let mut metrics = log(&folder.join("metrics.jsonl"), &trainer);
    let stop = AtomicBool::new(false);
    let mut watch = Watch::new(&mut metrics).observer(StopAt(stop_at.unwrap_or(u64::MAX), &stop));
    let outcome = trainer.run(&mut batches, &mut watch, &stop).unwrap();
    (trainer.task().values(), outcome)
}

fn losses(folder: &Path) -> BTreeMap<u64, f64> {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records
        .filter(|record| record["kind"] == "train")
        .map(|record| (record["step"].as_u64().unwrap(), record["loss"].as_f64().unwrap()))
        .collect()
}

#[test]
fn a_resumed_run_is_the_uninterrupted_one_to_the_bit() {
    let (whole, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (weights, outcome) = go(whole.path(), config(), start(), None);
    assert_eq!(outcome, Outcome::Finished);
    assert_eq!(go(cut.path(), config(), start(), Some(18)).1, Outcome::Stopped);
    let (resumed, _) = go(cut.path(), config(), start(), None);
    assert_eq!(weights.map(f32::to_bits), resumed.map(f32::to_bits));
    assert_eq!(losses(whole.path()), losses(cut.path()));
    assert!(weights[0] > 1.0, "it learned: {weights:?}");
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let (weights, _) = go(folder.path(), config(), start(), None);
    let checkpoints = Checkpoints::new(folder.path().join("checkpoints"));
    assert_eq!(checkpoints.steps().unwrap(), [28, 35, 40]);
    for (step, damage) in [(40, "model.safetensors"), (35, "state.json")] {
        let file = checkpoints.path(step).join(damage);
        let mut bytes = fs::read(&file).unwrap();
        let half = bytes.len() / 2;
        bytes.truncate(half);
        fs::write(&file, bytes).unwrap();
    }
    assert_eq!(checkpoints.latest().unwrap().unwrap().state().step, 28);
    // What is lost is trained again, and ends the same.
    let (again, _) = go(folder.path(), config(), start(), None);
    assert_eq!(weights.map(f32::to_bits), again.map(f32::to_bits));
    assert_eq!(losses(folder.path()).len(), 40);

    for step in checkpoints.steps().unwrap() {
        fs::write(checkpoints.path(step).join("optimizer.safetensors"), b"nothing").unwrap();
    }
    assert!(matches!(checkpoints.latest(), Err(Error::NoCheckpoint(_))));
}

#[test]
fn pruning_keeps_what_the_run_went_on_from() {
    let folder = tempfile::tempdir().unwrap();
    let every = |steps, keep| TrainConfig {
        save_every: SaveEvery::Count(Every::Steps(steps)),
        keep,
        ..config()
    };
    go(folder.path(), every(7, 3), start(), None);
    let checkpoints = Checkpoints::new(folder.path().join("checkpoints"));
    fs::write(checkpoints.path(40).join("model.safetensors"), b"damaged").unwrap();
    fs::create_dir(folder.path().join("checkpoints/step-1")).unwrap();
    // Goes on from 35, and stops at 38: the damaged 40 must not push 38 out.
    assert_eq!(go(folder.path(), every(100, 1), start(), Some(38)).1, Outcome::Stopped);
    assert_eq!(checkpoints.steps().unwrap(), [38]);
    assert_eq!(checkpoints.latest().unwrap().unwrap().state().step, 38);
}

#[test]
fn a_loss_without_gradients_is_an_error() {
    let line = Line::new();
    let parameters = line.parameters();
    let task = longmae_train::task_fn(parameters, move |batch: &(u64, f32), context| {
        let mut output = line.loss(batch, context)?;
        output.loss = output.loss.detach();
        Ok(output)
    });
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::new(task, config(), folder.path().join("c")).unwrap();
    let mut metrics = log(&folder.path().join("m.jsonl"), &trainer);
    let never = AtomicBool::new(false);
    let error = trainer.run(&mut start(), &mut Watch::new(&mut metrics), &never).unwrap_err();
    assert!(matches!(error, Error::NoGradient { step: 0 }), "{error}");
}

#[test]
fn a_checkpoint_of_another_model_is_refused_whole() {
    let folder = tempfile::tempdir().unwrap();
    go(folder.path(), config(), start(), None);
    let latest = Checkpoints::new(folder.path().join("checkpoints")).latest().unwrap().unwrap();
    struct Other(Line);
    impl Task for Other {
        type Batch = (u64, f32);
        fn loss(&self, batch: &(u64, f32), context: &StepContext) -> Result<StepOutput, BoxError> {
            self.0.loss(batch, context)
        }
        fn parameters(&self) -> Vec<NamedParam> {
            let mut parameters = self.0.parameters();
            parameters[1].name = "bias".to_owned();
            parameters
        }
        fn sample_ids(&self, _: &(u64, f32)) -> Vec<String> {
            Vec::new()
        }
    }
    let mut trainer =
        Trainer::new(Other(Line::new()), config(), folder.path().join("other")).unwrap();
    let error = trainer.restore(&latest, &mut start()).unwrap_err().to_string();
    assert!(error.contains("`bias` is missing") && error.contains("`b` is unexpected"), "{error}");
    assert_eq!(trainer.task().0.values(), [0.3, 0.2]);
}

#[test]
fn accumulation_is_one_larger_batch() {
    /// The mean over two batches at once.
    struct Pairs(Line);
    impl Task for Pairs {
        type Batch = [(u64, f32); 2];
        fn loss(&self, batch: &Self::Batch, context: &StepContext) -> Result<StepOutput, BoxError> {
            let [a, b] = batch;
            let sum = (self.0.loss(a, context)?.loss + self.0.loss(b, context)?.loss)?;
            Ok(StepOutput { loss: (sum / 2.0)?, samples: 2 })
        }
        fn parameters(&self) -> Vec<NamedParam> {
            self.0.parameters()
        }
        fn sample_ids(&self, _: &Self::Batch) -> Vec<String> {
            Vec::new()
        }
    }
    struct InPairs(Numbers);
    impl Stateful for InPairs {
        fn name(&self) -> &'static str {
            "pairs"
        }
        fn save(&self) -> Value {
            self.0.save()
        }
        fn restore(&mut self, state: &Value) -> Result<(), BoxError> {
            self.0.restore(state)
        }
    }
    impl Batches for InPairs {
        type Batch = [(u64, f32); 2];
        fn next_batch(&mut self) -> Result<Option<Self::Batch>, BoxError> {
            let mut next = || Ok::<_, BoxError>(self.0.next_batch()?.ok_or("ended")?);
            Ok(Some([next()?, next()?]))
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let (accumulated, _) = go(folder.path(), config(), start(), None);
    let config = TrainConfig { accum_iter: 1, ..config() };
    let mut trainer =
        Trainer::new(Pairs(Line::new()), config, folder.path().join("pairs")).unwrap();
    let mut metrics = log(&folder.path().join("pairs.jsonl"), &trainer);
    let never = AtomicBool::new(false);
    trainer.run(&mut InPairs(start()), &mut Watch::new(&mut metrics), &never).unwrap();
    for (a, b) in accumulated.iter().zip(trainer.task().0.values()) {
        assert!((a - b).abs() < 1e-6, "{a} {b}");
    }
}

#[test]
fn a_step_that_is_not_finite_is_skipped_and_named() {
    let (clean, dirty) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    go(clean.path(), config(), start(), None);
    let (weights, outcome) = go(dirty.path(), config(), Numbers { next: 0, bad: Some(31) }, None);
    assert_eq!(outcome, Outcome::Finished);
    assert!(weights.iter().all(|w| w.is_finite()) && weights[0] > 1.0, "{weights:?}");
    let text = fs::read_to_string(dirty.path().join("metrics.jsonl")).unwrap();
    let skipped: Vec<&str> = text.lines().filter(|line| line.contains("\"skip\"")).collect();
    assert_eq!(skipped.len(), 1, "{text}");
    assert!(
        skipped[0].contains("\"step\":16") && skipped[0].contains("\"loss\":null"),
        "{skipped:?}"
    );
    // Up to that step nothing differs.
    let (clean, dirty) = (losses(clean.path()), losses(dirty.path()));
    assert!((1..16).all(|step| clean[&step] == dirty[&step]));
}

#[test]
fn numbers_that_stay_bad_end_the_run() {
    struct AllBad(Numbers);
    impl Stateful for AllBad {
        fn name(&self) -> &'static str {
            "bad"
        }
        fn save(&self) -> Value {
            self.0.save()
        }
        fn restore(&mut self, state: &Value) -> Result<(), BoxError> {
            self.0.restore(state)
        }
    }
    impl Batches for AllBad {
        type Batch = (u64, f32);
        fn next_batch(&mut self) -> Result<Option<(u64, f32)>, BoxError> {
            Ok(self.0.next_batch()?.map(|(number, _)| (number, f32::NAN)))
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::new(Line::new(), config(), folder.path()).unwrap();
    let mut metrics = log(&folder.path().join("metrics.jsonl"), &trainer);
    let never = AtomicBool::new(false);
    let error =
        trainer.run(&mut AllBad(start()), &mut Watch::new(&mut metrics), &never).unwrap_err();
    assert!(error.to_string().contains("sample-20"), "{error}");
    assert_eq!(trainer.task().values(), [0.3, 0.2]);
}

#[test]
fn saving_into_a_folder_that_is_a_file_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("checkpoints");
    fs::write(&blocked, b"a file").unwrap();
    let mut trainer = Trainer::new(Line::new(), config(), &blocked).unwrap();
    let mut metrics = log(&folder.path().join("metrics.jsonl"), &trainer);
    let never = AtomicBool::new(false);
    let error = trainer.run(&mut start(), &mut Watch::new(&mut metrics), &never).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert_eq!(fs::read(&blocked).unwrap(), b"a file");
}

/// Gives the numbers it was told to, one a call, and notes when it was called.
struct Evaluates<'a> {
    losses: Vec<f64>,
    calls: &'a std::cell::RefCell<Vec<(u64, bool, [f32; 2])>>,
}

impl Hook<Line> for Evaluates<'_> {
    fn every(&self) -> Every {
        Every::Epochs(1)
    }

    fn call(&mut self, task: &Line, progress: &Progress) -> Result<Vec<EvalRecord>, BoxError> {
        self.calls.borrow_mut().push((progress.step, progress.averaged, task.values()));
        if progress.averaged {
            return Ok(vec![EvalRecord::new("eval_ema", progress, "loss", 0.0)]);
        }
        Ok(vec![EvalRecord::new("eval", progress, "loss", self.losses.remove(0))])
    }

    fn wants_average(&self) -> bool {
        true
    }
}

#[test]
fn evaluations_are_written_and_the_best_checkpoint_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        save_every: SaveEvery::Count(Every::Steps(15)),
        keep: 1,
        best: Some(BestBy { kind: "eval", value: "loss", larger: false }),
        ..config()
    };
    let mut trainer = Trainer::new(Line::new(), config.clone(), folder.path().join("c")).unwrap();
    let path = folder.path().join("metrics.jsonl");
    let mut metrics = log(&path, &trainer);
    let calls = std::cell::RefCell::default();
    let hook = Evaluates { losses: vec![f64::INFINITY, 0.5, 0.7, 0.6], calls: &calls };
    let mut watch = Watch::new(&mut metrics).hook(hook);
    trainer.run(&mut start(), &mut watch, &AtomicBool::new(false)).unwrap();
    let evals = records(&path, "eval");
    assert_eq!(evals.len(), 4);
    assert!(evals[0]["loss"].is_null() && evals[3]["step"] == 40 && evals[1]["loss"] == 0.5);
    assert_eq!(trainer.best().unwrap().step, 20);
    let checkpoints = Checkpoints::new(folder.path().join("c"));
    assert_eq!(checkpoints.steps().unwrap(), [20, 40]);
    // A resumed run knows the best of the sessions before.
    let mut resumed = Trainer::new(Line::new(), config, folder.path().join("c")).unwrap();
    resumed.restore(&checkpoints.latest().unwrap().unwrap(), &mut start()).unwrap();
    assert_eq!(resumed.best(), trainer.best());
}

/// Fails when it is called.
struct Fails;

impl Hook<Line> for Fails {
    fn every(&self) -> Every {
        Every::Epochs(1)
    }

    fn call(&mut self, _task: &Line, _progress: &Progress) -> Result<Vec<EvalRecord>, BoxError> {
        Err("its images cannot be read".into())
    }
}

#[test]
fn a_hook_that_fails_loses_no_step() {
    let folder = tempfile::tempdir().unwrap();
    let config = TrainConfig { save_every: SaveEvery::Count(Every::Steps(100)), ..config() };
    let mut trainer = Trainer::new(Line::new(), config, folder.path().join("c")).unwrap();
    let mut metrics = log(&folder.path().join("metrics.jsonl"), &trainer);
    let mut watch = Watch::new(&mut metrics).hook(Fails);
    let error = trainer.run(&mut start(), &mut watch, &AtomicBool::new(false)).unwrap_err();
    assert!(error.to_string().contains("its images cannot be read"), "{error}");
    assert_eq!(Checkpoints::new(folder.path().join("c")).steps().unwrap(), [10]);
}

#[test]
fn the_best_may_be_the_largest() {
    let folder = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        save_every: SaveEvery::Count(Every::Steps(100)),
        keep: 1,
        best: Some(BestBy { kind: "eval", value: "loss", larger: true }),
        ..config()
    };
    let mut trainer = Trainer::new(Line::new(), config, folder.path().join("c")).unwrap();
    let mut metrics = log(&folder.path().join("metrics.jsonl"), &trainer);
    let calls = std::cell::RefCell::default();
    let hook = Evaluates { losses: vec![f64::INFINITY, 0.5, 0.7, 0.7], calls: &calls };
    let mut watch = Watch::new(&mut metrics).hook(hook);
    trainer.run(&mut start(), &mut watch, &AtomicBool::new(false)).unwrap();
    let best = trainer.best().unwrap();
    assert_eq!((best.step, best.value), (30, 0.7));
    assert_eq!(Checkpoints::new(folder.path().join("c")).steps().unwrap(), [30, 40]);
}

#[test]
fn averaged_weights_are_kept_saved_and_shown_to_hooks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    let config = TrainConfig { ema: Some(0.9), ..config() };
    let average = |stop_at: Option<u64>, name: &str| {
        let checkpoints = folder.path().join(name);
        let mut batches = start();
        let mut trainer = Trainer::new(Line::new(), config.clone(), &checkpoints).unwrap();
        if let Some(checkpoint) = Checkpoints::new(&checkpoints).latest().unwrap() {
            trainer.restore(&checkpoint, &mut batches).unwrap();
        }
        let mut metrics = log(&path, &trainer);
        let stop = AtomicBool::new(false);
        let calls = std::cell::RefCell::default();
        let hook = Evaluates { losses: vec![1.0; 4], calls: &calls };
        let mut watch = Watch::new(&mut metrics)
            .observer(StopAt(stop_at.unwrap_or(u64::MAX), &stop))
            .hook(hook);
        trainer.run(&mut batches, &mut watch, &stop).unwrap();
        drop(watch);
        let ema = trainer.ema().unwrap().state();
        let numbers: Vec<f32> =
            ema.iter().map(|(_, tensor)| tensor.to_vec1::<f32>().unwrap()[0]).collect();
        (numbers, trainer.task().values(), calls.into_inner())
    };
    let (ema, weights, calls) = average(None, "whole");
    // The weights themselves are those of a run without an average.
    let plain = tempfile::tempdir().unwrap();
    assert_eq!(
        go(plain.path(), TrainConfig { ema: None, ..config.clone() }, start(), None).0,
        weights
    );
    // At the end the hook saw the weights, then their average, and the weights came back.
    let [(40, false, last), (40, true, averaged)] = calls[calls.len() - 2..] else {
        panic!("{calls:?}")
    };
    assert_eq!((last.as_slice(), averaged.as_slice()), (weights.as_slice(), ema.as_slice()));
    assert_ne!(ema, weights);
    assert_eq!(average(Some(18), "cut").2.len(), 2);
    assert_eq!(average(None, "cut").0, ema, "resumed");
}

/// A line whose model file takes its time.
struct Slow(Line);

impl Task for Slow {
    type Batch = (u64, f32);

    fn loss(&self, batch: &(u64, f32), context: &StepContext) -> Result<StepOutput, BoxError> {
        self.0.loss(batch, context)
    }

    fn parameters(&self) -> Vec<NamedParam> {
        self.0.parameters()
    }

    fn sample_ids(&self, _: &(u64, f32)) -> Vec<String> {
        Vec::new()
    }

    fn model_writer(&self, step: u64, loss: Option<f64>) -> Result<ModelWriter, BoxError> {
        let write = self.0.model_writer(step, loss)?;
        Ok(Box::new(move |path| {
            std::thread::sleep(std::time::Duration::from_millis(60));
            write(path)
        }))
    }
}

#[test]
fn a_checkpoint_that_is_written_slowly_holds_the_weights_of_its_step() {
    let folder = tempfile::tempdir().unwrap();
    let (slow, quick) = (folder.path().join("slow"), folder.path().join("quick"));
    let every = TrainConfig { save_every: SaveEvery::Count(Every::Steps(8)), keep: 9, ..config() };
    let mut trainer = Trainer::new(Slow(Line::new()), every.clone(), &slow).unwrap();
    let path = folder.path().join("metrics.jsonl");
    let mut metrics = log(&path, &trainer);
    let never = AtomicBool::new(false);
    trainer.run(&mut start(), &mut Watch::new(&mut metrics), &never).unwrap();
    fs::create_dir(&quick).unwrap();
    go(&quick, every, start(), None);
    let (slow, quick) = (Checkpoints::new(&slow), Checkpoints::new(quick.join("checkpoints")));
    assert_eq!(slow.steps().unwrap(), quick.steps().unwrap());
    for step in slow.steps().unwrap() {
        for file in ["model.safetensors", "optimizer.safetensors"] {
            let [slow, quick] =
                [&slow, &quick].map(|all| fs::read(all.path(step).join(file)).unwrap());
            assert!(slow == quick, "step {step}: {file}");
        }
    }
    // The step after each of them waited with its update, and says so.
    let waits: Vec<u64> = records(&path, "train")
        .iter()
        .filter(|record| record["save_seconds"].as_f64().is_some_and(|seconds| seconds > 0.02))
        .map(|record| record["step"].as_u64().unwrap())
        .collect();
    assert_eq!(waits, [9, 17, 25, 33]);
}

#[test]
fn a_spike_of_the_loss_goes_back_and_on_with_new_data() {
    /// Data that is wrong for a while.
    struct Wrong(Numbers);
    impl Stateful for Wrong {
        fn name(&self) -> &'static str {
            "wrong"
        }
        fn save(&self) -> Value {
            self.0.save()
        }
        fn restore(&mut self, state: &Value) -> Result<(), BoxError> {
            self.0.restore(state)
        }
    }
    impl Batches for Wrong {
        type Batch = (u64, f32);
        fn next_batch(&mut self) -> Result<Option<(u64, f32)>, BoxError> {
            let (number, x) = self.0.next_batch()?.ok_or("ended")?;
            Ok(Some((number, if (60..66).contains(&number) { 50.0 } else { x })))
        }
    }
    let run = |folder: &Path, stop_at: Option<u64>| {
        let config = TrainConfig { rollback: Some(20.0), clip_grad: None, ..config() };
        let checkpoints = folder.join("checkpoints");
        let mut batches = Wrong(start());
        let mut trainer = Trainer::new(Line::new(), config, &checkpoints).unwrap();
        if let Some(checkpoint) = Checkpoints::new(&checkpoints).latest().unwrap() {
            trainer.restore(&checkpoint, &mut batches).unwrap();
        }
        let mut metrics = log(&folder.join("metrics.jsonl"), &trainer);
        let stop = AtomicBool::new(false);
        let mut watch =
            Watch::new(&mut metrics).observer(StopAt(stop_at.unwrap_or(u64::MAX), &stop));
        trainer.run(&mut batches, &mut watch, &stop).unwrap();
        drop(watch);
        trainer.task().values()
    };
    let (whole, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let weights = run(whole.path(), None);
    // Batches 60 to 65 are steps 30 to 33: the third high loss is that of step 32, the last checkpoint that of 28.
    let rollbacks = records(&whole.path().join("metrics.jsonl"), "rollback");
    assert_eq!(rollbacks.len(), 1, "{rollbacks:?}");
    assert_eq!((&rollbacks[0]["step"], &rollbacks[0]["to"]), (&32.into(), &28.into()));
    assert!(weights.iter().all(|w| w.is_finite()));
    // Stopped before, between the first high loss and the third, and right after, it ends the same.
    for stop_at in [29, 30, 31, 32, 33] {
        let _ = fs::remove_dir_all(cut.path().join("checkpoints"));
        run(cut.path(), Some(stop_at));
        assert_eq!(run(cut.path(), None), weights, "stopped at {stop_at}");
        let rollbacks = records(&cut.path().join("metrics.jsonl"), "rollback");
        assert_eq!(rollbacks.len(), 1);
        assert_eq!(rollbacks[0]["to"], 28);
    }
}

fn records(path: &Path, kind: &str) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let all = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|record| record["kind"] == kind).collect()
}

#[test]
fn the_best_so_far_stays_until_the_next_is_written() {
    /// Cannot write its model after a step.
    struct Full(Line, u64);
    impl Task for Full {
        type Batch = (u64, f32);
        fn loss(&self, batch: &(u64, f32), context: &StepContext) -> Result<StepOutput, BoxError> {
            self.0.loss(batch, context)
        }
        fn parameters(&self) -> Vec<NamedParam> {
            self.0.parameters()
        }
        fn sample_ids(&self, _: &(u64, f32)) -> Vec<String> {
            Vec::new()
        }
        fn model_writer(&self, step: u64, loss: Option<f64>) -> Result<ModelWriter, BoxError> {
            if step == self.1 {
                return Ok(Box::new(|_| Err("no room".into())));
            }
            self.0.model_writer(step, loss)
        }
    }
    /// Better every epoch.
    struct Better;
    impl Hook<Full> for Better {
        fn every(&self) -> Every {
            Every::Epochs(1)
        }
        fn call(&mut self, _: &Full, at: &Progress) -> Result<Vec<EvalRecord>, BoxError> {
            Ok(vec![EvalRecord::new("eval", at, "loss", 1.0 / at.step as f64)])
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        save_every: SaveEvery::Count(Every::Steps(19)),
        keep: 1,
        best: Some(BestBy { kind: "eval", value: "loss", larger: false }),
        ..config()
    };
    let task = Full(Line::new(), 20);
    let mut trainer = Trainer::new(task, config, folder.path().join("c")).unwrap();
    let mut metrics = log(&folder.path().join("metrics.jsonl"), &trainer);
    let mut watch = Watch::new(&mut metrics).hook(Better);
    // Step 10 is the best when 19 is being written, and 20 is found to be better before that is done.
    let error = trainer.run(&mut start(), &mut watch, &AtomicBool::new(false)).unwrap_err();
    assert!(error.to_string().contains("no room"), "{error}");
    let checkpoints = Checkpoints::new(folder.path().join("c"));
    assert_eq!(checkpoints.steps().unwrap(), [10, 19]);
    assert_eq!(checkpoints.latest().unwrap().unwrap().state().best.unwrap().step, 10);
}
