//! Names that are chosen from a list, and the nearest one when a name is mistyped.

use crate::exit::usage;

/// The known name nearest to `found`, if one is near.
pub fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(found, name), name))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// An error for an unknown name: what was found, the nearest known one, all known ones.
pub fn unknown(what: &str, found: &str, known: &[&str]) -> anyhow::Error {
    let hint = nearest(found, known.iter().copied())
        .map_or(String::new(), |name| format!("; did you mean `{name}`?"));
    usage(format!("unknown {what} `{found}`{hint} (known: {})", known.join(", ")))
}

/// Checks that `found` is one of `known`. A name of `planned` is refused as not being there yet.
pub fn one_of(what: &str, found: &str, known: &[&str], planned: &[&str]) -> anyhow::Result<()> {
    if known.contains(&found) {
        return Ok(());
    }
    if planned.iter().any(|name| found == *name || found.starts_with(&format!("{name}:"))) {
        let known = known.join(", ");
        return Err(usage(format!(
            "{what} `{found}` is not there yet (this version has: {known})"
        )));
    }
    Err(unknown(what, found, known))
}
