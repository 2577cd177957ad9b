//! Augmentations against Pillow's, torchvision's and timm's.

mod common;

use common::{bytes_of, cases, fixture_bytes, u8s};
use longmae_data::rng::{Purpose, stream};
use longmae_data::transform::CropBox;
use longmae_data::transform::augment::{Adjustment, Interpolation, Operation, Scale};
use longmae_data::{
    AutoAugment, ByolCrop, ColorJitter, Erase, Error, Image, Normalize, Pixels, RandAugment,
    RandomErasing,
};
use rand::RngCore;
use safetensors::SafeTensors;
use serde_json::Value;

fn image(file: &SafeTensors<'_>, name: &str) -> Image {
    let (shape, bytes) = bytes_of(file, name);
    Image::new(shape[1], shape[0], shape[2], Pixels::U8(bytes.to_vec())).unwrap()
}

fn operation(name: &str, by: Option<f64>) -> Operation {
    let by = by.unwrap_or(f64::NAN);
    match name {
        "AutoContrast" => Operation::AutoContrast,
        "Equalize" => Operation::Equalize,
        "Invert" => Operation::Invert,
        "Rotate" => Operation::Rotate(by),
        "Posterize" => Operation::Posterize(by as u32),
        "Solarize" => Operation::Solarize(by as u32),
        "SolarizeAdd" => Operation::SolarizeAdd(by as u8),
        "Saturation" => Operation::Saturation(by),
        "Contrast" => Operation::Contrast(by),
        "Brightness" => Operation::Brightness(by),
        "Sharpness" => Operation::Sharpness(by),
        "ShearX" => Operation::ShearX(by),
        "ShearY" => Operation::ShearY(by),
        "TranslateX" => Operation::TranslateX(by),
        "TranslateY" => Operation::TranslateY(by),
        other => panic!("no operation {other}"),
    }
}

fn interpolation(name: Option<&str>) -> Interpolation {
    match name {
        None | Some("nearest") => Interpolation::Nearest,
        Some("bilinear") => Interpolation::Bilinear,
        Some("bicubic") => Interpolation::Bicubic,
        Some(other) => panic!("no interpolation {other}"),
    }
}

fn applied(case: &Value, image: &Image) -> Image {
    let (name, by) = (case[0].as_str().unwrap(), case[1].as_f64());
    if name == "Hue" {
        return Adjustment::Hue(by.unwrap()).apply(image).unwrap();
    }
    let fill: &[u8] = if image.channels == 3 { &[124, 116, 104] } else { &[124] };
    operation(name, by).apply(image, interpolation(case[2].as_str()), fill).unwrap()
}

/// Not one sample differs.
#[test]
fn operations_are_pillows() {
    let file = fixture_bytes("augment.safetensors");
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let mut compared = 0;
    for (i, case) in cases(&file, "ops").as_array().unwrap().iter().enumerate() {
        for name in tensors.names() {
            let Some(name) = name.strip_prefix("image.") else { continue };
            let image = image(&tensors, &format!("image.{name}"));
            let found = applied(case, &image);
            let (shape, expected) = bytes_of(&tensors, &format!("op.{i}.{name}"));
            assert_eq!([found.height, found.width, found.channels], *shape, "{case} of {name}");
            let differ = u8s(&found).iter().zip(expected).filter(|(a, b)| a != b).count();
            assert_eq!(differ, 0, "{case} of {name}: {differ} of {} differ", expected.len());
            compared += 1;
        }
    }
    assert_eq!(compared, 50 * 9);
}

const SCALES: [Scale; 22] = [
    Scale::AutoContrast,
    Scale::Equalize,
    Scale::Invert,
    Scale::Rotate,
    Scale::Posterize,
    Scale::PosterizeIncreasing,
    Scale::PosterizeOriginal,
    Scale::Solarize,
    Scale::SolarizeIncreasing,
    Scale::SolarizeAdd,
    Scale::Color,
    Scale::ColorIncreasing,
    Scale::Contrast,
    Scale::ContrastIncreasing,
    Scale::Brightness,
    Scale::BrightnessIncreasing,
    Scale::Sharpness,
    Scale::SharpnessIncreasing,
    Scale::ShearX,
    Scale::ShearY,
    Scale::TranslateXRel,
    Scale::TranslateYRel,
];

fn named(name: &str) -> Scale {
    *SCALES.iter().find(|scale| format!("{scale:?}") == name).unwrap()
}

/// The strength, if the operation has one.
fn strength(operation: Operation) -> Option<f64> {
    match operation {
        Operation::AutoContrast | Operation::Equalize | Operation::Invert => None,
        Operation::Posterize(bits) => Some(f64::from(bits)),
        Operation::Solarize(threshold) => Some(f64::from(threshold)),
        Operation::SolarizeAdd(add) => Some(f64::from(add)),
        Operation::Rotate(by) | Operation::ShearX(by) | Operation::ShearY(by) => Some(by),
        Operation::TranslateX(by) | Operation::TranslateY(by) => Some(by),
        Operation::Saturation(by) | Operation::Contrast(by) => Some(by),
        Operation::Brightness(by) | Operation::Sharpness(by) => Some(by),
    }
}

#[test]
fn scales_are_timms() {
    let file = fixture_bytes("augment.safetensors");
    let cases = cases(&file, "levels");
    let mut seen = std::collections::HashSet::new();
    for case in cases.as_array().unwrap() {
        let scale = named(case[0].as_str().unwrap());
        seen.insert(scale);
        let found = strength(scale.at(case[1].as_f64().unwrap(), case[2].as_bool().unwrap()));
        // timm's bits become negative where ours stop at 0: both turn black.
        let expected = case[3]
            .as_f64()
            .map(|v| if scale == Scale::PosterizeIncreasing { v.max(0.0) } else { v });
        match (found, expected) {
            (Some(found), Some(expected)) => {
                assert!((found - expected).abs() < 1e-12, "{case}: {found}")
            }
            (found, expected) => assert_eq!(found, expected, "{case}"),
        }
    }
    assert_eq!(seen.len(), SCALES.len());
}

#[test]
fn policies_draw_from_what_timms_do() {
    let file = fixture_bytes("augment.safetensors");
    for (name, expected) in cases(&file, "policies").as_object().unwrap() {
        let found: Vec<_> = name.parse::<AutoAugment>().unwrap().pairs().collect();
        let expected = expected.as_array().unwrap();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            for (found, expected) in found.iter().zip(expected.as_array().unwrap()) {
                let expected = (
                    named(expected[0].as_str().unwrap()),
                    expected[1].as_f64().unwrap(),
                    expected[2].as_f64().unwrap(),
                );
                assert_eq!(*found, expected, "{name}");
            }
        }
    }
    for (config, expected) in cases(&file, "scales").as_object().unwrap() {
        let augment: RandAugment = config.parse().unwrap();
        let expected = expected.as_array().unwrap().iter();
        let expected: Vec<_> =
            expected.map(|scale| (named(scale.as_str().unwrap()), 1.0)).collect();
        assert_eq!(augment.scales(), expected);
    }
    let weighted: RandAugment = "rand-tweights".parse().unwrap();
    let expected = cases(&file, "weights");
    assert_eq!(weighted.scales().len(), expected.as_object().unwrap().len());
    for (scale, weight) in weighted.scales() {
        assert_eq!(expected[format!("{scale:?}")].as_f64(), Some(*weight), "{scale:?}");
    }
}

fn floats(value: &Value) -> [f64; 4] {
    std::array::from_fn(|i| value[i].as_f64().unwrap())
}

fn boxed(value: &Value) -> CropBox {
    let [top, left, height, width] = floats(value).map(|v| v as usize);
    CropBox { top, left, height, width }
}

#[test]
fn boxes_are_those_of_the_python_code() {
    let file = fixture_bytes("augment.safetensors");
    let size = |case: &Value| [0, 1].map(|i| case[i].as_u64().unwrap() as usize);
    for case in cases(&file, "crops").as_array().unwrap() {
        let [height, width] = size(case);
        let found = ByolCrop::default().at(height, width, floats(&case[2]));
        assert_eq!(found, boxed(&case[3]), "{case}");
    }
    let erasing = RandomErasing::new(0.25, Erase::Noise).unwrap();
    for case in cases(&file, "holes").as_array().unwrap() {
        let [height, width] = size(case);
        let count = case[3].as_u64().unwrap() as usize;
        let found = erasing.at(height, width, count, floats(&case[2]));
        assert_eq!(found, (!case[4].is_null()).then(|| boxed(&case[4])), "{case}");
    }
}

fn draws(augment: &RandAugment, times: u64) -> Vec<Vec<Operation>> {
    let one = |i| {
        augment
            .draw(&mut stream(3, 0, i, Purpose::Crop))
            .into_iter()
            .map(|(operation, _)| operation)
    };
    (0..times).map(|i| one(i).collect()).collect()
}

/// How often each kind of operation comes.
fn counts(drawn: &[Vec<Operation>]) -> std::collections::HashMap<String, usize> {
    let mut counts = std::collections::HashMap::new();
    for operation in drawn.iter().flatten() {
        let name = format!("{operation:?}");
        *counts.entry(name.split('(').next().unwrap().to_string()).or_default() += 1;
    }
    counts
}

#[test]
fn every_operation_is_drawn_as_often_as_any_other() {
    let drawn = draws(&"rand-m9-mstd0.5-inc1".parse().unwrap(), 15_000);
    let counts = counts(&drawn);
    assert_eq!(counts.len(), 15, "{counts:?}");
    // Two layers, each carried out half of the time.
    assert!(counts.values().all(|n| (900..1100).contains(n)), "{counts:?}");
    let both = drawn.iter().filter(|operations| operations.len() == 2).count();
    assert!((3_500..4_000).contains(&both), "{both}");
}

#[test]
fn magnitudes_stray_around_the_one_that_was_set() {
    let degrees = |config: &str| -> Vec<f64> {
        let drawn = draws(&config.parse().unwrap(), 20_000);
        let degrees = drawn.into_iter().flatten().filter_map(|operation| match operation {
            Operation::Rotate(degrees) => Some(degrees),
            _ => None,
        });
        degrees.collect()
    };
    let summary = |degrees: &[f64]| {
        let n = degrees.len() as f64;
        let mean = degrees.iter().map(|v| v.abs()).sum::<f64>() / n;
        let std = (degrees.iter().map(|v| (v.abs() - mean).powi(2)).sum::<f64>() / n).sqrt();
        (mean, std, degrees.iter().filter(|&&v| v < 0.0).count() as f64 / n)
    };
    let all = degrees("rand-m5-mstd0.5");
    let (mean, std, negative) = summary(&all);
    assert!((14.8..15.2).contains(&mean) && (1.35..1.65).contains(&std), "{mean} {std}");
    assert!((0.44..0.56).contains(&negative), "{negative}");
    assert!(degrees("rand-m6").iter().all(|v| (v.abs() - 18.0).abs() < 1e-9));
    let (mean, ..) = summary(&degrees("rand-m10-mstd101"));
    assert!((14.3..15.7).contains(&mean), "{mean}");
    let most = |config| degrees(config).iter().fold(0.0, |most: f64, v| most.max(v.abs()));
    assert_eq!(most("rand-m10-mstd1"), 30.0);
    assert_eq!(most("rand-m12-mstd3-mmax14"), 42.0);
}

#[test]
fn weighted_operations_do_not_come_twice() {
    let drawn = draws(&"rand-n3-p1-tweights".parse().unwrap(), 3_000);
    for operations in &drawn {
        let kinds: std::collections::HashSet<_> =
            operations.iter().map(std::mem::discriminant).collect();
        assert_eq!(kinds.len(), 3, "{operations:?}");
    }
    let counts = counts(&drawn);
    assert!(
        counts["Rotate"] > counts["ShearX"] && counts["ShearX"] > counts["TranslateX"],
        "{counts:?}"
    );
    let all: RandAugment = "rand-n15-p1-tweights".parse().unwrap();
    assert_eq!(all.draw(&mut stream(0, 0, 0, Purpose::Crop)).len(), 15);
}

#[test]
fn configurations_that_cannot_be_are_refused() {
    for config in [
        "",
        "m9",
        "rand-x3",
        "rand-m",
        "rand-m9.5",
        "rand-m9-m5",
        "rand-p2",
        "rand-mmax0",
        "rand-w0",
        "rand-mstdx",
        "rand-",
        "rand-n16-tweights",
        "rand-tother",
        "original",
    ] {
        let error = config.parse::<RandAugment>().unwrap_err().to_string();
        assert!(error.starts_with(&format!("RandAugment {config}: ")), "{error}");
    }
    for config in ["", "v1", "rand", "v0-m9", "v0-mstd", "v0-mstd1-mstd2"] {
        assert!(matches!(config.parse::<AutoAugment>(), Err(Error::Setting { .. })), "{config}");
    }
    assert!("v0r-mstd0.5".parse::<AutoAugment>().is_ok() && "const".parse::<Erase>().is_ok());
    assert!("zero".parse::<Erase>().is_err());
}

fn noise(channels: usize) -> Image {
    let mut samples = vec![0; 30 * 20 * channels];
    stream(0, 0, 0, Purpose::Synthetic).fill_bytes(&mut samples);
    Image::new(30, 20, channels, Pixels::U8(samples)).unwrap()
}

#[test]
fn what_is_drawn_depends_on_the_generator_alone() {
    let rand: RandAugment = "rand-m9-n3-mstd0.5-inc1".parse().unwrap();
    let auto: AutoAugment = "original-mstd0.5".parse().unwrap();
    let jitter = ColorJitter::new(0.4, 0.4, 0.4, 0.1).unwrap();
    for channels in [1, 3] {
        let image = noise(channels);
        let normalize = Normalize::for_channels(channels);
        let (rand, auto) = (rand.clone().with_fill(&normalize), auto.clone().with_fill(&normalize));
        let mut changed = 0;
        for i in 0..50 {
            let rng = || stream(5, 0, i, Purpose::Crop);
            let once = rand.apply(&image, &mut rng()).unwrap();
            assert_eq!(once, rand.apply(&image, &mut rng()).unwrap());
            changed += usize::from(once != image);
            assert_eq!(
                auto.apply(&image, &mut rng()).unwrap(),
                auto.apply(&image, &mut rng()).unwrap()
            );
            assert_eq!(
                jitter.apply(&image, &mut rng()).unwrap(),
                jitter.apply(&image, &mut rng()).unwrap()
            );
        }
        assert!(changed > 25, "{changed}");
    }
}

#[test]
fn interpolation_is_a_coin_or_fixed() {
    let drawn = |augment: &RandAugment| -> Vec<_> {
        let one =
            |i| augment.draw(&mut stream(1, 0, i, Purpose::Crop)).into_iter().map(|(_, how)| how);
        (0..1_000).flat_map(one).collect()
    };
    let plain: RandAugment = "rand-p1".parse().unwrap();
    let coins = drawn(&plain);
    let bilinear = coins.iter().filter(|&&how| how == Interpolation::Bilinear).count();
    let bicubic = coins.iter().filter(|&&how| how == Interpolation::Bicubic).count();
    assert!(
        bilinear + bicubic == 2_000 && (900..1_100).contains(&bilinear),
        "{bilinear} {bicubic}"
    );
    let fixed = plain.with_interpolation(Some(Interpolation::Bicubic));
    assert!(drawn(&fixed).iter().all(|&how| how == Interpolation::Bicubic));
}

#[test]
fn jitter_draws_within_its_ranges_in_any_order() {
    let jitter = ColorJitter::new(0.4, 1.5, 0.2, 0.1).unwrap();
    let mut firsts = [0; 4];
    for i in 0..2_000 {
        let drawn = jitter.draw(&mut stream(2, 0, i, Purpose::Crop));
        assert_eq!(drawn.len(), 4);
        for change in &drawn {
            let inside = match *change {
                Adjustment::Brightness(v) => (0.6..=1.4).contains(&v),
                Adjustment::Contrast(v) => (0.0..=2.5).contains(&v),
                Adjustment::Saturation(v) => (0.8..=1.2).contains(&v),
                Adjustment::Hue(v) => (-0.1..=0.1).contains(&v),
            };
            assert!(inside, "{change:?}");
        }
        firsts[match drawn[0] {
            Adjustment::Brightness(_) => 0,
            Adjustment::Contrast(_) => 1,
            Adjustment::Saturation(_) => 2,
            Adjustment::Hue(_) => 3,
        }] += 1;
    }
    assert!(firsts.iter().all(|n| (430..570).contains(n)), "{firsts:?}");
    let one =
        ColorJitter::new(0.0, 0.0, 0.3, 0.0).unwrap().draw(&mut stream(2, 0, 0, Purpose::Crop));
    assert!(matches!(one[..], [Adjustment::Saturation(_)]), "{one:?}");
    assert!(
        ColorJitter::new(-0.1, 0.0, 0.0, 0.0).is_err()
            && ColorJitter::new(0.0, 0.0, 0.0, 0.6).is_err()
    );
    assert!(ColorJitter::new(f64::NAN, 0.0, 0.0, 0.0).is_err());
    assert!(ColorJitter::in_ranges((1.2, 0.8), (1.0, 1.0), (1.0, 1.0), (0.0, 0.0)).is_err());
}

#[test]
fn images_that_have_no_colours_or_levels_are_refused() {
    let float = Image::new(2, 1, 3, Pixels::F32(vec![0.0; 6])).unwrap();
    let rand: RandAugment = "rand-m9-p0".parse().unwrap();
    for image in [&float, &noise(4), &noise(2)] {
        let mut rng = stream(0, 0, 0, Purpose::Crop);
        assert!(matches!(rand.apply(image, &mut rng), Err(Error::Unsuited { .. })));
        let operation = Operation::Equalize.apply(image, Interpolation::Nearest, &[0]);
        assert!(matches!(operation, Err(Error::Unsuited { .. })));
        assert!(matches!(Adjustment::Hue(0.1).apply(image), Err(Error::Unsuited { .. })));
    }
    let message =
        Operation::Invert.apply(&float, Interpolation::Nearest, &[0]).unwrap_err().to_string();
    assert_eq!(
        message,
        "invert takes images of 8-bit samples with 1 or 3 channels, found 3 channels of float samples"
    );
    let shear =
        |by, fill: &[u8]| Operation::ShearX(by).apply(&noise(3), Interpolation::Bilinear, fill);
    assert!(
        shear(f64::NAN, &[0]).is_err()
            && shear(0.1, &[0, 0]).is_err()
            && shear(0.1, &[0, 0, 0]).is_ok()
    );
    // Far away: only fill, and no overflow.
    let away = shear(1e300, &[7]).unwrap();
    assert!(u8s(&away).iter().all(|&v| v == 7));
}
