//! Launches on the CPU, by the emulator of the kernels' own tests.

use std::ffi::c_void;

use candle_core::{DType, Result, Tensor};

#[path = "../../tests/cuda_kernels/emulator.rs"]
#[allow(dead_code, reason = "the kernels' own tests use more of it")]
mod emulator;

use emulator::{Arguments, emulator};

use super::kernel::{Argument, Geometry};
use crate::device::Product;

/// Whether there is an emulator; a message says so where not.
pub(super) fn is_there() -> bool {
    // How arguments are passed is known for this convention alone.
    cfg!(all(target_arch = "x86_64", unix)) && emulator().is_some()
}

/// A kernel's arguments as the calling convention of x86-64 Unix passes them: whole numbers and addresses in registers of their
/// own and then on the stack, in order, floats in others. A function that takes fewer does not look at the rest.
#[derive(Clone, Copy)]
struct Registers {
    whole: [u64; 12],
    floats: [f32; 8],
}

impl Registers {
    fn of(arguments: &[Argument]) -> Self {
        let mut all = Self { whole: [0; 12], floats: [0.0; 8] };
        let (mut whole, mut floats) = (all.whole.iter_mut(), all.floats.iter_mut());
        for argument in arguments {
            match *argument {
                Argument::Address(value) | Argument::Size(value) => *whole.next().unwrap() = value,
                Argument::Int(value) => *whole.next().unwrap() = u64::from(value.cast_unsigned()),
                Argument::Float(value) => *floats.next().unwrap() = value,
            }
        }
        all
    }
}

type Kernel = unsafe extern "C" fn(
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    f32,
    f32,
    f32,
    f32,
    f32,
    f32,
    f32,
    f32,
);

impl Arguments for Registers {
    unsafe fn call(self, kernel: *const c_void) {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = self.whole;
        let [m, n, o, p, q, r, s, t] = self.floats;
        // SAFETY: the kernel takes a part of these, each where it looks for it (see `Registers`); what it does with them is
        // what the caller of `launch` answers for.
        unsafe {
            let kernel = std::mem::transmute::<*const c_void, Kernel>(kernel);
            kernel(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t);
        }
    }
}

pub(super) fn launch(name: &str, geometry: Geometry, arguments: &[Argument]) {
    let (x, y, z) = geometry.grid;
    let emulator = emulator().expect("tests ask before whether it is there");
    emulator.launch(name, [x, y, z], geometry.threads as u32, Registers::of(arguments));
}

/// A product as cuBLASLt's: operands as they are, sums in f32.
pub(super) fn product(a: &Tensor, b: &Tensor, product: &Product<'_>, out: DType) -> Result<Tensor> {
    let straight = |x: &Tensor, turned: bool| {
        let x = x.to_dtype(DType::F32)?;
        if turned { x.t() } else { Ok(x) }
    };
    let (a, b) = (straight(a, product.transposed_a)?, straight(b, product.transposed_b)?);
    let mut sum = a.matmul(&b)?;
    if let Some(bias) = product.bias {
        assert_eq!(bias.dtype(), out, "cuBLASLt takes a bias of the result's type");
        sum = sum.broadcast_add(&bias.to_dtype(DType::F32)?)?;
    }
    if let Some(add) = product.add {
        assert_eq!(add.dtype(), out, "cuBLASLt adds what is of the result's type");
        sum = (sum + add.to_dtype(DType::F32)?)?;
    }
    sum.to_dtype(out)
}
