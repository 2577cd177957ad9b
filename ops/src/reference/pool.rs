use candle_core::{Result, Tensor};

/// The mean of some tokens: see [`mean_tokens`](crate::mean_tokens).
///
/// # Errors
/// When there are no such tokens.
pub fn mean_tokens(tokens: &Tensor, start: usize, count: usize) -> Result<Tensor> {
    tokens.narrow(1, start, count)?.mean(1)
}
