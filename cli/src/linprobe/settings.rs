//! Settings of a linear probe as they are meant: checked once, with every default filled in.

use longmae_data::{ClassifyTransform, EvalTransform};
use longmae_finetune::Pool;
use longmae_finetune::probes::C_GRID;

use super::flags::Flags;
use crate::exit::usage;
use crate::run::numbers::positive;
use crate::run::{Common, Defaults, Groups, RunSettings, pool, weights};

/// MAE's published probe of ViT-B.
const DEFAULTS: Defaults =
    Defaults { epochs: 90.0, blr: 0.1, min_lr: 0.0, weight_decay: 0.0, min_crop: 0.08 };

/// A probe's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Every setting as it would be written: the resolved recipe.
    pub flags: Flags,
    /// What all kinds of runs set.
    pub common: Common,
    pub pool: Pool,
    /// What training sees of an image.
    pub training: ClassifyTransform,
    /// What evaluation, and the exact probe, see of it.
    pub evaluation: EvalTransform,
    /// What is tried as the exact probe's `C`.
    pub c: Vec<f64>,
}

impl RunSettings for Settings {
    type Flags = Flags;

    const COMMAND: &'static str = "linprobe";

    const FREE: &'static [&'static str] = &[];

    const FIXED: &'static [&'static str] = &["pool"];

    fn complete(mut flags: Flags) -> anyhow::Result<Flags> {
        weights::complete(&mut flags.encoder, &mut flags.data)?;
        Ok(flags)
    }

    fn resolve(mut flags: Flags) -> anyhow::Result<Self> {
        if flags.encoder.drop_path.is_some_and(|rate| rate > 0.0) {
            return Err(usage(
                "drop_path: a probe's encoder is frozen and drops nothing; leave it away",
            ));
        }
        let groups = Groups {
            data: &mut flags.data,
            encoder: &mut flags.encoder,
            optimisation: &mut flags.optimisation,
            machine: &mut flags.machine,
            run: &mut flags.run,
        };
        let common = Common::resolve(groups, &DEFAULTS, Self::COMMAND)?;
        if common.ema.is_some() {
            return Err(usage("ema: a linear probe keeps no average; leave it away"));
        }
        let ranks = common.batching.ranks;
        if ranks > 1 {
            return Err(usage(format!(
                "{ranks} processes were started: a linear probe over several is not there yet (its normalisation would \
                 need their statistics); start one"
            )));
        }
        let pool = pool(&mut flags.pool, Pool::Class)?;
        let c = flags.c.clone().unwrap_or_else(|| C_GRID.to_vec());
        c.iter().try_for_each(|c| positive("c", *c).map(drop))?;
        if c.is_empty() {
            return Err(usage("c: expected one number at least"));
        }
        Ok(Self {
            evaluation: common.evaluation(&mut flags.eval_crop)?,
            training: ClassifyTransform::new(common.size, common.normalize.clone())
                .with_crop(common.crop.clone())
                .with_flip(common.flip.clone()),
            pool,
            c,
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
