//! Reconstructions of a few fixed images.

use std::sync::Arc;

use longmae_data::{Source, Subset};
use longmae_mae::Mae;
use longmae_report::{ImageSpec, Reconstruction, RgbImage, Statistics, reconstruction_grid};

use super::batch::{Batch, validation_loader};
use crate::settings::Settings;

/// Images in a picture.
const ROWS: usize = 6;

/// The images that are shown, with their masks.
pub struct Pictures {
    batch: Batch,
    spec: ImageSpec,
    statistics: Statistics,
}

impl Pictures {
    /// Takes images spread over `source`.
    pub fn new(source: &Arc<dyn Source>, settings: &Settings) -> anyhow::Result<Self> {
        let rows = ROWS.min(source.len());
        let indices = (0..rows).map(|row| row * source.len() / rows).collect();
        let few: Arc<dyn Source> = Arc::new(Subset::new(source.clone(), indices)?);
        let mut settings = settings.clone();
        settings.batching.batch_size = rows;
        let Some(batch) = validation_loader(&few, &settings)?.next() else {
            anyhow::bail!("no image to make a picture of")
        };
        let grid = settings.mae.encoder.grid;
        let (height, width) = grid.image_size();
        let spec = ImageSpec {
            channels: settings.mae.encoder.channels,
            height,
            width,
            patch_size: grid.patch(),
            pred_downsampling: settings.mae.decoder.pred_downsampling,
            mean: settings.normalize.mean().to_vec(),
            std: settings.normalize.std().to_vec(),
        };
        let norm_pix = settings.mae.norm_pix_loss;
        let statistics = if norm_pix { Statistics::HiddenPatches } else { Statistics::Raw };
        Ok(Self { batch: batch?, spec, statistics })
    }

    /// Draws what the model makes of them.
    pub fn draw(&self, mae: &Mae, title: &str) -> anyhow::Result<RgbImage> {
        let Batch { images, masks, plans, .. } = &self.batch;
        let pred = mae.forward(images, masks, None)?.pred;
        let rows = plans
            .iter()
            .enumerate()
            .map(|(row, plan)| {
                Ok(Reconstruction {
                    image: images.get(row)?.flatten_all()?.to_vec1()?,
                    mask: (0..plan.patches()).map(|patch| plan.is_removed(patch)).collect(),
                    pred: pred.get(row)?.flatten_all()?.to_vec1()?,
                })
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        Ok(reconstruction_grid(title, &self.spec, self.statistics, &rows)?)
    }
}
