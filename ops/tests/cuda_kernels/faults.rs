//! The emulator finds what is wrong with a kernel.

use crate::buffer::Buffer;
use crate::common::{bits, numbers};
use crate::orders::{in_both_orders, on_kernels};

const THREADS: u32 = 64;

/// What goes wrong with a kernel of one output; none where there is no compiler.
fn error_of(kernel: &str) -> Option<String> {
    let error = std::cell::RefCell::new(String::new());
    on_kernels(|e| {
        let out = Buffer::<f32>::unset(THREADS as usize);
        let result = e.try_launch(kernel, [1, 2, 1], THREADS, (out.pointer(),));
        *error.borrow_mut() = result.expect_err(kernel);
        Vec::new()
    })?;
    Some(error.into_inner())
}

#[test]
fn a_barrier_that_not_all_threads_reach_is_an_error() {
    let Some(error) = error_of("fault_barrier") else { return };
    assert!(error.starts_with("32 of 64 threads came to a barrier"), "{error}");
}

#[test]
fn lanes_at_different_operations_are_an_error() {
    let Some(error) = error_of("fault_lanes") else { return };
    assert!(error.contains("stand at different operations (block 0, 1, 0)"), "{error}");
}

#[test]
fn a_matrix_that_is_not_aligned_is_an_error() {
    let Some(error) = error_of("fault_place") else { return };
    assert!(error.contains("is not 16-byte aligned"), "{error}");
}

#[test]
fn what_is_not_waited_for_is_not_there() {
    let found = on_kernels(|e| {
        let (from, out) = (Buffer::<f32>::of([1.0; 256]), Buffer::<f32>::unset(64));
        e.launch("fault_copy", [1, 1, 1], THREADS, (from.pointer(), out.pointer()));
        vec![out.tensor(64)]
    });
    let Some(found) = found else { return };
    assert!(numbers(&found[0]).iter().all(|x| x.is_nan()));
}

#[test]
fn a_race_shows_in_the_other_order() {
    let found = in_both_orders(|e| {
        let out = Buffer::<f32>::unset(64);
        e.launch("fault_race", [1, 1, 1], THREADS, (out.pointer(),));
        vec![out.tensor(64)]
    });
    let Some([forwards, backwards]) = found else { return };
    assert_ne!(bits(&forwards[0]), bits(&backwards[0]));
}
