//! Other variables in which all directions of the features weigh about the same, so that few steps lead to the minimum.

use candle_core::{Device, Tensor};
use longmae_ops::{Compute, linear};
use nalgebra::{DMatrix, SymmetricEigen};

use crate::{Error, Result};

/// Directions of less than this share of the greatest variance are taken for as wide: f32 knows no more of them.
const LEAST: f64 = 1e-7;

/// The directions of standardised features, and how much they vary along each.
pub(super) struct Directions {
    /// `[dim, dim]`, a direction a column.
    vectors: DMatrix<f64>,
    variances: Vec<f64>,
}

impl Directions {
    /// Of mean products of features, `[dim, dim]`.
    pub fn of(products: DMatrix<f64>) -> Result<Self> {
        if products.iter().any(|value| !value.is_finite()) {
            let (name, found) = ("features", "too large to multiply".to_owned());
            return Err(Error::Setting { name, found, expected: "smaller numbers".to_owned() });
        }
        let eigen = SymmetricEigen::new(products);
        let greatest = eigen.eigenvalues.max();
        let least = (greatest * LEAST).max(f64::MIN_POSITIVE);
        let variances = eigen.eigenvalues.iter().map(|value| value.max(least)).collect();
        Ok(Self { vectors: eigen.eigenvectors, variances })
    }
}

/// Weights `[classes, dim]` as `variables * scaled directions`.
///
/// The curvature of the mean cross-entropy is near `variance / classes` along a direction, and the penalty adds its own to
/// all: each direction is divided by the root of the sum, which makes the curvature near 1 everywhere. The objective is the
/// same, only its variables are others.
pub(super) struct Precondition {
    /// Takes variables to weights, `[dim, dim]`: a scaled direction a column.
    forth: Tensor,
    /// Takes a gradient by weights to one by variables.
    gradient: Tensor,
    /// Takes weights to variables.
    back: Tensor,
    /// What a bias is times its variable.
    pub bias: f64,
}

impl Precondition {
    pub fn new(directions: &Directions, classes: usize, penalty: f64) -> Result<Self> {
        let classes = classes as f64;
        let curvature = |variance: &f64| (variance / classes + penalty).sqrt();
        let roots: Vec<f64> = directions.variances.iter().map(curvature).collect();
        let dim = roots.len();
        let vectors = &directions.vectors;
        let matrix = |value: &dyn Fn(usize, usize) -> f64| {
            let values = (0..dim * dim).map(|i| value(i / dim, i % dim) as f32).collect();
            Tensor::from_vec(values, (dim, dim), &Device::Cpu)
        };
        Ok(Self {
            forth: matrix(&|row, column| vectors[(row, column)] / roots[column])?,
            gradient: matrix(&|row, column| vectors[(column, row)] / roots[row])?,
            back: matrix(&|row, column| vectors[(column, row)] * roots[row])?,
            bias: classes.sqrt(),
        })
    }

    /// The weights of variables, both `[classes, dim]`.
    pub fn weights(&self, variables: &Tensor) -> Result<Tensor> {
        Ok(linear(variables, &self.forth, None, Compute::default())?)
    }

    /// The variables of weights.
    pub fn variables(&self, weights: &Tensor) -> Result<Tensor> {
        Ok(linear(weights, &self.back, None, Compute::default())?)
    }

    /// The gradient by variables, of one by weights.
    pub fn gradient(&self, weights: &Tensor) -> Result<Tensor> {
        Ok(linear(weights, &self.gradient, None, Compute::default())?)
    }
}
