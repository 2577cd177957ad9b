use std::sync::{Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Storage,
    Tensor, bail,
};

use crate::backward::tracking;

/// The gradients of a node's arguments from that of its value.
type Backward = dyn Fn(&Tensor) -> Result<Vec<Option<Tensor>>> + Send + Sync;

/// Puts a value that was computed from one to three arguments into candle's graph, where a backward pass may follow.
///
/// candle makes a node of a custom operation alone, which gives a storage of its own: the value is copied where it lies.
pub(crate) fn node(
    name: &'static str,
    arguments: &[&Tensor],
    value: Tensor,
    backward: impl Fn(&Tensor) -> Result<Vec<Option<Tensor>>> + Send + Sync + 'static,
) -> Result<Tensor> {
    if !tracking() || !arguments.iter().any(|argument| argument.track_op()) {
        return Ok(value);
    }
    let node = Node { name, value: Mutex::new(Some(value)), backward: Box::new(backward) };
    match arguments {
        [a] => a.apply_op1(node),
        [a, b] => a.apply_op2(b, node),
        [a, b, c] => a.apply_op3(b, c, node),
        _ => bail!("{name} of {} arguments, at most three can be", arguments.len()),
    }
}

struct Node {
    name: &'static str,
    value: Mutex<Option<Tensor>>,
    backward: Box<Backward>,
}

impl Node {
    fn value(&self) -> Result<Tensor> {
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner).take();
        value.ok_or_else(|| candle_core::Error::Msg(format!("{} was applied twice", self.name)))
    }

    fn on_cpu(&self) -> Result<(CpuStorage, Shape)> {
        let value = self.value()?;
        let (storage, layout) = value.storage_and_layout();
        let Storage::Cpu(own) = &*storage else { bail!("{}: no value on the CPU", self.name) };
        Ok((own.try_clone(layout)?, value.shape().clone()))
    }

    fn on_cuda(&self) -> Result<(CudaStorage, Shape)> {
        let value = self.value()?;
        let (storage, layout) = value.storage_and_layout();
        let Storage::Cuda(own) = &*storage else { bail!("{}: no value on the GPU", self.name) };
        Ok((own.try_clone(layout)?, value.shape().clone()))
    }

    fn gradients<const N: usize>(&self, gradient: &Tensor) -> Result<[Option<Tensor>; N]> {
        // Gradients of gradients are nobody's: what is computed of them would only be kept.
        let gradients = (self.backward)(&gradient.contiguous()?.detach())?;
        match gradients.try_into() {
            Ok(gradients) => Ok(gradients),
            Err(found) => bail!("{}: {} gradients for {N} arguments", self.name, found.len()),
        }
    }
}

impl CustomOp1 for Node {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.on_cpu()
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.on_cuda()
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let [of_a] = self.gradients(gradient)?;
        Ok(of_a)
    }
}

impl CustomOp2 for Node {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.on_cpu()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.on_cuda()
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [of_a, of_b] = self.gradients(gradient)?;
        Ok((of_a, of_b))
    }
}

impl CustomOp3 for Node {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.on_cpu()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.on_cuda()
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [of_a, of_b, of_c] = self.gradients(gradient)?;
        Ok((of_a, of_b, of_c))
    }
}
