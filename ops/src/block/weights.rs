use candle_core::{Result, Tensor, bail};

use super::GridAttention;

/// A weight and a bias: of a linear layer `[out, in]` and `[out]`, of a norm `[dim]` both.
#[derive(Debug, Clone)]
pub struct Affine {
    /// The weight.
    pub weight: Tensor,
    /// The bias.
    pub bias: Tensor,
}

/// The bias of queries, keys and values.
#[derive(Debug, Clone)]
pub enum QkvBias {
    /// One for all, `[3 * dim]`.
    Full(Tensor),
    /// Of queries and values alone, `[dim]` each: a key's bias shifts all scores of a query alike, so softmax never
    /// sees it.
    NoKey {
        /// `q_bias`.
        query: Tensor,
        /// `v_bias`.
        value: Tensor,
    },
}

impl QkvBias {
    /// The bias as one tensor `[3 * dim]`, differentiable.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn tensor(&self) -> Result<Tensor> {
        match self {
            Self::Full(bias) => Ok(bias.clone()),
            Self::NoKey { query, value } => Tensor::cat(&[query, &query.zeros_like()?, value], 0),
        }
    }

    pub(crate) fn parts(&self) -> Vec<&Tensor> {
        match self {
            Self::Full(bias) => vec![bias],
            Self::NoKey { query, value } => vec![query, value],
        }
    }
}

/// The weights of a pre-norm transformer block, and its number of heads.
#[derive(Debug, Clone)]
pub struct BlockWeights {
    /// The norm before attention.
    pub norm1: Affine,
    /// Queries, keys and values, `[3 * dim, dim]`.
    pub qkv: Tensor,
    /// Their bias.
    pub qkv_bias: QkvBias,
    /// After attention, `[dim, dim]`.
    pub proj: Affine,
    /// The norm before the MLP.
    pub norm2: Affine,
    /// `[hidden, dim]`.
    pub fc1: Affine,
    /// `[dim, hidden]`.
    pub fc2: Affine,
    /// Attention heads; they divide `dim`.
    pub heads: usize,
    /// Added to the variance in both norms.
    pub eps: f64,
    /// What attention has of a grid; without, all tokens attend to all, whatever they are.
    pub grid: Option<GridAttention>,
}

impl BlockWeights {
    /// Width of the residual stream.
    pub(crate) fn dim(&self) -> usize {
        self.norm1.weight.elem_count()
    }

    /// Hidden width of the MLP.
    pub(crate) fn hidden(&self) -> usize {
        self.fc1.bias.elem_count()
    }

    fn tensors(&self) -> Vec<&Tensor> {
        let affine = [&self.norm1, &self.proj, &self.norm2, &self.fc1, &self.fc2];
        let mut all: Vec<&Tensor> = affine.iter().flat_map(|a| [&a.weight, &a.bias]).collect();
        all.push(&self.qkv);
        all.extend(self.qkv_bias.parts());
        all.extend(self.grid.iter().flat_map(GridAttention::tensors));
        all
    }

    /// A weight that gets a gradient, if any does.
    pub(crate) fn variable(&self) -> Option<&Tensor> {
        self.tensors().into_iter().find(|tensor| tensor.is_variable())
    }

    /// Checks shapes, and that gradients can reach the weights.
    ///
    /// # Errors
    /// When a shape does not fit, or a weight is computed from something that is tracked.
    pub(crate) fn check(&self) -> Result<()> {
        let (dim, hidden) = (self.dim(), self.hidden());
        if dim == 0 || self.heads == 0 || !dim.is_multiple_of(self.heads) {
            bail!("a transformer block of width {dim} with {} heads", self.heads);
        }
        if let Some(grid) = &self.grid {
            grid.check(dim / self.heads)?;
        }
        let bias = match &self.qkv_bias {
            QkvBias::Full(bias) => vec![("qkv bias", bias, vec![3 * dim])],
            QkvBias::NoKey { query, value } => {
                vec![("query bias", query, vec![dim]), ("value bias", value, vec![dim])]
            }
        };
        let expected = [
            ("norm1 weight", &self.norm1.weight, vec![dim]),
            ("norm1 bias", &self.norm1.bias, vec![dim]),
            ("qkv weight", &self.qkv, vec![3 * dim, dim]),
            ("proj weight", &self.proj.weight, vec![dim, dim]),
            ("proj bias", &self.proj.bias, vec![dim]),
            ("norm2 weight", &self.norm2.weight, vec![dim]),
            ("norm2 bias", &self.norm2.bias, vec![dim]),
            ("fc1 weight", &self.fc1.weight, vec![hidden, dim]),
            ("fc1 bias", &self.fc1.bias, vec![hidden]),
            ("fc2 weight", &self.fc2.weight, vec![dim, hidden]),
            ("fc2 bias", &self.fc2.bias, vec![dim]),
        ];
        for (name, tensor, shape) in expected.into_iter().chain(bias) {
            if tensor.dims() != shape {
                bail!(
                    "a transformer block's {name} has shape {:?}, expected {shape:?}",
                    tensor.dims()
                );
            }
            if tensor.track_op() && !tensor.is_variable() {
                bail!(
                    "a transformer block's {name} is computed from variables: its gradient would not reach \
                     them (compose the block from layers instead)"
                );
            }
        }
        Ok(())
    }
}
