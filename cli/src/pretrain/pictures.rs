//! Reconstructions of a few fixed images.

use std::fs;
use std::sync::Arc;

use candle_core::Tensor;
use longmae_data::{MaxCorrupt, Normalize, Source, Subset};
use longmae_mae::{Mae, MaeConfig};
use longmae_masking::MaskBatch;
use longmae_ops::inference;
use longmae_report::{
    ImageSpec, Reconstruction, RgbImage, Statistics, encode_png, reconstruction_grid, write_atomic,
};
use longmae_train::{BoxError, EvalRecord, Every, Hook, Progress, TrainConfig};

use super::batch::{Batch, validation_loader};
use super::settings::Settings;
use super::task::PretrainTask;
use crate::run::{Events, Lead, RunFolder};

/// Images in a picture.
const ROWS: usize = 6;
/// Images that are tried, so that corrupt ones can be passed over.
const CANDIDATES: usize = 4 * ROWS;

/// What a model's images look like to the one who draws them.
pub fn image_spec(mae: &MaeConfig, normalize: &Normalize) -> ImageSpec {
    let grid = mae.encoder.grid;
    let (height, width) = grid.image_size();
    ImageSpec {
        channels: mae.encoder.channels,
        height,
        width,
        patch_size: grid.patch(),
        pred_downsampling: mae.decoder.pred_downsampling,
        mean: normalize.mean().to_vec(),
        std: normalize.std().to_vec(),
    }
}

/// How a model's predictions become pixels: those of normalised patches get mean and deviation of the patch they stand for.
pub fn statistics(mae: &MaeConfig) -> Statistics {
    if mae.norm_pix_loss { Statistics::HiddenPatches } else { Statistics::Raw }
}

/// The images that are shown, with their masks. Each is a batch of its own, so that a picture needs less memory than a
/// training step.
pub struct Pictures {
    images: Vec<Batch>,
    spec: ImageSpec,
    statistics: Statistics,
}

impl Pictures {
    /// Takes images spread over `source`.
    pub fn new(source: &Arc<dyn Source>, settings: &Settings) -> anyhow::Result<Self> {
        let tried = CANDIDATES.min(source.len());
        // In strides, so that the first few are spread out.
        let stride = tried.div_ceil(ROWS);
        let spread = (0..stride).flat_map(|first| (first..tried).step_by(stride));
        let indices = spread.map(|candidate| candidate * source.len() / tried).collect();
        let few: Arc<dyn Source> = Arc::new(Subset::new(source.clone(), indices)?);
        let mut one_by_one = settings.clone();
        (one_by_one.common.batching.batch_size, one_by_one.common.batching.ranks) = (1, 1);
        one_by_one.common.max_corrupt = MaxCorrupt::Count(tried);
        let images = validation_loader(&few, &one_by_one)?.take(ROWS).collect::<Result<_, _>>()?;
        let spec = image_spec(&settings.mae, &settings.common.normalize);
        Ok(Self { images, spec, statistics: statistics(&settings.mae) })
    }

    /// Draws what the model makes of them.
    fn draw(&self, mae: &Mae, title: &str) -> anyhow::Result<RgbImage> {
        let images = self.images.iter();
        let rows =
            images.map(|image| Ok(reconstruct(mae, &image.images.tensor()?, &image.masks)?.0));
        let rows = rows.collect::<anyhow::Result<Vec<_>>>()?;
        Ok(reconstruction_grid(title, &self.spec, self.statistics, &rows)?)
    }
}

/// Draws pictures into a run's folder, and into TensorBoard's events.
pub struct Drawing<'a> {
    pictures: &'a Pictures,
    folder: RunFolder,
    events: Events,
    every: Every,
    total_steps: u64,
}

/// Pictures of a run when nothing is said.
const PICTURES: u64 = 20;

impl<'a> Drawing<'a> {
    pub fn new(
        pictures: &'a Pictures,
        lead: &Lead<'_>,
        config: &TrainConfig,
        settings: &Settings,
    ) -> Self {
        let total_steps = config.total_steps;
        let every = settings.pictures_every.unwrap_or(Every::Steps(total_steps.div_ceil(PICTURES)));
        let (folder, events) = (lead.folder.clone(), lead.events.clone());
        Self { pictures, folder, events, every, total_steps }
    }

    fn draw(&self, mae: &Mae, progress: &Progress) -> anyhow::Result<()> {
        let Progress { step, loss, .. } = *progress;
        let loss = loss.map_or_else(String::new, |loss| format!(", training loss {loss:.4}"));
        let picture =
            self.pictures.draw(mae, &format!("step {step} of {}{loss}", self.total_steps))?;
        let png = encode_png(&picture)?;
        let path = self.folder.picture_path(step);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        write_atomic(&path, &png)?;
        let (width, height) = picture.dimensions();
        let mut events = self.events.borrow_mut();
        events.image_png("reconstructions", step, width, height, 3, png)?;
        Ok(events.flush()?)
    }
}

impl Hook<PretrainTask> for Drawing<'_> {
    fn every(&self) -> Every {
        self.every
    }

    fn call(
        &mut self,
        task: &PretrainTask,
        progress: &Progress,
    ) -> Result<Vec<EvalRecord>, BoxError> {
        self.draw(&task.mae, progress)?;
        Ok(Vec::new())
    }
}

/// What the model makes of one image on the CPU, `[1, channels, height, width]`, and the loss over its hidden patches.
pub fn reconstruct(
    mae: &Mae,
    image: &Tensor,
    masks: &MaskBatch,
) -> anyhow::Result<(Reconstruction, f32)> {
    let (seen, hidden) = (image.to_device(mae.device())?, masks.to_device(mae.device())?);
    let output = inference(|| mae.forward(&seen, &hidden, None))?;
    let removed = masks.mask.flatten_all()?.to_vec1::<f32>()?;
    let reconstruction = Reconstruction {
        image: image.flatten_all()?.to_vec1()?,
        mask: removed.into_iter().map(|removed| removed == 1.0).collect(),
        pred: output.pred.flatten_all()?.to_vec1()?,
    };
    Ok((reconstruction, output.loss.to_scalar()?))
}
