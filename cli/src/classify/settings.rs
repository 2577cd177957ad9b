//! Settings of fine-tuning as they are meant: checked once, with every default filled in.

use longmae_data::transform::RandomErasing;
use longmae_data::{
    Augment, ClassifyTransform, EvalTransform, MixMode, Mixup, MixupConfig, Targets,
};
use longmae_finetune::{Pool, layer_decay};
use longmae_ops::Params;
use longmae_vit::Vit;

use super::flags::Flags;
use crate::choice::one_of;
use crate::exit::usage;
use crate::run::numbers::{count, within};
use crate::run::{Common, Defaults, Groups, RunSettings, pool, weights};

/// MAE's published fine-tuning of ViT-B, for what does not depend on the model's size.
const DEFAULTS: Defaults =
    Defaults { epochs: 100.0, blr: 5e-4, min_lr: 1e-6, weight_decay: 0.05, min_crop: 0.08 };
/// RandAugment as MAE fine-tunes with it.
const AUGMENT: &str = "rand-m9-mstd0.5-inc1";

/// A fine-tuning run's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Every setting as it would be written: the resolved recipe.
    pub flags: Flags,
    /// What all kinds of runs set.
    pub common: Common,
    pub pool: Pool,
    pub layer_decay: f64,
    /// What training sees of an image.
    pub training: ClassifyTransform,
    /// What evaluation sees of it.
    pub evaluation: EvalTransform,
    pub mixup: Option<Mixup>,
    pub smoothing: f64,
}

impl RunSettings for Settings {
    type Flags = Flags;

    const COMMAND: &'static str = "classify";

    const FREE: &'static [&'static str] = &[];

    const FIXED: &'static [&'static str] = &["pool"];

    fn complete(mut flags: Flags) -> anyhow::Result<Flags> {
        let info = weights::complete(&mut flags.encoder, &mut flags.data)?;
        // A classifier goes on as what it was.
        if let Some(head) = info.and_then(|info| info.classifier) {
            flags.pool.get_or_insert(head.pool);
        }
        Ok(flags)
    }

    fn resolve(mut flags: Flags) -> anyhow::Result<Self> {
        let groups = Groups {
            data: &mut flags.data,
            encoder: &mut flags.encoder,
            optimisation: &mut flags.optimisation,
            machine: &mut flags.machine,
            run: &mut flags.run,
        };
        let common = Common::resolve(groups, &DEFAULTS, Self::COMMAND)?;
        let pool = pool(&mut flags.pool, Pool::Mean)?;
        let decay = *flags.layer_decay.get_or_insert(0.65);
        if !(decay > 0.0 && decay <= 1.0) {
            return Err(usage(format!(
                "layer_decay {decay}: expected a number above 0 and at most 1"
            )));
        }
        let smoothing = *flags.smoothing.get_or_insert(0.1);
        Targets::new(2, smoothing).map_err(usage)?;
        Ok(Self {
            training: training(&mut flags, &common)?,
            evaluation: common.evaluation(&mut flags.eval_crop)?,
            mixup: mixup(&mut flags, &common)?,
            layer_decay: decay,
            smoothing,
            pool,
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

fn training(flags: &mut Flags, common: &Common) -> anyhow::Result<ClassifyTransform> {
    let transform = ClassifyTransform::new(common.size, common.normalize.clone())
        .with_crop(common.crop.clone())
        .with_flip(common.flip.clone());
    let transform = match augment(flags, common)? {
        Some(augment) => transform.with_augment(augment).map_err(usage)?,
        None => transform,
    };
    let probability = within("reprob", *flags.reprob.get_or_insert(0.25), 0.0, 1.0)?;
    let mode = flags.remode.get_or_insert_with(|| "pixel".to_owned());
    one_of("remode", mode, &["const", "rand", "pixel"], &[])?;
    let boxes = count("recount", *flags.recount.get_or_insert(1), 1000)?;
    let erase = RandomErasing::new(probability, mode.parse().map_err(usage)?)
        .and_then(|erase| erase.with_count(boxes, boxes))
        .map_err(usage)?;
    Ok(if probability > 0.0 { transform.with_erasing(erase) } else { transform })
}

/// What changes an image's colours and shapes: RandAugment where its channels allow it, if nothing is said.
fn augment(flags: &mut Flags, common: &Common) -> anyhow::Result<Option<Augment>> {
    let colours = [1, 3].contains(&common.encoder.channels);
    let default = if colours && flags.color_jitter.is_none() { AUGMENT } else { "none" };
    let policy = flags.auto_augment.get_or_insert_with(|| default.to_owned());
    match (policy.as_str(), flags.color_jitter) {
        ("none", None) => Ok(None),
        ("none", Some(0.0)) => Ok(None),
        ("none", Some(strength)) => Ok(Some(Augment::jitter(strength).map_err(usage)?)),
        (policy, None) => Ok(Some(policy.parse().map_err(usage)?)),
        (policy, Some(_)) => Err(usage(format!(
            "auto_augment {policy} and color_jitter: give one of them (timm jitters only without a policy)"
        ))),
    }
}

fn mixup(flags: &mut Flags, common: &Common) -> anyhow::Result<Option<Mixup>> {
    let config = MixupConfig {
        mixup_alpha: *flags.mixup.get_or_insert(0.8),
        cutmix_alpha: *flags.cutmix.get_or_insert(1.0),
        probability: *flags.mixup_prob.get_or_insert(1.0),
        switch_probability: *flags.mixup_switch_prob.get_or_insert(0.5),
        mode: match flags.mixup_mode.get_or_insert_with(|| "batch".to_owned()).as_str() {
            "batch" => MixMode::Batch,
            "pair" => MixMode::Pair,
            "elem" => MixMode::Elem,
            other => {
                one_of("mixup mode", other, &["batch", "pair", "elem"], &[])?;
                MixMode::Batch
            }
        },
        ..MixupConfig::default()
    };
    if config.mixup_alpha == 0.0 && config.cutmix_alpha == 0.0 {
        return Ok(None);
    }
    let batch = common.batching.batch_size;
    if batch % 2 == 1 {
        return Err(usage(format!(
            "batch_size {batch}: mixup and cutmix mix images in pairs, which needs an even number (or --mixup 0 \
             --cutmix 0)"
        )));
    }
    Ok(Some(Mixup::new(config).map_err(usage)?))
}

/// How each parameter is optimised, for the engine.
pub fn tuned(
    settings: &Settings,
    vit: &Vit,
    params: &Params,
) -> anyhow::Result<Vec<longmae_train::NamedParam>> {
    let tuned = layer_decay(vit, &params.all(), settings.layer_decay)?;
    Ok(tuned
        .into_iter()
        .map(|param| longmae_train::NamedParam {
            name: param.name,
            var: param.var,
            lr_scale: param.lr_scale,
            decay: param.decay,
        })
        .collect())
}
