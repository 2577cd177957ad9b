//! Memory that kernels read and write, with a guard on either side.

use std::cell::UnsafeCell;

use candle_core::{Device, Shape, Tensor};
use half::bf16;

/// What buffers hold: plain numbers, of which all bits set are one too.
pub trait Number: Copy + Default {
    fn to_f32(self) -> f32;
    fn from_f32(x: f32) -> Self;
}

macro_rules! number {
    ($type:ty, $to:expr, $from:expr) => {
        impl Number for $type {
            fn to_f32(self) -> f32 {
                $to(self)
            }

            fn from_f32(x: f32) -> Self {
                $from(x)
            }
        }
    };
}
number!(f32, |x| x, |x| x);
number!(bf16, bf16::to_f32, bf16::from_f32);
number!(f64, |x| x as f32, f64::from);
number!(u32, |x| x as f32, |x| x as u32);

/// Numbers, aligned as a device's memory is. Before they are written, and in the guards, all bits are set: NaN.
pub struct Buffer<T> {
    memory: Vec<UnsafeCell<u128>>,
    len: usize,
    number: std::marker::PhantomData<T>,
}

/// Bytes of a guard.
const GUARD: usize = 256;

impl<T: Number> Buffer<T> {
    /// Room for numbers.
    pub fn unset(len: usize) -> Self {
        let units = (len * size_of::<T>() + 2 * GUARD).div_ceil(size_of::<u128>());
        let memory = (0..units).map(|_| UnsafeCell::new(u128::MAX)).collect();
        Self { memory, len, number: std::marker::PhantomData }
    }

    pub fn of(values: impl IntoIterator<Item = T>) -> Self {
        let values: Vec<T> = values.into_iter().collect();
        let buffer = Self::unset(values.len());
        // SAFETY: the room is for as many, and nothing else has a reference to it.
        unsafe { buffer.pointer().copy_from_nonoverlapping(values.as_ptr(), values.len()) };
        buffer
    }

    /// A tensor's numbers.
    pub fn from(tensor: &Tensor) -> Self {
        Self::of(
            tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(T::from_f32),
        )
    }

    pub fn pointer(&self) -> *mut T {
        // SAFETY: the guard is inside the memory, which may be written through a shared reference.
        unsafe { self.memory.as_ptr().cast::<u8>().add(GUARD).cast_mut().cast() }
    }

    /// The numbers, after a look at the guards.
    pub fn values(&self) -> Vec<T> {
        let bytes = self.memory.len() * size_of::<u128>();
        let used = GUARD..GUARD + self.len * size_of::<T>();
        for place in (0..bytes).filter(|place| !used.contains(place)) {
            // SAFETY: the place is inside the memory, which no kernel writes now.
            let byte = unsafe { *self.memory.as_ptr().cast::<u8>().add(place) };
            assert_eq!(byte, u8::MAX, "byte {place} was written, outside of {used:?}");
        }
        // SAFETY: they are inside the memory, and any bits are a number.
        (0..self.len).map(|i| unsafe { *self.pointer().add(i) }).collect()
    }

    /// The numbers as a tensor.
    pub fn tensor(&self, shape: impl Into<Shape>) -> Tensor {
        let values: Vec<f32> = self.values().into_iter().map(T::to_f32).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }
}

/// The numbers of a tensor of ids.
pub fn ids(tensor: &Tensor) -> Buffer<u32> {
    Buffer::of(tensor.flatten_all().unwrap().to_vec1::<u32>().unwrap())
}
