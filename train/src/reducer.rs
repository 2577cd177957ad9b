//! Gradients as their mean over all ranks, summed in buckets while the backward pass goes on (as in PyTorch's
//! DistributedDataParallel, arXiv 2006.15704).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::backprop::GradStore;
use candle_core::{Tensor, TensorId};
use longmae_ops::{GradientSum, GradientWatch, backward, backward_watched};

use crate::bucket::{Bucket, Sums, plan};
use crate::{Collective, Error, Gradients, NamedParam, Result};

/// Bytes of a bucket, as PyTorch's.
pub(crate) const BUCKET_BYTES: usize = 25 << 20;

/// Makes gradients the mean over all ranks.
///
/// In every step each rank makes the backward pass of its last micro-batch by [`Reducer::backward`], adds what it got, and
/// calls [`Reducer::finish`]; or, when something failed on it before, [`Reducer::drain`], so that the others do not wait
/// for it. One process alone keeps its gradients as they are.
///
/// Buckets go from the last parameter to the first and are the same in every step, so that sums are repeated to the bit.
/// In the first step they are summed at the end; from then on each starts as soon as as many additions to its gradients
/// were seen as in that step, in the order in which rank 0 had them ready.
pub struct Reducer {
    collective: Arc<dyn Collective>,
    state: Arc<Mutex<State>>,
}

/// What the watcher changes while a backward pass goes on.
struct State {
    names: Vec<String>,
    index: HashMap<TensorId, usize>,
    collective: Arc<dyn Collective>,
    /// One part in as many as there are ranks: on each rank's gradients, so that their sum is the mean.
    factor: f32,
    buckets: Vec<Bucket>,
    /// The bucket of each parameter, and its place there.
    places: Vec<(usize, usize)>,
    /// The order in which buckets start; none in the first step.
    order: Option<Vec<usize>>,
    /// How many of that order were started.
    started: usize,
    /// Sums under way.
    sums: Sums,
    /// Additions seen of each parameter in this step, and to be expected.
    seen: Vec<usize>,
    expected: Vec<usize>,
    /// Buckets in the order in which additions to them ended.
    last_additions: Vec<usize>,
    /// Sums of earlier micro-batches.
    before: Vec<Option<Tensor>>,
    /// The first thing that went wrong in the watcher.
    error: Option<Error>,
}

impl Reducer {
    /// For these parameters, which must be the same on all ranks and in the same order.
    pub fn new(parameters: &[NamedParam], collective: Arc<dyn Collective>) -> Self {
        Self::with_bucket_bytes(parameters, collective, BUCKET_BYTES)
    }

    /// With buckets of another size: a bucket ends with the parameter that fills it.
    pub fn with_bucket_bytes(
        parameters: &[NamedParam],
        collective: Arc<dyn Collective>,
        bytes: usize,
    ) -> Self {
        let (buckets, places) = plan(parameters, bytes);
        let mut index = HashMap::new();
        for (i, param) in parameters.iter().enumerate() {
            index.entry(param.var.id()).or_insert(i);
        }
        let state = State {
            names: parameters.iter().map(|param| param.name.clone()).collect(),
            index,
            collective: collective.clone(),
            factor: 1.0 / collective.world() as f32,
            sums: Sums::empty(buckets.len()),
            buckets,
            places,
            order: None,
            started: 0,
            seen: vec![0; parameters.len()],
            expected: vec![0; parameters.len()],
            last_additions: Vec::new(),
            before: vec![None; parameters.len()],
            error: None,
        };
        Self { collective, state: Arc::new(Mutex::new(state)) }
    }

    /// The gradients of the loss of a step's last micro-batch, which begin to be summed meanwhile; `before` is the sum over
    /// the step's earlier micro-batches on this rank.
    ///
    /// # Errors
    /// As [`longmae_ops::backward`].
    pub fn backward(&self, loss: &Tensor, before: &Gradients) -> Result<GradStore> {
        if self.collective.world() == 1 {
            return Ok(backward(loss)?);
        }
        let mut state = self.lock();
        state.before = before.as_slice().to_vec();
        state.seen.fill(0);
        state.last_additions.clear();
        drop(state);
        Ok(backward_watched(loss, Arc::new(Watch(self.state.clone())))?)
    }

    /// Makes `gradients`, this rank's sum over all micro-batches of the step, the mean over all ranks.
    ///
    /// A parameter without a gradient on some ranks counts as zero there; it stays without one if no rank has it.
    ///
    /// # Errors
    /// When communication is broken ([`Error::lost`]); or, after this rank has done its part for the others, when
    /// something was added to a gradient that was being summed already.
    pub fn finish(&self, gradients: &mut Gradients) -> Result<()> {
        if self.collective.world() == 1 {
            return Ok(());
        }
        let mut state = self.lock();
        let error = state.error.take();
        match error {
            Some(error) => {
                state.end(&[])?;
                Err(error)
            }
            None => {
                let means = state.end(gradients.as_slice())?;
                gradients.replace(means);
                Ok(())
            }
        }
    }

    /// Does this rank's part of the step with zeros, since it has no gradients to give.
    ///
    /// # Errors
    /// When communication is broken.
    pub fn drain(&self) -> Result<()> {
        if self.collective.world() == 1 {
            return Ok(());
        }
        let mut state = self.lock();
        state.error = None;
        // A first step that broke off teaches nothing.
        state.seen.fill(0);
        state.end(&[]).map(drop)
    }

    /// What the ranks are reached by.
    pub fn collective(&self) -> &Arc<dyn Collective> {
        &self.collective
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Watch(Arc<Mutex<State>>);

impl GradientWatch for Watch {
    fn added(&self, weight: &Tensor, sum: GradientSum<'_>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.error.is_some() {
            return;
        }
        if let Err(error) = state.added(weight, sum) {
            state.error = Some(error);
        }
    }
}

impl State {
    /// Takes a gradient if it is whole, and starts what can be started.
    fn added(&mut self, weight: &Tensor, sum: GradientSum<'_>) -> Result<()> {
        let Some(&parameter) = self.index.get(&weight.id()) else { return Ok(()) };
        let (bucket, place) = self.places[parameter];
        self.seen[parameter] += 1;
        if self.order.is_none() {
            self.last_additions.retain(|&other| other != bucket);
            self.last_additions.push(bucket);
            return Ok(());
        }
        // One that was not heard of in the first step is waited for until the end.
        if self.expected[parameter] == 0 {
            return Ok(());
        }
        match self.seen[parameter].cmp(&self.expected[parameter]) {
            std::cmp::Ordering::Less => Ok(()),
            std::cmp::Ordering::Greater => Err(Error::LateGradient(self.names[parameter].clone())),
            std::cmp::Ordering::Equal => {
                let before = self.before[parameter].as_ref();
                self.buckets[bucket].put(place, sum, before, self.factor)?;
                self.start_whole()
            }
        }
    }

    /// Starts buckets in their order until one is not whole.
    fn start_whole(&mut self) -> Result<()> {
        while let Some(&next) = self.order.as_ref().and_then(|order| order.get(self.started)) {
            if !self.buckets[next].is_whole() {
                break;
            }
            self.start(next)?;
        }
        Ok(())
    }

    fn start(&mut self, bucket: usize) -> Result<()> {
        let numbers = self.buckets[bucket].take(self.factor)?;
        self.sums.put(bucket, self.collective.start_sum(numbers)?);
        self.started += 1;
        Ok(())
    }

    /// Starts what is left, with `gradients` (none counts as zero), waits for all, and is ready for another step.
    fn end(&mut self, gradients: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>> {
        let first = self.order.is_none();
        let order = self.order.take().unwrap_or_else(|| (0..self.buckets.len()).collect());
        for &bucket in &order[self.started..] {
            self.buckets[bucket].fill(gradients, self.factor)?;
        }
        let left = order[self.started..].to_vec();
        self.order = Some(order);
        left.into_iter().try_for_each(|bucket| self.start(bucket))?;
        let means = self.sums.wait(&self.buckets, self.names.len())?;
        if first {
            self.learn()?;
        }
        self.started = 0;
        self.before.fill(None);
        Ok(means)
    }

    /// Learns from the first step how often gradients are added to, and of rank 0 in which order buckets are ready:
    /// those that candle's graph adds to are at the end.
    fn learn(&mut self) -> Result<()> {
        self.expected = self.seen.clone();
        let parts = |bucket: &usize| self.buckets[*bucket].parameters();
        let early = |bucket: &usize| parts(bucket).all(|parameter| self.expected[parameter] > 0);
        let mut order: Vec<usize> = self.last_additions.iter().copied().filter(early).collect();
        order.extend((0..self.buckets.len()).filter(|bucket| !early(bucket)));
        let bytes = serde_json::to_vec(&order).map_err(std::io::Error::from);
        let bytes = bytes.map_err(|error| self.garbled(&error))?;
        let order: Vec<usize> = serde_json::from_slice(&self.collective.broadcast_bytes(bytes)?)
            .map_err(|error| self.garbled(&error.into()))?;
        let mut sorted = order.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..self.buckets.len()) {
            return Err(self.garbled(&std::io::Error::other(format!("{order:?}"))));
        }
        self.order = Some(order);
        Ok(())
    }

    fn garbled(&self, error: &std::io::Error) -> Error {
        Error::Lost {
            rank: self.collective.rank(),
            world: self.collective.world(),
            problem: format!(
                "rank 0 gave no order of its {} buckets of gradients: {error}; do all ranks train the same model?",
                self.buckets.len()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::Pending;

    /// Two ranks of which the other has the same gradients.
    #[derive(Default)]
    struct Twins(AtomicUsize);

    impl Collective for Twins {
        fn rank(&self) -> usize {
            0
        }

        fn world(&self) -> usize {
            2
        }

        fn start_sum(&self, numbers: Tensor) -> Result<Pending> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(Pending::ready((&numbers + &numbers)?))
        }

        fn sum(&self, numbers: &mut [f64]) -> Result<()> {
            numbers.iter_mut().for_each(|number| *number *= 2.0);
            Ok(())
        }

        fn broadcast(&self, _vars: &[Var]) -> Result<()> {
            Ok(())
        }

        fn broadcast_bytes(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
            Ok(bytes)
        }

        fn gather_bytes(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>> {
            Ok(vec![bytes.clone(), bytes])
        }

        fn abort(&self) -> ! {
            panic!("aborted")
        }
    }

    fn tensor(values: [f32; 2]) -> Tensor {
        Tensor::new(&values, &Device::Cpu).unwrap()
    }

    /// Gradients on a device take the same way as those in memory: heard of as tensors, in buckets of tensors.
    #[test]
    fn gradients_on_a_device_are_summed_there() {
        let parameter = |name: &str| NamedParam {
            name: name.to_owned(),
            var: Var::zeros(2, DType::F32, &Device::Cpu).unwrap(),
            lr_scale: 1.0,
            decay: true,
        };
        let parameters = ["plain", "early", "unused"].map(parameter);
        let twins = Arc::new(Twins::default());
        let reducer = Reducer::with_bucket_bytes(&parameters, twins.clone(), 4);
        reducer.lock().buckets.iter_mut().for_each(Bucket::keep_tensors);
        for step in 0..3 {
            let mut before = Gradients::empty(3);
            before.replace(vec![None, Some(tensor([1.0, step as f32])), None]);
            // What `Reducer::backward` does, with additions that come from a device.
            let mut state = reducer.lock();
            state.before = before.as_slice().to_vec();
            state.seen.fill(0);
            state.last_additions.clear();
            drop(state);
            let begun = twins.0.load(Ordering::SeqCst);
            let early = parameters[1].var.as_tensor();
            let watch = Watch(reducer.state.clone());
            watch.added(early, GradientSum::Device(&tensor([0.5, 0.25])));
            watch.added(early, GradientSum::Device(&tensor([2.0, -4.0])));
            let begun = twins.0.load(Ordering::SeqCst) - begun;
            assert_eq!(begun, usize::from(step > 0), "step {step}");
            let whole = [Some(tensor([3.0, 8.0])), Some(tensor([3.0, step as f32 - 4.0])), None];
            let mut gradients = Gradients::empty(3);
            gradients.replace(whole.to_vec());
            reducer.finish(&mut gradients).unwrap();
            let found = gradients.as_slice().iter().map(|gradient| {
                gradient.as_ref().map(|gradient| gradient.to_vec1::<f32>().unwrap())
            });
            let expected = whole.iter().map(|gradient| {
                gradient.as_ref().map(|gradient| gradient.to_vec1::<f32>().unwrap())
            });
            assert!(found.eq(expected), "step {step}");
        }
    }
}
