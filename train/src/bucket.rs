//! Gradients of several parameters as one row of numbers, to be summed at once.

use candle_core::{CpuStorage, DType, Device, Shape, Storage, Tensor};

use crate::{NamedParam, Pending, Result};

/// Some parameters' gradients, on their way to being summed.
///
/// As numbers they are the gradients one after the other, then for each parameter whether this rank has one.
pub(crate) struct Bucket {
    parts: Vec<Part>,
    /// Of all gradients.
    count: usize,
    /// Empty until the first gradient comes.
    numbers: Vec<f32>,
    device: Device,
}

struct Part {
    parameter: usize,
    shape: Shape,
    /// Where its numbers begin.
    start: usize,
    /// Whether they are there.
    has: bool,
}

/// Buckets for these parameters, from the last to the first, and where each parameter lies.
pub(crate) fn plan(parameters: &[NamedParam], bytes: usize) -> (Vec<Bucket>, Vec<(usize, usize)>) {
    let full = bytes / DType::F32.size_in_bytes();
    let mut buckets: Vec<Bucket> = Vec::new();
    let mut places = vec![(0, 0); parameters.len()];
    for (parameter, param) in parameters.iter().enumerate().rev() {
        if buckets.last().is_none_or(|bucket| bucket.count >= full) {
            buckets.push(Bucket::empty(param.var.device()));
        }
        let last = buckets.len() - 1;
        places[parameter] = (last, buckets[last].parts.len());
        buckets[last].push(parameter, param.var.shape());
    }
    (buckets, places)
}

impl Bucket {
    fn empty(device: &Device) -> Self {
        Self { parts: Vec::new(), count: 0, numbers: Vec::new(), device: device.clone() }
    }

    fn push(&mut self, parameter: usize, shape: &Shape) {
        self.parts.push(Part { parameter, shape: shape.clone(), start: self.count, has: false });
        self.count += shape.elem_count();
    }

    /// The parameters of this bucket.
    pub fn parameters(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().map(|part| part.parameter)
    }

    /// Takes a factor times the gradient of the parameter at a place.
    pub fn put(&mut self, place: usize, gradient: &[f32], factor: f32) {
        let scaled = self.room(place).iter_mut().zip(gradient);
        scaled.for_each(|(number, x)| *number = x * factor);
    }

    /// As [`Bucket::put`], of the sum of two gradients.
    pub fn put_sum(&mut self, place: usize, one: &[f32], other: &[f32], factor: f32) {
        let scaled = self.room(place).iter_mut().zip(one.iter().zip(other));
        scaled.for_each(|(number, (x, y))| *number = (x + y) * factor);
    }

    /// Where the gradient at a place goes, which counts as there.
    fn room(&mut self, place: usize) -> &mut [f32] {
        self.numbers.resize(self.count + self.parts.len(), 0.0);
        let part = &mut self.parts[place];
        part.has = true;
        self.numbers[self.count + place] = 1.0;
        &mut self.numbers[part.start..part.start + part.shape.elem_count()]
    }

    /// Takes the gradients that it lacks; there may be none.
    pub fn fill(&mut self, gradients: &[Option<Tensor>], factor: f32) -> Result<()> {
        for place in 0..self.parts.len() {
            let part = &self.parts[place];
            if let (false, Some(Some(gradient))) = (part.has, gradients.get(part.parameter)) {
                with_numbers(gradient, |numbers| self.put(place, numbers, factor))?;
            }
        }
        Ok(())
    }

    /// Whether it has a gradient of every parameter.
    pub fn is_whole(&self) -> bool {
        self.parts.iter().all(|part| part.has)
    }

    /// The numbers. The bucket is empty after it.
    pub fn take(&mut self) -> Result<Tensor> {
        self.parts.iter_mut().for_each(|part| part.has = false);
        let mut numbers = std::mem::take(&mut self.numbers);
        numbers.resize(self.count + self.parts.len(), 0.0);
        let count = numbers.len();
        Ok(Tensor::from_vec(numbers, count, &self.device)?)
    }

    /// Puts what the sum of all ranks' numbers has for each parameter in the parameters' order.
    fn give(&self, sum: &Tensor, gradients: &mut [Option<Tensor>]) -> Result<()> {
        let has: Vec<f32> = sum.narrow(0, self.count, self.parts.len())?.to_vec1()?;
        for (part, _) in self.parts.iter().zip(has).filter(|(_, has)| *has > 0.0) {
            let own = sum.narrow(0, part.start, part.shape.elem_count())?;
            gradients[part.parameter] = Some(own.reshape(part.shape.clone())?);
        }
        Ok(())
    }
}

/// Calls `read` with the numbers of an f32 tensor, without a copy if they lie in memory in a row.
pub(crate) fn with_numbers<R>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    if let (Storage::Cpu(CpuStorage::F32(numbers)), Some((start, end))) =
        (&*storage, layout.contiguous_offsets())
    {
        return Ok(read(&numbers[start..end]));
    }
    drop(storage);
    Ok(read(&tensor.flatten_all()?.to_vec1::<f32>()?))
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

    /// Waits for all, and gives what each parameter has.
    pub fn wait(&mut self, buckets: &[Bucket], parameters: usize) -> Result<Vec<Option<Tensor>>> {
        let mut gradients = vec![None; parameters];
        for (sum, bucket) in self.0.iter_mut().zip(buckets) {
            if let Some(sum) = sum.take() {
                bucket.give(&sum.wait()?, &mut gradients)?;
            }
        }
        Ok(gradients)
    }
}
