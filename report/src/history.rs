//! What a run's `metrics.jsonl` tells.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use serde_json::Value;

/// Names of samples or changes that one event lists.
const MOST_LISTED: usize = 20;

/// One step. A number that the line lacks, or that was not finite, is NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Steps done, this one included.
    pub step: u64,
    /// Epochs done, with their fraction.
    pub epoch: f64,
    /// Mean loss of the step.
    pub loss: f64,
    /// Learning rate.
    pub lr: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Seconds the step took, without data.
    pub step_seconds: f64,
    /// Seconds it waited for data.
    pub data_seconds: f64,
    /// Seconds it waited for a checkpoint; zero where the line says nothing.
    pub save_seconds: f64,
    /// Images a second.
    pub images_per_second: f64,
    /// Resident memory in megabytes.
    pub rss_mb: f64,
}

impl Step {
    /// Seconds the step took with all that it waited for.
    pub fn seconds(&self) -> f64 {
        self.step_seconds + self.data_seconds + self.save_seconds
    }
}

/// Numbers evaluated at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Steps done.
    pub step: u64,
    /// Epochs done.
    pub epoch: f64,
    /// The numbers by name, such as `loss`.
    pub numbers: BTreeMap<String, f64>,
}

/// What happened to a run beside its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It went on after it had ended or was ended.
    Resume,
    /// It went back to earlier weights.
    Rollback,
    /// Loss or gradient was not finite, and the step changed nothing.
    Skip,
}

/// Something that happened to a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// Steps done.
    pub step: u64,
    /// Epochs done.
    pub epoch: f64,
    /// More about it, in words; empty if there is no more.
    pub note: String,
}

/// A run as its `metrics.jsonl` tells it, each list in order of steps.
///
/// A line about a step that an earlier line was about already replaces that and all after it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// The steps, those skipped included.
    pub steps: Vec<Step>,
    /// Evaluations by their kind, such as `eval`.
    pub evaluations: BTreeMap<String, Vec<Evaluation>>,
    /// Resumes, rollbacks and skipped steps.
    pub events: Vec<Event>,
    /// Lines that are no record, such as one that a crash cut.
    pub unread_lines: usize,
}

impl History {
    /// Reads the lines of a `metrics.jsonl`. Kinds of record that are unknown and hold no numbers
    /// are passed over; lines that are no record are counted.
    ///
    /// # Errors
    ///
    /// When reading fails.
    pub fn read(reader: impl BufRead) -> io::Result<Self> {
        let mut history = Self::default();
        for line in reader.split(b'\n') {
            let line = line?;
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let added = serde_json::from_slice(&line).ok().and_then(|record| history.add(&record));
            if added.is_none() {
                history.unread_lines += 1;
            }
        }
        Ok(history)
    }

    /// Takes in one record; none if it does not say what it is about.
    fn add(&mut self, record: &Value) -> Option<()> {
        let kind = record["kind"].as_str()?;
        let step = record["step"].as_u64()?;
        let epoch = match record["epoch"].as_f64() {
            Some(epoch) => epoch,
            None => step as f64 * self.epochs_per_step(),
        };
        match kind {
            "train" | "skip" => {
                self.add_step(step_of(record, step, epoch));
                if kind == "skip" {
                    self.add_event(EventKind::Skip, step, epoch, names(&record["samples"]));
                }
            }
            "resume" => {
                self.add_event(EventKind::Resume, step, epoch, names(&record["changes"]));
            }
            "rollback" => self.add_event(EventKind::Rollback, step, epoch, rollback_note(record)),
            _ => self.add_evaluation(kind, record, step, epoch),
        }
        Some(())
    }

    fn add_step(&mut self, step: Step) {
        if self.steps.last().is_some_and(|last| last.step >= step.step) {
            self.steps.retain(|earlier| earlier.step < step.step);
            self.events.retain(|event| event.kind != EventKind::Skip || event.step < step.step);
        }
        self.steps.push(step);
    }

    fn add_event(&mut self, kind: EventKind, step: u64, epoch: f64, note: String) {
        self.events.push(Event { kind, step, epoch, note });
    }

    fn add_evaluation(&mut self, kind: &str, record: &Value, step: u64, epoch: f64) {
        let fields = record.as_object().into_iter().flatten();
        let numbers: BTreeMap<String, f64> = fields
            .filter(|(name, _)| !["kind", "step", "epoch"].contains(&name.as_str()))
            .filter_map(|(name, value)| Some((name.clone(), number(value)?)))
            .collect();
        if numbers.is_empty() {
            return;
        }
        let list = self.evaluations.entry(kind.to_owned()).or_default();
        if list.last().is_some_and(|last| last.step >= step) {
            list.retain(|earlier| earlier.step < step);
        }
        list.push(Evaluation { step, epoch, numbers });
    }

    /// Epochs a step, as the last step has it; zero before the first.
    pub(crate) fn epochs_per_step(&self) -> f64 {
        let last = self.steps.iter().rev().find(|step| step.step > 0 && step.epoch.is_finite());
        last.map_or(0.0, |last| last.epoch / last.step as f64)
    }

    /// Steps of an epoch, as the last step has it; none before the first.
    pub fn steps_per_epoch(&self) -> Option<u64> {
        let steps = (1.0 / self.epochs_per_step()).round();
        // Infinite before the first step, and beyond any run where the file is nonsense.
        (1.0..1e15).contains(&steps).then_some(steps as u64)
    }

    /// Steps done.
    pub fn steps_done(&self) -> u64 {
        self.steps.last().map_or(0, |step| step.step)
    }

    /// How often something happened.
    pub fn count(&self, kind: EventKind) -> usize {
        self.events.iter().filter(|event| event.kind == kind).count()
    }
}

fn step_of(record: &Value, step: u64, epoch: f64) -> Step {
    let value = |name: &str| record[name].as_f64().unwrap_or(f64::NAN);
    Step {
        step,
        epoch,
        loss: value("loss"),
        lr: value("lr"),
        grad_norm: value("grad_norm"),
        step_seconds: value("step_seconds"),
        data_seconds: value("data_seconds"),
        save_seconds: record["save_seconds"].as_f64().unwrap_or(0.0),
        images_per_second: value("images_per_second"),
        rss_mb: value("rss_mb"),
    }
}

/// A number of an evaluation; null stands for one that is not finite.
fn number(value: &Value) -> Option<f64> {
    if value.is_null() { Some(f64::NAN) } else { value.as_f64() }
}

/// A list of texts as one, cut to what can be read.
fn names(list: &Value) -> String {
    let all: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut text = all[..all.len().min(MOST_LISTED)].join(", ");
    if all.len() > MOST_LISTED {
        text.push_str(&format!(", and {} more", all.len() - MOST_LISTED));
    }
    text
}

fn rollback_note(record: &Value) -> String {
    let mut text = record["to"].as_u64().map_or(String::new(), |to| format!("back to step {to}"));
    if let Some(loss) = record["loss"].as_f64() {
        text.push_str(&format!(", the loss was {loss:.4}"));
    }
    text.trim_start_matches(", ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> History {
        History::read(text.as_bytes()).unwrap()
    }

    #[test]
    fn every_kind_of_line_is_taken_in() {
        let history = read(
            r#"{"kind":"train","step":1,"epoch":0.5,"loss":2.0,"lr":0.1,"grad_norm":null,"step_seconds":1,"data_seconds":0.5,"images_per_second":8,"rss_mb":100}
{"kind":"skip","step":2,"epoch":1.0,"loss":null,"samples":["a.jpg","b.jpg"]}
{"kind":"eval","step":2,"epoch":1.0,"loss":3.0}
{"kind":"probe","step":2,"epoch":1.0,"top1":0.25,"loss":null,"name":"x"}
{"kind":"resume","step":2,"epoch":1.0,"changes":["lr was 0.1, now 0.2"]}
{"kind":"rollback","step":4,"to":2,"loss":9.5}
"#,
        );
        assert_eq!(history.unread_lines, 0);
        assert_eq!((history.steps.len(), history.steps_done()), (2, 2));
        assert_eq!((history.steps[0].loss, history.steps[0].seconds()), (2.0, 1.5));
        assert!(history.steps[0].grad_norm.is_nan() && history.steps[1].loss.is_nan());
        assert_eq!(history.evaluations["eval"][0].numbers["loss"], 3.0);
        let probe = &history.evaluations["probe"][0].numbers;
        assert!(probe["top1"] == 0.25 && probe["loss"].is_nan() && probe.len() == 2);
        let notes: Vec<&str> = history.events.iter().map(|event| event.note.as_str()).collect();
        let expected =
            ["a.jpg, b.jpg", "lr was 0.1, now 0.2", "back to step 2, the loss was 9.5000"];
        assert_eq!(notes, expected);
        // A line that does not know its epoch gets the one that fits its step.
        assert_eq!(history.events[2].epoch, 2.0);
    }

    #[test]
    fn what_is_no_record_is_counted_and_the_rest_is_read() {
        let text = "{\"kind\":\"later\",\"step\":3,\"text\":\"x\"}\n\n[1]\n{\"kind\":\"train\"}\n\u{0}\n\
                    {\"kind\":\"train\",\"step\":1}\n{\"kind\":\"train\",\"step\":2,\"lo";
        let history = read(text);
        assert_eq!((history.unread_lines, history.steps.len()), (4, 1));
        assert!(history.evaluations.is_empty() && history.events.is_empty());
        assert_eq!(read(""), History::default());
    }

    #[test]
    fn a_step_done_again_replaces_what_followed_it() {
        let line = |kind: &str, step: u64, loss: f64| {
            format!("{{\"kind\":\"{kind}\",\"step\":{step},\"loss\":{loss}}}\n")
        };
        let text = [
            line("train", 1, 1.0),
            line("train", 2, 2.0),
            line("skip", 3, 3.0),
            line("eval", 3, 3.0),
            line("train", 2, 5.0),
            line("eval", 3, 6.0),
        ];
        let history = read(&text.concat());
        let steps: Vec<_> = history.steps.iter().map(|step| (step.step, step.loss)).collect();
        assert_eq!(steps, [(1, 1.0), (2, 5.0)]);
        assert_eq!(history.evaluations["eval"].len(), 1);
        assert_eq!(history.count(EventKind::Skip), 0);
    }
}
