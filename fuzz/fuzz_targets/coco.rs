//! Annotations in COCO's format.
#![no_main]

mod file;

use libfuzzer_sys::fuzz_target;
use longmae_data::{Coco, DecodeOptions, Segmentation, Source, Target};

fuzz_target!(|bytes: &[u8]| {
    file::in_file(bytes, |path| {
        let folder = path.parent().expect("a folder");
        let Ok(coco) = Coco::from_files(folder, path, DecodeOptions::default()) else { return };
        for index in 0..coco.len() {
            let Ok(Target::Instances(all)) = coco.target(index) else { continue };
            if all.size.height.saturating_mul(all.size.width) > 1 << 20 {
                continue;
            }
            for segmentation in all.list.iter().filter_map(|one| one.segmentation.as_ref()) {
                match segmentation.to_mask(all.size) {
                    Ok(mask) => assert_eq!(mask.size(), all.size),
                    // Polygons may reach too far; masks were checked when the file was read.
                    Err(_) => assert!(matches!(segmentation, Segmentation::Polygons(_))),
                }
            }
        }
    });
});
