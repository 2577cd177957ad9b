//! Benchmarks of longmae's hot paths; see `benches/`.
