//! A file's tensors into variables, several at once, and without a second copy where the numbers are as the model's.

use crate::{Checkpoint, Error, Result};
use bytemuck::cast_slice_mut;
use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Tensor, Var, bail};
use rayon::prelude::*;
use std::cell::Cell;
use std::collections::BTreeMap;

/// Tensors that do not come from the file as they are; none where a variable keeps its value.
pub(crate) type Prepared = BTreeMap<String, Option<Tensor>>;

impl Checkpoint {
    /// Sets all variables, whose names, shapes and types have been checked.
    pub(crate) fn fill_all(&self, vars: &[(String, Var)], prepared: &Prepared) -> Result<()> {
        self.stored().check_whole()?;
        vars.par_iter().try_for_each(|(name, var)| match prepared.get(name) {
            None => self.fill(name, var),
            Some(None) => Ok(()),
            Some(Some(tensor)) => self.put(name, tensor, var),
        })
    }

    fn fill(&self, name: &str, var: &Var) -> Result<()> {
        let failed = |reason| self.tensor_error(name, reason);
        let same_type = [self.dtype(name), Some(var.dtype())] == [Some(DType::F32); 2];
        if same_type && var.device().is_cpu() && var.is_contiguous() {
            let read = Read { file: self, name, failure: Cell::new(None) };
            var.inplace_op1(&read).map_err(failed)?;
            return read.failure.take().map_or(Ok(()), Err);
        }
        self.put(name, &self.tensor(name, &Device::Cpu)?, var)
    }

    /// Sets a variable on any device. Types are converted on the CPU: not every device knows what files hold.
    fn put(&self, name: &str, tensor: &Tensor, var: &Var) -> Result<()> {
        let tensor = tensor.to_dtype(var.dtype()).and_then(|tensor| tensor.to_device(var.device()));
        let set = tensor.and_then(|tensor| var.set(&tensor));
        set.map_err(|reason| self.tensor_error(name, reason))
    }
}

/// Reads from the file into a variable's own memory.
struct Read<'a> {
    file: &'a Checkpoint,
    name: &'a str,
    /// What reading failed with, since candle passes on its own errors only.
    failure: Cell<Option<Error>>,
}

impl InplaceOp1 for Read<'_> {
    fn name(&self) -> &'static str {
        "read-tensor"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let (CpuStorage::F32(values), Some((start, end))) = (storage, layout.contiguous_offsets())
        else {
            bail!("reading into a variable that is not contiguous f32")
        };
        let read = self.file.read(self.name, cast_slice_mut(&mut values[start..end]));
        self.failure.set(read.err());
        Ok(())
    }
}
