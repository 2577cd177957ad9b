//! Every fused operation against the plain one, forward and backward, on every instruction set of this machine.

#[path = "../common/mod.rs"]
mod common;

mod attention;
mod large;
mod maps;
mod products;
mod rows;
mod shapes;
mod special;
mod tokens;
mod views;

#[test]
fn every_instruction_set() {
    common::child::on_every_instruction_set();
}
