//! What logistic regression minimises, and its gradient.

use candle_core::{Device, Tensor};
use longmae_ops::{Compute, linear};
use nalgebra::DMatrix;
use rayon::prelude::*;

use super::precondition::{Directions, Precondition};
use super::standard::Standard;
use crate::Result;
use crate::probes::Features;

/// Samples whose scores are in memory at once.
const ROWS: usize = 4096;
/// Rows of a transposed matrix that one task writes: as many as numbers in a line of the cache.
const LINE: usize = 16;

/// Standardised features piece by piece, with their labels.
pub(super) struct Objective {
    pieces: Vec<Piece>,
    directions: Directions,
    samples: usize,
    dim: usize,
    classes: usize,
}

struct Piece {
    /// `[rows, dim]`, for the scores.
    x: Tensor,
    /// `[dim, rows]`, for the gradient.
    transposed: Tensor,
    labels: Vec<u32>,
}

/// The objective at some place, and the greatest entry of its gradient.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value {
    pub objective: f64,
    pub gradient: f64,
}

impl Objective {
    pub fn new(features: &Features, standard: &Standard) -> Result<Self> {
        let (samples, dim) = (features.len(), features.dim());
        let pieces = (0..samples).step_by(ROWS).map(|start| {
            let rows = ROWS.min(samples - start);
            let x = standard.apply(&features.values().narrow(0, start, rows)?)?;
            let transposed = x.t()?.contiguous()?;
            let labels = features.labels()[start..start + rows].to_vec();
            Ok(Piece { x, transposed, labels })
        });
        let pieces = pieces.collect::<Result<Vec<_>>>()?;
        let directions = Directions::of(products(&pieces, dim, samples)?)?;
        Ok(Self { pieces, directions, samples, dim, classes: features.classes() })
    }

    /// How many parameters there are: `[classes, dim]`, then `[classes]`.
    pub fn len(&self) -> usize {
        self.classes * (self.dim + 1)
    }

    /// The other variables that go with a `C`.
    pub fn precondition(&self, c: f64) -> Result<Precondition> {
        Precondition::new(&self.directions, self.classes, self.penalty(c))
    }

    /// The other variables of parameters.
    pub fn variables(&self, other: &Precondition, x: &[f64]) -> Result<Vec<f64>> {
        let (weight, _) = self.parameters(x)?;
        let bias = x[self.classes * self.dim..].iter().map(|bias| bias / other.bias);
        Ok(numbers(&other.variables(&weight)?)?.chain(bias).collect())
    }

    /// The parameters that other variables stand for, and their value; writes the gradient by the variables.
    pub fn evaluate_by(
        &self,
        other: &Precondition,
        variables: &[f64],
        c: f64,
        gradient: &mut [f64],
    ) -> Result<(Vec<f64>, Value)> {
        let (weight, _) = self.parameters(variables)?;
        let weights = self.classes * self.dim;
        let bias = variables[weights..].iter().map(|variable| variable * other.bias);
        let x: Vec<f64> = numbers(&other.weights(&weight)?)?.chain(bias).collect();
        let value = self.evaluate(&x, c, gradient)?;
        let (by_weight, _) = self.parameters(gradient)?;
        let by_variables = numbers(&other.gradient(&by_weight)?)?;
        gradient.iter_mut().zip(by_variables).for_each(|(g, by)| *g = by);
        gradient[weights..].iter_mut().for_each(|g| *g *= other.bias);
        Ok((x, value))
    }

    /// Weight and bias of so many parameters.
    pub fn parameters(&self, x: &[f64]) -> Result<(Tensor, Tensor)> {
        let (weight, bias) = x.split_at(self.classes * self.dim);
        let narrow = |values: &[f64]| values.iter().map(|x| *x as f32).collect::<Vec<_>>();
        let shape = (self.classes, self.dim);
        Ok((
            Tensor::from_vec(narrow(weight), shape, &Device::Cpu)?,
            Tensor::from_vec(narrow(bias), self.classes, &Device::Cpu)?,
        ))
    }

    /// Mean cross-entropy and penalty at `x`; writes the gradient.
    pub fn evaluate(&self, x: &[f64], c: f64, gradient: &mut [f64]) -> Result<Value> {
        let (weight, bias) = self.parameters(x)?;
        gradient.fill(0.0);
        let mut loss = 0.0;
        for piece in &self.pieces {
            loss += self.add(piece, &weight, &bias, gradient)?;
        }
        let samples = self.samples as f64;
        let penalty = self.penalty(c);
        gradient.iter_mut().for_each(|g| *g /= samples);
        let weights = self.classes * self.dim;
        let mut squares = 0.0;
        for (g, x) in gradient[..weights].iter_mut().zip(x) {
            *g += penalty * x;
            squares += x * x;
        }
        let greatest = gradient.iter().fold(0.0, |most: f64, g| most.max(g.abs()));
        Ok(Value { objective: loss / samples + 0.5 * penalty * squares, gradient: greatest })
    }

    /// The curvature that the penalty adds. scikit-learn penalises the one row of weights that it has for two classes, `w`,
    /// where here are `w / 2` and `-w / 2`, with half its square.
    fn penalty(&self, c: f64) -> f64 {
        let c = if self.classes == 2 { c / 2.0 } else { c };
        1.0 / (c * self.samples as f64)
    }

    /// Adds the gradient of a piece's summed loss, and gives the loss.
    fn add(
        &self,
        piece: &Piece,
        weight: &Tensor,
        bias: &Tensor,
        gradient: &mut [f64],
    ) -> Result<f64> {
        let classes = self.classes;
        let scores = linear(&piece.x, weight, Some(bias), Compute::default())?;
        let mut scores = scores.flatten_all()?.to_vec1::<f32>()?;
        // Each sample's loss, then their sum in order: the same for any number of threads.
        let rows = scores.par_chunks_exact_mut(classes).zip(piece.labels.par_iter());
        let losses: Vec<f64> = rows.map(|(row, label)| residual(row, *label as usize)).collect();
        let residuals = transposed(&scores, piece.labels.len(), classes);
        let biases = &mut gradient[classes * self.dim..];
        biases.par_iter_mut().zip(residuals.par_chunks_exact(piece.labels.len())).for_each(
            |(sum, residuals)| *sum += residuals.iter().map(|r| f64::from(*r)).sum::<f64>(),
        );
        let shape = (classes, piece.labels.len());
        let residuals = Tensor::from_vec(residuals, shape, &Device::Cpu)?;
        let weights = linear(&residuals, &piece.transposed, None, Compute::default())?;
        let weights = weights.flatten_all()?.to_vec1::<f32>()?;
        gradient.iter_mut().zip(weights).for_each(|(sum, g)| *sum += f64::from(g));
        Ok(losses.iter().sum())
    }
}

/// The mean products of features, `[dim, dim]`.
fn products(pieces: &[Piece], dim: usize, samples: usize) -> Result<DMatrix<f64>> {
    let mut sum = DMatrix::<f64>::zeros(dim, dim);
    for piece in pieces {
        let product = linear(&piece.transposed, &piece.transposed, None, Compute::default())?;
        sum.iter_mut().zip(numbers(&product)?).for_each(|(sum, product)| *sum += product);
    }
    // Both halves are sums of the same products in another order.
    let transposed = sum.transpose();
    Ok((sum + transposed) / (2.0 * samples as f64))
}

/// A tensor's numbers in f64.
fn numbers(tensor: &Tensor) -> Result<impl Iterator<Item = f64> + use<>> {
    Ok(tensor.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f64::from))
}

/// The cross-entropy of a sample's scores, which become their gradient: softmax less the truth.
fn residual(scores: &mut [f32], label: usize) -> f64 {
    let greatest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let own = f64::from(scores[label] - greatest);
    scores.iter_mut().for_each(|score| *score = (*score - greatest).exp());
    let sum: f64 = scores.iter().map(|e| f64::from(*e)).sum();
    scores.iter_mut().for_each(|e| *e = (f64::from(*e) / sum) as f32);
    scores[label] -= 1.0;
    sum.ln() - own
}

/// `[columns, rows]` of a matrix `[rows, columns]`.
fn transposed(matrix: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = vec![0.0; matrix.len()];
    out.par_chunks_mut(LINE * rows).enumerate().for_each(|(task, out)| {
        let first = task * LINE;
        for (row, numbers) in matrix.chunks_exact(columns).enumerate() {
            for (column, number) in numbers[first..].iter().take(LINE).enumerate() {
                out[column * rows + row] = *number;
            }
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_is_transposed_whatever_its_width() {
        for (rows, columns) in [(1, 1), (3, 2), (5, 16), (4, 17), (2, 40)] {
            let matrix: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
            let out = transposed(&matrix, rows, columns);
            for (row, column) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
                assert_eq!(out[column * rows + row], matrix[row * columns + column]);
            }
        }
    }

    /// Central differences, where the loss is smooth enough for f32's digits.
    #[test]
    fn the_gradient_is_the_slope() {
        let values: Vec<f32> = (0..6 * 4).map(|i| (i as f32 * 1.7).sin()).collect();
        let values = Tensor::from_vec(values, (6, 4), &Device::Cpu).unwrap();
        for classes in [2u32, 3] {
            let labels = (0..6).map(|i| i % classes).collect();
            let features = Features::new(values.clone(), labels, classes as usize).unwrap();
            let standard = Standard::of(features.values(), true).unwrap();
            let objective = Objective::new(&features, &standard).unwrap();
            let x: Vec<f64> = (0..objective.len()).map(|i| (i as f64 * 0.9).cos()).collect();
            let mut gradient = vec![0.0; x.len()];
            let mut unused = gradient.clone();
            objective.evaluate(&x, 0.3, &mut gradient).unwrap();
            for i in 0..x.len() {
                let mut at = |step: f64| {
                    let mut moved = x.clone();
                    moved[i] += step;
                    objective.evaluate(&moved, 0.3, &mut unused).unwrap().objective
                };
                let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
                assert!((slope - gradient[i]).abs() < 1e-4, "{i}: {slope}, {}", gradient[i]);
            }
            // The same by other variables, at the same place.
            let other = objective.precondition(0.3).unwrap();
            let variables = objective.variables(&other, &x).unwrap();
            let (again, value) =
                objective.evaluate_by(&other, &variables, 0.3, &mut gradient).unwrap();
            assert!(again.iter().zip(&x).all(|(a, b)| (a - b).abs() < 1e-5));
            for i in 0..x.len() {
                let mut at = |step: f64| {
                    let mut moved = variables.clone();
                    moved[i] += step;
                    let (_, value) =
                        objective.evaluate_by(&other, &moved, 0.3, &mut unused).unwrap();
                    value.objective
                };
                let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
                assert!((slope - gradient[i]).abs() < 3e-4, "{i}: {slope}, {}", gradient[i]);
            }
            assert!(value.objective.is_finite());
        }
    }
}
