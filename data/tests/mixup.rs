//! Mixup, CutMix and soft targets against timm's.

mod common;

use common::{cases, fixture_bytes};
use longmae_data::rng::{Purpose, stream};
use longmae_data::transform::CropBox;
use longmae_data::transform::mixup::{Mix, cut_box, mix_images};
use longmae_data::{BatchShape, Error, MixMode, Mixup, MixupConfig, Targets};
use safetensors::SafeTensors;
use serde_json::Value;

fn floats(tensors: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let bytes = tensors.tensor(name).unwrap().data();
    bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

/// timm's order of a box: rows from, to, columns from, to.
fn boxed(value: &Value) -> Option<CropBox> {
    let side = |i: usize| value[i].as_u64().map(|v| v as usize);
    let (top, left) = (side(0)?, side(2)?);
    Some(CropBox { top, left, height: side(1)? - top, width: side(3)? - left })
}

const SHAPE: BatchShape = BatchShape { samples: 4, channels: 2, height: 6, width: 5 };
const LABELS: [usize; 4] = [3, 0, 0, 4];

/// The noted draws as a mix for every image.
fn mixes(case: &Value) -> Vec<Mix> {
    let one = |draw: &Value| {
        let mix = Mix { lambda: draw[0].as_f64().unwrap(), cut: boxed(&draw[1]) };
        if case["correct"].as_bool().unwrap() {
            mix.corrected(SHAPE.height, SHAPE.width)
        } else {
            mix
        }
    };
    let mut mixes: Vec<Mix> = case["draws"].as_array().unwrap().iter().map(one).collect();
    match case["mode"].as_str().unwrap() {
        "batch" => mixes = vec![mixes[0]; 4],
        // timm keeps lambdas of single images in single precision.
        _ => mixes.iter_mut().for_each(|mix| mix.lambda = f64::from(mix.lambda as f32)),
    }
    if case["mode"] == "pair" {
        mixes.extend_from_within(..);
        mixes[2..].reverse();
    }
    mixes
}

/// To the bit.
#[test]
fn batches_and_targets_are_timms() {
    let file = fixture_bytes("augment.safetensors");
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let (mut cut, mut blended) = (0, 0);
    for (i, case) in cases(&file, "mixes").as_array().unwrap().iter().enumerate() {
        let mixes = mixes(case);
        cut += mixes.iter().filter(|mix| mix.cut.is_some()).count();
        blended += mixes.iter().filter(|mix| mix.cut.is_none() && mix.lambda < 1.0).count();
        let mut images = floats(&tensors, &format!("mix.{i}.before"));
        mix_images(&mut images, SHAPE, &mixes).unwrap();
        assert_eq!(images, floats(&tensors, &format!("mix.{i}.x")), "{case}");
        let targets = Targets::new(5, case["smoothing"].as_f64().unwrap()).unwrap();
        let found = targets.mixed(&LABELS, &mixes).unwrap();
        assert_eq!(found, floats(&tensors, &format!("mix.{i}.y")), "{case}");
    }
    assert!(cut >= 8 && blended >= 4, "{cut} {blended}");
}

#[test]
fn smoothing_alone_is_mixing_with_nothing() {
    let file = fixture_bytes("augment.safetensors");
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let targets = Targets::new(5, 0.2).unwrap();
    // The last case mixes with a probability of 0.
    assert_eq!(targets.smoothed(&LABELS).unwrap(), floats(&tensors, "mix.6.y"));
    assert_eq!(targets.mixed(&LABELS, &[Mix::NONE; 4]).unwrap(), floats(&tensors, "mix.6.y"));
    let hard = Targets::new(3, 0.0).unwrap().smoothed(&[2, 0]).unwrap();
    assert_eq!(hard, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
}

#[test]
fn cut_boxes_are_timms() {
    let cases = cases(&fixture_bytes("augment.safetensors"), "boxes");
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 30);
    for case in cases {
        let [height, width, row, column] = [0, 1, 3, 4].map(|i| case[i].as_u64().unwrap() as usize);
        let found = cut_box(height, width, case[2].as_f64().unwrap(), row, column);
        assert_eq!(Some(found), boxed(&case[5]), "{case}");
    }
}

fn mixup(config: MixupConfig) -> Mixup {
    Mixup::new(config).unwrap()
}

fn drawn(mixup: &Mixup, shape: BatchShape, times: u64) -> Vec<Vec<Mix>> {
    (0..times).map(|i| mixup.draw(shape, &mut stream(8, 0, i, Purpose::Crop)).unwrap()).collect()
}

#[test]
fn modes_say_for_whom_a_draw_holds() {
    let of = |mode| {
        let config =
            MixupConfig { mixup_alpha: 0.8, cutmix_alpha: 1.0, mode, ..Default::default() };
        // Large, so that no two boxes are equal by chance.
        drawn(&mixup(config), BatchShape { height: 2_000, width: 3_000, ..SHAPE }, 20)
    };
    assert!(
        of(MixMode::Batch)
            .iter()
            .all(|mixes| mixes.len() == 4 && mixes.iter().all(|m| m == &mixes[0]))
    );
    for mixes in of(MixMode::Pair) {
        assert_eq!((mixes[0], mixes[1]), (mixes[3], mixes[2]));
        assert_ne!(mixes[0], mixes[1]);
    }
    for mixes in of(MixMode::Elem) {
        assert!((1..4).all(|i| mixes[i] != mixes[i - 1]) && mixes.len() == 4, "{mixes:?}");
    }
}

#[test]
fn draws_have_the_frequencies_set() {
    let shape = BatchShape { samples: 2, channels: 1, height: 64, width: 48 };
    let config = MixupConfig {
        mixup_alpha: 1.0,
        cutmix_alpha: 1.0,
        probability: 0.8,
        switch_probability: 0.3,
        ..Default::default()
    };
    let draws: Vec<Mix> =
        drawn(&mixup(config), shape, 4_000).into_iter().map(|mixes| mixes[0]).collect();
    let none = draws.iter().filter(|mix| **mix == Mix::NONE).count();
    let cuts = draws.iter().filter(|mix| mix.cut.is_some()).count();
    assert!((700..900).contains(&none) && (860..1_060).contains(&cuts), "{none} {cuts}");
    let blends: Vec<f64> = draws
        .iter()
        .filter(|mix| mix.cut.is_none() && mix.lambda < 1.0)
        .map(|mix| mix.lambda)
        .collect();
    let mean = blends.iter().sum::<f64>() / blends.len() as f64;
    let below = blends.iter().filter(|&&lambda| lambda < 0.25).count() as f64 / blends.len() as f64;
    assert!((0.47..0.53).contains(&mean) && (0.21..0.29).contains(&below), "{mean} {below}");
    for mix in &draws {
        let Some(cut) = mix.cut else { continue };
        let share = (cut.height * cut.width) as f64 / (64.0 * 48.0);
        assert!((mix.lambda - (1.0 - share)).abs() < 1e-12, "{mix:?}");
    }
}

#[test]
fn sides_of_boxes_lie_between_the_shares_set() {
    let config =
        MixupConfig { mixup_alpha: 0.0, cutmix_minmax: Some((0.25, 0.75)), ..Default::default() };
    let shape = BatchShape { samples: 2, channels: 1, height: 64, width: 48 };
    for mixes in drawn(&mixup(config.clone()), shape, 300) {
        let cut = mixes[0].cut.unwrap();
        assert!((16..48).contains(&cut.height) && (12..36).contains(&cut.width), "{cut:?}");
        assert!(cut.top + cut.height <= 64 && cut.left + cut.width <= 48, "{cut:?}");
    }
    let one = BatchShape { height: 1, ..shape };
    let refused = mixup(config).draw(one, &mut stream(0, 0, 0, Purpose::Crop));
    assert!(matches!(refused, Err(Error::Setting { name: "cutmix minmax", .. })), "{refused:?}");
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let config = MixupConfig::default;
    for wrong in [
        MixupConfig { mixup_alpha: 0.0, ..config() },
        MixupConfig { mixup_alpha: -1.0, ..config() },
        MixupConfig { mixup_alpha: f64::NAN, ..config() },
        MixupConfig { cutmix_alpha: f64::INFINITY, ..config() },
        MixupConfig { probability: 1.5, ..config() },
        MixupConfig { switch_probability: -0.1, ..config() },
        MixupConfig { cutmix_minmax: Some((0.5, 0.2)), ..config() },
        MixupConfig { cutmix_minmax: Some((0.5, 1.2)), ..config() },
    ] {
        assert!(Mixup::new(wrong.clone()).is_err(), "{wrong:?}");
    }
    let odd = BatchShape { samples: 3, ..SHAPE };
    assert!(mixup(config()).draw(odd, &mut stream(0, 0, 0, Purpose::Crop)).is_err());
    let mut images = vec![0.0; 240];
    assert!(mix_images(&mut images, odd, &[Mix::NONE; 3]).is_err());
    assert!(mix_images(&mut images, SHAPE, &[Mix::NONE; 3]).is_err());
    assert!(mix_images(&mut images[1..], SHAPE, &[Mix::NONE; 4]).is_err());
    let out = Mix { lambda: 0.5, cut: Some(CropBox { top: 5, left: 0, height: 2, width: 1 }) };
    assert!(matches!(mix_images(&mut images, SHAPE, &[out; 4]), Err(Error::Crop { .. })));
    assert!(
        Targets::new(0, 0.1).is_err()
            && Targets::new(5, 1.0).is_err()
            && Targets::new(5, -0.1).is_err()
    );
    let targets = Targets::new(4, 0.1).unwrap();
    assert!(targets.smoothed(&LABELS).is_err() && targets.mixed(&[0, 1], &[Mix::NONE]).is_err());
}
