use candle_core::{D, IndexOp, Tensor};
use longmae_ops::{Init, Linear, Params, linear, softmax};

use crate::{Result, TowerConfig};

/// Multi-head self-attention (arXiv 1706.03762), one projection for queries, keys and values, scores scaled by
/// `1 / sqrt(head width)`.
#[derive(Debug, Clone)]
pub struct Attention {
    heads: usize,
    qkv: Tensor,
    bias: QkvBias,
    proj: Linear,
}

#[derive(Debug, Clone)]
enum QkvBias {
    /// `qkv.bias`.
    Full(Tensor),
    /// `q_bias` and `v_bias`: a key's bias shifts all scores of a query alike, so softmax never sees it.
    NoKey { query: Tensor, value: Tensor },
}

impl QkvBias {
    fn tensor(&self) -> Result<Tensor> {
        Ok(match self {
            Self::Full(bias) => bias.clone(),
            Self::NoKey { query, value } => Tensor::cat(&[query, &query.zeros_like()?, value], 0)?,
        })
    }
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
        Ok(Self { heads: config.heads, qkv: weight, bias, proj })
    }

    /// Maps tokens `[batch, tokens, dim]` to the same shape.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, tokens, dim) = x.dims3()?;
        let head = dim / self.heads;
        let qkv = linear(x, &self.qkv, Some(&self.bias.tensor()?))?
            .reshape((batch, tokens, 3, self.heads, head))?
            .permute((2, 0, 3, 1, 4))?;
        let query = (qkv.i(0)? * (head as f64).powf(-0.5))?.contiguous()?;
        let key = qkv.i(1)?.contiguous()?;
        let value = qkv.i(2)?.contiguous()?;
        let weights = softmax(&query.matmul(&key.transpose(D::Minus2, D::Minus1)?)?)?;
        let mixed = weights.matmul(&value)?.transpose(1, 2)?.reshape((batch, tokens, dim))?;
        Ok(self.proj.forward(&mixed)?)
    }
}
