//! What all training runs set, as it is meant: checked once, with every default filled in.

use std::path::Path;
use std::str::FromStr;

use longmae_data::transform::{
    ByolCrop, EvalCrop, HorizontalFlip, Normalize, RandomCrop, RandomResizedCrop,
};
use longmae_data::{
    DecodeOptions, EvalTransform, IMAGENET_MEAN, IMAGENET_STD, MaxCorrupt, SCALED_DECODING, Size,
    Spec,
};
use longmae_finetune::Pool;
use longmae_ops::{Compute, Kernels};
use longmae_patching::PatchGrid;
use longmae_train::SaveEvery;
use longmae_vit::{Preset, TowerConfig, VitConfig};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::flags::{DataFlags, EncoderFlags, MachineFlags, OptimisationFlags, RunFlags};
use super::numbers::{above_one, count, positive, within};
use crate::batching::Batching;
use crate::choice::{one_of, unknown};
use crate::device::DeviceName;
use crate::exit::usage;
use crate::image_size::ImageSize;

/// A kind of training run: its settings.
pub trait RunSettings: Clone {
    /// The settings as they are written.
    type Flags: clap::Args + Serialize + DeserializeOwned + Default + Clone;

    /// The command that has them.
    const COMMAND: &'static str;

    /// Settings that may always change: they change how a run goes, not what it computes.
    const FREE: &'static [&'static str];

    /// Settings that can never change: a checkpoint's tensors, or its place in the data, would mean something else.
    const FIXED: &'static [&'static str];

    /// Fills in what only a look at a disk or network tells, such as the sizes of the weights to start from.
    fn complete(flags: Self::Flags) -> anyhow::Result<Self::Flags> {
        Ok(flags)
    }

    /// Checks settings and fills in what is not set.
    fn resolve(flags: Self::Flags) -> anyhow::Result<Self>;

    /// Every setting as it would be written: the resolved recipe.
    fn flags(&self) -> &Self::Flags;

    /// What all kinds of runs set.
    fn common(&self) -> &Common;

    /// To say which of the ranks this process is.
    fn common_mut(&mut self) -> &mut Common;
}

/// Settings of the kinds that may always change. A run goes on on any device.
pub const FREE: [&str; 8] =
    ["device", "workers", "threads", "save_every", "keep", "keep_best", "log_every", "max_corrupt"];

/// What a kind of run has where nothing is said.
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    pub epochs: f64,
    pub blr: f64,
    pub min_lr: f64,
    pub weight_decay: f64,
    /// Smallest share of an image that a random crop covers.
    pub min_crop: f64,
}

/// The groups of flags that all kinds have.
pub struct Groups<'a> {
    pub data: &'a mut DataFlags,
    pub encoder: &'a mut EncoderFlags,
    pub optimisation: &'a mut OptimisationFlags,
    pub machine: &'a mut MachineFlags,
    pub run: &'a mut RunFlags,
}

/// Settings of any training run.
#[derive(Debug, Clone)]
pub struct Common {
    pub data: Option<Spec>,
    pub synthetic_images: usize,
    pub validation: Validation,
    pub decode: DecodeOptions,
    pub size: Size,
    pub crop: Option<RandomCrop>,
    pub flip: Option<HorizontalFlip>,
    pub normalize: Normalize,
    pub encoder: VitConfig,
    pub preset: Preset,
    /// The encoder's name, or its sizes if they are not a preset's.
    pub model: String,
    pub init_weights: Option<String>,
    pub allow_partial: bool,
    pub drop_path: f64,
    pub compute: Compute,
    /// Where it computes; each kind of run opens it with its model.
    pub device: DeviceName,
    pub batching: Batching,
    pub lr: f64,
    pub min_lr: f64,
    pub epochs: f64,
    /// Epochs of warm-up, if they were set.
    pub warmup_epochs: Option<f64>,
    pub max_steps: Option<u64>,
    pub weight_decay: f64,
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
    pub log_every: u64,
    pub threads: Option<usize>,
    pub workers: usize,
    pub seed: u64,
    /// Which of the ranks this process is; found out when they connect.
    pub rank: usize,
    /// Whether the run goes on from a checkpoint of its own.
    pub resumed: bool,
}

/// What is validated on, and how often.
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

impl Common {
    /// The weights to start from; a run that goes on from its own checkpoint needs none.
    pub fn start_from(&self) -> Option<&Path> {
        self.init_weights.as_deref().map(Path::new).filter(|_| !self.resumed)
    }

    /// Checks settings and fills in what is not set.
    pub fn resolve(flags: Groups<'_>, defaults: &Defaults, command: &str) -> anyhow::Result<Self> {
        let Groups { data: images, encoder: model, optimisation, machine, run } = flags;
        run.command = Some(command.to_owned());
        check_names(images, machine)?;
        let (compute, device) = compute(machine)?;
        let (preset, encoder) = vit(model, images)?;
        let (normalize, crop, flip) = transform(images, encoder.channels, defaults)?;
        let batching = batching(optimisation, machine)?;
        let data = images.data.as_deref().map(|spec| spec.parse().map_err(usage)).transpose()?;
        let synthetic_images = *images.synthetic_images.get_or_insert(1000);
        let optimiser = schedule(optimisation, &batching, defaults)?;
        let (height, width) = encoder.grid.image_size();
        let exif = *images.exif_orientation.get_or_insert(true);
        let kept = keeping(run, images)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let drop_path = within("drop_path", *model.drop_path.get_or_insert(0.0), 0.0, 0.999)?;
        if *model.allow_partial.get_or_insert(false) && model.init_weights.is_none() {
            return Err(usage("allow_partial is for weights to start from: give init_weights too"));
        }
        Ok(Self {
            synthetic_images: count("synthetic_images", synthetic_images, 1 << 40)?,
            validation: validation(images, optimiser.epochs)?,
            decode: DecodeOptions {
                channels: encoder.channels,
                apply_exif: exif,
                scaled: images.decode.as_deref() == Some("scaled"),
                ..DecodeOptions::default()
            },
            size: Size::new(height, width).map_err(usage)?,
            model: model_name(model, &encoder.tower, preset),
            init_weights: model.init_weights.clone(),
            allow_partial: model.allow_partial == Some(true),
            drop_path,
            clip_grad: optimisation.clip_grad,
            max_steps: optimisation.max_steps,
            ema: optimisation
                .ema
                .map(|decay| within("ema", decay, 0.0, 0.999_999_9))
                .transpose()?,
            rollback: optimisation
                .rollback
                .map(|factor| above_one("rollback", factor))
                .transpose()?,
            repeat: count("repeat", *images.repeat.get_or_insert(1), 1_000_000)?,
            aug_repeats: count("aug_repeats", *images.aug_repeats.get_or_insert(1), 1_000_000)?,
            threads: machine.threads.map(|threads| count("threads", threads, 1024)).transpose()?,
            workers: count("workers", machine.workers.unwrap_or(cores.min(8)), 1024)?,
            lr: optimiser.lr,
            min_lr: optimiser.min_lr,
            epochs: optimiser.epochs,
            warmup_epochs: optimisation.warmup_epochs,
            weight_decay: optimiser.weight_decay,
            max_corrupt: kept.max_corrupt,
            save_every: kept.save_every,
            keep: count("keep", *run.keep.get_or_insert(2), usize::MAX)?,
            keep_best: *run.keep_best.get_or_insert(true),
            log_every: count("log_every", *run.log_every.get_or_insert(10), u64::MAX)?,
            seed: *run.seed.get_or_insert(0),
            rank: 0,
            resumed: false,
            compute,
            device,
            data,
            crop,
            flip,
            normalize,
            encoder,
            preset,
            batching,
        })
    }

    /// What evaluation sees of an image: the middle, or, as `kind` says or where training crops nothing, all of it.
    pub fn evaluation(&self, kind: &mut Option<String>) -> anyhow::Result<EvalTransform> {
        let whole = if self.crop.is_some() { "center" } else { "none" };
        let kind = kind.get_or_insert_with(|| whole.to_owned());
        one_of("eval_crop", kind, &["center", "none"], &[])?;
        Ok(EvalTransform {
            size: self.size,
            crop: (kind == "center").then(|| EvalCrop::for_size(self.size)),
            normalize: self.normalize.clone(),
        })
    }

    /// Optimiser steps of the run, when an epoch has so many.
    pub fn total_steps(&self, steps_per_epoch: u64) -> u64 {
        let whole = (self.epochs * steps_per_epoch as f64).round().max(1.0) as u64;
        self.max_steps.map_or(whole, |max| max.min(whole))
    }
}

/// Which tokens a head looks at.
pub fn pool(flag: &mut Option<String>, default: Pool) -> anyhow::Result<Pool> {
    let name = flag.get_or_insert_with(|| default.name().to_owned());
    one_of("pool", name, &Pool::ALL.map(Pool::name), &[])?;
    Pool::from_str(name).map_err(usage)
}

/// Settings that are a name from a list.
fn check_names(images: &mut DataFlags, machine: &mut MachineFlags) -> anyhow::Result<()> {
    let check =
        |what, value: &mut Option<String>, default: &str, known: &[&str], planned: &[&str]| {
            one_of(what, value.get_or_insert_with(|| default.to_owned()), known, planned)
        };
    check("precision", &mut machine.precision, "fp32", &["fp32", "bf16"], &["fp16"])?;
    check("kernels", &mut machine.kernels, "fused", &["fused", "reference"], &[])?;
    check("decode", &mut images.decode, "full", &["full", "scaled"], &[])?;
    if images.decode.as_deref() == Some("scaled") && !SCALED_DECODING {
        return Err(usage(
            "decode scaled: this program was built without it (cargo build --features libjpeg-turbo)",
        ));
    }
    check("crop", &mut images.crop, "random", &["random", "byol", "none"], &[])
}

/// How the model computes, and where; names of kernels and precision were checked before.
fn compute(flags: &mut MachineFlags) -> anyhow::Result<(Compute, DeviceName)> {
    let compute = Compute {
        kernels: flags.kernels.as_deref().unwrap_or_default().parse().map_err(usage)?,
        precision: flags.precision.as_deref().unwrap_or_default().parse().map_err(usage)?,
        grad_checkpoint: *flags.grad_checkpoint.get_or_insert(false),
    };
    if compute.kernels == Kernels::Reference {
        if compute.precision != longmae_ops::Precision::Fp32 {
            return Err(usage(
                "the reference kernels compute in fp32 alone: leave --precision away",
            ));
        }
        if compute.grad_checkpoint {
            return Err(usage("the reference kernels have no grad_checkpoint: leave it away"));
        }
    }
    let device = DeviceName::from_str(flags.device.get_or_insert_with(|| "cpu".to_owned()))?;
    device.check_compute(compute)?;
    Ok((compute, device))
}

fn vit(flags: &mut EncoderFlags, images: &mut DataFlags) -> anyhow::Result<(Preset, VitConfig)> {
    let name = flags.model.get_or_insert_with(|| Preset::Base.name().to_owned());
    let preset = Preset::from_str(name)
        .map_err(|_| unknown("model", name, &Preset::ALL.map(Preset::name)))?;
    flags.model = Some(preset.name().to_owned());
    let size = *images.image_size.get_or_insert(ImageSize { height: 224, width: 224 });
    count("image_size", size.height.max(size.width), 1 << 15)?;
    let patch = *flags.patch_size.get_or_insert(preset.patch_size());
    let grid = PatchGrid::new((size.height, size.width), patch).map_err(usage)?;
    let tower = tower(flags, preset)?;
    let channels = count("channels", *images.channels.get_or_insert(3), 4096)?;
    Ok((preset, VitConfig { grid, channels, tower }))
}

fn tower(flags: &mut EncoderFlags, preset: Preset) -> anyhow::Result<TowerConfig> {
    let published = preset.tower();
    let tower = TowerConfig {
        dim: count("encoder_dim", flags.encoder_dim.unwrap_or(published.dim), 1 << 15)?,
        depth: count("encoder_depth", flags.encoder_depth.unwrap_or(published.depth), 1000)?,
        heads: flags.encoder_heads.unwrap_or(published.heads),
        mlp_ratio: flags.mlp_ratio.unwrap_or(published.mlp_ratio),
        key_bias: !*flags.no_k_bias.get_or_insert(false),
        layer_norm_eps: flags.layer_norm_eps.unwrap_or(published.layer_norm_eps),
    };
    within("mlp_ratio", tower.mlp_ratio, 0.0, 64.0)?;
    positive("layer_norm_eps", tower.layer_norm_eps)?;
    tower.check().map_err(|e| usage(format!("encoder: {e}")))?;
    if !tower.dim.is_multiple_of(4) {
        let dim = tower.dim;
        return Err(usage(format!(
            "encoder_dim {dim}: 2-D sin-cos positions need a multiple of 4"
        )));
    }
    Ok(tower)
}

fn model_name(flags: &EncoderFlags, tower: &TowerConfig, preset: Preset) -> String {
    let sizes = [flags.encoder_dim, flags.encoder_depth, flags.encoder_heads];
    if sizes.iter().all(Option::is_none) && flags.mlp_ratio.is_none() {
        return preset.name().to_owned();
    }
    format!("an encoder {} wide, {} deep, of {} heads", tower.dim, tower.depth, tower.heads)
}

type Transforms = (Normalize, Option<RandomCrop>, Option<HorizontalFlip>);

fn transform(
    flags: &mut DataFlags,
    channels: usize,
    defaults: &Defaults,
) -> anyhow::Result<Transforms> {
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
    let min_crop = *flags.min_crop.get_or_insert(defaults.min_crop);
    let scale = (min_crop, *flags.max_crop.get_or_insert(1.0));
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

fn batching(flags: &mut OptimisationFlags, machine: &mut MachineFlags) -> anyhow::Result<Batching> {
    let ranks = *machine.ranks.get_or_insert(1);
    let (batch, accum) = (flags.batch_size, flags.accum_iter);
    let batching = Batching::resolve(batch, accum, flags.effective_batch_size, ranks)?;
    (flags.batch_size, flags.accum_iter) = (Some(batching.batch_size), Some(batching.accum_iter));
    flags.effective_batch_size = Some(batching.effective);
    Ok(batching)
}

fn validation(flags: &mut DataFlags, epochs: f64) -> anyhow::Result<Validation> {
    let data = match (&flags.val_data, flags.val_share) {
        (Some(_), Some(_)) => return Err(usage("give val_data or val_share, not both")),
        (Some(spec), None) => ValidationData::Spec(spec.parse().map_err(usage)?),
        (None, Some(share)) if share > 0.0 && share < 1.0 => ValidationData::Share(share),
        (None, Some(share)) => {
            return Err(usage(format!("val_share {share}: expected a number above 0 and below 1")));
        }
        (None, None) => ValidationData::None,
    };
    let every = *flags.val_every.get_or_insert(default_val_every(epochs));
    Ok(Validation { data, every: count("val_every", every, 1 << 40)? })
}

/// Epochs between validations, if nothing is said: a twentieth of the run's.
pub fn default_val_every(epochs: f64) -> u64 {
    ((epochs / 20.0).ceil() as u64).max(1)
}

struct Schedule {
    lr: f64,
    min_lr: f64,
    epochs: f64,
    weight_decay: f64,
}

fn schedule(
    flags: &mut OptimisationFlags,
    batching: &Batching,
    defaults: &Defaults,
) -> anyhow::Result<Schedule> {
    let epochs = positive("epochs", *flags.epochs.get_or_insert(defaults.epochs))?;
    let epochs = within("epochs", epochs, 0.0, 1e9)?;
    if let Some(warmup) = flags.warmup_epochs.filter(|warmup| !(0.0..=epochs).contains(warmup)) {
        return Err(usage(format!(
            "warmup_epochs {warmup}: expected a number from 0 to {epochs}, the run's epochs (set \
             --warmup-epochs)"
        )));
    }
    let blr = positive("blr", *flags.blr.get_or_insert(defaults.blr))?;
    let lr = flags.lr.unwrap_or(blr * batching.effective as f64 / 256.0);
    let lr = positive("lr", lr)?;
    let min_lr = *flags.min_lr.get_or_insert(defaults.min_lr.min(lr));
    let min_lr = within("min_lr", min_lr, 0.0, lr)?;
    let decay = *flags.weight_decay.get_or_insert(defaults.weight_decay);
    let weight_decay = within("weight_decay", decay, 0.0, f64::MAX)?;
    flags.clip_grad.map(|max| positive("clip_grad", max)).transpose()?;
    flags.max_steps.map(|steps| count("max_steps", steps, u64::MAX)).transpose()?;
    Ok(Schedule { lr, min_lr, epochs, weight_decay })
}

struct Keeping {
    max_corrupt: MaxCorrupt,
    save_every: SaveEvery,
}

fn keeping(flags: &mut RunFlags, images: &DataFlags) -> anyhow::Result<Keeping> {
    let save_every = flags.save_every.get_or_insert_with(|| "10m".to_owned());
    let max_corrupt = images.max_corrupt.as_deref().map(MaxCorrupt::from_str).transpose();
    Ok(Keeping {
        max_corrupt: max_corrupt.map_err(usage)?.unwrap_or_default(),
        save_every: SaveEvery::from_str(save_every)
            .map_err(|e| usage(format!("save_every {e}")))?,
    })
}
