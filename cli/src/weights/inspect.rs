//! `longmae weights inspect`: what a file holds.

use anyhow::bail;
use indicatif::HumanBytes;
use longmae_weights::{Checkpoint, Error, Format, Known, TowerInfo};
use serde_json::{Value, json};

use super::described::{Described, described};
use super::source::Source;
use super::statistics::Statistics;
use crate::output::line;

/// Classes that are listed.
const SHOWN: usize = 8;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    source: Source,
    /// Print everything as one JSON object
    #[arg(long)]
    json: bool,
}

/// A tensor as the file has it.
struct Row {
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
    numbers: Statistics,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let checkpoint = args.source.open()?;
    let described = match described(&checkpoint, &Known::default(), |_| true) {
        Err(Error::NotAModel { reason, .. }) => Err(reason),
        other => Ok(other?),
    };
    if !args.json {
        summary(&checkpoint, &described)?;
    }
    let rows = rows(&checkpoint)?;
    match args.json {
        true => line(json(&checkpoint, &described, &rows)?),
        false => table(&rows),
    }
    let bad = rows.iter().filter(|row| row.numbers.not_finite > 0);
    let bad: Vec<String> =
        bad.map(|row| format!("{} ({})", row.name, row.numbers.not_finite)).collect();
    if !bad.is_empty() {
        bail!("{}: numbers that are not finite in {}", checkpoint.path().display(), bad.join(", "));
    }
    Ok(())
}

/// Statistics of one tensor after the other, each read alone.
fn rows(checkpoint: &Checkpoint) -> anyhow::Result<Vec<Row>> {
    let file = checkpoint.stored();
    let mut rows = Vec::new();
    for name in file.names() {
        let Some(tensor) = file.get(name) else { continue };
        rows.push(Row {
            name: name.to_owned(),
            dtype: tensor.dtype().as_str(),
            shape: tensor.shape().to_vec(),
            numbers: Statistics::of(file, tensor)?,
        });
    }
    Ok(rows)
}

fn format(checkpoint: &Checkpoint) -> &'static str {
    match checkpoint.stored().format() {
        Format::Safetensors => "safetensors",
        Format::Pth => "pth",
    }
}

/// Tensors, numbers in them, bytes of the file.
fn sizes(checkpoint: &Checkpoint) -> anyhow::Result<(usize, usize, u64)> {
    let file = checkpoint.stored();
    let numbers = |name| file.shape(name).unwrap_or_default().iter().product::<usize>();
    let parameters = file.names().map(numbers).sum();
    Ok((file.names().count(), parameters, std::fs::metadata(file.path())?.len()))
}

fn summary(checkpoint: &Checkpoint, described: &Result<Described, String>) -> anyhow::Result<()> {
    let (tensors, parameters, bytes) = sizes(checkpoint)?;
    let none = || "none that is known".to_owned();
    let pair = |key: &str, value: String| line(format!("{key:<15} {value}"));
    pair("file", checkpoint.path().display().to_string());
    pair("format", format(checkpoint).to_owned());
    pair("layout", checkpoint.layout().map_or_else(none, |layout| layout.to_string()));
    pair("kind", checkpoint.kind().map_or_else(none, |kind| kind.to_string()));
    pair("parameters", format!("{parameters} in {tensors} tensors, {}", HumanBytes(bytes)));
    match described {
        Ok(described) => model(checkpoint, described),
        Err(reason) => pair("model", format!("none: the file {reason}")),
    }
    for note in checkpoint.notes() {
        pair("note", note.clone());
    }
    if !checkpoint.left_out().is_empty() {
        pair("not MAE's", checkpoint.left_out().join(", "));
    }
    Ok(())
}

/// The model's sizes and what goes with them.
fn model(checkpoint: &Checkpoint, described: &Described) {
    let info = &described.info;
    let pair = |key: &str, value: String| {
        let value = if described.says(key) { value } else { "not said".to_owned() };
        line(format!("{key:<15} {value}"));
    };
    let [height, width] = info.image_size;
    let [rows, columns] = info.grid().unwrap_or_default();
    let grid = format!("{rows} x {columns} = {} patches", rows * columns);
    pair("image_size", format!("{height}x{width}, {grid} of {}", info.patch_size));
    pair("channels", info.channels.to_string());
    pair("mean", format!("{:?}", info.mean));
    pair("std", format!("{:?}", info.std));
    let tower = |tower: &TowerInfo, heads: &str| match described.says(heads) {
        true => tower.to_string(),
        false => format!("{} wide, {} deep, heads not said", tower.dim, tower.depth),
    };
    pair("encoder", tower(&info.encoder, "heads"));
    let decoder = info.decoder.as_ref().map(|decoder| tower(decoder, "decoder_heads"));
    pair("decoder", decoder.unwrap_or_else(|| "none".to_owned()));
    let downsampling = [info.decoder_downsampling, info.pred_downsampling];
    if downsampling != [1, 1] {
        pair(
            "downsampling",
            format!("decoder {}, prediction {}", downsampling[0], downsampling[1]),
        );
    }
    pair("key_bias", info.key_bias.to_string());
    pair("norm_pix_loss", info.norm_pix_loss.to_string());
    pair("layer_norm_eps", format!("{:e}", info.layer_norm_eps));
    let Some(metadata) = checkpoint.metadata() else {
        return pair("said by", "shapes, JSON files beside it, and convention".to_owned());
    };
    if let Some(detector) = &info.detector {
        pair("trained at", format!("{0}x{0}", detector.image_size));
        let few: Vec<&str> =
            detector.categories.iter().take(SHOWN).map(|category| category.name.as_str()).collect();
        let more = if detector.categories.len() > SHOWN { ", ..." } else { "" };
        pair("categories", format!("{}: {}{more}", detector.categories.len(), few.join(", ")));
    }
    match &info.classifier {
        None if info.detector.is_some() => {}
        Some(head) => {
            pair("pool", head.pool.clone());
            let few = head.classes.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>();
            let more = if head.classes.len() > SHOWN { ", ..." } else { "" };
            pair("classes", format!("{}: {}{more}", head.classes.len(), few.join(", ")));
        }
        None => pair(
            "masking",
            format!(
                "{}, unit {}, ratio {}, {}",
                info.mask_strategy, info.mask_unit, info.mask_ratio, info.mask_count
            ),
        ),
    }
    let optional = |value: Option<f64>| value.map_or("unknown".to_owned(), |v| v.to_string());
    pair("steps", info.steps.to_string());
    pair("epochs", optional(info.epochs));
    pair("loss", optional(info.loss));
    pair("said by", format!("longmae {}", info.code_version));
    if let Some(recipe) = &metadata.recipe {
        line("recipe");
        recipe.lines().for_each(|text| line(format!("  {text}")));
    }
}

fn table(rows: &[Row]) {
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4e}"));
    let head = ["", "type", "shape", "mean", "std", "min", "max", "not finite"].map(str::to_owned);
    let cells = rows.iter().map(|row| {
        let Statistics { mean, std, min, max, not_finite } = row.numbers;
        let [mean, std, min, max] = [mean, std, min, max].map(number);
        let shape = format!("{:?}", row.shape);
        [row.name.clone(), row.dtype.to_owned(), shape, mean, std, min, max, not_finite.to_string()]
    });
    let all: Vec<_> = std::iter::once(head).chain(cells).collect();
    let width = |column: usize| all.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; 8] = std::array::from_fn(width);
    line("");
    for row in &all {
        let pad = |(column, (text, width)): (usize, (&String, usize))| match column {
            0..=2 => format!("{text:<width$}"),
            _ => format!("{text:>width$}"),
        };
        let cells: Vec<String> = row.iter().zip(widths).enumerate().map(pad).collect();
        line(cells.join("  ").trim_end());
    }
}

fn json(
    checkpoint: &Checkpoint,
    described: &Result<Described, String>,
    rows: &[Row],
) -> anyhow::Result<Value> {
    let (_, parameters, bytes) = sizes(checkpoint)?;
    let tensors = rows.iter().map(|Row { name, dtype, shape, numbers }| {
        let mut row = json!({ "name": name, "dtype": dtype, "shape": shape });
        if let (Value::Object(row), Value::Object(numbers)) = (&mut row, json!(numbers)) {
            row.extend(numbers);
        }
        row
    });
    let info = described.as_ref().ok().map(|described| {
        let mut info = json!(described.info);
        for key in &described.unsaid {
            match key.as_str() {
                "heads" => info["encoder"]["heads"] = Value::Null,
                "decoder_heads" => info["decoder"]["heads"] = Value::Null,
                key => info[key] = Value::Null,
            }
        }
        info
    });
    Ok(json!({
        "path": checkpoint.path(),
        "format": format(checkpoint),
        "layout": checkpoint.layout().map(|layout| layout.name()),
        "kind": checkpoint.kind().map(|kind| kind.as_str()),
        "parameters": parameters,
        "bytes": bytes,
        "has_metadata": checkpoint.metadata().is_some(),
        "info": info,
        "not_a_model": described.as_ref().err(),
        "recipe": checkpoint.metadata().and_then(|metadata| metadata.recipe.as_ref()),
        "notes": checkpoint.notes(),
        "left_out": checkpoint.left_out(),
        "tensors": tensors.collect::<Vec<_>>(),
    }))
}
