//! `longmae coco-eval`: COCO's figures of any detector's results.

use std::path::PathBuf;

use anyhow::Context;
use clap::ValueEnum;
use longmae_finetune::detect::coco_eval::{
    Detections, Evaluation, GroundTruth, IouType, MAX_DETECTIONS, STATS, iou_threshold,
};
use longmae_report::write_atomic;
use serde_json::json;

use crate::output::{error_line, line};
use crate::terminal::plural;

#[derive(clap::Args)]
pub struct Args {
    /// What there is to find: a file of annotations in COCO's format
    #[arg(long, value_name = "FILE")]
    annotations: PathBuf,
    /// What was found: a file of results in COCO's format
    #[arg(long, value_name = "FILE")]
    results: PathBuf,
    /// `bbox` compares boxes, `segm` masks
    #[arg(long, value_name = "KIND")]
    iou_type: Compared,
    /// Write the twelve figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Compared {
    Bbox,
    Segm,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let iou_type = match args.iou_type {
        Compared::Bbox => IouType::Bbox,
        Compared::Segm => IouType::Segm,
    };
    let truth = GroundTruth::read(&args.annotations, iou_type)?;
    let found = Detections::read(&truth, &args.results)?;
    warn(&truth, &found);
    let counts = [(truth.images(), "image"), (truth.objects(), "object")];
    let [images, objects] = counts.map(|(count, noun)| plural(count as u64, noun));
    let results = plural(found.len() as u64, "result");
    line(format!("{images}, {objects}, {results} that count, {iou_type}"));
    let evaluation = truth.evaluate(&found);
    show(&evaluation);
    if let Some(path) = &args.json {
        let figures = json!({ "iou_type": iou_type.to_string(), "stats": evaluation.stats() });
        write_atomic(path, format!("{figures}\n").as_bytes())
            .with_context(|| format!("--json {}", path.display()))?;
    }
    Ok(())
}

/// Tells where pycocotools, and so this, does what one may not expect.
fn warn(truth: &GroundTruth, found: &Detections) {
    if truth.has_zero_id() {
        error_line(
            "warning: an annotation has the id 0: as in pycocotools, its object is never found",
        );
    }
    if found.box_areas() {
        error_line(
            "warning: the results have boxes: as in pycocotools, these say which masks are small, medium and large",
        );
    }
}

/// Prints the figures as pycocotools does, and then each category's.
fn show(evaluation: &Evaluation) {
    for (stat, value) in STATS.iter().zip(evaluation.stats()) {
        let what = if stat.recall { "Recall     (AR)" } else { "Precision  (AP)" };
        let iou = match stat.threshold {
            Some(number) => format!("{:.2}", iou_threshold(number)),
            None => "0.50:0.95".to_owned(),
        };
        let (area, most) = (stat.area, MAX_DETECTIONS[stat.most]);
        line(format!(
            " Average {what} @[ IoU={iou:<9} | area={area:>6} | maxDets={most:>3} ] = {value:.3}"
        ));
    }
    line("AP of each category (-1: no object)");
    for (category, ap) in evaluation.per_category() {
        line(format!(" {ap:>6.3} {}", category.name));
    }
}
