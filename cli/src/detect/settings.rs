//! Settings of a detector as they are meant: checked once, with every default filled in.

use std::path::Path;

use longmae_data::Size;
use longmae_data::transform::detection::{
    DetectionEval, DetectionTraining, FixedSizeCrop, LargeScaleJitter, ResizeScale,
};
use longmae_train::Decay;
use longmae_weights::Kind;

use super::architecture::Architecture;
use super::flags::Flags;
use super::schedule;
use crate::exit::usage;
use crate::image_size::ImageSize;
use crate::recipe;
use crate::run::weights::open_weights;
use crate::run::{Common, Defaults, Groups, RunSettings, weights};

/// ViTDet's published training, for what does not depend on the model's size: 1e-4 for 64 images.
const DEFAULTS: Defaults =
    Defaults { epochs: 100.0, blr: 4e-4, min_lr: 0.0, weight_decay: 0.1, min_crop: 1.0 };
/// Side of ViTDet's images.
const SIDE: usize = 1024;
/// Side of its patches, also with an encoder of another patch size that does not fit a pyramid.
const PATCH: usize = 16;

/// A detector's training run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Every setting as it would be written: the resolved recipe.
    pub flags: Flags,
    /// What all kinds of runs set.
    pub common: Common,
    pub architecture: Architecture,
    pub layer_decay: f64,
    pub decay: Decay,
    /// Whether images without objects are trained on.
    pub keep_empty: bool,
    /// What training sees of an image.
    pub training: DetectionTraining,
    /// What evaluation sees of it.
    pub evaluation: DetectionEval,
}

impl RunSettings for Settings {
    type Flags = Flags;

    const COMMAND: &'static str = "detect";

    const FREE: &'static [&'static str] = &[];

    const FIXED: &'static [&'static str] = &[
        "pretrain_size",
        "window",
        "global_blocks",
        "cascade",
        "masks",
        "pyramid_dim",
        "rpn_convs",
        "box_convs",
        "box_fc_dim",
        "mask_convs",
        "agnostic_boxes",
        "agnostic_masks",
    ];

    fn complete(mut flags: Flags) -> anyhow::Result<Flags> {
        // Detectors see other images than encoders do.
        let size = ImageSize { height: SIDE, width: SIDE };
        flags.data.image_size.get_or_insert(size);
        if let Some(path) = flags.encoder.init_weights.clone() {
            take_over_detector(&mut flags, Path::new(&path))?;
        }
        let patch = flags.encoder.patch_size;
        let Some(info) = weights::complete(&mut flags.encoder, &mut flags.data)? else {
            return Ok(flags);
        };
        if patch.is_none() && !info.patch_size.is_power_of_two() {
            flags.encoder.patch_size = Some(PATCH);
        }
        let patch = flags.encoder.patch_size.unwrap_or(PATCH);
        if let Some([rows, cols]) = info.grid() {
            let size = ImageSize { height: rows * patch, width: cols * patch };
            flags.architecture.pretrain_size.get_or_insert(size);
        }
        Ok(flags)
    }

    fn resolve(mut flags: Flags) -> anyhow::Result<Self> {
        refuse_foreign(&flags)?;
        schedule::check(&mut flags)?;
        flags.data.image_size.get_or_insert(ImageSize { height: SIDE, width: SIDE });
        flags.encoder.patch_size.get_or_insert(PATCH);
        let groups = Groups {
            data: &mut flags.data,
            encoder: &mut flags.encoder,
            optimisation: &mut flags.optimisation,
            machine: &mut flags.machine,
            run: &mut flags.run,
        };
        let common = Common::resolve(groups, &DEFAULTS, Self::COMMAND)?;
        // Attention over a grid, maps and regions have kernels on the CPU alone.
        common.device.check_reference(common.compute)?;
        leave_foreign(&mut flags);
        let layer_decay = *flags.layer_decay.get_or_insert(0.7);
        if !(layer_decay > 0.0 && layer_decay <= 1.0) {
            return Err(usage(format!(
                "layer_decay {layer_decay}: expected a number above 0 and at most 1"
            )));
        }
        let evaluation = DetectionEval::new(common.size.height, common.normalize.clone());
        Ok(Self {
            architecture: Architecture::resolve(&mut flags, &common.encoder)?,
            decay: schedule::resolve(&mut flags)?,
            keep_empty: *flags.keep_empty.get_or_insert(false),
            training: training(&mut flags, &common)?,
            evaluation: evaluation.map_err(usage)?,
            layer_decay,
            common,
            flags,
        })
    }

    fn flags(&self) -> &Flags {
        &self.flags
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn common_mut(&mut self) -> &mut Common {
        &mut self.common
    }
}

/// What all kinds of runs have and a detector has not.
fn refuse_foreign(flags: &Flags) -> anyhow::Result<()> {
    let data = &flags.data;
    let given = [
        ("crop", data.crop.is_some(), "a detector's crop is that of --min-scale and --max-scale"),
        ("min_crop", data.min_crop.is_some(), "a detector has --min-scale"),
        ("max_crop", data.max_crop.is_some(), "a detector has --max-scale"),
        ("val_share", data.val_share.is_some(), "name other images by --val-data"),
        ("synthetic_images", data.synthetic_images.is_some(), "synthetic images have no objects"),
        (
            "decode scaled",
            data.decode.as_deref() == Some("scaled"),
            "a detector sees the whole image",
        ),
    ];
    match given.iter().find(|(_, given, _)| *given) {
        Some((key, _, reason)) => {
            Err(usage(format!("{key} is not for `longmae detect`: {reason}")))
        }
        None => Ok(()),
    }
}

/// Takes out of the resolved recipe what was filled in and is not for a detector.
fn leave_foreign(flags: &mut Flags) {
    let data = &mut flags.data;
    (data.crop, data.min_crop, data.max_crop) = (None, None, None);
    data.synthetic_images = None;
}

fn training(flags: &mut Flags, common: &Common) -> anyhow::Result<DetectionTraining> {
    let Size { height, width } = common.size;
    let scale = (*flags.min_scale.get_or_insert(0.1), *flags.max_scale.get_or_insert(2.0));
    let target = Size { height, width };
    let jitter = LargeScaleJitter {
        flip: common.flip.clone(),
        resize: ResizeScale::new(scale, target).map_err(usage)?,
        crop: FixedSizeCrop { size: target, pad: None },
        recompute_boxes: true,
        keep_crowds: false,
    };
    Ok(DetectionTraining::new(jitter, common.normalize.clone()))
}

/// A detector of longmae's goes on as what it was.
fn take_over_detector(flags: &mut Flags, path: &Path) -> anyhow::Result<()> {
    let checkpoint = open_weights(path)?;
    let Some(metadata) = checkpoint.metadata().filter(|it| it.kind == Kind::Detector) else {
        return Ok(());
    };
    let Some(text) = &metadata.recipe else { return Ok(()) };
    let place = checkpoint.path().display().to_string();
    let table = recipe::parse::<Flags>(&place, text, Settings::COMMAND)
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut sizes = recipe::to_table(&recipe::to_flags::<Flags>(&place, &table)?.architecture)?;
    sizes.extend(recipe::to_table(&flags.architecture)?);
    flags.architecture = sizes.try_into()?;
    Ok(())
}
