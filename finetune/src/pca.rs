use candle_core::{DType, Tensor};
use longmae_ops::{Compute, matmul};
use nalgebra::{DMatrix, SymmetricEigen};

use crate::{Error, Result};

/// Rows whose products are summed up together.
const ROWS: usize = 4096;

/// The directions in which vectors differ most: principal components.
///
/// As `sklearn.decomposition.PCA`, signs included: the entry of a component that is farthest from zero is positive.
#[derive(Debug, Clone)]
pub struct Pca {
    mean: Tensor,
    components: Tensor,
    variances: Vec<f32>,
}

impl Pca {
    /// The first `components` directions of `rows` `[samples, dim]`, the one of the greatest variance first.
    ///
    /// The covariance is decomposed exactly; that takes time with the third power of `dim`.
    ///
    /// # Errors
    /// [`Error::Setting`] if there are fewer than two samples, fewer dimensions than components, or a number is not finite.
    pub fn fit(rows: &Tensor, components: usize) -> Result<Self> {
        let (samples, dim) = rows.dims2()?;
        let refused = |name, found: usize, expected: String| {
            Err(Error::Setting { name, found: found.to_string(), expected })
        };
        if samples < 2 {
            return refused("samples", samples, "at least 2".to_owned());
        }
        if components == 0 || components > dim {
            return refused("components", components, format!("from 1 to {dim}, the width"));
        }
        let mean = rows.to_dtype(DType::F64)?.mean(0)?.to_dtype(DType::F32)?;
        let covariance = covariance(rows, &mean)?;
        if covariance.iter().any(|value| !value.is_finite()) {
            let (name, found) = ("features", "not finite".to_owned());
            return Err(Error::Setting { name, found, expected: "finite numbers".to_owned() });
        }
        let eigen = SymmetricEigen::new(covariance);
        let mut order: Vec<usize> = (0..dim).collect();
        order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
        let mut directions = Vec::with_capacity(components * dim);
        let mut variances = Vec::with_capacity(components);
        for place in order.into_iter().take(components) {
            let direction: Vec<f64> = eigen.eigenvectors.column(place).iter().copied().collect();
            let farthest =
                direction.iter().fold(0.0f64, |far, x| if x.abs() > far.abs() { *x } else { far });
            directions.extend(direction.iter().map(|x| (x * farthest.signum()) as f32));
            variances.push(eigen.eigenvalues[place].max(0.0) as f32);
        }
        let components = Tensor::from_vec(directions, (components, dim), rows.device())?;
        Ok(Self { mean, components, variances })
    }

    /// `[components, dim]`, each of length 1.
    pub fn components(&self) -> &Tensor {
        &self.components
    }

    /// The variance along each component, over samples less one.
    pub fn variances(&self) -> &[f32] {
        &self.variances
    }

    /// Where rows `[samples, dim]` lie along the components, `[samples, components]`.
    ///
    /// # Errors
    /// When the width is another.
    pub fn project(&self, rows: &Tensor) -> Result<Tensor> {
        let centred = rows.broadcast_sub(&self.mean)?;
        Ok(matmul(&centred, &self.components.t()?, Compute::default())?)
    }
}

/// The covariance of rows, over samples less one.
fn covariance(rows: &Tensor, mean: &Tensor) -> Result<DMatrix<f64>> {
    let (samples, dim) = rows.dims2()?;
    let mut sum = DMatrix::<f64>::zeros(dim, dim);
    for start in (0..samples).step_by(ROWS) {
        let centred = rows.narrow(0, start, ROWS.min(samples - start))?.broadcast_sub(mean)?;
        let product = matmul(&centred.t()?, &centred, Compute::default())?;
        let product = product.flatten_all()?.to_vec1::<f32>()?;
        sum.iter_mut().zip(product).for_each(|(sum, product)| *sum += f64::from(product));
    }
    // Both halves are sums of the same products in another order.
    let transposed = sum.transpose();
    Ok((sum + transposed) / (2.0 * (samples as f64 - 1.0)))
}
