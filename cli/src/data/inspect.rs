//! `longmae data inspect`: a page of text and a sheet of samples.

use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use longmae_data::{LoaderState, MaxCorrupt, Part, Source, Target};
use longmae_report::{MaskedImage, contact_sheet, write_png};

use super::Pipeline;
use super::statistics::{Look, Seen, counted, look, mean_and_std};
use crate::exit::usage;
use crate::output::line;
use crate::pretrain::{Settings, image_spec, train_loader};
use crate::run::Sources;

/// Corrupt images that are named.
const MOST_NAMED: usize = 20;
/// Classes, formats and channel counts that are listed.
const MOST_LISTED: usize = 12;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    pipeline: Pipeline,
    /// Images that are looked at, spread over the data; `all` for all
    #[arg(long, value_name = "N|all", default_value = "10000")]
    images: String,
    /// Where the sheet of samples is written
    #[arg(long, value_name = "FILE", default_value = "contact-sheet.png")]
    sheet: PathBuf,
    /// Samples on the sheet
    #[arg(long, value_name = "N", default_value_t = 16)]
    samples: usize,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let most = match args.images.as_str() {
        "all" => usize::MAX,
        text => text.parse().ok().filter(|&n| n > 0).ok_or_else(|| {
            usage(format!("images `{text}`: expected a number from 1 on, or `all`"))
        })?,
    };
    if !(1..=2048).contains(&args.samples) {
        let found = args.samples;
        return Err(usage(format!("samples {found}: expected a number from 1 to 2048")));
    }
    let settings = args.pipeline.settings(1)?;
    let source = Sources::open(&settings.common)?.train;
    let len = source.len();
    if len == 0 {
        anyhow::bail!("{}: there is no image", args.pipeline.data);
    }
    let count = len.min(most);
    let indices: Vec<usize> =
        (0..count).map(|i| (i as u128 * len as u128 / count as u128) as usize).collect();
    let seen = look_with_bar(source.as_ref(), &indices, settings.common.workers);
    describe(&args.pipeline.data, source.as_ref(), &indices, &seen);
    if seen.iter().all(|seen| seen.found.is_err()) {
        anyhow::bail!("not one of the images looked at can be read");
    }
    draw(&args.sheet, args, &source, settings)?;
    line(format!("samples      {} as a run sees them: {}", args.samples, args.sheet.display()));
    Ok(())
}

fn look_with_bar(source: &dyn Source, indices: &[usize], threads: usize) -> Vec<Seen> {
    let bar = ProgressBar::new(indices.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} images, {eta} left") {
        bar.set_style(style);
    }
    let seen = look(source, indices, threads, &|| bar.inc(1));
    bar.finish_and_clear();
    seen
}

fn describe(name: &str, source: &dyn Source, indices: &[usize], seen: &[Seen]) {
    line(name);
    let drawn: usize = source.parts().iter().map(Part::draws).sum();
    let drawn =
        if drawn == source.len() { String::new() } else { format!(", {drawn} drawn an epoch") };
    line(format!("images       {}{drawn}; looked at {}", source.len(), seen.len()));
    classes(source, indices);
    let looks: Vec<&Look> = seen.iter().filter_map(|seen| seen.found.as_ref().ok()).collect();
    let files = || looks.iter().filter_map(|look| look.file);
    listed("formats", counted(files().map(|file| file.format)));
    listed("channels", counted(files().map(|file| file.channels)));
    sides("height", looks.iter().map(|look| look.size.0).collect());
    sides("width", looks.iter().map(|look| look.size.1).collect());
    corrupt(seen);
    if let Some(channels) = mean_and_std(&looks) {
        let list = |number: fn(&(f64, f64)) -> f64| {
            channels.iter().map(|c| format!("{:.4}", number(c))).collect::<Vec<_>>().join(",")
        };
        line(format!("statistics   --mean {} --std {}", list(|c| c.0), list(|c| c.1)));
    }
}

fn classes(source: &dyn Source, indices: &[usize]) {
    let names = source.classes();
    let name = |class: usize| names.get(class).cloned().unwrap_or_else(|| class.to_string());
    let (mut classes, mut objects) = (Vec::new(), Vec::new());
    for &index in indices {
        match source.target(index) {
            Ok(Target::Class(class)) => classes.push(name(class)),
            Ok(Target::Instances(found)) => {
                objects.extend(found.list.iter().map(|object| name(object.category)));
            }
            _ => {}
        }
    }
    if !names.is_empty() {
        line(format!("classes      {}", names.len()));
    }
    listed("images of", counted(classes.into_iter()));
    if !objects.is_empty() {
        line(format!("objects      {} in the images looked at", objects.len()));
    }
    listed("objects of", counted(objects.into_iter()));
}

fn listed<T: std::fmt::Display>(what: &str, counts: Vec<(T, usize)>) {
    if counts.is_empty() {
        return;
    }
    let more = counts.len().saturating_sub(MOST_LISTED);
    let shown = counts.iter().take(MOST_LISTED).map(|(value, count)| format!("{value}: {count}"));
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(", and {more} more"));
    }
    line(format!("{what:<12} {text}"));
}

fn sides(what: &str, mut sides: Vec<usize>) {
    sides.sort_unstable();
    if let (Some(low), Some(high)) = (sides.first(), sides.last()) {
        line(format!("{what:<12} {low} to {high}, median {}", sides[sides.len() / 2]));
    }
}

fn corrupt(seen: &[Seen]) {
    let bad: Vec<_> =
        seen.iter().filter_map(|seen| Some((&seen.id, seen.found.as_ref().err()?))).collect();
    line(format!("corrupt      {}", bad.len()));
    for (id, reason) in bad.iter().take(MOST_NAMED) {
        // A reason that names the sample itself need not be told whose it is.
        match reason.strip_prefix(id.as_str()) {
            Some(_) => line(format!("             {reason}")),
            None => line(format!("             {id}: {reason}")),
        }
    }
    if bad.len() > MOST_NAMED {
        line(format!("             and {} more", bad.len() - MOST_NAMED));
    }
}

/// Samples as the first batches of a run have them, with their masks.
fn draw(
    path: &Path,
    args: &Args,
    source: &std::sync::Arc<dyn Source>,
    mut settings: Settings,
) -> anyhow::Result<()> {
    settings.common.max_corrupt = MaxCorrupt::Share(1.0);
    let mut loader = train_loader(source, &settings, LoaderState::seeded(settings.common.seed))?;
    let spec = image_spec(&settings.mae, &settings.common.normalize);
    let mut samples = Vec::new();
    while samples.len() < args.samples {
        let Some(batch) = loader.next_batch().transpose()? else { break };
        let removed = batch.masks.mask.flatten_all()?.to_vec1::<f32>()?;
        samples.push(MaskedImage {
            image: batch.images.tensor()?.flatten_all()?.to_vec1()?,
            mask: removed.into_iter().map(|removed| removed == 1.0).collect(),
        });
    }
    let sheet = contact_sheet(&args.pipeline.data, &spec, &samples)?;
    Ok(write_png(path, &sheet)?)
}
