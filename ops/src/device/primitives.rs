use candle_core::{DType, Result, Tensor};

pub(crate) use crate::attention::Heads;

/// A matrix product `a b` or of their transposes, and what is added to it.
#[derive(Default)]
pub(crate) struct Product<'a> {
    /// Whether `a` is stored `[inner, rows]`.
    pub transposed_a: bool,
    /// Whether `b` is stored `[columns, inner]`, as a linear layer's weight is.
    pub transposed_b: bool,
    /// `[columns]`, in the type of the result.
    pub bias: Option<&'a Tensor>,
    /// `[rows, columns]`, in the type of the result.
    pub add: Option<&'a Tensor>,
}

/// What attention gives.
pub(crate) struct Attended {
    /// `[rows, dim]`.
    pub out: Tensor,
    /// The logarithms of the sums of the scores' exponentials, f32 `[batch, heads, tokens]`.
    pub log_sums: Tensor,
}

/// What a device has kernels for.
///
/// All tensors are contiguous, on the device, and not tracked; matrices are `[rows, columns]`. Operands of products are in the run's
/// precision ([`Primitives::operand`]), everything else is f32. Results do not depend on when or how often a kernel runs.
pub(crate) trait Primitives: Send + Sync + 'static {
    /// The type of the operands of products.
    fn operand(&self) -> DType;

    /// `x` in a type, with a factor for each of as many equal parts as `scales` has.
    fn cast(&self, x: &Tensor, scales: Option<&Tensor>, to: DType) -> Result<Tensor>;

    /// A product of two operands, summed in f32, in the type `out`.
    fn product(&self, a: &Tensor, b: &Tensor, product: &Product<'_>, out: DType) -> Result<Tensor>;

    /// The sums over rows, f32 `[columns]`.
    fn column_sums(&self, x: &Tensor) -> Result<Tensor>;

    /// `x + scales y`, f32, with a factor for each of as many equal parts as `scales` has.
    fn residual(&self, x: &Tensor, y: &Tensor, scales: &Tensor) -> Result<Tensor>;

    /// The norm of rows in the type `out`, and each row's mean and inverse deviation, f32 `[rows, 2]`.
    fn norm(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        eps: f64,
        out: DType,
    ) -> Result<(Tensor, Tensor)>;

    /// The gradient of a norm's input, plus `add`.
    fn norm_backward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        moments: &Tensor,
        gradient: &Tensor,
        add: Option<&Tensor>,
    ) -> Result<Tensor>;

    /// The gradients of a norm's weight and bias.
    fn norm_parameters(
        &self,
        x: &Tensor,
        moments: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Tensor, Tensor)>;

    /// GELU of the error function, in the type of `x`.
    fn gelu(&self, x: &Tensor) -> Result<Tensor>;

    /// The gradient of GELU's input, in the type of both. `gradient` may be written over.
    fn gelu_backward(&self, x: &Tensor, gradient: Tensor) -> Result<Tensor>;

    /// Attention over packed queries, keys and values `[rows, 3 * dim]`.
    fn attention(&self, qkv: &Tensor, heads: Heads) -> Result<Attended>;

    /// The gradient of `qkv`.
    fn attention_backward(
        &self,
        qkv: &Tensor,
        attended: &Attended,
        gradient: &Tensor,
        heads: Heads,
    ) -> Result<Tensor>;
}
