use candle_core::{DType, Tensor};

use crate::{Error, Result};

/// Samples that are looked at together.
const ROWS: usize = 4096;

/// What an encoder makes of labelled images, one vector an image: what probes learn from and are tested on.
#[derive(Debug, Clone)]
pub struct Features {
    values: Tensor,
    labels: Vec<u32>,
    classes: usize,
}

impl Features {
    /// Features `[samples, dim]` in f32, and the class of each sample, below `classes`.
    ///
    /// # Errors
    /// [`Error::Setting`] if there is no sample, the sizes do not fit, a number is not finite or a label is no class.
    pub fn new(values: Tensor, labels: Vec<u32>, classes: usize) -> Result<Self> {
        let refused = |found, expected| Err(Error::Setting { name: "features", found, expected });
        let values = match values.dims() {
            [samples, dim] if *samples > 0 && *dim > 0 => values.to_dtype(DType::F32)?,
            shape => return refused(format!("{shape:?}"), "[samples, dim], none zero".to_owned()),
        };
        let values = values.contiguous()?;
        if values.dims()[0] != labels.len() {
            let found = format!("of {} samples", values.dims()[0]);
            return refused(found, format!("one for each of {} labels", labels.len()));
        }
        if let Some(sample) = not_finite(&values)? {
            return refused(format!("not finite in sample {sample}"), "finite numbers".to_owned());
        }
        if let Some(label) = labels.iter().find(|label| **label as usize >= classes) {
            return Err(Error::label(*label, classes));
        }
        Ok(Self { values, labels, classes })
    }

    /// `[samples, dim]`, f32, contiguous.
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// The class of each sample.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// How many classes there are, whether or not they have samples here.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none: never.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Width of a feature.
    pub fn dim(&self) -> usize {
        self.values.dims()[1]
    }

    /// The samples at these places, in this order.
    ///
    /// # Errors
    /// When a place is beyond the end, or there are none.
    pub fn select(&self, places: &[u32]) -> Result<Self> {
        let index = Tensor::new(places, self.values.device())?;
        let labels = places.iter().filter_map(|place| self.labels.get(*place as usize));
        Self::new(self.values.index_select(&index, 0)?, labels.copied().collect(), self.classes)
    }

    /// An error unless `other` has the same width.
    pub(crate) fn check_dim(&self, dim: usize) -> Result<()> {
        match self.dim() == dim {
            true => Ok(()),
            false => Err(Error::Setting {
                name: "features",
                found: format!("{} wide", self.dim()),
                expected: dim.to_string(),
            }),
        }
    }
}

/// The first sample with a number that is not finite.
fn not_finite(values: &Tensor) -> Result<Option<usize>> {
    let (samples, dim) = values.dims2()?;
    for start in (0..samples).step_by(ROWS) {
        let rows = values.narrow(0, start, ROWS.min(samples - start))?;
        let rows = rows.flatten_all()?.to_vec1::<f32>()?;
        if let Some(place) = rows.iter().position(|value| !value.is_finite()) {
            return Ok(Some(start + place / dim));
        }
    }
    Ok(None)
}
