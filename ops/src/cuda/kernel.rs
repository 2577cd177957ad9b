//! Launching this crate's kernels.

use candle_core::{DType, Result, bail};

use super::place::Place;

#[cfg(feature = "cuda")]
mod ptx {
    include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
}

/// An argument of a kernel.
#[derive(Debug, Clone, Copy)]
pub(super) enum Argument {
    Address(u64),
    Int(i32),
    Size(u64),
    Float(f32),
}

impl Argument {
    /// A size that a kernel takes as an `int`.
    pub fn int(size: usize) -> Result<Self> {
        match i32::try_from(size) {
            Ok(size) => Ok(Self::Int(size)),
            Err(_) => bail!("{size} is more than a GPU's kernel counts to, {}", i32::MAX),
        }
    }
}

/// Blocks of a grid, and threads of a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    pub grid: (usize, usize, usize),
    pub threads: usize,
}

impl Geometry {
    /// Blocks in a row.
    pub fn blocks(blocks: usize, threads: usize) -> Self {
        Self { grid: (blocks, 1, 1), threads }
    }

    /// Threads for so many numbers; the kernels go on in strides where there are fewer of them.
    pub fn numbers(count: usize) -> Self {
        const THREADS: usize = 256;
        // Enough to fill any GPU many times.
        Self::blocks(count.div_ceil(THREADS).clamp(1, 65_535), THREADS)
    }

    /// The limits that CUDA sets to a grid's sides.
    fn check(self) -> Result<()> {
        let (x, y, z) = self.grid;
        if x > i32::MAX as usize || y > 65_535 || z > 65_535 {
            bail!("a grid of {x} x {y} x {z} blocks is more than a GPU takes");
        }
        Ok(())
    }
}

/// A kernel's name with the type that its operands have.
pub(super) fn of_type(name: &str, dtype: DType) -> Result<String> {
    match dtype {
        DType::F32 => Ok(format!("{name}_f32")),
        DType::BF16 => Ok(format!("{name}_bf16")),
        other => bail!("{name} has no kernel for {other:?}"),
    }
}

/// Launches a kernel, which runs when those before it have.
///
/// # Safety
/// The arguments are those that the kernel's source lists, in its order, and every address has as many numbers behind it as
/// the kernel reads or writes for the sizes given.
///
/// # Errors
/// When the grid is too large, or the driver refuses.
pub(super) unsafe fn launch(
    place: &Place,
    name: &str,
    geometry: Geometry,
    arguments: &[Argument],
) -> Result<()> {
    let (x, y, z) = geometry.grid;
    if x * y * z == 0 {
        return Ok(());
    }
    geometry.check()?;
    match place {
        #[cfg(feature = "cuda")]
        // SAFETY: as this function's own.
        Place::Gpu(device) => unsafe { on_gpu(device, name, geometry, arguments) },
        #[cfg(test)]
        Place::Emulator => {
            super::emulated::launch(name, geometry, arguments);
            Ok(())
        }
    }
}

/// # Safety
/// As of [`launch`].
#[cfg(feature = "cuda")]
unsafe fn on_gpu(
    device: &candle_core::CudaDevice,
    name: &str,
    geometry: Geometry,
    arguments: &[Argument],
) -> Result<()> {
    use candle_core::cuda_backend::cudarc::driver::{LaunchConfig, PushKernelArg};

    let (x, y, z) = geometry.grid;
    let config = LaunchConfig {
        grid_dim: (x as u32, y as u32, z as u32),
        block_dim: (geometry.threads as u32, 1, 1),
        shared_mem_bytes: 0,
    };
    let function = device.get_or_load_custom_func(name, "longmae", ptx::KERNELS)?;
    let mut builder = function.builder();
    for argument in arguments {
        match argument {
            Argument::Address(address) | Argument::Size(address) => builder.arg(address),
            Argument::Int(number) => builder.arg(number),
            Argument::Float(number) => builder.arg(number),
        };
    }
    // SAFETY: as this function's own.
    let launched = unsafe { builder.launch(config) };
    match launched {
        Ok(_) => Ok(()),
        Err(error) => bail!("launching {name}: {error}"),
    }
}
