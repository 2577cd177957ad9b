//! The large test set's folders, as torchvision's `ImageFolder` reads them. Its tars, Parquet files, COCO and ADE20K are
//! read in `wds.rs`, `parquet_files.rs`, `coco.rs` and `ade20k.rs`.

mod common;

use std::collections::BTreeMap;

use common::shards::class;
use common::shared;
use longmae_data::{DecodeOptions, ImageFolder, Source};

/// What Python says of a folder:
///
/// ```python
/// data = torchvision.datasets.ImageFolder(folder)
/// sizes = [PIL.Image.open(path).size for path, _ in data.samples]
/// len(data), data.classes[0], data.classes[-1], sum(os.path.getsize(path) for path, _ in data.samples)
/// sum(width for width, _ in sizes), sum(height for _, height in sizes), data.samples[0], data.samples[-1]
/// ```
struct Expected {
    part: &'static str,
    len: usize,
    bytes: u64,
    width: usize,
    height: usize,
    first: &'static str,
    last: &'static str,
}

const EXPECTED: [Expected; 2] = [
    Expected {
        part: "train",
        len: 260,
        bytes: 27_397_968,
        width: 119_770,
        height: 103_612,
        first: "n01440764/n01440764_tench.JPEG",
        last: "n13133613/n13133613_ear.JPEG",
    },
    Expected {
        part: "val",
        len: 40,
        bytes: 4_308_269,
        width: 18_574,
        height: 13_809,
        first: "n01622779/n01622779_great_grey_owl.JPEG",
        last: "n12620546/n12620546_hip.JPEG",
    },
];

#[test]
fn the_imagenet_sample_is_read_as_torchvision_reads_it() {
    let Some(shared) = shared() else { return };
    for Expected { part, len, bytes, width, height, first, last } in EXPECTED {
        let root = shared.join("data/imagenet-sample").join(part);
        let options = DecodeOptions { apply_exif: false, ..Default::default() };
        let data = ImageFolder::open(root, options).unwrap();
        assert_eq!((data.len(), data.id(0), data.id(len - 1)), (len, first.into(), last.into()));
        // Each class is a folder of a WordNet id, in the order of names, and has one image.
        let classes = [first, last].map(|name| name.split('/').next().unwrap());
        assert_eq!([&data.classes()[0], &data.classes()[len - 1]], classes);
        assert!(data.classes().is_sorted());
        let mut histogram = BTreeMap::<_, usize>::new();
        let (mut found_bytes, mut found_width, mut found_height) = (0, 0, 0);
        for i in 0..len {
            let sample = data.get(i).unwrap();
            *histogram.entry(class(&sample.target)).or_default() += 1;
            found_bytes += std::fs::metadata(data.path(i).unwrap()).unwrap().len();
            let size = sample.picture.size().unwrap();
            (found_width, found_height) = (found_width + size.width, found_height + size.height);
        }
        assert_eq!(histogram, (0..len).map(|class| (Some(class), 1)).collect());
        assert_eq!((found_bytes, found_width, found_height), (bytes, width, height), "{part}");
    }
}
