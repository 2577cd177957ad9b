//! The fused transformer block: its numbers, its place in candle's graph, and the ways to run it.

#[path = "../common/mod.rs"]
mod common;

mod graph;
mod grid;
mod modes;
mod refused;
mod threads;
mod values;
mod watched;

#[test]
fn every_instruction_set() {
    common::child::on_every_instruction_set();
}
