//! Names within a tar, as the Python package `webdataset` reads them.

/// The key and the extension in lower case: the name up to the first dot of its last part, and what follows. `None` for
/// a name without one of them, which belongs to no sample.
///
/// This is `webdataset`'s expression `^((?:.*/|)[^.]+)[.]([^/]*)$`, to which a hidden file is one of its folder: the key
/// of `dir/.x` is `dir/`, if that has no dot.
pub(super) fn split(name: &str) -> Option<(&str, String)> {
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = last + name[last..].find('.')?;
    if dot == last {
        let folder = name[..last].strip_suffix('/')?;
        let folder = folder.rsplit('/').next().unwrap_or(folder);
        if folder.contains('.') {
            return None;
        }
    }
    Some((&name[..dot], name[dot + 1..].to_lowercase()))
}

/// Whether a name describes the tar instead of a sample: `__something__` at the top.
pub(super) fn is_meta(name: &str) -> bool {
    let first = name.split('/').next().unwrap_or(name);
    first.len() >= 4 && first.starts_with("__") && first.ends_with("__")
}

/// Whether a name would leave the folder that a tar is unpacked to.
pub(super) fn is_hostile(name: &str) -> bool {
    name.starts_with('/') || name.split('/').any(|part| part == "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_at_the_first_dot_of_the_last_part() {
        for (name, expected) in [
            ("000.jpg", Some(("000", "jpg"))),
            ("a.b/000.Seg.PNG", Some(("a.b/000", "seg.png"))),
            ("./x.cls", Some(("./x", "cls"))),
            ("x.", Some(("x", ""))),
            ("a.b/c/.hidden.png", Some(("a.b/c/", "hidden.png"))),
            ("a.b/.hidden", None),
            ("./.hidden", None),
            (".hidden", None),
            ("plain", None),
            ("a.b/plain", None),
            ("a/", None),
            ("é.jpg", Some(("é", "jpg"))),
        ] {
            let expected = expected.map(|(key, extension)| (key, extension.to_owned()));
            assert_eq!(split(name), expected, "{name}");
        }
    }

    #[test]
    fn meta_and_hostile_names_are_told() {
        assert!(
            is_meta("__x__") && is_meta("__x__/a.jpg") && !is_meta("__x.jpg") && !is_meta("___")
        );
        assert!(is_hostile("/a.jpg") && is_hostile("a/../b.jpg") && !is_hostile("a..b/c.jpg"));
    }
}
