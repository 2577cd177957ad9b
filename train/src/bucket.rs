//! Gradients of several parameters as one row of numbers, to be summed at once.

use candle_core::{CpuStorage, DType, Device, Shape, Storage, Tensor};
use longmae_ops::GradientSum;

use crate::{NamedParam, Pending, Result};

/// Some parameters' gradients, on their way to being summed; all of one device.
///
/// As numbers they are the gradients one after the other, then for each parameter a number above zero if this rank has
/// one, else zero.
pub(crate) struct Bucket {
    parts: Vec<Part>,
    /// Of all gradients.
    count: usize,
    held: Held,
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

/// The gradients that are there so far.
enum Held {
    /// Times the factor, in the places where they are summed. Empty until the first comes.
    Numbers(Vec<f32>),
    /// On a device, part by part, as they came: they are put together and scaled when the bucket is taken, by a few
    /// kernels for all.
    Tensors(Vec<Option<Tensor>>),
}

/// Buckets for these parameters, from the last to the first, and where each parameter lies.
pub(crate) fn plan(parameters: &[NamedParam], bytes: usize) -> (Vec<Bucket>, Vec<(usize, usize)>) {
    let full = bytes / DType::F32.size_in_bytes();
    let mut buckets: Vec<Bucket> = Vec::new();
    let mut places = vec![(0, 0); parameters.len()];
    for (parameter, param) in parameters.iter().enumerate().rev() {
        let device = param.var.device();
        if buckets.last().is_none_or(|last| last.count >= full || !last.device.same_device(device))
        {
            buckets.push(Bucket::empty(device));
        }
        let last = buckets.len() - 1;
        places[parameter] = (last, buckets[last].parts.len());
        buckets[last].push(parameter, param.var.shape());
    }
    (buckets, places)
}

impl Bucket {
    fn empty(device: &Device) -> Self {
        let held = match device.is_cpu() {
            true => Held::Numbers(Vec::new()),
            false => Held::Tensors(Vec::new()),
        };
        Self { parts: Vec::new(), count: 0, held, device: device.clone() }
    }

    /// The way of other devices, for tests that have none.
    #[cfg(test)]
    pub fn keep_tensors(&mut self) {
        self.held = Held::Tensors(Vec::new());
    }

    fn push(&mut self, parameter: usize, shape: &Shape) {
        self.parts.push(Part { parameter, shape: shape.clone(), start: self.count, has: false });
        self.count += shape.elem_count();
    }

    /// The parameters of this bucket.
    pub fn parameters(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().map(|part| part.parameter)
    }

    /// Takes the gradient of the parameter at a place, a sum of the two where there is one from `before`. `factor` is
    /// what all gradients of the bucket are multiplied by.
    pub fn put(
        &mut self,
        place: usize,
        gradient: GradientSum<'_>,
        before: Option<&Tensor>,
        factor: f32,
    ) -> Result<()> {
        match (&self.held, gradient) {
            (Held::Numbers(_), GradientSum::Host(numbers)) => {
                self.put_numbers(place, numbers, before, factor)
            }
            (Held::Numbers(_), GradientSum::Device(tensor)) => {
                with_numbers(tensor, |numbers| self.put_numbers(place, numbers, before, factor))?
            }
            (Held::Tensors(_), GradientSum::Host(numbers)) => {
                let shape = self.parts[place].shape.clone();
                let tensor = Tensor::from_slice(numbers, shape, &self.device)?;
                self.put_tensor(place, &tensor, before)
            }
            (Held::Tensors(_), GradientSum::Device(tensor)) => {
                self.put_tensor(place, tensor, before)
            }
        }
    }

    fn put_numbers(
        &mut self,
        place: usize,
        gradient: &[f32],
        before: Option<&Tensor>,
        factor: f32,
    ) -> Result<()> {
        let room = self.room(place);
        match before {
            None => {
                room.iter_mut().zip(gradient).for_each(|(number, x)| *number = x * factor);
                Ok(())
            }
            Some(before) => with_numbers(before, |before| {
                let scaled = room.iter_mut().zip(before.iter().zip(gradient));
                scaled.for_each(|(number, (x, y))| *number = (x + y) * factor);
            }),
        }
    }

    fn put_tensor(
        &mut self,
        place: usize,
        gradient: &Tensor,
        before: Option<&Tensor>,
    ) -> Result<()> {
        let sum = match before {
            Some(before) => (before + gradient)?,
            None => gradient.clone(),
        };
        if let Held::Tensors(tensors) = &mut self.held {
            tensors.resize(self.parts.len(), None);
            tensors[place] = Some(sum);
        }
        self.parts[place].has = true;
        Ok(())
    }

    /// Where the numbers of the gradient at a place go, which counts as there.
    fn room(&mut self, place: usize) -> &mut [f32] {
        let part = &mut self.parts[place];
        part.has = true;
        let own = part.start..part.start + part.shape.elem_count();
        let Held::Numbers(numbers) = &mut self.held else { return &mut [] };
        numbers.resize(self.count + self.parts.len(), 0.0);
        numbers[self.count + place] = 1.0;
        &mut numbers[own]
    }

    /// Takes the gradients that it lacks; there may be none.
    pub fn fill(&mut self, gradients: &[Option<Tensor>], factor: f32) -> Result<()> {
        for place in 0..self.parts.len() {
            let part = &self.parts[place];
            if let (false, Some(Some(gradient))) = (part.has, gradients.get(part.parameter)) {
                self.put(place, GradientSum::Device(gradient), None, factor)?;
            }
        }
        Ok(())
    }

    /// Whether it has a gradient of every parameter.
    pub fn is_whole(&self) -> bool {
        self.parts.iter().all(|part| part.has)
    }

    /// The numbers, with `factor` on the gradients. The bucket is empty after it.
    pub fn take(&mut self, factor: f32) -> Result<Tensor> {
        let count = self.count + self.parts.len();
        let numbers = match &mut self.held {
            Held::Numbers(numbers) => {
                let mut numbers = std::mem::take(numbers);
                numbers.resize(count, 0.0);
                Tensor::from_vec(numbers, count, &self.device)?
            }
            Held::Tensors(tensors) => {
                let tensors = std::mem::take(tensors);
                (self.together(tensors)? * f64::from(factor))?
            }
        };
        self.parts.iter_mut().for_each(|part| part.has = false);
        Ok(numbers)
    }

    /// Gradients in a row, zeros where there is none, and behind them which are there.
    fn together(&self, mut tensors: Vec<Option<Tensor>>) -> Result<Tensor> {
        tensors.resize(self.parts.len(), None);
        let mut row = Vec::with_capacity(self.parts.len() + 1);
        for (part, tensor) in self.parts.iter().zip(tensors) {
            row.push(match tensor {
                Some(tensor) => tensor.flatten_all()?.detach(),
                None => Tensor::zeros(part.shape.elem_count(), DType::F32, &self.device)?,
            });
        }
        let has: Vec<f32> = self.parts.iter().map(|part| f32::from(u8::from(part.has))).collect();
        row.push(Tensor::from_vec(has, self.parts.len(), &self.device)?);
        Ok(Tensor::cat(&row, 0)?)
    }

    /// Of a sum of all ranks' numbers those that say which parameters have a gradient.
    fn flags(&self, sum: &Tensor) -> Result<Tensor> {
        Ok(sum.narrow(0, self.count, self.parts.len())?)
    }

    /// Puts what the sum of all ranks' numbers has for each parameter in the parameters' order.
    fn give(&self, sum: &Tensor, has: &[f32], gradients: &mut [Option<Tensor>]) -> Result<()> {
        for (part, _) in self.parts.iter().zip(has).filter(|(_, has)| **has > 0.0) {
            let own = sum.narrow(0, part.start, part.shape.elem_count())?;
            gradients[part.parameter] = Some(own.reshape(part.shape.clone())?);
        }
        Ok(())
    }
}

/// Calls `read` with the numbers of an f32 tensor, without a copy if they lie in memory in a row.
fn with_numbers<R>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> R) -> Result<R> {
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
        let mut sums = Vec::with_capacity(buckets.len());
        for (sum, bucket) in self.0.iter_mut().zip(buckets) {
            if let Some(sum) = sum.take() {
                sums.push((bucket, sum.wait()?));
            }
        }
        let mut gradients = vec![None; parameters];
        for sums in sums.chunk_by(|(one, _), (other, _)| one.device.same_device(&other.device)) {
            give_all(sums, &mut gradients)?;
        }
        Ok(gradients)
    }
}

/// [`Bucket::give`] for buckets of one device, with one copy to the host for all: it waits for the device.
fn give_all(sums: &[(&Bucket, Tensor)], gradients: &mut [Option<Tensor>]) -> Result<()> {
    let flags: Result<Vec<Tensor>> = sums.iter().map(|(bucket, sum)| bucket.flags(sum)).collect();
    let flags: Vec<f32> = Tensor::cat(&flags?, 0)?.to_vec1()?;
    let mut rest = &flags[..];
    for (bucket, sum) in sums {
        let (own, others) = rest.split_at(bucket.parts.len());
        rest = others;
        bucket.give(sum, own, gradients)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;

    const FACTOR: f32 = 0.5;

    fn numbers(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn row(count: usize, first: f32) -> Tensor {
        let values = (0..count).map(|i| first + i as f32 * 0.37).collect::<Vec<_>>();
        Tensor::from_vec(values, count, &Device::Cpu).unwrap()
    }

    fn parameters() -> Vec<NamedParam> {
        let parameter = |shape: &[usize]| NamedParam {
            name: format!("{shape:?}"),
            var: Var::zeros(shape, DType::F32, &Device::Cpu).unwrap(),
            lr_scale: 1.0,
            decay: true,
        };
        vec![parameter(&[2, 3]), parameter(&[4]), parameter(&[2]), parameter(&[])]
    }

    /// One rank's buckets: of the second parameter a sum of two, of the third nothing on any rank, the last on `own`
    /// ranks alone.
    fn filled(rank: usize, tensors: bool) -> Vec<Bucket> {
        let (mut buckets, places) = plan(&parameters(), 8);
        assert!(buckets.len() > 1);
        if tensors {
            buckets.iter_mut().for_each(Bucket::keep_tensors);
        }
        let first = row(6, rank as f32).reshape((2, 3)).unwrap();
        let (bucket, place) = places[0];
        buckets[bucket].put(place, GradientSum::Host(&numbers(&first)), None, FACTOR).unwrap();
        let (bucket, place) = places[1];
        let (one, other) = (row(4, 0.1), row(4, -3.0 * rank as f32));
        buckets[bucket].put(place, GradientSum::Device(&one), Some(&other), FACTOR).unwrap();
        let last = (rank == 1).then(|| Tensor::new(7.25_f32, &Device::Cpu).unwrap());
        // The first two are there already.
        let gradients = [Some(first), None, None, last];
        buckets.iter_mut().for_each(|bucket| bucket.fill(&gradients, FACTOR).unwrap());
        buckets
    }

    /// The sum of two ranks' buckets, as gradients.
    fn summed(tensors: bool) -> Vec<Option<Tensor>> {
        let (mut one, mut two) = (filled(0, tensors), filled(1, tensors));
        let mut sums = Sums::empty(one.len());
        for i in 0..one.len() {
            let whole = (one[i].take(FACTOR).unwrap() + two[i].take(FACTOR).unwrap()).unwrap();
            sums.put(i, Pending::ready(whole));
        }
        // What was taken is there no more.
        let rest = two[0].take(FACTOR).unwrap();
        assert!(numbers(&rest).iter().all(|x| *x == 0.0));
        sums.wait(&one, 4).unwrap()
    }

    #[test]
    fn buckets_of_tensors_sum_as_those_of_numbers() {
        let (host, device) = (summed(false), summed(true));
        for (place, (host, device)) in host.iter().zip(&device).enumerate() {
            let shape = |x: &Option<Tensor>| x.as_ref().map(|x| x.dims().to_vec());
            assert_eq!(shape(host), shape(device));
            assert_eq!(host.as_ref().map(numbers), device.as_ref().map(numbers), "{place}");
        }
        assert!(device[2].is_none());
        assert_eq!(numbers(device[3].as_ref().unwrap()), [7.25 * FACTOR]);
        let first = device[0].as_ref().unwrap();
        assert_eq!(first.dims(), [2, 3]);
        assert_eq!(numbers(first)[0], FACTOR);
        let second = numbers(device[1].as_ref().unwrap());
        assert!((second[0] - (0.1 + 0.1 - 3.0) * FACTOR).abs() < 1e-6, "{second:?}");
    }
}
