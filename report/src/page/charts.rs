//! The curves of all runs, a chart for each thing that was measured.

use std::collections::BTreeSet;
use std::ops::Range;

use maud::{Markup, PreEscaped, html};

use super::{Run, legend};
use crate::{Chart, Flag, Mark, Result, Scale, Series, Step};

/// Size of a chart in CSS pixels, before the page fits it into its grid.
const SIZE: (u32, u32) = (580, 320);
/// Evaluated numbers that get a chart.
const MOST_EVALUATED: usize = 24;

/// Along what the curves run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Along {
    Steps,
    Epochs,
}

impl Along {
    /// Steps, unless the runs' steps are not the same share of an epoch: then a step of one run
    /// sees more images than one of another.
    fn choose(runs: &[Run]) -> Self {
        let shares = runs.iter().map(|run| run.history.epochs_per_step());
        let shares: Vec<f64> = shares.filter(|share| *share > 0.0).collect();
        let same = |two: &[f64]| (two[0] / two[1] - 1.0).abs() < 0.01;
        if shares.windows(2).all(same) { Self::Steps } else { Self::Epochs }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Steps => "step",
            Self::Epochs => "epoch",
        }
    }

    fn note(self) -> &'static str {
        match self {
            Self::Steps => "Along steps.",
            Self::Epochs => {
                "Along epochs, since a step is not the same share of an epoch in all runs."
            }
        }
    }

    fn x(self, step: u64, epoch: f64) -> f64 {
        if self == Self::Steps { step as f64 } else { epoch }
    }
}

/// Something measured at every step.
struct Measure {
    title: &'static str,
    y_label: &'static str,
    mark: Mark,
    scale: Scale,
    flags: bool,
    value: fn(&Step) -> f64,
}

const LOSS: Measure = Measure {
    title: "Training loss",
    y_label: "loss",
    mark: Mark::Line,
    scale: Scale::Linear,
    flags: true,
    value: |step| step.loss,
};

const OTHERS: [Measure; 5] = [
    Measure {
        title: "Gradient norm",
        y_label: "norm, before clipping",
        scale: Scale::Log,
        value: |step| step.grad_norm,
        ..LOSS
    },
    Measure {
        title: "Learning rate",
        y_label: "learning rate",
        mark: Mark::PlainLine,
        flags: false,
        value: |step| step.lr,
        ..LOSS
    },
    Measure {
        title: "Throughput",
        y_label: "images/s",
        flags: false,
        value: |step| step.images_per_second,
        ..LOSS
    },
    Measure {
        title: "Waiting for data",
        y_label: "% of a step's time",
        flags: false,
        value: |step| 100.0 * step.data_seconds / step.seconds(),
        ..LOSS
    },
    Measure {
        title: "Memory",
        y_label: "resident MB",
        mark: Mark::PlainLine,
        flags: false,
        value: |step| step.rss_mb,
        ..LOSS
    },
];

/// All charts, and the legend they share.
pub fn grid(runs: &[Run]) -> Result<Markup> {
    let along = Along::choose(runs);
    let mut charts = vec![measured(runs, along, &LOSS)];
    let evaluated = evaluated(runs);
    let more = evaluated.len().saturating_sub(MOST_EVALUATED);
    let shown = evaluated.into_iter().take(MOST_EVALUATED);
    charts.extend(shown.map(|(kind, name)| evaluation(runs, along, kind, name)));
    let others = OTHERS.iter().map(|measure| measured(runs, along, measure));
    charts.extend(others.filter(|chart| !is_empty(chart)));
    let range = range(&charts);
    let figures: Result<Vec<Markup>> =
        charts.into_iter().map(|chart| figure(chart, range.clone())).collect();
    Ok(html! {
        (legend::legend(runs))
        div class="charts" { @for figure in figures? { (figure) } }
        p class="note" {
            (along.note()) " Strong lines are moving averages where the measured values are drawn faintly."
            @if more > 0 { " " (more) " more evaluated numbers are in metrics.jsonl." }
        }
    })
}

/// Every run's curve of one thing; empty where it was not measured, so that colours keep to runs.
fn measured(runs: &[Run], along: Along, measure: &Measure) -> Chart {
    let curve = |run: &Run| {
        let steps = run.history.steps.iter();
        let points = steps.map(|s| (along.x(s.step, s.epoch), (measure.value)(s))).collect();
        Series::new(&run.name, points, measure.mark)
    };
    let series = runs.iter().map(curve).collect();
    let mut chart = Chart::new(measure.title, along.label(), measure.y_label, series);
    chart.scale = measure.scale;
    if measure.flags {
        for (series, run) in runs.iter().enumerate() {
            chart.flags.extend(run.history.events.iter().map(|event| Flag {
                x: along.x(event.step, event.epoch),
                kind: event.kind,
                series,
            }));
        }
    }
    chart
}

/// What was evaluated in any run: kind and name of the number.
fn evaluated(runs: &[Run]) -> BTreeSet<(&str, &str)> {
    let kinds = runs.iter().flat_map(|run| &run.history.evaluations);
    kinds
        .flat_map(|(kind, list)| {
            let names = list.iter().flat_map(|evaluation| evaluation.numbers.keys());
            names.map(|name| (kind.as_str(), name.as_str()))
        })
        .collect()
}

fn evaluation(runs: &[Run], along: Along, kind: &str, name: &str) -> Chart {
    let curve = |run: &Run| {
        let list = run.history.evaluations.get(kind).into_iter().flatten();
        let points =
            list.filter_map(|e| Some((along.x(e.step, e.epoch), *e.numbers.get(name)?))).collect();
        Series::dots(run.name.clone(), points)
    };
    let title = match kind {
        "eval" => format!("Validation {name}"),
        "eval_ema" => format!("Validation {name}, averaged weights"),
        _ => format!("{kind}: {name}"),
    };
    Chart::new(&title, along.label(), name, runs.iter().map(curve).collect())
}

fn is_empty(chart: &Chart) -> bool {
    !chart.series.iter().flat_map(|series| &series.points).any(|point| point.1.is_finite())
}

/// The range of x that all charts show, so that they can be compared.
fn range(charts: &[Chart]) -> Option<Range<f64>> {
    let points = charts.iter().flat_map(|chart| &chart.series).flat_map(|series| &series.points);
    let (low, high) = points
        .map(|point| point.0)
        .filter(|x| x.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    (low < high).then_some(low..high)
}

fn figure(mut chart: Chart, range: Option<Range<f64>>) -> Result<Markup> {
    let title = std::mem::take(&mut chart.title);
    chart.size = SIZE;
    chart.legend = false;
    chart.x_range = range;
    let svg = chart.svg()?;
    Ok(html! {
        figure { figcaption { (title) } (PreEscaped(svg)) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(steps_per_epoch: u64) -> Run {
        let line = |step: u64| {
            let epoch = step as f64 / steps_per_epoch as f64;
            format!("{{\"kind\":\"train\",\"step\":{step},\"epoch\":{epoch},\"loss\":1.0}}\n")
        };
        let text: String = (1..=10).map(line).collect();
        Run { history: crate::History::read(text.as_bytes()).unwrap(), ..Run::default() }
    }

    #[test]
    fn curves_run_along_epochs_when_steps_are_not_alike() {
        let empty = Run::default();
        assert_eq!(Along::choose(&[run(10), empty.clone(), run(10)]), Along::Steps);
        assert_eq!(Along::choose(&[run(10), empty.clone(), run(20)]), Along::Epochs);
        assert_eq!(Along::choose(&[empty]), Along::Steps);
    }

    #[test]
    fn colours_keep_to_their_runs() {
        let (mut first, second) = (run(10), run(10));
        first.history.steps.clear();
        let chart = measured(&[first, second], Along::Steps, &LOSS);
        assert_eq!(chart.series.len(), 2);
        assert!(chart.series[0].points.is_empty() && chart.series[1].points.len() == 10);
    }
}
