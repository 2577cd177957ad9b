//! Kernels under both orders of their threads' turns.

use candle_core::Tensor;

use crate::common::assert_same_bits;
use crate::emulator::{Emulator, emulator};

/// Runs a test on the kernels, with the turns of threads in both orders: what comes of them must be the same, bit for bit.
/// Gives none, after a message, where there is no C++ compiler.
pub fn on_kernels(run: impl Fn(&Emulator) -> Vec<Tensor>) -> Option<Vec<Tensor>> {
    let [forwards, backwards] = in_both_orders(run)?;
    assert_same_bits("turns in the other order", &backwards, &forwards);
    Some(forwards)
}

/// What comes of the turns from the first thread to the last, and from the last to the first.
pub fn in_both_orders(run: impl Fn(&Emulator) -> Vec<Tensor>) -> Option<[Vec<Tensor>; 2]> {
    let emulator = emulator()?;
    Some([false, true].map(|backwards| {
        emulator.set_backwards(backwards);
        run(&emulator)
    }))
}
