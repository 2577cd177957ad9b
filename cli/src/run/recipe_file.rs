//! The `recipe.toml` of a run, whose lock is the run's.
//!
//! It is always written whole under another name, locked there, and renamed: whoever finds it finds all of it, and finds
//! it locked while its run lasts.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Holds a run's lock for as long as it lives.
#[derive(Debug)]
pub struct RecipeFile {
    path: PathBuf,
    /// The file's lock, and those of the files that it replaced: another process may have opened one of them before.
    locks: Vec<File>,
}

impl RecipeFile {
    /// Creates a new run's recipe; none if there is one already.
    pub fn create(path: &Path, text: &str) -> anyhow::Result<Option<Self>> {
        let temporary = path.with_extension("toml.tmp");
        // Two that begin at once open the same file. It is emptied only by the one that gets the lock, and only if it
        // has not become the recipe meanwhile.
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&temporary);
        let file = file.with_context(|| format!("cannot create {}", temporary.display()))?;
        lock(&file, path)?;
        if path.exists() {
            return Ok(None);
        }
        put(&file, &temporary, path, text)?;
        Ok(Some(Self { path: path.to_owned(), locks: vec![file] }))
    }

    /// Locks the recipe of a run that was begun; it must still hold `text`.
    pub fn open(path: &Path, text: &str) -> anyhow::Result<Self> {
        let place = || path.display().to_string();
        let file = File::open(path).with_context(place)?;
        lock(&file, path)?;
        if fs::read_to_string(path).with_context(place)? != text {
            bail!("{} was changed just now by another process: try again", path.display());
        }
        Ok(Self { path: path.to_owned(), locks: vec![file] })
    }

    /// Puts a new text in place of the old one.
    pub fn replace(&mut self, text: &str) -> anyhow::Result<()> {
        let temporary = self.path.with_extension("toml.new");
        let file = File::create(&temporary)
            .with_context(|| format!("cannot create {}", temporary.display()))?;
        lock(&file, &self.path)?;
        put(&file, &temporary, &self.path, text)?;
        self.locks.push(file);
        Ok(())
    }
}

fn lock(file: &File, path: &Path) -> anyhow::Result<()> {
    match file.try_lock() {
        // A file system without locks cannot tell.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let folder = path.parent().unwrap_or(path);
            bail!("another process is training in {}", folder.display())
        }
    }
}

/// Writes a file and renames it to `path`; nothing of it stays if that fails.
fn put(mut file: &File, temporary: &Path, path: &Path, text: &str) -> anyhow::Result<()> {
    file.set_len(0)
        .and_then(|()| file.write_all(text.as_bytes()))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(temporary, path))
        .and_then(|()| path.parent().map_or(Ok(()), sync))
        .inspect_err(|_| drop(fs::remove_file(temporary)))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Makes a folder's entries durable, where folders can be opened.
#[cfg(unix)]
fn sync(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync(_folder: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_is_refused_and_leaves_the_recipe_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recipe.toml");
        // What a process left that was killed while it wrote.
        fs::write(folder.path().join("recipe.toml.tmp"), "a longer text, cut o").unwrap();
        let mut held = RecipeFile::create(&path, "seed = 1").unwrap().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "seed = 1");
        assert!(RecipeFile::create(&path, "seed = 2").unwrap().is_none());
        let refused = |text| RecipeFile::open(&path, text).unwrap_err().to_string();
        assert!(refused("seed = 1").contains("another process"));

        // As a process that found the old file before it was replaced.
        let before = File::open(&path).unwrap();
        held.replace("seed = 3").unwrap();
        assert!(refused("seed = 3").contains("another process"));
        assert!(lock(&before, &path).is_err());
        drop(held);
        assert!(refused("seed = 1").contains("try again"));
        assert!(RecipeFile::open(&path, "seed = 3").is_ok());
        assert_eq!(fs::read_to_string(&path).unwrap(), "seed = 3");
    }
}
