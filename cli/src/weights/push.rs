//! `longmae weights push`: what a run made, to the Hub.

use std::path::PathBuf;

use indicatif::HumanBytes;
use longmae_hub::{Hub, Outcome, PushOptions, PushReport, Reference, Upload};

use super::reference::model;
use super::uploads::{Made, uploads};
use crate::download::bar;
use crate::exit::usage;
use crate::output::line;

#[derive(clap::Args)]
pub struct Args {
    /// The run's folder
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// A model of the Hub; repository and branch are made where they are not there. Files of other names stay, README.md
    /// is written anew
    #[arg(value_name = "hf://ORG/NAME[@BRANCH]")]
    to: String,
    /// Upload the whole model too, with its decoder (mae.safetensors)
    #[arg(long)]
    full: bool,
    /// Make the repository private, and refuse one that is public
    #[arg(long)]
    private: bool,
    /// The licence that the model card states, by its name on the Hub, such as apache-2.0 (default: none is stated)
    #[arg(long, value_name = "NAME")]
    license: Option<String>,
    /// The commit's message
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
    /// Print what would be sent, and send nothing
    #[arg(long)]
    dry_run: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let reference = target(&args.to)?;
    check_license(args.license.as_deref())?;
    let made = Made::read(&args.run, args.full)?;
    let uploads = uploads(&made, &reference, args.license.as_deref())?;
    if args.dry_run {
        return describe(&args.to, &uploads);
    }
    let message = args.message.clone().unwrap_or_else(|| {
        let (steps, version) = (made.info.steps, &made.info.code_version);
        format!("Weights after {steps} steps, by longmae {version}")
    });
    let private = args.private.then_some(true);
    let options = PushOptions { private, ..PushOptions::new(message) };
    let bar = bar();
    let report = Hub::from_env()?.push_with(&reference, &uploads, &options, &|p| bar(p))?;
    tell(&report);
    Ok(())
}

/// A model's branch.
fn target(text: &str) -> anyhow::Result<Reference> {
    let reference = model(text)?;
    if reference.path().is_some() {
        return Err(usage(format!("`{text}` names a file; expected hf://ORG/NAME[@BRANCH]")));
    }
    if reference.commit().is_some() {
        return Err(usage(format!("`{text}` names a commit, and only a branch can be pushed to")));
    }
    Ok(reference)
}

/// The Hub knows its licences; this is what their names look like.
fn check_license(license: Option<&str>) -> anyhow::Result<()> {
    let fits = |name: &str| {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
        !name.is_empty() && name.chars().all(allowed)
    };
    match license {
        Some(name) if !fits(name) => Err(usage(format!(
            "--license {name}: expected a name as the Hub has it, such as apache-2.0, mit or cc-by-nc-4.0"
        ))),
        _ => Ok(()),
    }
}

fn describe(to: &str, uploads: &[Upload]) -> anyhow::Result<()> {
    line(format!("would be sent to {to}:"));
    let mut total = 0;
    for upload in uploads {
        let size = upload.size()?;
        total += size;
        line(format!("  {:<22} {}", upload.path(), HumanBytes(size)));
    }
    line(format!("  {:<22} {}", "together", HumanBytes(total)));
    Ok(())
}

fn tell(report: &PushReport) {
    if report.created {
        line(format!("made {}", report.page));
    }
    for file in &report.files {
        let outcome = match file.outcome {
            Outcome::Stored => "already in the Hub's storage",
            Outcome::Unchanged => "unchanged",
            _ => "sent",
        };
        line(format!("  {:<22} {:>10}  {outcome}", file.path, HumanBytes(file.size).to_string()));
    }
    line(format!("{} at commit {}", report.page, report.commit));
}
