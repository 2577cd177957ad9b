//! Gradients of several parameters as one row of numbers, to be summed at once.

use candle_core::{DType, Device, Shape, Tensor};

use crate::{NamedParam, Pending, Result};

/// Some parameters' gradients, on their way to being summed.
///
/// As numbers they are the gradients one after the other, then for each parameter whether this rank has one.
pub(crate) struct Bucket {
    parts: Vec<Part>,
    device: Device,
}

struct Part {
    parameter: usize,
    shape: Shape,
    gradient: Option<Tensor>,
}

/// Buckets for these parameters, from the last to the first, and where each parameter lies.
pub(crate) fn plan(parameters: &[NamedParam], bytes: usize) -> (Vec<Bucket>, Vec<(usize, usize)>) {
    let mut buckets: Vec<Bucket> = Vec::new();
    let mut places = vec![(0, 0); parameters.len()];
    let mut room = 0;
    for (parameter, param) in parameters.iter().enumerate().rev() {
        if room == 0 {
            buckets.push(Bucket { parts: Vec::new(), device: param.var.device().clone() });
            room = bytes.max(1);
        }
        let own = param.var.elem_count().saturating_mul(DType::F32.size_in_bytes());
        room = room.saturating_sub(own);
        let last = buckets.len() - 1;
        places[parameter] = (last, buckets[last].parts.len());
        let part = Part { parameter, shape: param.var.shape().clone(), gradient: None };
        buckets[last].parts.push(part);
    }
    (buckets, places)
}

impl Bucket {
    /// The parameters of this bucket.
    pub fn parameters(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().map(|part| part.parameter)
    }

    /// Takes the gradient of the parameter at a place.
    pub fn put(&mut self, place: usize, gradient: Tensor) {
        self.parts[place].gradient = Some(gradient);
    }

    /// Takes the gradients that it lacks; there may be none.
    pub fn fill(&mut self, gradients: &[Option<Tensor>]) {
        for part in self.parts.iter_mut().filter(|part| part.gradient.is_none()) {
            part.gradient = gradients.get(part.parameter).cloned().flatten();
        }
    }

    /// Whether it has a gradient of every parameter.
    pub fn is_whole(&self) -> bool {
        self.parts.iter().all(|part| part.gradient.is_some())
    }

    /// The numbers, each divided by `world`, so that their sum is a mean. The bucket is empty after it.
    pub fn take(&mut self, world: usize) -> Result<Tensor> {
        let mut rows = Vec::with_capacity(self.parts.len() + 1);
        let mut has = Vec::with_capacity(self.parts.len());
        for part in &mut self.parts {
            has.push(if part.gradient.is_some() { 1.0_f32 } else { 0.0 });
            rows.push(match part.gradient.take() {
                Some(gradient) => (gradient.flatten_all()? / world as f64)?,
                None => Tensor::zeros(part.shape.elem_count(), DType::F32, &self.device)?,
            });
        }
        rows.push(Tensor::new(has, &self.device)?);
        Ok(Tensor::cat(&rows, 0)?)
    }

    /// Puts the means in a sum of all ranks' numbers where their parameters are.
    fn give(&self, sum: &Tensor, means: &mut [Option<Tensor>]) -> Result<()> {
        let numbers: usize = self.parts.iter().map(|part| part.shape.elem_count()).sum();
        let has: Vec<f32> = sum.narrow(0, numbers, self.parts.len())?.to_vec1()?;
        let mut start = 0;
        for (part, has) in self.parts.iter().zip(has) {
            let count = part.shape.elem_count();
            if has > 0.0 {
                means[part.parameter] =
                    Some(sum.narrow(0, start, count)?.reshape(part.shape.clone())?);
            }
            start += count;
        }
        Ok(())
    }
}

/// Sums of buckets that are under way.
pub(crate) struct Sums(Vec<Option<Pending>>);

impl Sums {
    pub fn empty(buckets: usize) -> Self {
        Self((0..buckets).map(|_| None).collect())
    }

    pub fn put(&mut self, bucket: usize, sum: Pending) {
        self.0[bucket] = Some(sum);
    }

    /// Waits for all, and gives each parameter's mean.
    pub fn wait(&mut self, buckets: &[Bucket], parameters: usize) -> Result<Vec<Option<Tensor>>> {
        let mut means = vec![None; parameters];
        for (sum, bucket) in self.0.iter_mut().zip(buckets) {
            if let Some(sum) = sum.take() {
                bucket.give(&sum.wait()?, &mut means)?;
            }
        }
        Ok(means)
    }
}
