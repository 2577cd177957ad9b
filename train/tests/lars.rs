//! LARS in the engine: resumed to the bit with clipping, skipped steps, an average and rollbacks, and what is refused.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Device, Tensor, Var};
use longmae_train::{
    AdamWConfig, Batches, BoxError, Checkpoints, Decay, Every, LarsConfig, MetricsLog, NamedParam,
    Observer, OptimizerConfig, SaveEvery, Schedule, Stateful, StepContext, StepOutput, StepRecord,
    Task, TrainConfig, Trainer, Watch,
};
use serde_json::Value;

/// Counts; what the numbers stand for is the task's.
struct Count(u64);

impl Stateful for Count {
    fn name(&self) -> &'static str {
        "count"
    }

    fn save(&self) -> Value {
        self.0.into()
    }

    fn restore(&mut self, state: &Value) -> Result<(), BoxError> {
        self.0 = state.as_u64().ok_or("expected a number")?;
        Ok(())
    }
}

impl Batches for Count {
    type Batch = u64;

    fn next_batch(&mut self) -> Result<Option<u64>, BoxError> {
        self.0 += 1;
        Ok(Some(self.0))
    }
}

/// Fits a linear map of two numbers to three. Number 20 is not finite, numbers 45 to 47 are far off.
struct Map {
    weight: Var,
    bias: Var,
}

impl Map {
    fn new() -> Self {
        let var = |tensor: candle_core::Result<Tensor>| Var::from_tensor(&tensor.unwrap()).unwrap();
        Self {
            weight: var(Tensor::new(&[[0.3f32, -0.2, 0.4], [0.1, 0.5, -0.6]], &Device::Cpu)),
            bias: var(Tensor::new(&[0.1f32, 0.2, -0.3], &Device::Cpu)),
        }
    }

    fn values(&self) -> Vec<f32> {
        let flat = |var: &Var| var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        [flat(&self.weight), flat(&self.bias)].concat()
    }
}

impl Task for Map {
    type Batch = u64;

    fn loss(&self, number: &u64, _: &StepContext) -> Result<StepOutput, BoxError> {
        let n = *number as f32;
        let x = Tensor::new(&[[(n * 0.7).sin(), (n * 0.3).cos()]], &Device::Cpu)?;
        let x = match number {
            20 => (x * f64::NAN)?,
            45..=47 => (x * 1e3)?,
            _ => x,
        };
        let map = Tensor::new(&[[1f32, 2.0, -1.0], [0.5, -1.5, 0.0]], &Device::Cpu)?;
        let y = x.matmul(self.weight.as_tensor())?.broadcast_add(self.bias.as_tensor())?;
        let loss = (y - x.matmul(&map)?)?.sqr()?.mean_all()?;
        Ok(StepOutput { loss, samples: 1 })
    }

    fn parameters(&self) -> Vec<NamedParam> {
        let named = |name: &str, var: &Var| NamedParam {
            name: name.to_owned(),
            var: var.clone(),
            lr_scale: 1.0,
            decay: var.rank() > 1,
        };
        vec![named("weight", &self.weight), named("bias", &self.bias)]
    }

    fn sample_ids(&self, number: &u64) -> Vec<String> {
        vec![number.to_string()]
    }
}

fn config(optimizer: impl Into<OptimizerConfig>) -> TrainConfig {
    let schedule =
        Schedule { lr: 0.05, min_lr: 0.0, warmup_epochs: 0.5, epochs: 6.0, decay: Decay::Cosine };
    TrainConfig {
        optimizer: optimizer.into(),
        clip_grad: Some(2.0),
        ema: Some(0.9),
        rollback: Some(20.0),
        save_every: SaveEvery::Count(Every::Steps(7)),
        ..TrainConfig::new(60, 10, schedule)
    }
}

fn lars() -> LarsConfig {
    LarsConfig { trust_coefficient: 0.5, weight_decay: 0.01, ..LarsConfig::default() }
}

/// Stops after a step, as Ctrl-C does.
struct StopAt<'a>(u64, &'a AtomicBool);

impl Observer for StopAt<'_> {
    fn step(&mut self, record: &StepRecord) -> Result<(), BoxError> {
        self.1.fetch_or(record.step == self.0, Ordering::SeqCst);
        Ok(())
    }
}

/// Runs from the latest checkpoint in `folder`, if any; the weights, and their average.
fn go(folder: &Path, config: TrainConfig, stop_at: u64) -> [Vec<f32>; 2] {
    let checkpoints = folder.join("checkpoints");
    let (mut trainer, mut batches) =
        (Trainer::new(Map::new(), config, &checkpoints).unwrap(), Count(0));
    if let Some(checkpoint) = Checkpoints::new(&checkpoints).latest().unwrap() {
        trainer.restore(&checkpoint, &mut batches).unwrap();
    }
    let path = folder.join("metrics.jsonl");
    let mut metrics = MetricsLog::open(&path, &trainer.progress(), &[]).unwrap();
    let stop = AtomicBool::new(false);
    let mut watch = Watch::new(&mut metrics).observer(StopAt(stop_at, &stop));
    trainer.run(&mut batches, &mut watch, &stop).unwrap();
    drop(watch);
    let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let average = trainer.ema().unwrap().state().iter().flat_map(|(_, t)| flat(t)).collect();
    [trainer.task().values(), average]
}

fn kinds(folder: &Path, kind: &str) -> usize {
    let text = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    text.lines().filter(|line| line.contains(&format!("\"kind\":\"{kind}\""))).count()
}

#[test]
fn a_resumed_run_is_the_uninterrupted_one_to_the_bit() {
    let whole = tempfile::tempdir().unwrap();
    let expected = go(whole.path(), config(lars()), u64::MAX);
    assert_eq!([kinds(whole.path(), "skip"), kinds(whole.path(), "rollback")], [1, 1]);
    let (start, end) = (Map::new().values()[0], expected[0][0]);
    assert!((1.0 - end).abs() < 0.5 * (1.0 - start).abs(), "it learned: {start} to {end}");
    for stop_at in [3, 18, 20, 46, 47, 55] {
        let cut = tempfile::tempdir().unwrap();
        go(cut.path(), config(lars()), stop_at);
        let found = go(cut.path(), config(lars()), u64::MAX);
        assert!(found == expected, "stopped at {stop_at}: {found:?} instead of {expected:?}");
        assert_eq!([kinds(cut.path(), "skip"), kinds(cut.path(), "rollback")], [1, 1]);
    }
    let latest = Checkpoints::new(whole.path().join("checkpoints")).latest().unwrap().unwrap();
    let names: Vec<String> = latest.optimizer().unwrap().into_keys().collect();
    assert_eq!(names, ["mu.bias", "mu.weight"]);
}

#[test]
fn a_checkpoint_of_another_optimiser_is_refused_whole() {
    let configs: [OptimizerConfig; 2] = [lars().into(), AdamWConfig::default().into()];
    for (of, with, expected) in [
        (0, 1, "the checkpoint's optimiser state is that of LARS, this run optimises with AdamW"),
        (1, 0, "the checkpoint's optimiser state is that of AdamW, this run optimises with LARS"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        go(folder.path(), config(configs[of]), 9);
        let latest = Checkpoints::new(folder.path().join("checkpoints")).latest().unwrap().unwrap();
        let mut trainer =
            Trainer::new(Map::new(), config(configs[with]), folder.path().join("c")).unwrap();
        let error = trainer.restore(&latest, &mut Count(0)).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(trainer.task().values(), Map::new().values());
    }
}
