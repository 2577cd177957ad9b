use candle_core::Tensor;
use longmae_ops::{
    Compute, GridAttention, Init, Linear, Params, QkvBias, attention, linear, reference,
};

use crate::window::Windows;
use crate::{Result, TowerConfig};

/// Multi-head self-attention (arXiv 1706.03762), one projection for queries, keys and values, scores scaled by
/// `1 / sqrt(head width)`.
#[derive(Debug, Clone)]
pub struct Attention {
    pub(crate) heads: usize,
    pub(crate) qkv: Tensor,
    pub(crate) bias: QkvBias,
    pub(crate) proj: Linear,
    /// Windows and relative positions; without, all tokens attend to all, whatever they are.
    pub(crate) grid: Option<GridAttention>,
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
        Ok(Self {
            heads: config.heads,
            qkv: weight,
            bias,
            proj,
            grid: None,
            compute: params.compute(),
        })
    }

    /// Attention over a grid of tokens with decomposed relative positions (arXiv 2203.16527), which start at zero:
    /// [`Attention::new`] with `rel_pos_h` and `rel_pos_w` `[2 * side - 1, head width]`. With `window`, squares of as many
    /// tokens a side attend on their own.
    ///
    /// # Errors
    /// When a parameter's name is taken.
    pub fn on_grid(
        config: &TowerConfig,
        grid: (usize, usize),
        window: Option<usize>,
        params: &Params,
    ) -> Result<Self> {
        let attention = Self::new(config, params)?;
        let (rows, cols) = window.map_or(grid, |side| (side, side));
        let table = |name, side: usize| {
            params.weight(name, (2 * side - 1, config.dim / config.heads), Init::Zeros)
        };
        let rel_pos = Some([table("rel_pos_h", rows)?, table("rel_pos_w", cols)?]);
        Ok(Self { grid: Some(GridAttention { grid, window, rel_pos }), ..attention })
    }

    /// Maps tokens `[batch, tokens, dim]` to the same shape.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mixed = match self.grid.as_ref().map(|grid| (grid, grid.window)) {
            Some((grid, Some(side))) => {
                let windows = Windows { grid: grid.grid, side };
                let mixed = self.mixed(&windows.cut(x)?, (side, side))?;
                windows.join(&mixed, x.dim(0)?)?
            }
            Some((grid, None)) => self.mixed(x, grid.grid)?,
            None => self.mixed(x, (1, x.dim(1)?))?,
        };
        Ok(self.proj.forward(&mixed)?)
    }

    /// What all tokens of `x` mix from each other, before the projection; `sides` are those of their grid.
    fn mixed(&self, x: &Tensor, sides: (usize, usize)) -> Result<Tensor> {
        let qkv = linear(x, &self.qkv, Some(&self.bias.tensor()?), self.compute)?;
        Ok(match self.grid.as_ref().and_then(|grid| grid.rel_pos.as_ref()) {
            Some(tables) => reference::attention_with_positions(&qkv, self.heads, sides, tables)?,
            None => attention(&qkv, self.heads, self.compute)?,
        })
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
