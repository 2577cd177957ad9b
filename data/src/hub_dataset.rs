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
/// read as [`WebDataset`]. A path in the reference, a glob too, says among which files to look, and `split` which of them
/// to take. Without a path and a split that is `train` if there is one, else every file.
///
/// Splits are told by names, much as the Python package `datasets` does. If there are files named
/// `SPLIT-NNNNN-of-NNNNN` (five digits; more may follow), the splits are exactly those. Else a file belongs to a split if
/// its name or a folder's is the split's, or starts with it and one of `-._`, a space or a digit
/// (`plain_text/train/0000.parquet`, `train_1.parquet`). If no file does, the split's name may also stand between two of
/// these in the file's (`cc3m-train-0000.tar`).
///
/// # Errors
/// [`Error::Hub`] for what the Hub or the cache refuses; [`Error::Setting`] if no file fits, if files of several
/// configurations do, or if no split is named where there are several and none is `train`; what [`ParquetFiles::open`]
/// and [`WebDataset::open`] refuse.
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
    let files = of_split(reference, files, split)?;
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
    let listing = match hub.list(&converted) {
        // Without a copy, what is said of `main` counts.
        Err(error) if is_absent(&error) => return Ok(None),
        other => other?,
    };
    let files = of_split(reference, data_files(&listing.files), split)?;
    if files.is_empty() {
        return Ok(None);
    }
    Ok(Some((converted.pinned(&listing.commit)?, files)))
}

/// Whether there is no such revision, here or there. Not every mirror gives the code that tells it from other absence.
fn is_absent(error: &longmae_hub::Error) -> bool {
    use longmae_hub::Error as E;
    matches!(
        error,
        E::NotCached { .. } | E::RevisionNotFound { .. } | E::Status { status: 404, .. }
    )
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

/// The files of a split; unless a path says which are meant, they must be of one configuration.
fn of_split(reference: &Reference, files: Vec<String>, split: Option<&str>) -> Result<Vec<String>> {
    if files.is_empty() || (reference.path().is_some() && split.is_none()) {
        return Ok(files);
    }
    let wanted = split.unwrap_or(TRAIN);
    let mut chosen = named(&files, wanted);
    if chosen.is_empty() {
        if split.is_some() {
            let what = format!("no file of a split `{wanted}`");
            return Err(no_files(reference, &what, files.iter().map(String::as_str)));
        }
        let splits: BTreeSet<&str> = files.iter().filter_map(|file| numbered(file)).collect();
        if splits.len() > 1 {
            let what = format!("one of the splits {}", listed(splits));
            return Err(refused(reference, format!("{what}, as in {reference}#SPLIT")));
        }
        chosen = files;
    }
    let folders: BTreeSet<&str> = chosen.iter().map(|file| configuration(file, wanted)).collect();
    if folders.len() > 1 && reference.path().is_none() {
        let what = format!("several configurations ({})", listed(folders));
        return Err(refused(reference, format!("{what}: name one, as in {reference}/FOLDER")));
    }
    Ok(chosen)
}

/// The files whose names say that they are of the split; see [`open`].
fn named(files: &[String], split: &str) -> Vec<String> {
    let those = |is: &dyn Fn(&str) -> bool| -> Vec<String> {
        files.iter().filter(|file| is(file)).cloned().collect()
    };
    if files.iter().any(|file| numbered(file).is_some()) {
        return those(&|file| numbered(file) == Some(split));
    }
    let parts = those(&|file| file.split('/').any(|part| starts_with(part, split)));
    if !parts.is_empty() {
        return parts;
    }
    those(&|file| {
        let name = name_of(file);
        name.match_indices(split).any(|(at, _)| {
            let (before, rest) = name.split_at(at);
            before.ends_with(is_separator) && starts_with(rest, split)
        })
    })
}

/// The split in a name of the form `SPLIT-NNNNN-of-NNNNN`, which more may follow: a hash, the extension.
fn numbered(path: &str) -> Option<&str> {
    let name = name_of(path);
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    let (split, rest) = name.split_once('-')?;
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let (number, count) = (rest.get(..5)?, rest.get(5..)?.strip_prefix("-of-")?);
    let ends = !count.get(5..)?.starts_with(|c: char| c.is_ascii_digit());
    let fits = is_number(number) && is_number(count.get(..5)?) && ends;
    (fits && !split.is_empty() && split.chars().all(is_word)).then_some(split)
}

/// Whether a folder's or file's name is the split's, or goes on after it with a separator. The Hub names the folder
/// `partial-SPLIT` if it has converted only the first part of it.
fn starts_with(part: &str, split: &str) -> bool {
    let rest = part.strip_prefix("partial-").unwrap_or(part).strip_prefix(split);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(is_separator))
}

/// What `datasets` takes for a boundary of a word; `_` is one.
fn is_separator(c: char) -> bool {
    matches!(c, '-' | '.' | '_' | ' ') || c.is_ascii_digit()
}

fn name_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn listed(names: BTreeSet<&str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
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
    refused(reference, format!("{what} (found {found})"))
}

fn refused(reference: &Reference, expected: String) -> Error {
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
            "data/test-00000-of-00001.parquet",
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
    fn numbered_names_are_the_splits() {
        let files = [
            "data/train_sft-00000-of-00001.parquet",
            "data/train-00000-of-00001-0123456789abcdef.parquet",
            "train/notes.parquet",
        ];
        assert_eq!(choose(&files, None).unwrap(), files[1..2]);
        assert_eq!(choose(&files, Some("train_sft")).unwrap(), files[..1]);
        let files = ["data/train_sft-00000-of-00001.parquet", "data/b-00000-of-00001.parquet"];
        let message = choose(&files, None).unwrap_err().to_string();
        assert!(message.contains("one of the splits b, train_sft, as in"), "{message}");
        assert_eq!(choose(&["x-00000-of-00001.parquet"], None).unwrap().len(), 1);
        for name in ["a-0000-of-00001.tar", "a-00000-of-000001.tar", "-00000-of-00001.tar", "a-é"]
        {
            assert_eq!(numbered(name), None, "{name}");
        }
    }

    #[test]
    fn other_names_start_with_the_split() {
        let files = ["pre-train/test-0.parquet", "trainer/b.parquet", "x/train_1.parquet"];
        assert_eq!(choose(&files, None).unwrap(), files[2..]);
        assert_eq!(choose(&files, Some("test")).unwrap(), files[..1]);
        let files = ["default/partial-train/0000.parquet", "default/test/0000.parquet"];
        assert_eq!(choose(&files, None).unwrap(), files[..1]);
        // The split within the file's name is the last thing that is tried.
        let files = ["cc3m-train-0000.tar", "cc3m-validation-0000.tar"];
        assert_eq!(choose(&files, None).unwrap(), files[..1]);
        assert_eq!(choose(&["pre-train/0.parquet"], None).unwrap().len(), 1);
        assert!(choose(&["pre-train/0.parquet"], Some("train")).is_err());
    }

    #[test]
    fn configurations_are_not_mixed() {
        let files = ["fine/train-0.parquet", "coarse/train-0.parquet"];
        let message = choose(&files, None).unwrap_err().to_string();
        assert!(message.contains("several configurations (coarse, fine)"), "{message}");
    }
}
