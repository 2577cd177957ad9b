use candle_core::{Result, Tensor};

/// Picks tokens by position, a different choice for every sample.
///
/// # Shapes
/// `tokens` `[batch, tokens, dim]`, `ids` `[batch, picked]` (u32, each below `tokens`); the result is
/// `[batch, picked, dim]`. Gradients reach `tokens`; a token that is picked twice gets the sum.
///
/// # Errors
/// When the shapes do not fit or an id lies outside the sequence.
pub fn gather_tokens(tokens: &Tensor, ids: &Tensor) -> Result<Tensor> {
    let (batch, length, dim) = tokens.dims3()?;
    let (rows, picked) = ids.dims2()?;
    if rows != batch {
        candle_core::bail!("ids for {rows} samples, expected {batch}");
    }
    if picked == 0 {
        return tokens.narrow(1, 0, 0);
    }
    let largest = ids.max_all()?.to_scalar::<u32>()? as usize;
    if largest >= length {
        candle_core::bail!("token {largest} is out of range: the sequence has {length}");
    }
    // One flat selection over all samples: row b*length + id.
    let first = (Tensor::arange(0, batch as u32, ids.device())? * length as f64)?;
    let rows = ids.broadcast_add(&first.reshape((batch, 1))?)?;
    tokens
        .contiguous()?
        .reshape((batch * length, dim))?
        .index_select(&rows.flatten_all()?, 0)?
        .reshape((batch, picked, dim))
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::gather_tokens;

    #[test]
    fn tokens_of_each_sample_are_its_own() {
        let tokens = Tensor::arange(0f32, 12.0, &Device::Cpu).unwrap().reshape((2, 3, 2)).unwrap();
        let ids = Tensor::new(&[[2u32, 0], [1, 1]], &Device::Cpu).unwrap();
        let picked: Vec<f32> =
            gather_tokens(&tokens, &ids).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(picked, [4.0, 5.0, 0.0, 1.0, 8.0, 9.0, 8.0, 9.0]);
    }

    #[test]
    fn ids_beyond_the_sequence_or_batch_are_refused() {
        let tokens = Tensor::zeros((2, 3, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        for ids in [vec![vec![0u32, 3], vec![0, 0]], vec![vec![0u32, 1]]] {
            assert!(gather_tokens(&tokens, &Tensor::new(ids, &Device::Cpu).unwrap()).is_err());
        }
    }
}
