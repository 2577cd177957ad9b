use candle_core::Tensor;
use longmae_ops::{Compute, Init, Linear, Params, QkvBias, attention, linear, reference};

use crate::{Result, TowerConfig};

/// Multi-head self-attention (arXiv 1706.03762), one projection for queries, keys and values, scores scaled by
/// `1 / sqrt(head width)`.
#[derive(Debug, Clone)]
pub struct Attention {
    pub(crate) heads: usize,
    pub(crate) qkv: Tensor,
    pub(crate) bias: QkvBias,
    pub(crate) proj: Linear,
    compute: Compute,
}

impl Attention {
    /// Defines `qkv.weight`, `qkv.bias` (or `q_bias` and `v_bias`) and `proj`.
    ///
    /// # Errors
    /// When a parameter's name is taken.
    pub fn new(config: &TowerConfig, params: &Params) -> Result<Self> {
        let dim = config.dim;
        let qkv = params.pp("qkv");
        let init = Init::XavierUniform { fan_in: dim, fan_out: 3 * dim };
        let weight = qkv.weight("weight", (3 * dim, dim), init)?;
        let bias = if config.key_bias {
            QkvBias::Full(qkv.weight("bias", 3 * dim, Init::Zeros)?)
        } else {
            QkvBias::NoKey {
                query: params.weight("q_bias", dim, Init::Zeros)?,
                value: params.weight("v_bias", dim, Init::Zeros)?,
            }
        };
        let proj = Linear::new(dim, dim, &params.pp("proj"))?;
        Ok(Self { heads: config.heads, qkv: weight, bias, proj, compute: params.compute() })
    }

    /// Maps tokens `[batch, tokens, dim]` to the same shape.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let qkv = linear(x, &self.qkv, Some(&self.bias.tensor()?), self.compute)?;
        let mixed = attention(&qkv, self.heads, self.compute)?;
        Ok(self.proj.forward(&mixed)?)
    }

    /// How much the first token of `x` `[batch, tokens, dim]` attends to each: `[batch, heads, tokens]`, summing up to 1
    /// over tokens.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn weights_of_first(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, tokens, dim) = x.dims3()?;
        let head = dim / self.heads;
        let qkv = linear(x, &self.qkv, Some(&self.bias.tensor()?), self.compute)?;
        let part = |part: usize, tokens: usize| {
            let of_all = qkv.narrow(2, part * dim, dim)?.narrow(1, 0, tokens)?;
            let by_head = of_all.reshape((batch, tokens, self.heads, head))?;
            by_head.transpose(1, 2)?.contiguous()
        };
        let query = (part(0, 1)? * (head as f64).powf(-0.5))?;
        let scores = query.matmul(&part(1, tokens)?.transpose(2, 3)?)?;
        Ok(reference::softmax(&scores.squeeze(2)?)?)
    }
}
