//! What a run tells while it trains: the progress bar, TensorBoard, the loss curve.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use longmae_train::{BoxError, EvalRecord, EventWriter, Observer, Progress, StepRecord};

use super::curve::{Chart, Curve};
use super::folder::RunFolder;
use crate::terminal::StepBar;

/// TensorBoard's events, which the observer and hooks write.
pub type Events = Rc<RefCell<EventWriter>>;

/// Watches one run.
pub struct RunObserver {
    bar: StepBar,
    events: Events,
    curve: Curve,
    curve_path: PathBuf,
}

impl RunObserver {
    /// Watches the run in `folder`.
    pub fn new(
        bar: StepBar,
        events: Events,
        folder: &RunFolder,
        chart: Chart,
    ) -> anyhow::Result<Self> {
        let curve = Curve::read(&folder.metrics_path(), chart)?;
        Ok(Self { bar, events, curve, curve_path: folder.loss_path() })
    }
}

impl Observer for RunObserver {
    fn step(&mut self, record: &StepRecord) -> Result<(), BoxError> {
        self.bar.step(record);
        self.curve.train(record.epoch, record.loss);
        let mut events = self.events.borrow_mut();
        for (tag, value) in [
            ("train/loss", record.loss),
            ("train/lr", record.lr),
            ("train/grad_norm", record.grad_norm),
            ("speed/images_per_second", record.images_per_second),
            ("speed/data_seconds", record.data_seconds),
        ] {
            events.scalar(tag, record.step, value)?;
        }
        Ok(())
    }

    fn evaluated(&mut self, record: &EvalRecord) -> Result<(), BoxError> {
        let mut events = self.events.borrow_mut();
        for (name, value) in &record.values {
            let (kind, epoch) = (record.kind, record.epoch);
            events.scalar(&format!("{kind}/{name}"), record.step, *value)?;
            self.bar.say(&format!("epoch {epoch:.2}: {kind} {name} {value:.4}"));
            if (kind, *name) == ("eval", "loss") {
                self.curve.validate(epoch, *value);
            }
        }
        Ok(())
    }

    fn saved(&mut self, _progress: &Progress, folder: &Path) -> Result<(), BoxError> {
        tracing::info!("saved {}", folder.display());
        self.events.borrow_mut().flush()?;
        Ok(self.curve.draw(&self.curve_path)?)
    }
}
