//! What was typed is turned into what is meant, once, and into calls of the other crates.
#![deny(missing_docs)]
#![doc = include_str!("../README.md")]

mod allocator;
mod batching;
mod choice;
mod classify;
mod coco_eval;
mod data;
mod detect;
mod device;
mod download;
mod embed;
mod environment;
mod exit;
mod features;
mod image_size;
mod knn;
mod labels;
mod linprobe;
mod output;
mod pretrain;
mod ranks;
mod recipe;
mod recipes;
mod reconstruct;
mod report;
mod run;
mod signals;
mod study;
mod terminal;
mod version;
mod visualize;
mod weights;

pub use allocator::keep_freed_memory;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Pre-train a Vision Transformer as a masked autoencoder on long token sequences.
///
/// Without arguments it trains the demo recipe on a dozen built-in photographs for less than a minute.
#[derive(Parser)]
#[command(name = "mae-pretrain", version = version::text(), max_term_width = 100, args_override_self = true, allow_negative_numbers = true)]
struct MaePretrain {
    #[command(flatten)]
    args: pretrain::Args,
}

/// Masked autoencoders on long token sequences: pre-training, and what goes with it.
#[derive(Parser)]
#[command(name = "longmae", version = version::text(), max_term_width = 100)]
struct Longmae {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Pre-train a masked autoencoder (the same as `mae-pretrain`).
    #[command(args_override_self = true, allow_negative_numbers = true)]
    Pretrain(Box<pretrain::Args>),
    /// Fine-tune an encoder to tell the classes of images, or evaluate a classifier.
    #[command(args_override_self = true, allow_negative_numbers = true)]
    Classify(Box<classify::Args>),
    /// Train, or solve, a linear classifier on a frozen encoder's features.
    #[command(args_override_self = true, allow_negative_numbers = true)]
    Linprobe(Box<linprobe::Args>),
    /// Score any detector's results as COCO does: average precision and recall of boxes or masks.
    CocoEval(coco_eval::Args),
    /// Train a detector (Mask R-CNN on a plain encoder), score one as COCO does, or draw what it finds in images.
    #[command(args_override_self = true, allow_negative_numbers = true)]
    Detect(Box<detect::Args>),
    /// Look at a dataset, or measure how fast it is read.
    Data(Box<data::Args>),
    /// Write features of images: one vector an image, or one a patch.
    #[command(allow_negative_numbers = true)]
    Embed(Box<embed::Args>),
    /// Classify images by their nearest labelled neighbours: how good an encoder is, without training anything.
    #[command(allow_negative_numbers = true)]
    Knn(Box<knn::Args>),
    /// List the built-in recipes, or show one.
    Recipes(recipes::Args),
    /// Show what a model sees and predicts: a picture of original, visible patches, prediction, prediction pasted in.
    #[command(allow_negative_numbers = true)]
    Reconstruct(Box<reconstruct::Args>),
    /// Write one HTML page about one or more runs: curves, pictures, settings and how they differ.
    Report(report::Args),
    /// Run a grid of pre-training runs with probes, skipping what is done: one table, and plots over length and compute.
    Study(Box<study::Args>),
    /// Show what an encoder makes of each patch: principal components of its features, or where its class token looks.
    Visualize(Box<visualize::Args>),
    /// Look at weights, convert, compare and check them, fetch them from the Hugging Face Hub or upload a run's to it.
    Weights(weights::Args),
}

/// Runs `mae-pretrain` with these arguments, the program's name first.
pub fn mae_pretrain(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match MaePretrain::try_parse_from(args) {
        Ok(program) => exit::code(pretrain::run(program.args, "mae-pretrain")),
        Err(error) => usage(&error),
    }
}

/// Runs `longmae` with these arguments, the program's name first.
pub fn longmae(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    study::end_with_parent();
    match Longmae::try_parse_from(args) {
        Ok(Longmae { command: Command::Pretrain(args) }) => {
            exit::code(pretrain::run(*args, "longmae pretrain"))
        }
        Ok(Longmae { command: Command::Classify(args) }) => exit::code(classify::run(*args)),
        Ok(Longmae { command: Command::Detect(args) }) => exit::code(detect::run(*args)),
        Ok(Longmae { command: Command::Linprobe(args) }) => exit::code(linprobe::run(*args)),
        Ok(Longmae { command: Command::CocoEval(args) }) => exit::code(coco_eval::run(&args)),
        Ok(Longmae { command: Command::Recipes(args) }) => exit::code(recipes::run(&args)),
        Ok(Longmae { command: Command::Data(args) }) => exit::code(data::run(&args)),
        Ok(Longmae { command: Command::Embed(args) }) => exit::code(embed::run(&args)),
        Ok(Longmae { command: Command::Knn(args) }) => exit::code(knn::run(&args)),
        Ok(Longmae { command: Command::Reconstruct(args) }) => exit::code(reconstruct::run(&args)),
        Ok(Longmae { command: Command::Report(args) }) => exit::code(report::run(&args)),
        Ok(Longmae { command: Command::Study(args) }) => exit::code(study::run(&args)),
        Ok(Longmae { command: Command::Visualize(args) }) => exit::code(visualize::run(&args)),
        Ok(Longmae { command: Command::Weights(args) }) => exit::code(weights::run(&args)),
        Err(error) => usage(&error),
    }
}

/// Prints clap's answer: help and version are no errors.
fn usage(error: &clap::Error) -> ExitCode {
    // Nothing is left to do when the terminal is gone.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS }
}
