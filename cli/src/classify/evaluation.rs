//! `--eval`: what a classifier makes of validation data.

use std::path::Path;
use std::sync::Arc;

use anyhow::bail;
use longmae_data::Source;
use longmae_ops::Params;
use longmae_weights::Checkpoint;

use super::evaluate::Evaluation;
use super::flags::Flags;
use super::plan::{FineTuning, classifier};
use super::settings::Settings;
use crate::environment;
use crate::exit::usage;
use crate::labels::Classes;
use crate::output::line;
use crate::run::weights::{load_all, open_weights};
use crate::run::{self, RunSettings, Sources, ValidationData};

/// Classes that a line each is printed of.
const SHOWN: usize = 20;

/// Evaluates.
pub fn run(args: &run::Args<Flags>) -> anyhow::Result<()> {
    let (_, mut flags) = args.given::<FineTuning>()?;
    let Some(reference) = flags.encoder.init_weights.clone() else {
        return Err(usage("--eval evaluates a classifier: name it by --init-weights"));
    };
    // Nothing is trained on: whatever is named is what is looked at.
    flags.data.val_data = flags.data.val_data.take().or(flags.data.data.take());
    if flags.data.val_data.is_none() {
        return Err(usage(
            "--eval needs --val-data (a folder with a folder of images for each class)",
        ));
    }
    args.refuse_what_trains("--eval")?;
    if let Some(out) = args.out() {
        run::prepare_out(out)?;
    }
    // Nothing is mixed here, so that any batch size will do.
    (flags.mixup, flags.cutmix) = (Some(0.0), Some(0.0));
    let checkpoint = open_weights(Path::new(&reference))?;
    if checkpoint.shape("head.1.weight").is_some() {
        bail!(
            "{}: this is a linear probe with its encoder, which --eval does not evaluate yet; evaluation.json of its run has \
             its accuracy, longmae linprobe --exact probes on other data",
            checkpoint.path().display()
        );
    }
    let Some(head) = checkpoint.shape("head.weight").map(<[usize]>::to_vec) else {
        bail!(
            "{}: this file holds no classifier (no `head.weight`); fine-tune it first: longmae classify --init-weights \
             {reference} --data FOLDER",
            checkpoint.path().display()
        );
    };
    let pool = if checkpoint.shape("fc_norm.weight").is_some() { "mean" } else { "class" };
    flags.pool.get_or_insert(pool.to_owned());
    let settings = Settings::resolve(Settings::complete(flags)?)?;
    let common = &settings.common;
    environment::settle(common.threads, false)?;
    let ValidationData::Spec(spec) = &common.validation.data else {
        return Err(usage("--eval needs --val-data"));
    };
    let source = Sources::open_one(spec, common)?;
    let (classes, source) = aligned(&checkpoint, head[0], &source)?;
    let params = Params::new(common.seed, &common.device.open()?).computing(common.compute);
    let model = classifier(&settings, &classes, &params)?;
    for change in load_all(Path::new(&reference), &params, common)?.adapted {
        line(format!("adapted  {change}"));
    }
    let evaluation = Evaluation::of(&model, &source, &settings.evaluation, common, &classes)?;
    report(&evaluation, &classes);
    if let Some(out) = args.out() {
        evaluation.write(out, &classes)?;
        line(format!("{}: evaluation.json, predictions.jsonl, confusion.csv", out.display()));
    }
    Ok(())
}

/// The head's classes, by the names in the file if it has any, else by those of the data; and the data counted alike.
fn aligned(
    checkpoint: &Checkpoint,
    rows: usize,
    source: &Arc<dyn Source>,
) -> anyhow::Result<(Classes, Arc<dyn Source>)> {
    let what = "the validation data";
    let named = checkpoint.metadata().and_then(|metadata| metadata.info.classifier.as_ref());
    if let Some(head) = named {
        let classes = Classes::stored(head.classes.clone(), head.named);
        let source = classes.align(source, what)?;
        return Ok((classes, source));
    }
    let names = source.classes();
    if !names.is_empty() && names.len() != rows {
        bail!(
            "{what} has {} classes, the classifier {} has {rows} and does not name them",
            names.len(),
            checkpoint.path().display()
        );
    }
    let numbers = || (0..rows).map(|class| class.to_string()).collect();
    let classes = match names.is_empty() {
        true => Classes::stored(numbers(), false),
        false => Classes::stored(names.to_vec(), true),
    };
    let source = classes.align(source, what)?;
    Ok((classes, source))
}

fn report(evaluation: &Evaluation, classes: &Classes) {
    line(evaluation.line());
    if evaluation.corrupt > 0 {
        line(format!("{} images could not be read and are not counted", evaluation.corrupt));
    }
    let shares: Vec<_> = evaluation.per_class(classes).collect();
    if shares.len() <= SHOWN {
        for (name, share) in shares {
            line(format!("  {:6.2}%  {name}", 100.0 * share));
        }
    }
}
