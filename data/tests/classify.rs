//! What training a classifier sees: its parts, one after the other.

use longmae_data::rng::{Purpose, stream};
use longmae_data::transform::augment::Augment;
use longmae_data::transform::{CropBox, HorizontalFlip, RandomResizedCrop, crop_resize};
use longmae_data::{
    ClassifyTransform, Erase, Error, Image, Normalize, Picture, Pixels, RandomErasing, Size,
    TrainTransform, Transform,
};
use rand::RngCore;
use rand_chacha::ChaCha8Rng;

fn image(channels: usize) -> Image {
    let mut samples = vec![0; 40 * 30 * channels];
    stream(0, 0, 0, Purpose::Synthetic).fill_bytes(&mut samples);
    Image::new(40, 30, channels, Pixels::U8(samples)).unwrap()
}

fn size() -> Size {
    Size::new(16, 24).unwrap()
}

fn plain(channels: usize) -> ClassifyTransform {
    ClassifyTransform::new(size(), Normalize::for_channels(channels))
}

fn rng(i: u64) -> ChaCha8Rng {
    stream(9, 0, i, Purpose::Crop)
}

#[test]
fn without_augmentation_it_is_pretrainings_with_a_wider_crop() {
    let picture = Picture::from(image(3));
    let crop = RandomResizedCrop::new((0.08, 1.0), (3.0 / 4.0, 4.0 / 3.0)).unwrap();
    let normalize = Normalize::for_channels(3);
    let other =
        TrainTransform { crop: Some(crop.into()), ..TrainTransform::new(size(), normalize) };
    for i in 0..40 {
        let found = plain(3).apply(&picture, &mut rng(i)).unwrap();
        assert_eq!((found.channels, found.height, found.width), (3, 16, 24));
        assert_eq!(found, other.apply(&picture, &mut rng(i)).unwrap());
    }
}

/// By hand: resized, mirrored, augmented with the mean around it, normalised, erased.
#[test]
fn the_parts_come_in_timms_order() {
    let flip = HorizontalFlip::new(1.0).unwrap();
    let erasing = RandomErasing::new(0.5, Erase::Noise).unwrap();
    let augment: Augment = "rand-m9-p1-mstd0.5-inc1".parse().unwrap();
    for channels in [1, 3] {
        let normalize = Normalize::for_channels(channels);
        let transform = plain(channels).with_crop(None).with_flip(Some(flip.clone()));
        let transform = transform.with_augment(augment.clone()).unwrap();
        let transform = transform.with_erasing(erasing.clone());
        let augment = augment.clone().for_training(&normalize);
        let picture = Picture::from(image(channels));
        let mut plain = 0;
        for i in 0..60 {
            let mut rng_by_hand = rng(i);
            let whole = image(channels);
            let mut expected = crop_resize(&whole, CropBox::whole(&whole), size()).unwrap();
            flip.apply(&mut expected, &mut rng_by_hand);
            let expected = augment.apply(&expected, &mut rng_by_hand).unwrap();
            let mut expected = normalize.apply(&expected).unwrap();
            let before = expected.clone();
            erasing.apply(&mut expected, &mut rng_by_hand).unwrap();
            plain += usize::from(before == expected);
            // Behind what is there already.
            let mut pixels = vec![7.0];
            let sizes = transform.append(&picture, &mut rng(i), &mut pixels).unwrap();
            assert_eq!((sizes, pixels[0]), ([channels, 16, 24], 7.0));
            assert!(pixels[1..] == expected.data, "image {i}");
        }
        assert!((15..45).contains(&plain), "{plain}");
    }
}

#[test]
fn what_is_moved_leaves_the_mean_behind() {
    let augment: Augment = "rand-m10-p1".parse().unwrap();
    let white = Image::new(32, 32, 3, Pixels::U8(vec![255; 3 * 32 * 32])).unwrap();
    let normalize = Normalize::for_channels(3);
    let mean: Vec<u8> = normalize.mean().iter().map(|v| (v * 255.0).round() as u8).collect();
    let augment = augment.for_training(&normalize);
    let filled = (0..40).filter(|&i| {
        let Pixels::U8(samples) = augment.apply(&white, &mut rng(i)).unwrap().pixels else {
            panic!("bytes stay bytes")
        };
        samples.chunks(3).any(|pixel| pixel == mean)
    });
    assert!(filled.count() > 5);
}

#[test]
fn every_kind_of_augmentation_changes_images_by_the_generator_alone() {
    let kinds =
        ["rand-m9-mstd0.5-inc1", "original-mstd0.5", "v0r"].map(|name| name.parse().unwrap());
    for augment in kinds.into_iter().chain([Augment::jitter(0.4).unwrap()]) {
        let transform = plain(3).with_augment(augment.clone()).unwrap();
        let picture = Picture::from(image(3));
        let mut changed = 0;
        for i in 0..50 {
            let once = transform.apply(&picture, &mut rng(i)).unwrap();
            assert_eq!(once, transform.apply(&picture, &mut rng(i)).unwrap());
            changed += usize::from(once != plain(3).apply(&picture, &mut rng(i)).unwrap());
        }
        assert!(changed > 20, "{augment:?}: {changed}");
    }
}

#[test]
fn what_cannot_be_augmented_is_refused() {
    let augment: Augment = "rand-m9".parse().unwrap();
    let refused = plain(4).with_augment(augment.clone()).unwrap_err().to_string();
    assert_eq!(
        refused,
        "augmentation of images of 4 channels: expected 1 or 3 channels, of 8 bits"
    );
    let floats = Image::new(8, 8, 3, Pixels::F32(vec![0.5; 192])).unwrap();
    let transform = plain(3).with_augment(augment).unwrap();
    let refused = transform.apply(&Picture::from(floats), &mut rng(0)).unwrap_err();
    assert!(matches!(refused, Error::Unsuited { operation: "RandAugment", .. }), "{refused}");
    for (name, says) in [
        ("", "augmentation : expected RandAugment"),
        ("augmix-m5", "augmentation augmix-m5: expected RandAugment"),
        ("rand-m9-q3", "RandAugment rand-m9-q3: "),
        ("v0-m9", "AutoAugment v0-m9: "),
    ] {
        let error = name.parse::<Augment>().unwrap_err().to_string();
        assert!(error.starts_with(says), "{error}");
    }
    assert!(Augment::jitter(-0.1).is_err() && Augment::jitter(f64::NAN).is_err());
}
