//! `--exact`: features are made once, and logistic regression on them is solved to its minimum.

use std::path::Path;
use std::sync::Arc;

use longmae_data::Source;
use longmae_finetune::probes::{Features, Fit, LogisticConfig, LogisticRegression};

use super::flags::Flags;
use super::model::Probed;
use super::plan::Probing;
use super::settings::Settings;
use super::task::ProbeTask;
use crate::classify::{self, Evaluation};
use crate::environment;
use crate::exit::usage;
use crate::features::{labelled, lines_of_corrupt};
use crate::labels::Classes;
use crate::output::line;
use crate::run::{self, RunSettings};
use crate::terminal::plural;

/// The share of the training images that `C` is chosen on.
const HELD_OUT: f64 = 0.1;

/// The settings that an exact probe has: nothing is trained step by step.
const KEYS: [&str; 32] = [
    "data",
    "val_data",
    "val_share",
    "decode",
    "synthetic_images",
    "image_size",
    "channels",
    "mean",
    "std",
    "exif_orientation",
    "max_corrupt",
    "eval_crop",
    "model",
    "encoder_dim",
    "encoder_depth",
    "encoder_heads",
    "mlp_ratio",
    "layer_norm_eps",
    "patch_size",
    "no_k_bias",
    "init_weights",
    "allow_partial",
    "pool",
    "c",
    "batch_size",
    "precision",
    "kernels",
    "device",
    "threads",
    "ranks",
    "workers",
    "seed",
];

/// Probes, and prints what was found; with `--out`, the probe and its predictions are written there.
pub fn run(args: &run::Args<Flags>) -> anyhow::Result<()> {
    let (table, flags) = args.given::<Probing>()?;
    args.refuse_what_trains("--exact")?;
    if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(usage(format!(
            "{key}: an exact probe is solved and not trained, it has no such setting; leave it or --exact away"
        )));
    }
    let settings = Settings::resolve(Settings::complete(flags)?)?;
    let common = &settings.common;
    common.device.check_built()?;
    if common.data.is_none() {
        return Err(usage(
            "linprobe needs --data (a folder with a folder of images for each class)",
        ));
    }
    if let Some(out) = args.out() {
        run::prepare_out(out)?;
    }
    environment::settle(common.threads, false)?;
    if common.init_weights.is_none() {
        line(format!("no --init-weights: {} as it is before it was ever trained", common.model));
    }
    let (sources, classes) = classify::labelled(common)?;
    let (model, started) = Probed::open(&settings, classes.len())?;
    started.adapted.iter().chain(&started.left).for_each(|what| line(format!("weights: {what}")));
    let train = features(&model, &sources.train, &settings, &classes)?;
    let fit = solve(&train, &settings, &model)?;
    line(said(&fit, &train));
    let Some(images) = &sources.validation else {
        line("no --val-data: nothing to test the probe on");
        return write(args.out(), model, &settings, &classes, None);
    };
    let evaluation = Evaluation::of(&model, images, &settings.evaluation, common, &classes)?;
    line(evaluation.line());
    write(args.out(), model, &settings, &classes, Some(&evaluation))
}

/// What the encoder makes of all images that can be read.
fn features(
    model: &Probed,
    source: &Arc<dyn Source>,
    settings: &Settings,
    classes: &Classes,
) -> anyhow::Result<Features> {
    let (transform, common) = (&settings.evaluation, &settings.common);
    let (features, corrupt) =
        labelled(&model.vit, model.pool, source, classes, transform, common, true)?;
    lines_of_corrupt(&corrupt).into_iter().for_each(line);
    Ok(features)
}

/// Fits, and puts what was found into the probe.
fn solve(train: &Features, settings: &Settings, model: &Probed) -> anyhow::Result<Fit> {
    let config = LogisticConfig::default();
    let found = match settings.c.as_slice() {
        [c] => LogisticRegression::fit(train, &LogisticConfig { c: *c, ..config })?,
        grid => {
            let (found, search) = LogisticRegression::search(train, grid, HELD_OUT, &config)?;
            for (c, accuracy) in &search.tried {
                line(format!(
                    "  C {c:e}: {:.2}% on {} held out",
                    100.0 * accuracy,
                    search.held_out
                ));
            }
            found
        }
    };
    found.copy_to(&model.probe)?;
    Ok(found.result())
}

fn said(fit: &Fit, train: &Features) -> String {
    let end = if fit.converged { "" } else { ", not converged" };
    format!(
        "logistic regression on {} features of {}: C {:e}, {} of L-BFGS{end}",
        train.len(),
        train.dim(),
        fit.c,
        plural(fit.iterations as u64, "step")
    )
}

fn write(
    out: Option<&Path>,
    model: Probed,
    settings: &Settings,
    classes: &Classes,
    evaluation: Option<&Evaluation>,
) -> anyhow::Result<()> {
    let Some(out) = out else { return Ok(()) };
    ProbeTask::new(model, settings, classes, 1)?.save(&out.join("probe.safetensors"), 0, None)?;
    if let Some(evaluation) = evaluation {
        evaluation.write(out, classes)?;
    }
    let evaluated = if evaluation.is_some() { " and what it says of the images" } else { "" };
    line(format!("{}: probe.safetensors{evaluated}", out.display()));
    Ok(())
}
