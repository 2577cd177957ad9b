//! Which files of a repository a reference's path means: one file, a folder, or a glob.

use glob::{MatchOptions, Pattern};

/// As shells do: `*` and `?` stop at slashes, `**` does not.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// Whether the path has a glob's characters in it.
pub(crate) fn is_glob(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// `Err` with what is wrong with a glob.
pub(crate) fn check(path: &str) -> Result<(), String> {
    if is_glob(path) {
        Pattern::new(path).map_err(|error| format!("the glob `{path}`: {}", error.msg))?;
    }
    Ok(())
}

/// Whether the name is the path, lies below it, or matches it as a glob.
pub(crate) fn matches(path: &str, name: &str) -> bool {
    if name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        return true;
    }
    is_glob(path) && Pattern::new(path).is_ok_and(|glob| glob.matches_with(name, OPTIONS))
}
