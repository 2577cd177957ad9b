//! The engine on a small problem: resuming, accumulation, checkpoints that go bad, numbers that go bad.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Device, Tensor, Var};
use longmae_train::{
    AdamWConfig, Batches, BoxError, Checkpoints, Error, EvalRecord, MetricsLog, NamedParam,
    Observer, Outcome, Progress, SaveEvery, Schedule, Silent, Stateful, StepContext, StepOutput,
    StepRecord, Task, TrainConfig, Trainer,
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
    TrainConfig {
        total_steps: 40,
        steps_per_epoch: 10,
        accum_iter: 2,
        schedule: Schedule { lr: 0.05, min_lr: 0.0, warmup_epochs: 0.5, epochs: 4.0 },
        adamw: AdamWConfig::default(),
        clip_grad: Some(1.0),
        save_every: SaveEvery::Steps(7),
        keep: 3,
        recipe: "key = 1".to_owned(),
    }
}

/// Stops after a step, as Ctrl-C does.
struct StopAt<'a>(u64, &'a AtomicBool);

impl<T> Observer<T> for StopAt<'_> {
    fn step(&mut self, _: &T, record: &StepRecord) -> Result<(), BoxError> {
        if record.step == self.0 {
            self.1.store(true, Ordering::SeqCst);
        }
        Ok(())
    }
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
    let mut metrics =
        MetricsLog::open(&folder.join("metrics.jsonl"), trainer.progress().step, 0.0).unwrap();
    let stop = AtomicBool::new(false);
    let mut observer = StopAt(stop_at.unwrap_or(u64::MAX), &stop);
    let outcome = trainer.run(&mut batches, &mut observer, &mut metrics, &stop).unwrap();
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
    let every = |steps, keep| TrainConfig { save_every: SaveEvery::Steps(steps), keep, ..config() };
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
    let mut metrics = MetricsLog::open(&folder.path().join("m.jsonl"), 0, 0.0).unwrap();
    let never = AtomicBool::new(false);
    let error = trainer.run(&mut start(), &mut Silent, &mut metrics, &never).unwrap_err();
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
    let mut metrics = MetricsLog::open(&folder.path().join("pairs.jsonl"), 0, 0.0).unwrap();
    let never = AtomicBool::new(false);
    trainer.run(&mut InPairs(start()), &mut Silent, &mut metrics, &never).unwrap();
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
    let mut metrics = MetricsLog::open(&folder.path().join("metrics.jsonl"), 0, 0.0).unwrap();
    let never = AtomicBool::new(false);
    let error = trainer.run(&mut AllBad(start()), &mut Silent, &mut metrics, &never).unwrap_err();
    assert!(error.to_string().contains("sample-20"), "{error}");
    assert_eq!(trainer.task().values(), [0.3, 0.2]);
}

#[test]
fn saving_into_a_folder_that_is_a_file_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("checkpoints");
    fs::write(&blocked, b"a file").unwrap();
    let mut trainer = Trainer::new(Line::new(), config(), &blocked).unwrap();
    let mut metrics = MetricsLog::open(&folder.path().join("metrics.jsonl"), 0, 0.0).unwrap();
    let never = AtomicBool::new(false);
    let error = trainer.run(&mut start(), &mut Silent, &mut metrics, &never).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert_eq!(fs::read(&blocked).unwrap(), b"a file");
}

#[test]
fn evaluations_go_into_the_metrics() {
    struct Evaluates;
    impl Observer<Line> for Evaluates {
        fn epoch(&mut self, _: &Line, progress: &Progress) -> Result<Vec<EvalRecord>, BoxError> {
            let Progress { step, epoch, .. } = *progress;
            Ok(vec![EvalRecord { kind: "eval", step, epoch, loss: f64::INFINITY }])
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    let mut trainer = Trainer::new(Line::new(), config(), folder.path().join("c")).unwrap();
    let mut metrics = MetricsLog::open(&path, 0, 0.0).unwrap();
    trainer.run(&mut start(), &mut Evaluates, &mut metrics, &AtomicBool::new(false)).unwrap();
    let text = fs::read_to_string(path).unwrap();
    let evals: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|record| record["kind"] == "eval")
        .collect();
    assert_eq!(evals.len(), 4);
    assert!(evals[0]["loss"].is_null() && evals[3]["step"] == 40);
}
