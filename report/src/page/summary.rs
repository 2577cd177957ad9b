//! The table of what one wants to know of a run first.

use maud::{Markup, html};

use super::numbers::{duration, median, short, whole};
use super::{Run, legend};
use crate::{EventKind, History, Series};

/// Accuracies, by kind of evaluation and number, and what their row is called.
const ACCURACIES: [(&str, &str, &str); 4] = [
    ("eval", "top1", "top-1, highest"),
    ("eval_ema", "top1", "top-1 of averaged weights, highest"),
    ("probe", "knn_top1", "nearest neighbours, highest"),
    ("probe", "linear_top1", "linear probe, highest"),
];

/// A row for each thing to know, a column for each run.
pub fn table(runs: &[Run]) -> Markup {
    let columns: Vec<_> = runs.iter().map(rows).collect();
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in columns.iter().flatten() {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let value = |column: &[(String, String)], name: &str| {
        column.iter().find(|(other, _)| other == name).map_or("-".to_owned(), |row| row.1.clone())
    };
    html! {
        div class="wide" tabindex="0" role="group" aria-label="Summary" {
            table {
                thead { tr {
                    th {}
                    @for (i, run) in runs.iter().enumerate() { th scope="col" { (legend::name(i, run)) } }
                } }
                tbody {
                    @for name in names {
                        tr {
                            th scope="row" { (name) }
                            @for column in &columns { td { (value(column, name)) } }
                        }
                    }
                }
            }
        }
    }
}

/// What is to be known of a run: name and value. Every run has the rows after its facts.
fn rows(run: &Run) -> Vec<(String, String)> {
    let history = &run.history;
    let mut rows = run.facts.clone();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    row("steps", steps(run));
    row("epochs", short(history.steps.last().map_or(0.0, |step| step.epoch)));
    let (last, lowest) = losses(history);
    row("training loss, last", short(last));
    row("training loss, lowest", short(lowest));
    row("validation loss, lowest", lowest_loss(history, "eval"));
    if history.evaluations.contains_key("eval_ema") {
        row("the same, averaged weights", lowest_loss(history, "eval_ema"));
    }
    for (kind, number, name) in ACCURACIES {
        if let Some(best) = highest(history, kind, number) {
            row(name, best);
        }
    }
    row("images/s, median", short(median(history.steps.iter().map(|s| s.images_per_second))));
    let finite = |values: fn(&crate::Step) -> f64| {
        history.steps.iter().map(values).filter(|value| value.is_finite())
    };
    let seconds: f64 = finite(|step| step.seconds()).sum();
    row("time in steps", duration(seconds));
    let waiting: f64 = finite(|step| step.data_seconds).sum();
    row("waiting for data", format!("{:.1}%", 100.0 * waiting / f64::max(seconds, 1e-9)));
    let peak = finite(|step| step.rss_mb).fold(f64::NAN, f64::max);
    row("memory, peak", if peak.is_nan() { "-".to_owned() } else { format!("{} MB", short(peak)) });
    row("steps skipped", whole(history.count(EventKind::Skip) as u64));
    row("resumed", whole(history.count(EventKind::Resume) as u64));
    row("rolled back", whole(history.count(EventKind::Rollback) as u64));
    if history.unread_lines > 0 {
        row("unreadable lines of metrics", whole(history.unread_lines as u64));
    }
    rows
}

fn steps(run: &Run) -> String {
    let done = run.history.steps_done();
    match run.planned_steps {
        Some(planned) if planned > 0 => {
            let percent = 100.0 * done as f64 / planned as f64;
            format!("{} of {} ({percent:.0}%)", whole(done), whole(planned))
        }
        _ => whole(done),
    }
}

/// The last and the lowest training loss, of the moving average that the chart shows.
fn losses(history: &History) -> (f64, f64) {
    let points = history.steps.iter().map(|step| (step.step as f64, step.loss)).collect();
    let series = Series::line("", points);
    let points = series.average().unwrap_or(series.points);
    let finite = || points.iter().map(|point| point.1).filter(|loss| loss.is_finite());
    (finite().next_back().unwrap_or(f64::NAN), finite().fold(f64::NAN, f64::min))
}

/// The lowest loss of a kind of evaluation, and when that was.
fn lowest_loss(history: &History, kind: &str) -> String {
    let evaluations = history.evaluations.get(kind).into_iter().flatten();
    let losses = evaluations.filter_map(|e| Some((*e.numbers.get("loss")?, e.step)));
    let best = losses.filter(|(loss, _)| loss.is_finite()).min_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or("-".to_owned(), |(loss, step)| format!("{} at step {}", short(loss), whole(step)))
}

/// The highest accuracy of a kind of evaluation, and when that was; of equal ones the first.
fn highest(history: &History, kind: &str, number: &str) -> Option<String> {
    let evaluations = history.evaluations.get(kind).into_iter().flatten();
    let shares = evaluations.filter_map(|e| Some((*e.numbers.get(number)?, e.step)));
    let best =
        shares.filter(|(share, _)| share.is_finite()).rev().max_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(share, step)| format!("{:.2}% at step {}", 100.0 * share, whole(step)))
}
