//! What random erasing does to images, and how often.

use longmae_data::rng::{Purpose, stream};
use longmae_data::{Erase, Error, Planar, RandomErasing};

fn ones(height: usize, width: usize) -> Planar {
    Planar { channels: 3, height, width, data: vec![1.0; 3 * height * width] }
}

fn erased(erasing: &RandomErasing, i: u64) -> Planar {
    let mut image = ones(40, 50);
    erasing.apply(&mut image, &mut stream(4, 0, i, Purpose::Crop)).unwrap();
    image
}

fn share(image: &Planar) -> f64 {
    image.data.iter().filter(|&&v| v != 1.0).count() as f64 / image.data.len() as f64
}

#[test]
fn shares_and_frequencies_are_those_set() {
    let erasing = RandomErasing::new(0.25, Erase::Zero).unwrap();
    let shares: Vec<f64> =
        (0..2_000).map(|i| share(&erased(&erasing, i))).filter(|&v| v > 0.0).collect();
    assert!((430..570).contains(&shares.len()), "{}", shares.len());
    assert!(shares.iter().all(|v| (0.015..0.35).contains(v)));
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    assert!((0.15..0.2).contains(&mean), "{mean}");
    let never = RandomErasing::new(0.0, Erase::Noise).unwrap();
    assert_eq!(erased(&never, 0), ones(40, 50));
}

#[test]
fn several_boxes_share_the_area() {
    let erasing = RandomErasing::new(1.0, Erase::Zero).unwrap().with_count(2, 4).unwrap();
    let mut seen = [0; 5];
    for i in 0..600 {
        let boxes = erasing.draw(224, 224, &mut stream(6, 0, i, Purpose::Crop));
        seen[boxes.len()] += 1;
        let area: usize = boxes.iter().map(|b| b.height * b.width).sum();
        assert!((area as f64) < 0.35 * 224.0 * 224.0, "{boxes:?}");
        assert!(boxes.iter().all(|b| b.top + b.height <= 224 && b.left + b.width <= 224));
    }
    assert!(seen[..2] == [0, 0] && seen[2..].iter().all(|n| (140..260).contains(n)), "{seen:?}");
}

#[test]
fn what_is_put_in_is_zero_or_normal_a_channel_or_normal_a_pixel() {
    let put = |erase| {
        let image = erased(&RandomErasing::new(1.0, erase).unwrap(), 1);
        let planes = image.data.chunks(40 * 50);
        planes
            .map(|p| p.iter().copied().filter(|&v| v != 1.0).collect::<Vec<f32>>())
            .collect::<Vec<_>>()
    };
    assert!(put(Erase::Zero).iter().flatten().all(|&v| v == 0.0));
    let colours = put(Erase::Colour);
    assert!(colours.iter().all(|plane| plane.iter().all(|v| *v == plane[0])));
    assert!(colours[0][0] != colours[1][0] && colours[1][0] != colours[2][0]);
    let noise = put(Erase::Noise).concat();
    let n = noise.len() as f32;
    let mean = noise.iter().sum::<f32>() / n;
    let variance = noise.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n;
    assert!(
        n > 100.0 && mean.abs() < 0.2 && (0.8..1.2).contains(&variance),
        "{n} {mean} {variance}"
    );
}

#[test]
fn settings_and_images_that_cannot_be_are_refused() {
    assert!(
        RandomErasing::new(1.1, Erase::Zero).is_err()
            && RandomErasing::new(f64::NAN, Erase::Zero).is_err()
    );
    let erasing = RandomErasing::new(1.0, Erase::Zero).unwrap();
    assert!(erasing.clone().with_count(0, 1).is_err() && erasing.clone().with_count(2, 1).is_err());
    assert!(erasing.clone().with_sizes((0.0, 0.1), (1.0, 1.0)).is_err());
    let mut wrong = Planar { height: 3, ..ones(2, 2) };
    let refused = erasing.apply(&mut wrong, &mut stream(0, 0, 0, Purpose::Crop));
    assert!(matches!(refused, Err(Error::Shape { height: 3, .. })));
    // Nothing fits into one pixel.
    let mut pixel = ones(1, 1);
    erasing.apply(&mut pixel, &mut stream(0, 0, 0, Purpose::Crop)).unwrap();
    assert_eq!(pixel, ones(1, 1));
}
