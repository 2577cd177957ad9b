//! Datasets of the Hugging Face Hub.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use longmae_hub::{FileEntry, Hub, ListingOrigin, Progress, Reference};

use crate::decode::DecodeOptions;
use crate::error::{Error, Result};
use crate::source::Source;
use crate::{ParquetFiles, WebDataset};

/// Where the Hub keeps its own Parquet copy of a dataset.
const CONVERTED: &str = "refs/convert/parquet";

/// The split that is taken when none is named.
const TRAIN: &str = "train";

/// Opens a dataset of the Hub: fetches its files into the cache that the Python libraries share, and reads them there.
///
/// A dataset is its Parquet files (or those that the Hub has converted, at `refs/convert/parquet`), or else its tars,
/// read as [`WebDataset`]. A path in the reference, a glob too, says which files. Otherwise those of `split` are taken:
/// files with the split's name as a part of theirs or of a folder's (`data/train-00000-of-00010.parquet`,
/// `plain_text/train/0000.parquet`). Without a split that is `train` if there is one, else every file.
///
/// # Errors
/// [`Error::Hub`] for what the Hub or the cache refuses; [`Error::Setting`] if no file fits, or if files of several
/// configurations do; what [`ParquetFiles::open`] and [`WebDataset::open`] refuse.
pub fn open(
    hub: &Hub,
    reference: &Reference,
    split: Option<&str>,
    options: DecodeOptions,
    progress: &dyn Fn(Progress<'_>),
) -> Result<Arc<dyn Source>> {
    let (reference, wanted) = chosen(hub, reference, split)?;
    let paths = wanted
        .iter()
        .map(|file| Ok(hub.fetch_with(&reference, file, progress)?))
        .collect::<Result<Vec<PathBuf>>>()?;
    Ok(match wanted.iter().all(|file| is_parquet(file)) {
        true => Arc::new(ParquetFiles::open_files(paths, options)?),
        false => Arc::new(WebDataset::open_files(paths, options)?),
    })
}

/// The commit's reference, and the names of the files that are wanted.
fn chosen(
    hub: &Hub,
    reference: &Reference,
    split: Option<&str>,
) -> Result<(Reference, Vec<String>)> {
    let listing = hub.list(reference);
    // Offline, the cache does not know `main` if all files came from the conversion.
    let none_here = match &listing {
        Ok(listing) => data_files(&listing.files).is_empty(),
        Err(error) => matches!(error, longmae_hub::Error::NotCached { .. }),
    };
    if none_here && let Some(found) = converted(hub, reference, split)? {
        return Ok(found);
    }
    let listing = listing?;
    if listing.origin == ListingOrigin::Snapshot {
        tracing::warn!(
            dataset = %reference,
            "offline: only the files that the cache happens to hold are known"
        );
    }
    let files = data_files(&listing.files);
    let files = match reference.path() {
        Some(_) => files,
        None => of_split(reference, files, split)?,
    };
    if files.is_empty() {
        let found = listing.files.iter().map(|file| file.path.as_str());
        return Err(no_files(reference, "no Parquet file and no tar", found));
    }
    Ok((reference.clone().pinned(&listing.commit)?, files))
}

/// The same of the Hub's own copy, if there is one of what is meant.
fn converted(
    hub: &Hub,
    reference: &Reference,
    split: Option<&str>,
) -> Result<Option<(Reference, Vec<String>)>> {
    if reference.path().is_some() || reference.revision() != "main" {
        return Ok(None);
    }
    let converted = reference.clone().with_revision(CONVERTED)?;
    // Without a copy, what is said of `main` counts.
    let Ok(listing) = hub.list(&converted) else { return Ok(None) };
    let files = of_split(reference, data_files(&listing.files), split)?;
    if files.is_empty() {
        return Ok(None);
    }
    Ok(Some((converted.pinned(&listing.commit)?, files)))
}

/// The Parquet files, or else the tars.
fn data_files(files: &[FileEntry]) -> Vec<String> {
    let named = |is: fn(&str) -> bool| -> Vec<String> {
        files.iter().map(|file| file.path.clone()).filter(|path| is(path)).collect()
    };
    match named(is_parquet) {
        none if none.is_empty() => named(is_tar),
        parquet => parquet,
    }
}

fn is_parquet(path: &str) -> bool {
    path.ends_with(".parquet")
}

fn is_tar(path: &str) -> bool {
    [".tar", ".tar.gz", ".tgz"].iter().any(|extension| path.ends_with(extension))
}

/// The files of a split, which must be of one configuration.
fn of_split(reference: &Reference, files: Vec<String>, split: Option<&str>) -> Result<Vec<String>> {
    if files.is_empty() {
        return Ok(files);
    }
    let wanted = split.unwrap_or(TRAIN);
    let mut chosen: Vec<String> =
        files.iter().filter(|file| words(file).any(|word| word == wanted)).cloned().collect();
    if chosen.is_empty() {
        if split.is_some() {
            let what = format!("no file of a split `{wanted}`");
            return Err(no_files(reference, &what, files.iter().map(String::as_str)));
        }
        chosen = files;
    }
    let folders: BTreeSet<&str> = chosen.iter().map(|file| configuration(file, wanted)).collect();
    if folders.len() > 1 {
        let folders = folders.into_iter().collect::<Vec<_>>().join(", ");
        let what =
            format!("several configurations ({folders}): name one, as in {reference}/FOLDER");
        return Err(Error::Setting { name: "data", found: reference.to_string(), expected: what });
    }
    Ok(chosen)
}

/// The words of a file's name and folders.
fn words(path: &str) -> impl Iterator<Item = &str> {
    path.split(|c: char| !c.is_ascii_alphanumeric())
}

/// The first folder, unless it only says the split or that this is data.
fn configuration<'a>(path: &'a str, split: &str) -> &'a str {
    match path.split_once('/') {
        Some((folder, _)) if folder != "data" && folder != split => folder,
        _ => "",
    }
}

fn no_files<'a>(reference: &Reference, what: &str, found: impl Iterator<Item = &'a str>) -> Error {
    let found: Vec<&str> = found.take(8).collect();
    let found = if found.is_empty() { "nothing".to_owned() } else { found.join(", ") };
    let expected = format!("{what} (found {found})");
    Error::Setting { name: "data", found: reference.to_string(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(files: &[&str], split: Option<&str>) -> Result<Vec<String>> {
        let reference = "hf://datasets/org/name".parse().unwrap();
        of_split(&reference, files.iter().map(|file| (*file).to_owned()).collect(), split)
    }

    #[test]
    fn the_split_is_told_by_the_names() {
        let files = [
            "data/train-00000-of-00002.parquet",
            "data/train-00001-of-00002.parquet",
            "data/test-0.parquet",
        ];
        assert_eq!(choose(&files, None).unwrap(), files[..2]);
        assert_eq!(choose(&files, Some("test")).unwrap(), files[2..]);
        assert_eq!(choose(&["plain_text/train/0000.parquet"], None).unwrap().len(), 1);
        assert_eq!(choose(&["images.parquet", "more.parquet"], None).unwrap().len(), 2);
        // `trainer` is no `train`.
        let message = choose(&["trainer.parquet"], Some("train")).unwrap_err().to_string();
        assert!(
            message.contains("no file of a split `train` (found trainer.parquet)"),
            "{message}"
        );
    }

    #[test]
    fn configurations_are_not_mixed() {
        let files = ["fine/train-0.parquet", "coarse/train-0.parquet"];
        let message = choose(&files, None).unwrap_err().to_string();
        assert!(message.contains("several configurations (coarse, fine)"), "{message}");
    }
}
