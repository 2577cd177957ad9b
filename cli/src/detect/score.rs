//! `--eval`: COCO's figures of a detector.

use longmae_train::Alone;

use super::evaluate::Sought;
use super::figures::Truth;
use super::flags::Flags;
use super::open::Opened;
use super::plan::Detecting;
use super::results;
use crate::exit::usage;
use crate::output::line;
use crate::run;

/// Scores the detector of a file, or of `--init-weights` if no file is named.
pub fn run(args: &run::Args<Flags>, weights: &str) -> anyhow::Result<()> {
    let (_, flags) = args.given::<Detecting>()?;
    let needed = "--eval needs --val-data (coco:FOLDER, or coco:IMAGES#ANNOTATIONS.json)";
    if flags.data.val_data.is_none() {
        return Err(usage(needed));
    }
    if flags.data.data.is_some() {
        return Err(usage("--eval trains on nothing: leave --data away"));
    }
    let opened = Opened::new(args, weights, "--eval")?;
    let Opened { detector, settings, categories, images: Some(images) } = opened else {
        return Err(usage(needed));
    };
    if let Some(out) = args.out() {
        run::prepare_out(out)?;
    }
    let ids = categories.ids_in(&images, "the validation data")?;
    let truth = Truth::new(&images, settings.architecture.masks())?;
    let sought = Sought { images, ids };
    let found = sought.all(&detector, &settings.evaluation, &settings.common, &Alone)?;
    let figures = truth.score(&found)?;
    figures.lines().into_iter().for_each(line);
    line(figures.line());
    if let Some(out) = args.out() {
        let names = results::write(out, &figures, &found)?;
        line(format!("{}: {names}", out.display()));
    }
    Ok(())
}
