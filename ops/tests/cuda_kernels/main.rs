//! The device kernels, compiled for the CPU and run there by an emulator of a block's threads, against the operations on
//! the CPU. They are the same sources that nvcc compiles, tensor core instructions apart.

#[path = "../common/mod.rs"]
mod common;

mod activation;
mod attention;
mod buffer;
mod emulator;
mod faults;
mod norm;
mod optimiser;
mod orders;
mod pixel_loss;
mod reduce;
mod tokens;
