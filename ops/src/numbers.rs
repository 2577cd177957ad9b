//! The numbers inside candle's CPU tensors.

use std::cell::Cell;
use std::ops::{Deref, Range};

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Storage, StorageRef, Tensor, bail};

/// The numbers of a contiguous f32 tensor on the CPU, locked for reading while this lives.
pub(crate) struct Numbers<'a> {
    storage: StorageRef<'a>,
    range: Range<usize>,
}

impl<'a> Numbers<'a> {
    /// # Errors
    /// When the tensor is not f32, not contiguous or not on the CPU.
    pub fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let Storage::Cpu(cpu) = &*storage else { bail!("expected a tensor on the CPU") };
        let range = range(cpu, layout)?;
        Ok(Self { storage, range })
    }
}

impl Deref for Numbers<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.range.clone()],
            _ => unreachable!("checked in `of`"),
        }
    }
}

/// The numbers of a custom operation's argument.
pub(crate) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let range = range(storage, layout)?;
    match storage {
        CpuStorage::F32(values) => Ok(&values[range]),
        _ => unreachable!("checked in `range`"),
    }
}

fn range(storage: &CpuStorage, layout: &Layout) -> Result<Range<usize>> {
    let CpuStorage::F32(_) = storage else {
        bail!("expected f32, found {:?}", storage_type(storage))
    };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(start..end),
        None => bail!("expected a contiguous tensor, found strides {:?}", layout.stride()),
    }
}

fn storage_type(storage: &CpuStorage) -> candle_core::DType {
    use candle_core::backend::BackendStorage;
    storage.dtype()
}

/// Calls `change` with the numbers of a contiguous f32 tensor on the CPU, locked for writing.
///
/// # Errors
/// When the tensor is not f32, not contiguous or not on the CPU.
pub(crate) fn change(tensor: &Tensor, change: impl FnOnce(&mut [f32])) -> Result<()> {
    tensor.inplace_op1(&Change(Cell::new(Some(change))))
}

/// An in-place operation that runs a closure, once.
struct Change<F>(Cell<Option<F>>);

impl<F: FnOnce(&mut [f32])> InplaceOp1 for Change<F> {
    fn name(&self) -> &'static str {
        "change"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let range = range(storage, layout)?;
        if let (CpuStorage::F32(values), Some(change)) = (storage, self.0.take()) {
            change(&mut values[range]);
        }
        Ok(())
    }
}
