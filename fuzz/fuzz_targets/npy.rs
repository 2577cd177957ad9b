//! NumPy's arrays: the fuzzer's bytes are what follows the format's first six.
#![no_main]

use libfuzzer_sys::fuzz_target;
use longmae_data::{DecodeOptions, decode};

fuzz_target!(|bytes: &[u8]| {
    let file = [b"\x93NUMPY", bytes].concat();
    for channels in [3, 5] {
        let options = DecodeOptions { channels, max_pixels: 1 << 20, ..Default::default() };
        if let Ok(image) = decode(&file, &options) {
            assert_eq!(image.pixels.len(), image.width * image.height * channels);
        }
    }
});
