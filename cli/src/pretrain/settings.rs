//! Settings of pre-training as they are meant: checked once, with every default filled in.

use std::str::FromStr;

use longmae_mae::{DecoderConfig, MaeConfig, decoder_preset};
use longmae_masking::{MaskCount, MaskDesign};
use longmae_patching::PatchGrid;
use longmae_train::Every;
use longmae_vit::TowerConfig;

use super::flags::Flags;
use super::probe::ProbeSettings;
use crate::choice::one_of;
use crate::exit::usage;
use crate::run::numbers::count;
use crate::run::{Common, Defaults, Groups, RunSettings};

/// MAE's published pre-training.
const DEFAULTS: Defaults =
    Defaults { epochs: 800.0, blr: 1.5e-4, min_lr: 0.0, weight_decay: 0.05, min_crop: 0.2 };

/// A pre-training run's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Every setting as it would be written: the resolved recipe.
    pub flags: Flags,
    /// What all kinds of runs set.
    pub common: Common,
    pub mae: MaeConfig,
    pub masks: MaskDesign,
    pub mask_strategy: String,
    /// Mask units of an image.
    pub units: usize,
    /// Visible patches of every image.
    pub kept: usize,
    /// When pictures are drawn, if that was set.
    pub pictures_every: Option<Every>,
    /// What the encoder is probed on, if anything.
    pub probe: Option<ProbeSettings>,
}

impl RunSettings for Settings {
    type Flags = Flags;

    const COMMAND: &'static str = "mae-pretrain";

    const FREE: &'static [&'static str] =
        &["pictures_every", "probe_data", "probe_val_data", "probe_every", "probe_images"];

    const FIXED: &'static [&'static str] = &[
        "decoder_dim",
        "decoder_depth",
        "decoder_heads",
        "decoder_downsampling",
        "pred_downsampling",
    ];

    fn resolve(mut flags: Flags) -> anyhow::Result<Self> {
        let groups = Groups {
            data: &mut flags.data,
            encoder: &mut flags.encoder,
            optimisation: &mut flags.optimisation,
            machine: &mut flags.machine,
            run: &mut flags.run,
        };
        let common = Common::resolve(groups, &DEFAULTS, Self::COMMAND)?;
        check_names(&mut flags)?;
        let epochs = common.epochs;
        let mae = model(&mut flags, &common)?;
        let (masks, units, kept) = masks(&mut flags, mae.encoder.grid)?;
        let pictures = flags.pictures_every.as_deref().map(Every::from_str).transpose();
        Ok(Self {
            common,
            mae,
            masks,
            mask_strategy: flags.mask_strategy.clone().unwrap_or_default(),
            units,
            kept,
            pictures_every: pictures.map_err(|e| usage(format!("pictures_every {e}")))?,
            probe: probe(&mut flags, epochs)?,
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

/// What is probed on; the numbers are for a probe alone.
fn probe(flags: &mut Flags, epochs: f64) -> anyhow::Result<Option<ProbeSettings>> {
    let Some(data) = &flags.probe_data else {
        let alone = [
            ("probe_val_data", flags.probe_val_data.is_some()),
            ("probe_every", flags.probe_every.is_some()),
            ("probe_images", flags.probe_images.is_some()),
        ];
        return match alone.iter().find(|(_, set)| *set) {
            Some((key, _)) => Err(usage(format!(
                "{key} is for a probe: give probe_data too (images with classes)"
            ))),
            None => Ok(None),
        };
    };
    let spec = |text: &str| text.parse().map_err(usage);
    let tenth = ((epochs / 10.0).ceil() as u64).max(1);
    Ok(Some(ProbeSettings {
        data: spec(data)?,
        val_data: flags.probe_val_data.as_deref().map(spec).transpose()?,
        every: count("probe_every", *flags.probe_every.get_or_insert(tenth), 1 << 40)?,
        images: count("probe_images", *flags.probe_images.get_or_insert(10_000), 1 << 40)?,
    }))
}

/// Settings that are a name from a list.
fn check_names(flags: &mut Flags) -> anyhow::Result<()> {
    let strategy = flags.mask_strategy.get_or_insert_with(|| "random".to_owned());
    one_of("mask strategy", strategy, &["random", "block", "grid"], &[])?;
    let count = flags.mask_count.get_or_insert_with(|| "published".to_owned());
    one_of("mask count", count, &["published", "units"], &[])
}

fn model(flags: &mut Flags, common: &Common) -> anyhow::Result<MaeConfig> {
    let published = decoder_preset(common.preset);
    let decoder = TowerConfig::new(
        count("decoder_dim", *flags.decoder_dim.get_or_insert(published.dim), 1 << 15)?,
        count("decoder_depth", *flags.decoder_depth.get_or_insert(published.depth), 1000)?,
        *flags.decoder_heads.get_or_insert(published.heads),
    );
    let TowerConfig { key_bias, layer_norm_eps, .. } = common.encoder.tower;
    let mae = MaeConfig {
        encoder: common.encoder,
        decoder: DecoderConfig {
            tower: TowerConfig { key_bias, layer_norm_eps, ..decoder },
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
    Ok(mae)
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
