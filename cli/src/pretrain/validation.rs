//! The validation loss: fixed crops, fixed masks.

use std::sync::Arc;

use longmae_data::Source;
use longmae_mae::Mae;

use super::batch::validation_loader;
use crate::settings::Settings;

/// Mean loss over all images of `source`.
pub fn loss(mae: &Mae, source: &Arc<dyn Source>, settings: &Settings) -> anyhow::Result<f64> {
    let (mut sum, mut images) = (0.0, 0);
    for batch in validation_loader(source, settings)? {
        let batch = batch?;
        let loss = mae.forward(&batch.images, &batch.masks, None)?.loss.to_scalar::<f32>()?;
        sum += f64::from(loss) * batch.ids.len() as f64;
        images += batch.ids.len();
    }
    Ok(sum / images as f64)
}
