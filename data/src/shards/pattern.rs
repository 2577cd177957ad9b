//! The files that a pattern names.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The most names that braces may stand for.
const MAX_NAMES: usize = 1_000_000;

/// The most characters of a number with zeros before it; more are a mistake.
const MAX_WIDTH: usize = 40;

/// The files that `pattern` names, in its order: names separated by `::`, each with braces as a shell reads them
/// (`{000..123}` keeps the zeros before a number, `{a,b}`, one within another) and then `*`, `?`, `[...]` and `**`. What
/// these stand for is sorted. A folder stands for the files in it whose names end in one of `endings`.
///
/// # Errors
/// [`Error::Setting`] for braces that are not closed, too many names, or a name that no file has.
pub(super) fn files(pattern: &str, endings: &[&str]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for part in pattern.split("::") {
        for name in braces(part).map_err(|expected| refused(pattern, expected))? {
            let found = matching(&name, endings).map_err(|expected| refused(pattern, expected))?;
            if found.is_empty() {
                return Err(refused(pattern, format!("there is no file `{name}`")));
            }
            files.extend(found);
        }
    }
    Ok(files)
}

/// The folder that holds all of the files, for names relative to it.
pub(super) fn common_folder(files: &[PathBuf]) -> PathBuf {
    let mut folders = files.iter().map(|file| file.parent().unwrap_or(Path::new("")));
    let mut common = folders.next().unwrap_or(Path::new("")).to_path_buf();
    for folder in folders {
        while !folder.starts_with(&common) && common.pop() {}
    }
    common
}

fn refused(pattern: &str, expected: String) -> Error {
    Error::Setting { name: "data", found: format!("`{pattern}`"), expected }
}

/// The files that a name stands for, a folder or one with `*`; a file of that very name goes first.
fn matching(name: &str, endings: &[&str]) -> Result<Vec<PathBuf>, String> {
    let path = Path::new(name);
    if path.is_dir() {
        return in_folder(path, endings).map_err(|e| format!("`{name}`: {e}"));
    }
    if path.is_file() || !name.contains(['*', '?', '[']) {
        return Ok(if path.is_file() { vec![path.to_path_buf()] } else { Vec::new() });
    }
    let options = glob::MatchOptions {
        require_literal_separator: true,
        require_literal_leading_dot: true,
        ..Default::default()
    };
    let found = glob::glob_with(name, options).map_err(|e| format!("`{name}`: {e}"))?;
    let mut files = found.collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
    files.retain(|path| path.is_file());
    files.sort_unstable();
    Ok(files)
}

fn in_folder(folder: &Path, endings: &[&str]) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let wanted = !name.starts_with('.') && endings.iter().any(|ending| name.ends_with(ending));
        files.extend(Some(path).filter(|path| wanted && path.is_file()));
    }
    files.sort_unstable();
    Ok(files)
}

/// All names that a text with braces stands for.
fn braces(text: &str) -> Result<Vec<String>, String> {
    let Some((start, end)) = first_braces(text)? else { return Ok(vec![text.to_owned()]) };
    let (before, inner, after) = (&text[..start], &text[start + 1..end], &text[end + 1..]);
    let choices = match choices(inner)? {
        Some(choices) => choices,
        // Braces around neither a list nor a range are themselves.
        None => braces(inner)?.into_iter().map(|inner| format!("{{{inner}}}")).collect(),
    };
    let endings = braces(after)?;
    if choices.len().saturating_mul(endings.len()) > MAX_NAMES {
        return Err(format!("its braces stand for more than {MAX_NAMES} files"));
    }
    let with = |choice: &String| -> Vec<String> {
        endings.iter().map(|ending| format!("{before}{choice}{ending}")).collect()
    };
    Ok(choices.iter().flat_map(with).collect())
}

/// Where the first pair of braces opens and closes.
fn first_braces(text: &str) -> Result<Option<(usize, usize)>, String> {
    let (mut depth, mut start) = (0_usize, 0);
    for (place, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => {
                start = if depth == 0 { place } else { start };
                depth += 1;
            }
            b'}' if depth == 1 => return Ok(Some((start, place))),
            b'}' => depth = depth.checked_sub(1).ok_or("a brace is closed that was not opened")?,
            _ => {}
        }
    }
    if depth > 0 { Err("a brace is not closed".into()) } else { Ok(None) }
}

/// What the inside of braces stands for, if it is a list or a range.
fn choices(inner: &str) -> Result<Option<Vec<String>>, String> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (place, byte) in inner.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                parts.push(&inner[start..place]);
                start = place + 1;
            }
            _ => {}
        }
    }
    if parts.is_empty() {
        return range(inner);
    }
    parts.push(&inner[start..]);
    let lists = parts.into_iter().map(braces).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(lists.concat()))
}

/// `FIRST..LAST` or `FIRST..LAST..STEP`, up or down, with zeros if one of the two begins with one.
fn range(inner: &str) -> Result<Option<Vec<String>>, String> {
    let parts: Vec<&str> = inner.split("..").collect();
    let (first, last, step) = match parts[..] {
        [first, last] => (first, last, "1"),
        [first, last, step] => (first, last, step),
        _ => return Ok(None),
    };
    let numbers = (first.parse::<i64>(), last.parse::<i64>(), step.parse::<i64>());
    let (Ok(from), Ok(to), Ok(step)) = numbers else { return Ok(None) };
    let step = step.unsigned_abs().max(1);
    let count = from.abs_diff(to) / step;
    if count >= MAX_NAMES as u64 {
        return Err(format!("its braces stand for more than {MAX_NAMES} files"));
    }
    let padded = |text: &str| {
        text.trim_start_matches('-').len() > 1 && text.trim_start_matches('-').starts_with('0')
    };
    let width = if padded(first) || padded(last) { first.len().max(last.len()) } else { 0 };
    if width > MAX_WIDTH {
        return Err(format!("a number of {width} digits, expected at most {MAX_WIDTH}"));
    }
    let number = |i: u64| {
        // Between two numbers of 64 bits, so that 128 are enough.
        let by = i128::from(i) * i128::from(step);
        let number = i128::from(from) + if from <= to { by } else { -by };
        format!("{number:0width$}")
    };
    Ok(Some((0..=count).map(number).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_stand_for_what_braceexpand_says() {
        for (text, names) in [
            ("a.tar", "a.tar"),
            ("x-{000..003}.tar", "x-000.tar x-001.tar x-002.tar x-003.tar"),
            ("{8..11}", "8 9 10 11"),
            ("{08..11}", "08 09 10 11"),
            ("{1..010}", "001 002 003 004 005 006 007 008 009 010"),
            ("{3..1}", "3 2 1"),
            ("{0..10..5}", "0 5 10"),
            ("{-1..1}", "-1 0 1"),
            ("{a,b,}c", "ac bc c"),
            ("{a,b{1..2}}{x,y}", "ax ay b1x b1y b2x b2y"),
            ("{a}{{1,2}}", "{a}{1} {a}{2}"),
            ("{}{0}", "{}{0}"),
        ] {
            assert_eq!(braces(text).unwrap(), names.split(' ').collect::<Vec<_>>(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let wide = format!("{{{}1..2}}", "0".repeat(70_000));
        for text in ["{a", "a}", "{a,{b}", "{0..99999999}", "{0..9999}{0..9999}", &wide] {
            assert!(braces(text).is_err(), "{text}");
        }
        let all = format!("{{{}..{}..{}}}", i64::MIN, i64::MAX, i64::MAX);
        let expected = [i64::MIN, -1, i64::MAX - 1].map(|number| number.to_string());
        assert_eq!(braces(&all).unwrap(), expected);
        let error = files("/nowhere/{0..3}.tar", &[]).unwrap_err().to_string();
        assert_eq!(error, "data `/nowhere/{0..3}.tar`: there is no file `/nowhere/0.tar`");
    }

    #[test]
    fn files_are_found_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b1.tar", "a2.tar", "a1.tar", "a[1].tar", ".a3.tar", "c.txt"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let names = |pattern: &str| {
            let root = folder.path().display();
            let pattern = pattern.split("::").map(|part| format!("{root}/{part}"));
            let files = files(&pattern.collect::<Vec<_>>().join("::"), &[".tar"])?;
            assert_eq!(common_folder(&files), folder.path());
            let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
            Ok::<_, Error>(files.into_iter().map(name).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(names("a?.tar").unwrap(), "a1.tar a2.tar");
        assert_eq!(names("{b,a}1.tar::c.*").unwrap(), "b1.tar a1.tar c.txt");
        assert_eq!(names("a[1].tar").unwrap(), "a[1].tar");
        assert_eq!(names("[ab][2-9].tar").unwrap(), "a2.tar");
        assert_eq!(names("").unwrap(), "a1.tar a2.tar a[1].tar b1.tar");
        assert!(names("a{1..3}.tar").is_err() && names("x*").is_err());
    }
}
