//! A frozen encoder with a linear classifier on its features.

use candle_core::Tensor;
use longmae_finetune::Pool;
use longmae_finetune::probes::{LinearProbe, Mode};
use longmae_ops::{Params, inference};
use longmae_vit::{Backbone, Vit};

use super::settings::Settings;
use crate::classify::Scorer;
use crate::features;
use crate::run::{Started, weights};

/// Encoder and probe.
pub struct Probed {
    pub vit: Vit,
    pub pool: features::Pool,
    pub probe: LinearProbe,
    /// All of them, under MAE's names.
    pub params: Params,
}

impl Probed {
    /// The encoder of the weights to start from, or as it begins if none are named; and a new probe of `classes`.
    pub fn open(settings: &Settings, classes: usize) -> anyhow::Result<(Self, Started)> {
        let common = &settings.common;
        let params = Params::new(common.seed, &common.device.open()?).computing(common.compute);
        let vit = Vit::new(common.encoder, &params)?;
        let started = match common.start_from() {
            Some(path) => weights::load_encoder(path, &params, common)?,
            None => Started::default(),
        };
        let probe = LinearProbe::new(common.encoder.tower.dim, classes, &params)?;
        let pool = match settings.pool {
            Pool::Class => features::Pool::Class,
            Pool::Mean => features::Pool::Mean,
        };
        Ok((Self { vit, pool, probe, params }, started))
    }

    /// The scores `[batch, classes]` of images on any device. Gradients reach the probe alone.
    pub fn forward(&self, images: &Tensor, mode: Mode) -> anyhow::Result<Tensor> {
        let images = images.to_device(self.vit.device())?;
        let tokens = inference(|| self.vit.features(&images))?;
        let features = self.pool.apply(&tokens)?.detach();
        Ok(self.probe.forward(&features.contiguous()?, mode)?)
    }
}

impl Scorer for Probed {
    fn logits(&self, images: &Tensor) -> anyhow::Result<Tensor> {
        inference(|| self.forward(images, Mode::Evaluate))
    }
}
