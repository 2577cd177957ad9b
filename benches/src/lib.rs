#![deny(missing_docs)]
#![doc = include_str!("../README.md")]
