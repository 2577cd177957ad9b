//! Lists of paths.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use longmae_data::{DecodeOptions, PathList, Source};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(list) = PathList::from_text(bytes, Path::new("list.txt"), DecodeOptions::default()) {
        assert!(!list.is_empty());
        assert!((0..list.len()).all(|i| !list.id(i).is_empty() && list.target(i).is_ok()));
    }
});
