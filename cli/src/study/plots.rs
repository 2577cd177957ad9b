//! Plots of what runs are judged by, over the length of the sequence and over compute.

use longmae_report::{Chart, Scale, Series};

use super::outcome::{METRICS, Metric, Outcome};

/// What a plot is drawn over.
struct Over {
    key: &'static str,
    label: &'static str,
    of: fn(&Outcome<'_>) -> anyhow::Result<Option<f64>>,
}

const OVER: [Over; 2] = [
    Over {
        key: "L",
        label: "L, patches of an image",
        of: |outcome| Ok(Some(outcome.row.settings.mae.encoder.grid.len() as f64)),
    },
    Over {
        key: "compute",
        label: "compute of a run, PFLOP",
        of: |outcome| Ok(outcome.flops()?.map(|flops| flops / 1e15)),
    },
];

/// Every plot that has a point: its file's name and its text.
pub fn all(outcomes: &[Outcome<'_>]) -> anyhow::Result<Vec<(String, String)>> {
    let mut plots = Vec::new();
    for metric in &METRICS {
        if !outcomes.iter().any(|outcome| outcome.spread(metric).is_some()) {
            continue;
        }
        for over in &OVER {
            let name = format!("{}_over_{}.svg", metric.key, over.key);
            plots.push((name, chart(outcomes, metric, over)?.svg()?));
        }
    }
    Ok(plots)
}

/// Means over seeds with a bar of one standard deviation up and down.
fn chart(outcomes: &[Outcome<'_>], metric: &Metric, over: &Over) -> anyhow::Result<Chart> {
    let mut series: Vec<Series> = Vec::new();
    for outcome in outcomes {
        let (Some(spread), Some(x)) = (outcome.spread(metric), (over.of)(outcome)?) else {
            continue;
        };
        let scale = if metric.share { 100.0 } else { 1.0 };
        let (low, high) = spread.bar();
        let name = &outcome.row.series;
        let place = series.iter().position(|series| series.name == *name).unwrap_or_else(|| {
            series.push(Series::dots(name, Vec::new()));
            series.len() - 1
        });
        series[place].points.push((x, scale * spread.mean));
        series[place].spread.push((scale * low, scale * high));
    }
    series.iter_mut().for_each(sort);
    let unit = if metric.share { ", top-1 %" } else { "" };
    let mut chart = Chart::new("", over.label, &format!("{}{unit}", metric.title), series);
    chart.x_scale = Scale::Log;
    Ok(chart)
}

/// Puts points in order of x, and their bars with them.
fn sort(series: &mut Series) {
    let mut both: Vec<_> =
        series.points.iter().copied().zip(series.spread.iter().copied()).collect();
    both.sort_by(|a, b| a.0.0.total_cmp(&b.0.0));
    (series.points, series.spread) = both.into_iter().unzip();
}
