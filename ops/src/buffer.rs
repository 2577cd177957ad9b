//! Memory for what kernels write.

use crate::element::Element;

/// A vector of `len` numbers of any value, to be written before it is read.
///
/// Filling it with zeros first would touch every page once more: for gradients and activations that is a pass over
/// a gigabyte a step.
pub(crate) fn unset<T: Element>(len: usize) -> Vec<T> {
    unset_of(len)
}

/// Room for packed panels, as [`unset`].
pub(crate) fn unset_words(len: usize) -> Vec<u32> {
    unset_of(len)
}

#[allow(clippy::uninit_vec, reason = "see the safety comment")]
fn unset_of<T>(len: usize) -> Vec<T> {
    let mut values = Vec::with_capacity(len);
    // SAFETY: the capacity is there, and the types are f32, bf16 and u32, for which every bit pattern is a number.
    // Every caller writes all of it before it is read: they hand it to a kernel as its output.
    unsafe { values.set_len(len) };
    values
}

/// The stride of an activation's rows: a little more than their width, so that rows do not lie a multiple of 4 KiB
/// apart, where they would push each other out of the first-level cache.
pub(crate) fn padded<T: Element>(width: usize) -> usize {
    width.next_multiple_of(16 * T::GROUP) + 16 * T::GROUP
}
