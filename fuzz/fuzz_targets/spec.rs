//! Sources by name: what is read is written so that it is read alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use longmae_data::Spec;

fuzz_target!(|text: &str| {
    if let Ok(spec) = text.parse::<Spec>() {
        let written = spec.to_string();
        assert_eq!(written.parse::<Spec>().ok(), Some(spec), "{text:?} became {written:?}");
    }
});
