//! The backward pass of models whose operations hold weights of their own.
//!
//! A transformer block is one node of candle's graph, with its tokens as its only argument that gets a gradient from
//! candle. Its weights' gradients are collected here while candle walks the graph, and put beside candle's own.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::backprop::GradStore;
use candle_core::{DType, Result, Tensor, TensorId, bail};

use crate::buffer::unset;
use crate::numbers::Numbers;
use crate::rows::convert;

/// Is told of weights' gradients while a backward pass goes on, so that something can be done with them meanwhile.
///
/// What it does holds up the pass; it is called on one thread at a time, not always the same.
pub trait GradientWatch: Send + Sync {
    /// Something was added to the gradient of `weight`, which is `sum` so far. There may be more to come.
    fn added(&self, weight: &Tensor, sum: GradientSum<'_>);
}

/// A weight's f32 gradient, where it lies.
#[derive(Debug, Clone, Copy)]
pub enum GradientSum<'a> {
    /// In memory: the weight's numbers in a row.
    Host(&'a [f32]),
    /// In a tensor of the weight's shape on the weight's device. Later additions make another tensor and leave this
    /// one as it is.
    Device(&'a Tensor),
}

/// The gradients of one weight so far.
struct Sum<G> {
    weight: Tensor,
    gradient: G,
}

/// Sums by the weights' ids.
type Sums<G> = HashMap<TensorId, Sum<G>>;

/// Where operations with weights of their own put these weights' gradients during one backward pass.
#[derive(Clone)]
pub(crate) struct Collector {
    host: Arc<Mutex<Sums<Vec<f32>>>>,
    device: Arc<Mutex<Sums<Tensor>>>,
    watch: Option<Arc<dyn GradientWatch>>,
}

thread_local! {
    static COLLECTOR: RefCell<Option<Collector>> = const { RefCell::new(None) };
    static INFERENCE: Cell<bool> = const { Cell::new(false) };
}

/// Ends the collection, also when the backward pass fails.
struct Collection;

impl Drop for Collection {
    fn drop(&mut self) {
        COLLECTOR.set(None);
    }
}

/// The gradients of `loss` by every variable that it depends on, those of transformer blocks included.
///
/// It replaces `loss.backward()`, which such blocks refuse. Weights that are used several times get the sum.
///
/// # Errors
/// When `loss` is not a scalar or an operation has no gradient.
pub fn backward(loss: &Tensor) -> Result<GradStore> {
    collect(loss, None)
}

/// [`backward()`] that tells `watch` of gradients as they come.
///
/// Of a weight that only candle's own operations use it is told nothing. If they use a weight beside operations that
/// hold it, their part is added last, when the pass is over.
///
/// # Errors
/// As there.
pub fn backward_watched(loss: &Tensor, watch: Arc<dyn GradientWatch>) -> Result<GradStore> {
    collect(loss, Some(watch))
}

fn collect(loss: &Tensor, watch: Option<Arc<dyn GradientWatch>>) -> Result<GradStore> {
    if COLLECTOR.with_borrow(Option::is_some) {
        bail!("longmae_ops::backward was called inside longmae_ops::backward");
    }
    if loss.elem_count() != 1 {
        bail!("gradients of a tensor of shape {:?}: expected a scalar loss", loss.dims());
    }
    let collector = Collector { host: Arc::default(), device: Arc::default(), watch };
    COLLECTOR.set(Some(collector.clone()));
    let collection = Collection;
    let mut store = loss.backward()?;
    drop(collection);
    for Sum { weight, gradient } in taken(&collector.device) {
        collector.finish(&mut store, &weight, gradient)?;
    }
    for Sum { weight, gradient } in taken(&collector.host) {
        let own = Tensor::from_vec(gradient, weight.shape(), weight.device())?;
        collector.finish(&mut store, &weight, own)?;
    }
    Ok(store)
}

impl Collector {
    /// That of the backward pass which this thread is in.
    ///
    /// # Errors
    /// Outside of [`backward`], where the weights' gradients would be lost.
    pub fn current(operation: &str) -> Result<Self> {
        match COLLECTOR.with_borrow(Clone::clone) {
            Some(collector) => Ok(collector),
            None => bail!(
                "the gradients of {operation}'s weights would be lost: call longmae_ops::backward(&loss) instead \
                 of loss.backward()"
            ),
        }
    }

    /// Adds to a weight's gradient: `fill` gets room for it, and whether to add to what is there or to write it first.
    ///
    /// Weights that are no variables get none.
    pub fn add(&self, weight: &Tensor, fill: impl FnOnce(&mut [f32], bool)) {
        if !weight.is_variable() {
            return;
        }
        let known = lock(&self.host).remove(&weight.id());
        let more = known.is_some();
        let mut sum = known.unwrap_or_else(|| Sum {
            weight: weight.clone(),
            gradient: unset(weight.elem_count()),
        });
        fill(&mut sum.gradient, more);
        if let Some(watch) = &self.watch {
            watch.added(weight, GradientSum::Host(&sum.gradient));
        }
        lock(&self.host).insert(weight.id(), sum);
    }

    /// Adds a finished vector to a weight's gradient.
    pub fn add_vector(&self, weight: &Tensor, gradient: &[f32]) {
        self.add(weight, |sum, more| match more {
            true => convert::add(sum, gradient),
            false => sum.copy_from_slice(gradient),
        });
    }

    /// Adds a finished f32 tensor to a weight's gradient, where both lie; nothing goes to the host.
    ///
    /// Weights that are no variables get none.
    ///
    /// # Errors
    /// When the gradient has not the weight's shape, is not f32 or lies on another device.
    #[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "the kernels of devices call it"))]
    pub fn add_tensor(&self, weight: &Tensor, gradient: Tensor) -> Result<()> {
        if !weight.is_variable() {
            return Ok(());
        }
        if gradient.shape() != weight.shape()
            || gradient.dtype() != DType::F32
            || !gradient.device().same_device(weight.device())
        {
            bail!(
                "a gradient of {:?} {:?} on {:?} for a weight of {:?} on {:?}: expected f32 of its shape on its device",
                gradient.dtype(),
                gradient.dims(),
                gradient.device().location(),
                weight.dims(),
                weight.device().location(),
            );
        }
        let known = lock(&self.device).remove(&weight.id());
        let gradient = match known {
            Some(known) => (known.gradient + gradient.detach())?,
            None => gradient.detach(),
        };
        if let Some(watch) = &self.watch {
            watch.added(weight, GradientSum::Device(&gradient));
        }
        lock(&self.device).insert(weight.id(), Sum { weight: weight.clone(), gradient });
        Ok(())
    }

    /// Puts a weight's sum beside candle's own gradients, and adds it to what is there of this weight.
    fn finish(&self, store: &mut GradStore, weight: &Tensor, own: Tensor) -> Result<()> {
        let gradient = match store.remove(weight) {
            Some(other) => {
                let sum = (own + other)?;
                self.tell(weight, &sum)?;
                sum
            }
            None => own,
        };
        store.insert(weight, gradient);
        Ok(())
    }

    fn tell(&self, weight: &Tensor, sum: &Tensor) -> Result<()> {
        match &self.watch {
            Some(watch) if sum.device().is_cpu() => {
                watch.added(weight, GradientSum::Host(&Numbers::of(sum)?));
            }
            Some(watch) => watch.added(weight, GradientSum::Device(sum)),
            None => {}
        }
        Ok(())
    }
}

fn lock<G>(sums: &Mutex<Sums<G>>) -> MutexGuard<'_, Sums<G>> {
    sums.lock().unwrap_or_else(PoisonError::into_inner)
}

fn taken<G>(sums: &Mutex<Sums<G>>) -> impl Iterator<Item = Sum<G>> + use<G> {
    std::mem::take(&mut *lock(sums)).into_values()
}

/// Runs a computation whose result needs no gradient: operations with weights of their own keep nothing for a backward
/// pass, and what they give is cut off from the graph.
///
/// Plain candle operations inside go on tracking; their results keep what they need as long as they live.
pub fn inference<R>(run: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            INFERENCE.set(self.0);
        }
    }
    let _restore = Restore(INFERENCE.replace(true));
    run()
}

/// Whether a backward pass may follow.
pub(crate) fn tracking() -> bool {
    !INFERENCE.get()
}

#[cfg(test)]
mod tests {
    use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape, Var};

    use super::*;

    /// `sum(weight^2) * x`, whose weight candle does not see; its gradient comes as a tensor or as numbers.
    struct Scale {
        weight: Tensor,
        as_numbers: bool,
    }

    impl CustomOp1 for Scale {
        fn name(&self) -> &'static str {
            "scale"
        }

        fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
            let factor = self.weight.sqr()?.sum_all()?.to_scalar::<f32>()?;
            let numbers = crate::numbers::slice(x, layout)?.iter().map(|x| x * factor).collect();
            Ok((CpuStorage::F32(numbers), layout.shape().clone()))
        }

        fn bwd(&self, x: &Tensor, _out: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
            let collector = Collector::current("scale")?;
            let slope = (self.weight.detach() * 2.0)?;
            let own = slope.broadcast_mul(&(x * gradient)?.sum_all()?)?;
            match self.as_numbers {
                true => collector.add_vector(&self.weight, &own.flatten_all()?.to_vec1::<f32>()?),
                false => collector.add_tensor(&self.weight, own)?,
            }
            (gradient.broadcast_mul(&self.weight.sqr()?.sum_all()?)).map(Some)
        }
    }

    /// Each sum that was heard of, and whether it was a tensor.
    #[derive(Default)]
    struct Heard(Mutex<Vec<(Vec<f32>, bool)>>);

    impl GradientWatch for Heard {
        fn added(&self, _weight: &Tensor, sum: GradientSum<'_>) {
            let heard = match sum {
                GradientSum::Host(numbers) => (numbers.to_vec(), false),
                GradientSum::Device(tensor) => {
                    (tensor.flatten_all().unwrap().to_vec1().unwrap(), true)
                }
            };
            self.0.lock().unwrap().push(heard);
        }
    }

    fn weight() -> Tensor {
        Var::new(&[[0.5_f32, -1.0], [2.0, 0.25]], &Device::Cpu).unwrap().into_inner()
    }

    /// The weight's gradient when it scales twice, and candle uses it too if `beside`, and what was heard.
    fn scaled_twice(
        as_numbers: [bool; 2],
        beside: bool,
    ) -> (Tensor, Tensor, Vec<(Vec<f32>, bool)>) {
        let weight = weight();
        let x = Var::new(&[1.0_f32, 3.0], &Device::Cpu).unwrap().into_inner();
        let scale = |as_numbers| Scale { weight: weight.clone(), as_numbers };
        let out = x.apply_op1(scale(as_numbers[0])).unwrap();
        let mut loss = out.apply_op1(scale(as_numbers[1])).unwrap().sum_all().unwrap();
        let mut plain = weight.sqr().unwrap().sum_all().unwrap();
        plain = (plain.sqr().unwrap() * 4.0).unwrap();
        if beside {
            let more = weight.sum_all().unwrap();
            (loss, plain) = ((loss + &more).unwrap(), (plain + more).unwrap());
        }
        let heard = Arc::new(Heard::default());
        let mut store = backward_watched(&loss, heard.clone()).unwrap();
        let own = store.remove(&weight).unwrap();
        let expected = plain.backward().unwrap().remove(&weight).unwrap();
        (own, expected, std::mem::take(&mut *heard.0.lock().unwrap()))
    }

    fn numbers(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn tensors_add_up_as_numbers_do() {
        for beside in [false, true] {
            for as_numbers in [[false; 2], [true; 2], [true, false], [false, true]] {
                let (own, expected, heard) = scaled_twice(as_numbers, beside);
                assert_eq!(own.dims(), [2, 2]);
                for (x, y) in numbers(&own).iter().zip(numbers(&expected)) {
                    assert!((x - y).abs() <= 1e-5 * y.abs(), "{as_numbers:?} {beside}: {x} {y}");
                }
                // The last that is heard is the whole.
                assert_eq!(heard.last().unwrap().0, numbers(&own), "{as_numbers:?} {beside}");
                let mixed = as_numbers[0] != as_numbers[1];
                assert_eq!(heard.len(), 2 + usize::from(mixed) + usize::from(beside));
                // The second scale is differentiated first.
                assert_eq!([heard[1].1, heard[0].1], as_numbers.map(|numbers| !numbers));
            }
        }
    }

    #[test]
    fn a_gradient_stays_as_it_was_told() {
        struct Kept(Mutex<Vec<Tensor>>);
        impl GradientWatch for Kept {
            fn added(&self, _weight: &Tensor, sum: GradientSum<'_>) {
                if let GradientSum::Device(sum) = sum {
                    self.0.lock().unwrap().push(sum.clone());
                }
            }
        }
        let kept = Arc::new(Kept(Mutex::default()));
        let watch: Arc<dyn GradientWatch> = kept.clone();
        let collector =
            Collector { host: Arc::default(), device: Arc::default(), watch: Some(watch) };
        let weight = weight();
        collector.add_tensor(&weight, weight.ones_like().unwrap()).unwrap();
        collector.add_tensor(&weight, weight.ones_like().unwrap()).unwrap();
        let kept = kept.0.lock().unwrap();
        assert_eq!([numbers(&kept[0]), numbers(&kept[1])], [vec![1.0; 4], vec![2.0; 4]]);
    }

    #[test]
    fn a_gradient_that_does_not_fit_its_weight_is_refused() {
        let collector = Collector { host: Arc::default(), device: Arc::default(), watch: None };
        let weight = weight();
        let flat = weight.flatten_all().unwrap();
        let problem = collector.add_tensor(&weight, flat).unwrap_err().to_string();
        assert!(problem.contains("[4]") && problem.contains("[2, 2]"), "{problem}");
        let wide = weight.to_dtype(DType::F64).unwrap();
        let problem = collector.add_tensor(&weight, wide).unwrap_err().to_string();
        assert!(problem.contains("F64"), "{problem}");
        // What is no variable has no gradient, whatever comes.
        let fixed = Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap();
        collector.add_tensor(&fixed, weight).unwrap();
        assert!(taken(&collector.device).next().is_none());
    }
}
