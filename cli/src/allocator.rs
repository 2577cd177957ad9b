//! How the programs' allocator treats freed memory.

use std::ffi::c_int;

/// mimalloc's option for the milliseconds after which freed memory goes back to the system, which its Rust bindings do
/// not name: the sixteenth of `mi_option_e`, in mimalloc 2 and 3 alike.
const PURGE_DELAY: c_int = 15;

/// Keeps freed memory: a training step frees and takes back a gigabyte, and having the system clear those pages each
/// time costs a tenth of it. The variable `MIMALLOC_PURGE_DELAY` still decides where it is set.
pub fn keep_freed_memory() {
    // SAFETY: it sets a number inside the allocator; an unknown option would be ignored.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, -1) };
}
