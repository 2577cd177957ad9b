//! How well a classifier does: accuracy, loss, and what it says of each image.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use candle_core::Tensor;
use longmae_data::{EvalTransform, Source};
use longmae_finetune::metrics::{Accuracy, ConfusionMatrix};
use longmae_ops::inference;
use longmae_report::write_atomic;
use longmae_train::{Best, Checkpoints};
use serde_json::json;

use super::batch::{EvalBatch, eval_loader};
use crate::labels::Classes;
use crate::run::evaluation::{Pass, without};
use crate::run::{Common, RunFolder};
use crate::terminal::Terminal;

/// The most classes that a confusion matrix is kept of: 200 MB.
const MOST_CONFUSED: usize = 5000;

/// Something that scores images `[batch, channels, height, width]` on any device: logits `[batch, classes]`.
pub trait Scorer {
    fn logits(&self, images: &Tensor) -> anyhow::Result<Tensor>;
}

impl Scorer for longmae_finetune::Classifier {
    fn logits(&self, images: &Tensor) -> anyhow::Result<Tensor> {
        let images = images.to_device(self.backbone().device())?;
        Ok(inference(|| self.forward(&images, None))?)
    }
}

/// Scores of a batch.
struct Scored {
    /// Row after row.
    logits: Vec<f32>,
    accuracy: Accuracy,
    /// The sum over samples of the cross-entropy.
    loss: f64,
}

impl Scored {
    fn new(model: &dyn Scorer, batch: &EvalBatch, classes: usize) -> anyhow::Result<Self> {
        let logits: Vec<f32> = model.logits(&batch.images)?.flatten_all()?.to_vec1()?;
        let mut accuracy = Accuracy::default();
        accuracy.add(&logits, classes, &batch.labels)?;
        let rows = logits.chunks_exact(classes).zip(&batch.labels);
        let loss =
            rows.map(|(row, label)| log_sum_exp(row) - f64::from(row[*label as usize])).sum();
        Ok(Self { logits, accuracy, loss })
    }
}

fn log_sum_exp(row: &[f32]) -> f64 {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|x| f64::from(x - most).exp()).sum();
    f64::from(most) + sum.ln()
}

/// This rank's part of the sums: hits of the best, of the best five, samples, and the loss.
pub fn pass(
    model: &dyn Scorer,
    source: &Arc<dyn Source>,
    transform: &EvalTransform,
    common: &Common,
    classes: usize,
) -> anyhow::Result<Pass> {
    let mut loader = eval_loader(source, transform, common)?;
    let (mut accuracy, mut loss) = (Accuracy::default(), 0.0);
    while let Some(batch) = loader.next_batch() {
        let scored = Scored::new(model, &batch?, classes)?;
        accuracy.merge(&scored.accuracy);
        loss += scored.loss;
    }
    let [top1, top5, samples] = accuracy.sums();
    let corrupt = loader.corrupt().iter().map(|sample| sample.id.clone()).collect();
    Ok(Pass { sums: vec![top1, top5, samples, loss], corrupt })
}

/// What was found in all images, by one process.
pub struct Evaluation {
    pub accuracy: Accuracy,
    /// The mean cross-entropy.
    pub loss: f64,
    confusion: Option<ConfusionMatrix>,
    /// A JSON object a line and image.
    predictions: String,
    /// Images that could not be read.
    pub corrupt: usize,
}

impl Evaluation {
    /// Looks at all images of `source`.
    pub fn of(
        model: &dyn Scorer,
        source: &Arc<dyn Source>,
        transform: &EvalTransform,
        common: &Common,
        classes: &Classes,
    ) -> anyhow::Result<Self> {
        let mut alone = common.clone();
        (alone.batching.ranks, alone.rank) = (1, 0);
        let count = classes.len();
        let mut loader = eval_loader(source, transform, &alone)?;
        let mut all = Self::new(count);
        while let Some(batch) = loader.next_batch() {
            let batch = batch?;
            let scored = Scored::new(model, &batch, count)?;
            if !scored.logits.iter().all(|score| score.is_finite()) {
                let id = &batch.ids[0];
                bail!("the classifier's scores of {id} are not numbers: its training diverged");
            }
            all.add(&batch, &scored, classes)?;
        }
        let corrupt: Vec<String> = loader.corrupt().iter().map(|s| s.id.clone()).collect();
        if !corrupt.is_empty() {
            // Others took their places and would count twice.
            let left_out = corrupt.len();
            let good = without(source, corrupt)?;
            let all = Self::of(model, &good, transform, common, classes)?;
            return Ok(Self { corrupt: all.corrupt + left_out, ..all });
        }
        all.loss /= (all.accuracy.samples() as f64).max(1.0);
        Ok(all)
    }

    fn new(classes: usize) -> Self {
        Self {
            accuracy: Accuracy::default(),
            loss: 0.0,
            confusion: (classes <= MOST_CONFUSED).then(|| ConfusionMatrix::new(classes)),
            predictions: String::new(),
            corrupt: 0,
        }
    }

    fn add(&mut self, batch: &EvalBatch, scored: &Scored, classes: &Classes) -> anyhow::Result<()> {
        self.accuracy.merge(&scored.accuracy);
        self.loss += scored.loss;
        let rows = scored.logits.chunks_exact(classes.len());
        let tops: Vec<Vec<(usize, f32)>> = rows.clone().map(best).collect();
        let predicted: Vec<u32> = tops.iter().map(|top| top[0].0 as u32).collect();
        if let Some(confusion) = &mut self.confusion {
            confusion.add(&batch.labels, &predicted)?;
        }
        for (((row, top), id), label) in rows.zip(tops).zip(&batch.ids).zip(&batch.labels) {
            let total = log_sum_exp(row);
            let probability = |score: f32| (f64::from(score) - total).exp();
            let top: Vec<_> = top
                .into_iter()
                .map(|(class, score)| json!([classes.names[class], probability(score)]))
                .collect();
            let line = json!({
                "id": id,
                "label": classes.names[*label as usize],
                "prediction": top[0][0],
                "top5": top,
            });
            let _ = writeln!(self.predictions, "{line}");
        }
        Ok(())
    }

    /// The share of each class's images that was told rightly; classes without images are left out.
    pub fn per_class<'a>(
        &'a self,
        classes: &'a Classes,
    ) -> impl Iterator<Item = (&'a str, f64)> + 'a {
        let shares = self.confusion.iter().flat_map(ConfusionMatrix::per_class);
        shares.zip(&classes.names).filter_map(|(share, name)| Some((name.as_str(), share?)))
    }

    /// A line for the terminal.
    pub fn line(&self) -> String {
        format!(
            "top-1 {:.2}%, top-5 {:.2}%, loss {:.4} on {} images",
            100.0 * self.accuracy.top1(),
            100.0 * self.accuracy.top5(),
            self.loss,
            self.accuracy.samples()
        )
    }

    /// What a finished run says of itself: accuracy, files, and which checkpoint was best.
    pub fn conclude(
        &self,
        best: Option<Best>,
        classes: &Classes,
        folder: &RunFolder,
        terminal: &Terminal,
    ) -> anyhow::Result<()> {
        self.write(folder.path(), classes)?;
        terminal.say(&self.line());
        if let Some(best) = best {
            let path = Checkpoints::new(folder.checkpoints()).path(best.step);
            let share = 100.0 * best.value;
            terminal.say(&format!("best top-1 {share:.2}%: {}", path.display()));
        }
        Ok(())
    }

    /// Writes `evaluation.json`, `predictions.jsonl` and `confusion.csv` into a folder.
    pub fn write(&self, folder: &Path, classes: &Classes) -> anyhow::Result<()> {
        let put = |name: &str, text: &str| {
            let path = folder.join(name);
            write_atomic(&path, text.as_bytes()).with_context(|| path.display().to_string())
        };
        let per_class: serde_json::Map<String, serde_json::Value> =
            self.per_class(classes).map(|(name, share)| (name.to_owned(), share.into())).collect();
        let summary = json!({
            "top1": self.accuracy.top1(),
            "top5": self.accuracy.top5(),
            "loss": self.loss,
            "images": self.accuracy.samples(),
            "corrupt": self.corrupt,
            "mean_per_class": self.confusion.as_ref().map(ConfusionMatrix::mean_per_class),
            "per_class": per_class,
        });
        put("evaluation.json", &format!("{summary:#}\n"))?;
        put("predictions.jsonl", &self.predictions)?;
        match &self.confusion {
            Some(confusion) => put("confusion.csv", &csv(confusion, classes)),
            None => Ok(()),
        }
    }
}

/// The five best classes with their scores, best first; ties go to the smaller number.
fn best(row: &[f32]) -> Vec<(usize, f32)> {
    let mut order: Vec<(usize, f32)> = row.iter().copied().enumerate().collect();
    let rank = |a: &(usize, f32), b: &(usize, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    let most = order.len().min(5);
    if most < order.len() {
        order.select_nth_unstable_by(most, rank);
    }
    order.truncate(most);
    order.sort_by(rank);
    order
}

/// A row a true class, a column a predicted one.
fn csv(confusion: &ConfusionMatrix, classes: &Classes) -> String {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let names: Vec<String> = classes.names.iter().map(|name| quoted(name)).collect();
    let mut text = format!("\"true \\ predicted\",{}\n", names.join(","));
    for (class, name) in names.iter().enumerate() {
        let counts: Vec<String> = confusion.row(class).iter().map(u64::to_string).collect();
        let _ = writeln!(text, "{name},{}", counts.join(","));
    }
    text
}
