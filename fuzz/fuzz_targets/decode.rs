//! Images of any format, as three channels and as many bands.
#![no_main]

use libfuzzer_sys::fuzz_target;
use longmae_data::{DecodeOptions, decode};

fuzz_target!(|bytes: &[u8]| {
    for channels in [3, 1, 13] {
        let options = DecodeOptions { channels, max_pixels: 1 << 20, ..Default::default() };
        if let Ok(image) = decode(bytes, &options) {
            assert_eq!(image.pixels.len(), image.width * image.height * channels);
        }
    }
});
