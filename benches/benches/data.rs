//! Decoding and the training transform, one thread, on the built-in photographs.

use divan::Bencher;
use divan::counter::ItemsCount;
use longmae_data::rng::{Purpose, stream};
use longmae_data::transform::Normalize;
use longmae_data::{DecodeOptions, Demo, Size, Source, TrainTransform, Transform};

fn main() {
    divan::main();
}

#[divan::bench]
fn decode(bencher: Bencher<'_, '_>) {
    let demo = Demo::new(DecodeOptions::default());
    bencher.counter(ItemsCount::new(demo.len())).bench_local(|| {
        for index in 0..demo.len() {
            divan::black_box(demo.get(index).unwrap().picture.into_image().unwrap());
        }
    });
}

#[divan::bench]
fn train_transform_224(bencher: Bencher<'_, '_>) {
    let demo = Demo::new(DecodeOptions::default());
    let images: Vec<_> = (0..demo.len()).map(|index| demo.get(index).unwrap().picture).collect();
    images.iter().for_each(|picture| assert!(picture.image().is_ok(), "decoded beforehand"));
    let transform = TrainTransform::new(Size::square(224).unwrap(), Normalize::for_channels(3));
    bencher.counter(ItemsCount::new(images.len())).bench_local(|| {
        for (position, image) in images.iter().enumerate() {
            let mut rng = stream(0, 0, position as u64, Purpose::Crop);
            divan::black_box(transform.apply(image, &mut rng).unwrap());
        }
    });
}
