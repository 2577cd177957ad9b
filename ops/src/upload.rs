//! Batches on their way to the device.

#[cfg(feature = "cuda")]
use std::sync::Arc;

use candle_core::{Device, Result, Shape, Tensor, bail};

#[cfg(feature = "cuda")]
use crate::cuda::{Staged, Staging};

/// Brings batches to a device: to an NVIDIA GPU while it computes, by pinned memory and a stream of its own; to others as it
/// comes. Clones share what they need for it.
#[derive(Clone)]
pub struct Uploader {
    device: Device,
    #[cfg(feature = "cuda")]
    staging: Option<Arc<Staging>>,
}

/// A batch's numbers on their way to the device, or there.
pub struct Upload(State);

enum State {
    There(Tensor),
    #[cfg(feature = "cuda")]
    Staged(Staged),
}

impl Uploader {
    /// To this device.
    ///
    /// # Errors
    /// When a GPU's driver refuses a stream.
    pub fn new(device: &Device) -> Result<Self> {
        Ok(Self {
            #[cfg(feature = "cuda")]
            staging: match device {
                Device::Cuda(device) => Some(Staging::new(device)?),
                _ => None,
            },
            device: device.clone(),
        })
    }

    /// Begins to bring numbers of a shape to the device, on whatever thread made them.
    ///
    /// # Errors
    /// When there are none, or more or fewer of them than the shape has; or the device has no memory for them.
    pub fn begin(&self, numbers: Vec<f32>, shape: impl Into<Shape>) -> Result<Upload> {
        let shape = shape.into();
        if numbers.is_empty() || shape.elem_count() != numbers.len() {
            bail!("{} numbers for a batch of shape {:?}", numbers.len(), shape.dims());
        }
        #[cfg(feature = "cuda")]
        if let Some(staging) = &self.staging {
            return Ok(Upload(State::Staged(staging.begin(&numbers, shape)?)));
        }
        Ok(Upload(State::There(Tensor::from_vec(numbers, shape, &self.device)?)))
    }
}

impl Upload {
    /// The tensor, on the device.
    ///
    /// # Errors
    /// When a GPU has no memory for it.
    pub fn tensor(&self) -> Result<Tensor> {
        match &self.0 {
            State::There(tensor) => Ok(tensor.clone()),
            #[cfg(feature = "cuda")]
            State::Staged(staged) => staged.tensor(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_arrive_in_their_shape() {
        let uploader = Uploader::new(&Device::Cpu).unwrap();
        let upload = uploader.begin(vec![1.0, 2.0, 3.0, 4.0], (2, 2)).unwrap();
        let rows: Vec<Vec<f32>> = upload.tensor().unwrap().to_vec2().unwrap();
        assert_eq!(rows, [[1.0, 2.0], [3.0, 4.0]]);
        for (numbers, shape) in [(vec![1.0], (2, 2)), (vec![], (0, 2))] {
            assert!(uploader.begin(numbers, shape).is_err());
        }
    }
}
