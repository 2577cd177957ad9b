//! The pseudo-inverse of a resizing.

use crate::resample::LineMatrix;

/// Smallest pivot, against the diagonal's largest value, that is still taken for full rank.
const RANK: f64 = 1e-12;

impl LineMatrix {
    /// The Moore-Penrose inverse of the transpose, which has this matrix' shape; none if its rank is not full.
    ///
    /// With the smaller side in front, a matrix A has the inverse's transpose `(A A^T)^-1 A`.
    pub fn transpose_pseudo_inverse(&self) -> Option<Self> {
        let tall = self.to > self.from;
        let (small, large) = (self.from.min(self.to), self.from.max(self.to));
        let mut wide = if tall { transposed(&self.values, self.from) } else { self.values.clone() };
        let factor = cholesky(gram(&wide, large), small)?;
        solve(&factor, small, &mut wide);
        let values = if tall { transposed(&wide, large) } else { wide };
        Some(Self { values, ..*self })
    }
}

fn transposed(matrix: &[f64], columns: usize) -> Vec<f64> {
    (0..columns).flat_map(|column| matrix.iter().skip(column).step_by(columns).copied()).collect()
}

/// Products of every row with every row.
fn gram(matrix: &[f64], columns: usize) -> Vec<f64> {
    let rows = || matrix.chunks_exact(columns);
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    rows().flat_map(|a| rows().map(move |b| product(a, b))).collect()
}

/// The lower triangle L with `L L^T` the matrix, of side `n`; none if it is singular.
fn cholesky(mut matrix: Vec<f64>, n: usize) -> Option<Vec<f64>> {
    let largest = (0..n).map(|i| matrix[i * n + i]).fold(0.0, f64::max);
    for i in 0..n {
        for j in 0..=i {
            let done: f64 = (0..j).map(|k| matrix[i * n + k] * matrix[j * n + k]).sum();
            let rest = matrix[i * n + j] - done;
            matrix[i * n + j] = if i == j {
                if rest.is_nan() || rest <= RANK * largest {
                    return None;
                }
                rest.sqrt()
            } else {
                rest / matrix[j * n + j]
            };
        }
    }
    Some(matrix)
}

/// Solves `L L^T X = B` where `B` lies, `n` rows.
fn solve(factor: &[f64], n: usize, b: &mut [f64]) {
    let columns = b.len() / n;
    for column in 0..columns {
        for i in 0..n {
            let done: f64 = (0..i).map(|k| factor[i * n + k] * b[k * columns + column]).sum();
            b[i * columns + column] = (b[i * columns + column] - done) / factor[i * n + i];
        }
        for i in (0..n).rev() {
            let done: f64 = (i + 1..n).map(|k| factor[k * n + i] * b[k * columns + column]).sum();
            b[i * columns + column] = (b[i * columns + column] - done) / factor[i * n + i];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Resample;

    fn product(a: &[f64], b: &[f64], inner: usize) -> Vec<f64> {
        let columns = b.len() / inner;
        a.chunks_exact(inner)
            .flat_map(|row| {
                (0..columns).map(move |column| {
                    row.iter().enumerate().map(|(k, a)| a * b[k * columns + column]).sum()
                })
            })
            .collect()
    }

    #[test]
    fn every_resizing_up_to_32_has_one() {
        // With A the transpose and X its inverse: A X A = A, X A X = X, and A X and X A are symmetric.
        for (from, to) in (1..=32).flat_map(|from| (1..=32).map(move |to| (from, to))) {
            let matrix = LineMatrix::new(from, to, Resample::BicubicAntialiased);
            let a = transposed(&matrix.values, from);
            let x = matrix.transpose_pseudo_inverse().unwrap().values;
            let (ax, xa) = (product(&a, &x, to), product(&x, &a, from));
            for (found, expected) in [
                (product(&ax, &a, from), &a),
                (product(&xa, &x, to), &x),
                (transposed(&ax, from), &ax),
                (transposed(&xa, to), &xa),
            ] {
                let pairs = found.iter().zip(expected);
                let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(worst < 1e-8, "{from} to {to}: {worst:e}");
            }
        }
    }

    #[test]
    fn without_full_rank_there_is_none() {
        let matrix = LineMatrix { from: 2, to: 2, values: vec![1.0, 2.0, 2.0, 4.0] };
        assert!(matrix.transpose_pseudo_inverse().is_none());
    }
}
