//! `longmae weights convert`: a model in another package's layout.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::bail;
use candle_core::Device;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use longmae_weights::{
    Checkpoint, Export, Kind, Layout, Metadata, ModelInfo, export, is_classifier, is_decoder,
    is_encoder,
};

use super::given::Given;
use super::source::Source;
use super::structure::{Wanted, faults, foreign};
use crate::exit::usage;
use crate::output::line;
use crate::terminal::plural;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    source: Source,
    /// What is written: a file NAME.safetensors; or a folder, with the package's config.json beside model.safetensors
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// The layout to write
    #[arg(long, value_name = "LAYOUT", value_parser = layouts())]
    to: Layout,
    /// Leave decoder and classifier behind
    #[arg(long)]
    encoder_only: bool,
    /// Write a model that is not whole, and leave behind what no masked autoencoder has; both are named
    #[arg(long)]
    allow_partial: bool,
    /// Replace what is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    given: Given,
}

/// Names shown of a long list.
const SHOWN: usize = 6;

fn shown(names: &[String]) -> String {
    match names.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{} and {more} more", names[..SHOWN].join(", ")),
        _ => names.join(", "),
    }
}

/// The layouts by name.
pub fn layouts() -> impl TypedValueParser<Value = Layout> {
    let names = Layout::ALL.map(|layout| match layout {
        Layout::HfVitMae => PossibleValue::new(layout.name()).alias("hf-vitmae"),
        layout => PossibleValue::new(layout.name()),
    });
    PossibleValuesParser::new(names).try_map(|name| match name.as_str() {
        "hf-vitmae" => Ok(Layout::HfVitMae),
        name => name.parse(),
    })
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let folder = is_folder(&args.out, args.to)?;
    let checkpoint = args.source.open()?;
    let chosen = Chosen::of(&checkpoint, args);
    chosen.check(&checkpoint, args)?;
    let info = args.given.info(&checkpoint, args.encoder_only)?;
    let export = chosen.export(&checkpoint, info, args.to)?;
    refuse_existing(args, folder, &export)?;
    match folder {
        true => _ = export.save_folder(&args.out)?,
        false => export.save_file(&args.out)?,
    }
    chosen.tell(&checkpoint, &export, &args.out);
    Ok(())
}

/// Whether `out` is to be a folder: what has no file's name is one, and a layout decides what it may be.
fn is_folder(out: &Path, layout: Layout) -> anyhow::Result<bool> {
    let is_file = out.extension().is_some_and(|extension| extension == "safetensors");
    let shown = out.display();
    match layout {
        Layout::HfVit | Layout::HfVitMae if is_file => Err(usage(format!(
            "{shown}: transformers reads a folder, with config.json beside the weights; name a folder"
        ))),
        Layout::Mae | Layout::Detectron2 if !is_file => {
            Err(usage(format!("{shown}: expected a file's name that ends in .safetensors")))
        }
        _ if out.extension().is_some_and(|extension| extension == "pth" || extension == "bin") => {
            Err(usage(format!("{shown}: weights are written as safetensors alone")))
        }
        _ => Ok(!is_file),
    }
}

fn refuse_existing(args: &Args, folder: bool, export: &Export) -> anyhow::Result<()> {
    let beside = export.files.iter().map(|(name, _)| *name);
    let names: Vec<PathBuf> = match folder {
        true => beside.chain(["model.safetensors"]).map(|name| args.out.join(name)).collect(),
        false => vec![args.out.clone()],
    };
    match names.iter().find(|path| path.exists()) {
        Some(path) if !args.force => bail!("{} is there; --force replaces it", path.display()),
        _ => Ok(()),
    }
}

/// The tensors that are converted, and those that are not.
struct Chosen {
    kind: Kind,
    /// MAE's names.
    names: Vec<String>,
    /// Left behind on request.
    left: Vec<String>,
    /// What is not as it should be in what goes along.
    faults: Vec<String>,
    /// The file's own names of the rest of a detector, which goes along as it is.
    detector: Vec<String>,
}

impl Chosen {
    fn of(checkpoint: &Checkpoint, args: &Args) -> Self {
        let goes = |name: &str| match args.encoder_only {
            true => is_encoder(name),
            false => !(args.allow_partial && foreign(name)),
        };
        let (names, left): (Vec<String>, Vec<String>) =
            checkpoint.names().map(str::to_owned).partition(|name| goes(name));
        let some = |part: fn(&str) -> bool| names.iter().any(|name| part(name));
        let detector = Self::detector(checkpoint, args);
        let kind = match checkpoint.kind() {
            _ if !detector.is_empty() => Kind::Detector,
            _ if some(is_decoder) => Kind::Full,
            Some(Kind::Classifier) if some(is_classifier) => Kind::Classifier,
            _ => Kind::Encoder,
        };
        let faults = Self::faults(checkpoint, &names, kind, args.to);
        Self { kind, names, left, faults, detector }
    }

    /// What of a whole detector is no encoder's, where it is to stay one.
    fn detector(checkpoint: &Checkpoint, args: &Args) -> Vec<String> {
        let both = [checkpoint.layout(), Some(args.to)];
        let stays = both == [Some(Layout::Detectron2); 2] && !args.encoder_only;
        let left = checkpoint.left_out();
        let whole = left.iter().any(|name| name.starts_with("roi_heads."));
        if stays && whole { left.to_vec() } else { Vec::new() }
    }

    fn faults(checkpoint: &Checkpoint, names: &[String], kind: Kind, to: Layout) -> Vec<String> {
        let mut info = match super::described::inferred(checkpoint) {
            Ok(inferred) => inferred.info,
            Err(error) => return vec![error.to_string()],
        };
        if kind != Kind::Full {
            info.decoder = None;
        }
        let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let detection =
            [checkpoint.layout(), Some(to)].iter().all(|l| *l == Some(Layout::Detectron2));
        faults(checkpoint, &names, &Wanted { info: &info, for_detection: detection })
    }

    /// Refuses what is not whole.
    fn check(&self, checkpoint: &Checkpoint, args: &Args) -> anyhow::Result<()> {
        let path = checkpoint.path().display();
        match &self.faults[..] {
            [] => Ok(()),
            _ if args.allow_partial => Ok(()),
            faults => bail!(
                "{path} is no whole model, nothing was written (--allow-partial writes what there is): {}",
                faults.join("; ")
            ),
        }
    }

    /// Reads the tensors and brings them into the layout.
    fn export(
        &self,
        checkpoint: &Checkpoint,
        info: ModelInfo,
        to: Layout,
    ) -> anyhow::Result<Export> {
        let read = |name: &String| Ok((name.clone(), checkpoint.tensor(name, &Device::Cpu)?));
        let tensors: Vec<_> =
            self.names.iter().map(read).collect::<longmae_weights::Result<_>>()?;
        let recipe = checkpoint.metadata().and_then(|metadata| metadata.recipe.clone());
        let mut export = export(&tensors, &Metadata { kind: self.kind, info, recipe }, to)?;
        let own = checkpoint.under_own_names();
        for name in &self.detector {
            export.tensors.push((name.clone(), own.tensor(name, &Device::Cpu)?));
        }
        Ok(export)
    }

    fn tell(&self, checkpoint: &Checkpoint, export: &Export, out: &Path) {
        let from = checkpoint.layout().map_or("unknown".to_owned(), |layout| layout.to_string());
        let tensors = plural(export.tensors.len() as u64, "tensor");
        line(format!(
            "{} ({from}) -> {} ({}, {}): {tensors}",
            checkpoint.path().display(),
            out.display(),
            export.layout,
            self.kind
        ));
        let rest = if self.detector.is_empty() { checkpoint.left_out() } else { &[] };
        let lists = [
            ("left behind", &self.left[..]),
            ("not in this layout", &export.left_out),
            ("left in the file", rest),
        ];
        for (what, names) in lists.into_iter().filter(|(_, names)| !names.is_empty()) {
            line(format!("{what}: {}", shown(names)));
        }
        for fault in &self.faults {
            line(format!("not whole: {fault}"));
        }
        line(format!("to load it: {}", export.usage));
    }
}
