//! Memory for what kernels write.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use crate::element::Element;

/// A vector of `len` numbers of any value, to be written before it is read.
///
/// Filling it with zeros first would touch every page once more: for gradients and activations that is a pass over
/// a gigabyte a step.
pub(crate) fn unset<T: Element>(len: usize) -> Vec<T> {
    unset_of(len)
}

#[allow(clippy::uninit_vec, reason = "see the safety comment")]
fn unset_of<T>(len: usize) -> Vec<T> {
    let mut values = Vec::with_capacity(len);
    // SAFETY: the capacity is there, and the types are f32, bf16 and bytes, for which every bit pattern is a number.
    // Every caller writes all of it before it is read: they hand it to a kernel as its output.
    unsafe { values.set_len(len) };
    values
}

/// Types of which every bit pattern is a value.
pub(crate) trait Plain: Copy {}
impl Plain for f32 {}
impl Plain for half::bf16 {}
impl Plain for u32 {}

/// A line of the cache.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Numbers of any value, to be written before they are read, that begin with a line of the cache: loops that load whole
/// lines would load two of them for each one that lies across.
pub(crate) struct Lines<T> {
    lines: Vec<Line>,
    len: usize,
    type_: PhantomData<T>,
}

impl<T> Lines<T> {
    /// None.
    pub const fn new() -> Self {
        Self { lines: Vec::new(), len: 0, type_: PhantomData }
    }
}

impl<T: Plain> Lines<T> {
    pub fn unset(len: usize) -> Self {
        let lines = unset_of(len.div_ceil(size_of::<Line>() / size_of::<T>()));
        Self { lines, len, type_: PhantomData }
    }

    /// The first `len`, of more if there are too few; what was in them is lost then.
    pub fn room(&mut self, len: usize) -> &mut [T] {
        if self.len < len {
            *self = Self::unset(len);
        }
        &mut self[..len]
    }
}

impl<T: Plain> Deref for Lines<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `lines` holds as many bytes, and every bit pattern is a value.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<T: Plain> DerefMut for Lines<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

/// The stride of an activation's rows: a little more than their width, so that rows do not lie a multiple of 4 KiB
/// apart, where they would push each other out of the first-level cache.
pub(crate) fn padded<T: Element>(width: usize) -> usize {
    width.next_multiple_of(16 * T::GROUP) + 16 * T::GROUP
}
