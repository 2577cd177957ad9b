//! Parquet files of images, with their row groups in memory and in temporary files.
#![no_main]

mod file;

use libfuzzer_sys::fuzz_target;
use longmae_data::{DecodeOptions, Error, ParquetFiles, Source};

fuzz_target!(|bytes: &[u8]| {
    file::in_file(bytes, |path| {
        let options = DecodeOptions { max_pixels: 1 << 16, ..Default::default() };
        for cache in [1 << 20, 0] {
            let Ok(data) = ParquetFiles::open_files(vec![path.into()], options) else { return };
            let data = data.cached(cache);
            // A footer may claim more rows than there are.
            for index in 0..data.len().min(100) {
                match data.get(index).and_then(|sample| sample.image().map(|_| ())) {
                    Ok(()) => {}
                    Err(Error::Sample { id, .. }) => assert_eq!(id, data.id(index)),
                    Err(error) => panic!("not an error of the sample: {error}"),
                }
            }
        }
    });
});
