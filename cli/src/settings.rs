//! Settings as they are meant: checked once, with every default filled in.

use std::fmt::Display;
use std::str::FromStr;

use longmae_data::transform::{ByolCrop, HorizontalFlip, Normalize, RandomCrop, RandomResizedCrop};
use longmae_data::{
    DecodeOptions, IMAGENET_MEAN, IMAGENET_STD, MaxCorrupt, SCALED_DECODING, Size, Spec,
};
use longmae_mae::{DecoderConfig, MaeConfig, decoder_preset};
use longmae_masking::{MaskCount, MaskDesign};
use longmae_ops::{Compute, Kernels, Precision};
use longmae_patching::PatchGrid;
use longmae_train::{AdamWConfig, Every, SaveEvery};
use longmae_vit::{Preset, TowerConfig, VitConfig};

use crate::batching::Batching;
use crate::choice::{one_of, unknown};
use crate::exit::usage;
use crate::flags::Flags;
use crate::image_size::ImageSize;

/// A run's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Every setting as it would be written: the resolved recipe.
    pub flags: Flags,
    pub data: Option<Spec>,
    pub synthetic_images: usize,
    pub validation: Validation,
    pub decode: DecodeOptions,
    pub size: Size,
    pub crop: Option<RandomCrop>,
    pub flip: Option<HorizontalFlip>,
    pub normalize: Normalize,
    pub mae: MaeConfig,
    pub masks: MaskDesign,
    pub mask_strategy: String,
    /// Mask units of an image.
    pub units: usize,
    /// Visible patches of every image.
    pub kept: usize,
    pub drop_path: f64,
    pub compute: Compute,
    pub batching: Batching,
    pub lr: f64,
    pub min_lr: f64,
    pub epochs: f64,
    /// Epochs of warm-up, if they were set.
    pub warmup_epochs: Option<f64>,
    pub max_steps: Option<u64>,
    pub adamw: AdamWConfig,
    pub clip_grad: Option<f64>,
    /// Decay of the weights' average, if one is kept.
    pub ema: Option<f64>,
    pub rollback: Option<f64>,
    pub repeat: usize,
    pub aug_repeats: usize,
    pub max_corrupt: MaxCorrupt,
    pub save_every: SaveEvery,
    pub keep: usize,
    pub keep_best: bool,
    /// When pictures are drawn, if that was set.
    pub pictures_every: Option<Every>,
    pub log_every: u64,
    pub threads: Option<usize>,
    pub workers: usize,
    pub seed: u64,
    /// Which of the ranks this process is; found out when they connect.
    pub rank: usize,
}

/// What the validation loss is computed on, and how often.
#[derive(Debug, Clone, PartialEq)]
pub struct Validation {
    pub data: ValidationData,
    pub every: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ValidationData {
    None,
    Share(f64),
    Spec(Spec),
}

impl Settings {
    /// Checks settings and fills in what is not set.
    pub fn resolve(mut flags: Flags) -> anyhow::Result<Self> {
        check_names(&mut flags)?;
        let (preset, mae) = model(&mut flags)?;
        let (masks, units, kept) = masks(&mut flags, mae.encoder.grid)?;
        let mask_strategy = flags.mask_strategy.clone().unwrap_or_default();
        let channels = mae.encoder.channels;
        let (normalize, crop, flip) = transform(&mut flags, channels)?;
        let ranks = *flags.ranks.get_or_insert(1);
        let (batch, accum) = (flags.batch_size, flags.accum_iter);
        let batching = Batching::resolve(batch, accum, flags.effective_batch_size, ranks)?;
        (flags.batch_size, flags.accum_iter) =
            (Some(batching.batch_size), Some(batching.accum_iter));
        flags.effective_batch_size = Some(batching.effective);
        let data = flags.data.as_deref().map(|spec| spec.parse().map_err(usage)).transpose()?;
        let synthetic_images = *flags.synthetic_images.get_or_insert(1000);
        let synthetic_images = count("synthetic_images", synthetic_images, 1 << 40)?;
        let validation = validation(&mut flags)?;
        let (height, width) = mae.encoder.grid.image_size();
        let exif = *flags.exif_orientation.get_or_insert(true);
        let scaled = flags.decode.as_deref() == Some("scaled");
        let drop_path = within("drop_path", *flags.drop_path.get_or_insert(0.0), 0.0, 0.999)?;
        let compute = compute(&mut flags)?;
        let optimiser = optimisation(&mut flags, &batching)?;
        let run = run(&mut flags)?;
        if *flags.allow_partial.get_or_insert(false) && flags.init_weights.is_none() {
            return Err(usage("allow_partial is for weights to start from: give init_weights too"));
        }
        flags.model = Some(preset.name().to_owned());
        Ok(Self {
            data,
            synthetic_images,
            validation,
            decode: DecodeOptions {
                channels,
                apply_exif: exif,
                scaled,
                ..DecodeOptions::default()
            },
            size: Size::new(height, width).map_err(usage)?,
            crop,
            flip,
            normalize,
            mae,
            masks,
            mask_strategy,
            units,
            kept,
            drop_path,
            compute,
            batching,
            lr: optimiser.lr,
            min_lr: optimiser.min_lr,
            epochs: optimiser.epochs,
            warmup_epochs: optimiser.warmup_epochs,
            max_steps: flags.max_steps,
            adamw: optimiser.adamw,
            clip_grad: flags.clip_grad,
            ema: flags.ema.map(|decay| within("ema", decay, 0.0, 0.999_999_9)).transpose()?,
            rollback: flags.rollback.map(|factor| above_one("rollback", factor)).transpose()?,
            repeat: count("repeat", *flags.repeat.get_or_insert(1), 1_000_000)?,
            aug_repeats: count("aug_repeats", *flags.aug_repeats.get_or_insert(1), 1_000_000)?,
            max_corrupt: run.max_corrupt,
            save_every: run.save_every,
            keep: count("keep", *flags.keep.get_or_insert(2), usize::MAX)?,
            keep_best: *flags.keep_best.get_or_insert(true),
            pictures_every: run.pictures_every,
            log_every: count("log_every", *flags.log_every.get_or_insert(10), u64::MAX)?,
            threads: run.threads,
            workers: run.workers,
            seed: *flags.seed.get_or_insert(0),
            rank: 0,
            flags,
        })
    }
}

impl Settings {
    /// Optimiser steps of the run, when an epoch has so many.
    pub fn total_steps(&self, steps_per_epoch: u64) -> u64 {
        let whole = (self.epochs * steps_per_epoch as f64).round().max(1.0) as u64;
        self.max_steps.map_or(whole, |max| max.min(whole))
    }
}

/// Settings that are a name from a list.
fn check_names(flags: &mut Flags) -> anyhow::Result<()> {
    let check =
        |what, value: &mut Option<String>, default: &str, known: &[&str], planned: &[&str]| {
            one_of(what, value.get_or_insert_with(|| default.to_owned()), known, planned)
        };
    check("device", &mut flags.device, "cpu", &["cpu"], &["cuda", "gpu", "metal", "mps"])?;
    check("precision", &mut flags.precision, "fp32", &["fp32", "bf16"], &["fp16"])?;
    check("kernels", &mut flags.kernels, "fused", &["fused", "reference"], &[])?;
    let strategies = ["random", "block", "grid"];
    check("mask strategy", &mut flags.mask_strategy, "random", &strategies, &[])?;
    check("decode", &mut flags.decode, "full", &["full", "scaled"], &[])?;
    if flags.decode.as_deref() == Some("scaled") && !SCALED_DECODING {
        return Err(usage(
            "decode scaled: this program was built without it (cargo build --features libjpeg-turbo)",
        ));
    }
    check("mask count", &mut flags.mask_count, "published", &["published", "units"], &[])?;
    check("crop", &mut flags.crop, "random", &["random", "byol", "none"], &[])
}

/// How the model computes; names were checked before.
fn compute(flags: &mut Flags) -> anyhow::Result<Compute> {
    let compute = Compute {
        kernels: flags.kernels.as_deref().unwrap_or_default().parse().map_err(usage)?,
        precision: flags.precision.as_deref().unwrap_or_default().parse().map_err(usage)?,
        grad_checkpoint: *flags.grad_checkpoint.get_or_insert(false),
    };
    if compute.kernels == Kernels::Reference {
        if compute.precision != Precision::Fp32 {
            return Err(usage(
                "the reference kernels compute in fp32 alone: leave --precision away",
            ));
        }
        if compute.grad_checkpoint {
            return Err(usage("the reference kernels have no grad_checkpoint: leave it away"));
        }
    }
    Ok(compute)
}

fn model(flags: &mut Flags) -> anyhow::Result<(Preset, MaeConfig)> {
    let name = flags.model.get_or_insert_with(|| Preset::Base.name().to_owned());
    let preset = Preset::from_str(name)
        .map_err(|_| unknown("model", name, &Preset::ALL.map(Preset::name)))?;
    let size = *flags.image_size.get_or_insert(ImageSize { height: 224, width: 224 });
    count("image_size", size.height.max(size.width), 1 << 15)?;
    let patch = *flags.patch_size.get_or_insert(preset.patch_size());
    let grid = PatchGrid::new((size.height, size.width), patch).map_err(usage)?;
    let key_bias = !*flags.no_k_bias.get_or_insert(false);
    let published = decoder_preset(preset);
    let decoder = TowerConfig::new(
        count("decoder_dim", *flags.decoder_dim.get_or_insert(published.dim), 1 << 15)?,
        count("decoder_depth", *flags.decoder_depth.get_or_insert(published.depth), 1000)?,
        *flags.decoder_heads.get_or_insert(published.heads),
    );
    let mae = MaeConfig {
        encoder: VitConfig {
            grid,
            channels: count("channels", *flags.channels.get_or_insert(3), 4096)?,
            tower: TowerConfig { key_bias, ..preset.tower() },
        },
        decoder: DecoderConfig {
            tower: TowerConfig { key_bias, ..decoder },
            downsampling: *flags.decoder_downsampling.get_or_insert(1),
            pred_downsampling: *flags.pred_downsampling.get_or_insert(1),
        },
        norm_pix_loss: *flags.norm_pix_loss.get_or_insert(true),
    };
    decoder.check().map_err(|e| usage(format!("decoder: {e}")))?;
    if !decoder.dim.is_multiple_of(4) {
        let dim = decoder.dim;
        return Err(usage(format!(
            "decoder_dim {dim}: 2-D sin-cos positions need a multiple of 4"
        )));
    }
    mae.decoder_grid().map_err(usage)?;
    mae.pred_grid().map_err(usage)?;
    mae.upsampling().map_err(usage)?;
    Ok((preset, mae))
}

fn masks(flags: &mut Flags, grid: PatchGrid) -> anyhow::Result<(MaskDesign, usize, usize)> {
    let count = flags.mask_count.as_deref().unwrap_or("published");
    let design = MaskDesign {
        unit: *flags.mask_unit.get_or_insert(1),
        ratio: *flags.mask_ratio.get_or_insert(0.75),
        count: MaskCount::from_str(count).map_err(usage)?,
    };
    let (units, kept) = design.on(grid).map_err(usage)?;
    let strategy = flags.mask_strategy.as_deref().unwrap_or("random");
    // A plan on a throw-away generator shows what only the strategy can refuse, such as an irregular ratio.
    let mut rng = longmae_data::rng::stream(0, 0, 0, longmae_data::rng::Purpose::Mask);
    design.strategy(strategy).and_then(|s| s.plan(grid, &mut rng)).map_err(usage)?;
    Ok((design, units.len(), kept))
}

type Transforms = (Normalize, Option<RandomCrop>, Option<HorizontalFlip>);

fn transform(flags: &mut Flags, channels: usize) -> anyhow::Result<Transforms> {
    let default = |imagenet: [f32; 3]| match channels {
        // Written as typed: 0.485, not 0.48500001.
        3 => imagenet.iter().map(|x| (f64::from(*x) * 1e3).round() / 1e3).collect(),
        _ => vec![0.5; channels],
    };
    let mean = flags.mean.get_or_insert_with(|| default(IMAGENET_MEAN)).clone();
    let std = flags.std.get_or_insert_with(|| default(IMAGENET_STD)).clone();
    for (key, list) in [("mean", &mean), ("std", &std)] {
        if list.len() != channels {
            let found = list.len();
            return Err(usage(format!("{key} has {found} numbers for {channels} channels")));
        }
    }
    let narrow = |list: Vec<f64>| list.into_iter().map(|x| x as f32).collect();
    let normalize = Normalize::new(narrow(mean), narrow(std)).map_err(usage)?;
    let scale = (*flags.min_crop.get_or_insert(0.2), *flags.max_crop.get_or_insert(1.0));
    let ratio = (3.0 / 4.0, 4.0 / 3.0);
    let random = RandomResizedCrop::new(scale, ratio).map_err(usage)?;
    let crop = match flags.crop.as_deref() {
        Some("random") => Some(random.into()),
        Some("byol") => Some(ByolCrop::new(scale, ratio).map_err(usage)?.into()),
        _ => None,
    };
    let flip = flags.flip.get_or_insert(true).then(HorizontalFlip::default);
    Ok((normalize, crop, flip))
}

fn validation(flags: &mut Flags) -> anyhow::Result<Validation> {
    let data = match (&flags.val_data, flags.val_share) {
        (Some(_), Some(_)) => return Err(usage("give val_data or val_share, not both")),
        (Some(spec), None) => ValidationData::Spec(spec.parse().map_err(usage)?),
        (None, Some(share)) if share > 0.0 && share < 1.0 => ValidationData::Share(share),
        (None, Some(share)) => {
            return Err(usage(format!("val_share {share}: expected a number above 0 and below 1")));
        }
        (None, None) => ValidationData::None,
    };
    let epochs = flags.epochs.unwrap_or(EPOCHS);
    let every = *flags.val_every.get_or_insert(default_val_every(epochs));
    Ok(Validation { data, every: count("val_every", every, 1 << 40)? })
}

/// Epochs between validations, if nothing is said: a twentieth of the run's.
pub fn default_val_every(epochs: f64) -> u64 {
    ((epochs / 20.0).ceil() as u64).max(1)
}

/// Epochs of MAE's published pre-training.
const EPOCHS: f64 = 800.0;

struct Optimisation {
    lr: f64,
    min_lr: f64,
    epochs: f64,
    warmup_epochs: Option<f64>,
    adamw: AdamWConfig,
}

fn optimisation(flags: &mut Flags, batching: &Batching) -> anyhow::Result<Optimisation> {
    let epochs = positive("epochs", *flags.epochs.get_or_insert(EPOCHS))?;
    let epochs = within("epochs", epochs, 0.0, 1e9)?;
    let warmup_epochs = flags.warmup_epochs;
    if let Some(warmup) = warmup_epochs.filter(|warmup| !(0.0..=epochs).contains(warmup)) {
        return Err(usage(format!(
            "warmup_epochs {warmup}: expected a number from 0 to {epochs}, the run's epochs (set \
             --warmup-epochs)"
        )));
    }
    let blr = positive("blr", *flags.blr.get_or_insert(1.5e-4))?;
    let lr = flags.lr.unwrap_or(blr * batching.effective as f64 / 256.0);
    let lr = positive("lr", lr)?;
    let min_lr = within("min_lr", *flags.min_lr.get_or_insert(0.0), 0.0, lr)?;
    let mae = AdamWConfig::default();
    let decay = *flags.weight_decay.get_or_insert(mae.weight_decay);
    let weight_decay = within("weight_decay", decay, 0.0, f64::MAX)?;
    flags.clip_grad.map(|max| positive("clip_grad", max)).transpose()?;
    flags.max_steps.map(|steps| count("max_steps", steps, u64::MAX)).transpose()?;
    let adamw = AdamWConfig { weight_decay, ..mae };
    Ok(Optimisation { lr, min_lr, epochs, warmup_epochs, adamw })
}

struct Run {
    max_corrupt: MaxCorrupt,
    save_every: SaveEvery,
    pictures_every: Option<Every>,
    threads: Option<usize>,
    workers: usize,
}

fn run(flags: &mut Flags) -> anyhow::Result<Run> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let save_every = flags.save_every.get_or_insert_with(|| "10m".to_owned());
    let max_corrupt = flags.max_corrupt.as_deref().map(MaxCorrupt::from_str).transpose();
    let pictures = flags.pictures_every.as_deref().map(Every::from_str).transpose();
    Ok(Run {
        max_corrupt: max_corrupt.map_err(usage)?.unwrap_or_default(),
        save_every: SaveEvery::from_str(save_every)
            .map_err(|e| usage(format!("save_every {e}")))?,
        pictures_every: pictures.map_err(|e| usage(format!("pictures_every {e}")))?,
        threads: flags.threads.map(|threads| count("threads", threads, 1024)).transpose()?,
        workers: count("workers", flags.workers.unwrap_or(cores.min(8)), 1024)?,
    })
}

/// A whole number from 1 to `most`.
fn count<N: PartialOrd + From<u8> + Display>(name: &str, value: N, most: N) -> anyhow::Result<N> {
    if value < N::from(1) || value > most {
        return Err(usage(format!("{name} {value}: expected a number from 1 to {most}")));
    }
    Ok(value)
}

fn positive(name: &str, value: f64) -> anyhow::Result<f64> {
    if value > 0.0 && value.is_finite() {
        return Ok(value);
    }
    Err(usage(format!("{name} {value}: expected a number above 0")))
}

fn above_one(name: &str, value: f64) -> anyhow::Result<f64> {
    if value > 1.0 && value.is_finite() {
        return Ok(value);
    }
    Err(usage(format!("{name} {value}: expected a number above 1")))
}

fn within(name: &str, value: f64, least: f64, most: f64) -> anyhow::Result<f64> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    let bound = if most == f64::MAX { String::new() } else { format!(" to {most}") };
    Err(usage(format!("{name} {value}: expected a number from {least}{bound}")))
}
