//! `longmae weights pull`: a model's files, in the cache or copied to a folder.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use longmae_hub::{Hub, ListingOrigin};
use tempfile::NamedTempFile;

use super::reference::model;
use crate::download::bar;
use crate::output::{error_line, line};

#[derive(clap::Args)]
pub struct Args {
    /// A model of the Hub, or of its files one, those of a folder or those of a pattern
    #[arg(value_name = "hf://ORG/NAME[@REV][/FILE]")]
    from: String,
    /// Copy the files into this folder, in place of files of the same names; without it they are in the cache that the
    /// Python library `huggingface_hub` uses, and their paths are printed
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let reference = model(&args.from)?;
    let hub = Hub::from_env()?;
    let listing = hub.list(&reference)?;
    if listing.files.is_empty() {
        bail!("{}: there is no such file", args.from);
    }
    if listing.origin == ListingOrigin::Snapshot {
        error_line("warning: these are the files that the cache holds, the Hub may have more");
    }
    let pinned = reference.pinned(&listing.commit)?;
    let bar = bar();
    for file in &listing.files {
        let cached = hub.fetch_with(&pinned, &file.path, &|progress| bar(progress))?;
        let path = match &args.output {
            Some(folder) => copy(&cached, &folder.join(&file.path))?,
            None => cached,
        };
        line(path.display());
    }
    Ok(())
}

/// Copies a file, whole or not at all.
fn copy(from: &Path, to: &Path) -> anyhow::Result<PathBuf> {
    let folder = to.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let written = || -> io::Result<()> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".tmp-");
        // As any file that is made: the user's umask decides.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut temporary: NamedTempFile = builder.tempfile_in(folder)?;
        io::copy(&mut File::open(from)?, &mut temporary)?;
        temporary.as_file().sync_all()?;
        temporary.persist(to)?;
        Ok(())
    };
    written().with_context(|| format!("cannot write {}", to.display()))?;
    Ok(to.to_owned())
}
