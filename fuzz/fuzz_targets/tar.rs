//! Tars of samples, packed by gzip or not.
#![no_main]

mod file;

use libfuzzer_sys::fuzz_target;
use longmae_data::{DecodeOptions, Source, WebDataset};

fuzz_target!(|bytes: &[u8]| {
    file::in_file(bytes, |path| {
        let options = DecodeOptions { max_pixels: 1 << 16, ..Default::default() };
        let Ok(data) = WebDataset::open_files(vec![path.into()], options) else { return };
        assert!(!data.is_empty());
        for index in 0..data.len() {
            assert!(!data.id(index).is_empty() && data.target(index).is_ok());
            // A picture need not be one.
            let _ = data.get(index).and_then(|sample| sample.image().map(|_| ()));
        }
    });
});
