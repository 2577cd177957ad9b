//! The fuzzer's bytes in a file, for readers that want one.

use std::fs;
use std::path::Path;

/// Hands `read` a file of these bytes, in a folder of its own.
pub fn in_file(bytes: &[u8], read: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("file");
    fs::write(&path, bytes).expect("a temporary file");
    read(&path);
}
