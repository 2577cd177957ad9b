//! The backward pass of models whose operations hold weights of their own.
//!
//! A transformer block is one node of candle's graph, with its tokens as its only argument that gets a gradient from
//! candle. Its weights' gradients are collected here while candle walks the graph, and put beside candle's own.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, TensorId, bail};

use crate::buffer::unset;
use crate::numbers::Numbers;
use crate::rows::convert;

/// Is told of weights' gradients while a backward pass goes on, so that something can be done with them meanwhile.
///
/// What it does holds up the pass; it is called on one thread at a time, not always the same.
pub trait GradientWatch: Send + Sync {
    /// Something was added to the gradient of `weight`, which is `sum` so far. There may be more to come.
    fn added(&self, weight: &Tensor, sum: &[f32]);
}

/// The gradients of one weight so far.
struct Sum {
    weight: Tensor,
    values: Vec<f32>,
}

/// Where operations with weights of their own put these weights' gradients during one backward pass.
#[derive(Clone)]
pub(crate) struct Collector {
    sums: Arc<Mutex<HashMap<TensorId, Sum>>>,
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
    let collector = Collector { sums: Arc::default(), watch };
    COLLECTOR.set(Some(collector.clone()));
    let collection = Collection;
    let mut store = loss.backward()?;
    drop(collection);
    let sums = std::mem::take(&mut *collector.lock());
    for Sum { weight, values } in sums.into_values() {
        let own = Tensor::from_vec(values, weight.shape(), weight.device())?;
        let gradient = match store.remove(&weight) {
            Some(other) => {
                let sum = (own + other)?;
                if let Some(watch) = &collector.watch {
                    watch.added(&weight, &Numbers::of(&sum)?);
                }
                sum
            }
            None => own,
        };
        store.insert(&weight, gradient);
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
        let known = self.lock().remove(&weight.id());
        let more = known.is_some();
        let mut sum = known
            .unwrap_or_else(|| Sum { weight: weight.clone(), values: unset(weight.elem_count()) });
        fill(&mut sum.values, more);
        if let Some(watch) = &self.watch {
            watch.added(weight, &sum.values);
        }
        self.lock().insert(weight.id(), sum);
    }

    /// Adds a finished vector to a weight's gradient.
    pub fn add_vector(&self, weight: &Tensor, gradient: &[f32]) {
        self.add(weight, |sum, more| match more {
            true => convert::add(sum, gradient),
            false => sum.copy_from_slice(gradient),
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TensorId, Sum>> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
