//! `longmae knn`: how often the nearest labelled images are of the right class.

use longmae_finetune::metrics::Accuracy;
use longmae_finetune::probes::{Neighbours, Vote};
use serde_json::{Value, json};

use crate::exit::usage;
use crate::features::{EncodeFlags, Pair, PairSource};
use crate::output::line;

#[derive(clap::Args)]
pub struct Args {
    /// An encoder, or a whole model: a file in any layout, a run's or a checkpoint's folder, or hf://ORG/NAME[@REV][/FILE]
    #[arg(value_name = "WEIGHTS")]
    weights: Option<String>,
    /// Images with classes, among which neighbours are looked for: as `mae-pretrain --data` takes them, or features:FILE by
    /// `longmae embed`
    #[arg(long, value_name = "SPEC")]
    data: String,
    /// Images with classes that are classified, likewise
    #[arg(long, alias = "val_data", value_name = "SPEC")]
    val_data: String,
    /// Neighbours that vote
    #[arg(long, value_name = "N", default_value_t = 20)]
    k: usize,
    /// Votes are exp(cosine / temperature)
    #[arg(long, value_name = "T", default_value_t = 0.07)]
    temperature: f64,
    /// Count neighbours alone, without weights
    #[arg(long, conflicts_with = "temperature")]
    plain: bool,
    /// `class` (the class token) or `mean` (of the patches' tokens) (default: class, or what a file has)
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// Print one JSON object, and nothing else
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    encode: EncodeFlags,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    if args.k == 0 {
        return Err(usage("--k 0: expected a number from 1"));
    }
    let temperature = args.temperature;
    if !(temperature > 0.0 && temperature.is_finite()) {
        return Err(usage(format!("--temperature {temperature}: expected a number above 0")));
    }
    let source = PairSource {
        weights: args.weights.as_deref(),
        data: &args.data,
        validation: &args.val_data,
        encode: &args.encode,
        pool: args.pool.as_deref(),
        quiet: args.json,
    };
    let pair = source.open()?;
    let found = Neighbours::find(&pair.train, &pair.validation, args.k)?;
    let mut votes = vec![("plain", Vote::Plain)];
    if !args.plain {
        votes.insert(0, ("weighted", Vote::Weighted { temperature }));
    }
    let accuracies = votes.into_iter().map(|(name, vote)| {
        let mut accuracy = Accuracy::default();
        let classes = pair.validation.classes();
        accuracy.add(&found.votes(vote)?, classes, pair.validation.labels())?;
        Ok((name, accuracy))
    });
    let accuracies = accuracies.collect::<anyhow::Result<Vec<_>>>()?;
    if args.json {
        line(report(args, &pair, &accuracies));
        return Ok(());
    }
    let (k, classes) = (args.k, pair.train.classes());
    line(format!("{k} neighbours, {classes} classes, {} images:", pair.validation.len()));
    for (name, accuracy) in accuracies {
        let (top1, top5) = (100.0 * accuracy.top1(), 100.0 * accuracy.top5());
        line(format!("  {name:<8}  top-1 {top1:.2}%  top-5 {top5:.2}%"));
    }
    Ok(())
}

fn report(args: &Args, pair: &Pair, accuracies: &[(&str, Accuracy)]) -> Value {
    let mut report = json!({
        "k": args.k,
        "train": pair.train.len(),
        "val": pair.validation.len(),
        "classes": pair.train.classes(),
    });
    if !args.plain {
        report["temperature"] = json!(args.temperature);
    }
    for (name, accuracy) in accuracies {
        report[*name] = json!({ "top1": accuracy.top1(), "top5": accuracy.top5() });
    }
    report
}
