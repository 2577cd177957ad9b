//! Attention over a grid: windows and relative positions, against the block of plain operations.

use candle_core::{Result, Tensor};
use longmae_ops::{BlockWeights, Compute, GridAttention, reference, transformer_block};

use super::common::block::{Sizes, window_block};
use super::common::{
    BF16, Draw, FP32, assert_all_near, assert_same_bits, oracle, random, run, within,
};

const GRIDS: [((usize, usize), Option<usize>); 8] = [
    ((1, 1), None),
    ((3, 5), None),
    ((16, 16), None),
    ((20, 11), None),
    ((4, 6), Some(2)),
    ((5, 7), Some(3)),
    ((3, 2), Some(4)),
    ((16, 15), Some(14)),
];

struct Case {
    sizes: Sizes,
    grid: (usize, usize),
    window: Option<usize>,
    key_bias: bool,
}

impl Case {
    fn new((grid, window): ((usize, usize), Option<usize>), key_bias: bool) -> Self {
        let sizes =
            Sizes { batch: 2, tokens: grid.0 * grid.1, dim: 24, hidden: 32, heads: 3, key_bias };
        Self { sizes, grid, window, key_bias }
    }

    /// The input, the block's tensors and the two tables, of which one is of another side.
    fn inputs(&self) -> Vec<Tensor> {
        let (rows, cols) = self.window.map_or(self.grid, |side| (side, side));
        let mut inputs = vec![self.sizes.x()];
        inputs.extend(self.sizes.tensors());
        let width = self.sizes.dim / self.sizes.heads;
        inputs.push((random((2 * rows - 1, width), 31) * 0.5).unwrap());
        inputs.push((random((2 * (cols + 2) - 1, width), 32) * 0.5).unwrap());
        inputs
    }

    fn weights(&self, inputs: &[Tensor]) -> BlockWeights {
        let tables = inputs.len() - 2;
        let rel_pos = Some([inputs[tables].clone(), inputs[tables + 1].clone()]);
        let grid = GridAttention { grid: self.grid, window: self.window, rel_pos };
        BlockWeights { grid: Some(grid), ..self.sizes.weights(&inputs[1..tables]) }
    }

    fn fused(&self, inputs: &[Tensor], compute: Compute) -> Result<Tensor> {
        let scales = Some(self.sizes.scales());
        transformer_block(&inputs[0], &self.weights(inputs), scales, compute)
    }

    fn plain(&self, inputs: &[Tensor]) -> Result<Tensor> {
        window_block(&inputs[0], &self.weights(inputs), Some(&self.sizes.scales()))
    }

    fn name(&self) -> String {
        format!("{:?} in windows of {:?}, key bias {}", self.grid, self.window, self.key_bias)
    }
}

#[test]
fn it_is_the_plain_block() {
    for case in GRIDS.iter().flat_map(|grid| [true, false].map(|bias| Case::new(*grid, bias))) {
        let inputs = case.inputs();
        let expected = oracle(Draw::Full, &inputs, |x| case.plain(x));
        for (compute, tolerance) in [(FP32, within(3e-6, 3e-6)), (BF16, within(3e-2, 3e-2))] {
            let found = run(Draw::Full, &inputs, |x| case.fused(x, compute)).unwrap();
            let what = format!("{} {}", case.name(), compute.precision);
            assert_all_near(&what, &found, &expected, tolerance);
        }
    }
}

#[test]
fn computing_again_changes_nothing() {
    let case = Case::new(((5, 7), Some(3)), true);
    let inputs = case.inputs();
    let kept = run(Draw::Full, &inputs, |x| case.fused(x, FP32)).unwrap();
    let compute = Compute { grad_checkpoint: true, ..FP32 };
    let again = run(Draw::Full, &inputs, |x| case.fused(x, compute)).unwrap();
    assert_same_bits("grid attention", &again, &kept);
}

#[test]
fn windows_without_positions_do_without_tables() {
    let case = Case::new(((5, 7), Some(3)), true);
    let inputs = case.inputs();
    let plainly = |inputs: &[Tensor]| {
        let mut weights = case.weights(inputs);
        weights.grid.as_mut().unwrap().rel_pos = None;
        weights
    };
    let inputs = &inputs[..inputs.len() - 2];
    let with_tables = |x: &[Tensor]| [x, &case.inputs()[inputs.len()..]].concat();
    let expected =
        run(Draw::Full, inputs, |x| window_block(&x[0], &plainly(&with_tables(x)), None));
    let found = run(Draw::Full, inputs, |x| {
        transformer_block(&x[0], &plainly(&with_tables(x)), None, FP32)
    });
    assert_all_near("windows", &found.unwrap(), &expected.unwrap(), within(3e-6, 3e-6));
}

#[test]
fn grids_that_do_not_fit_are_refused() {
    let case = Case::new(((5, 7), Some(3)), true);
    let inputs = case.inputs();
    let refused = |change: &dyn Fn(&mut GridAttention)| {
        let mut weights = case.weights(&inputs);
        change(weights.grid.as_mut().unwrap());
        transformer_block(&inputs[0], &weights, None, FP32).is_err()
    };
    assert!(!refused(&|_| {}));
    assert!(refused(&|grid| grid.grid = (5, 6)));
    assert!(refused(&|grid| grid.window = Some(0)));
    assert!(refused(&|grid| grid.rel_pos.as_mut().unwrap()[0] = random((5, 7), 1)));
    assert!(refused(&|grid| grid.rel_pos.as_mut().unwrap()[0] = random(8, 1)));
}

/// The block of plain operations, for the tests of other grids too.
#[test]
fn relative_positions_are_a_sum_over_pairs() {
    let (rows, cols, width) = (2, 3, 4);
    let qkv = random((1, rows * cols, 3 * width), 1);
    let tables = [random((2 * rows - 1, width), 2), random((2 * cols - 1, width), 3)];
    let found = reference::attention_with_positions(&qkv, 1, (rows, cols), &tables).unwrap();
    let qkv: Vec<Vec<f32>> = qkv.squeeze(0).unwrap().to_vec2().unwrap();
    let tables = tables.map(|t| t.to_vec2::<f32>().unwrap());
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    for (q, found) in found.squeeze(0).unwrap().to_vec2::<f32>().unwrap().iter().enumerate() {
        let query = &qkv[q][..width];
        let score = |k: usize| {
            let by_row = dot(query, &tables[0][q / cols + rows - 1 - k / cols]);
            let by_col = dot(query, &tables[1][q % cols + cols - 1 - k % cols]);
            dot(query, &qkv[k][width..2 * width]) / (width as f32).sqrt() + by_row + by_col
        };
        let weights: Vec<f32> = (0..rows * cols).map(|k| score(k).exp()).collect();
        let total: f32 = weights.iter().sum();
        for (i, found) in found.iter().enumerate() {
            let mixed: f32 = (0..rows * cols).map(|k| weights[k] * qkv[k][2 * width + i]).sum();
            assert!((mixed / total - found).abs() < 1e-4, "query {q}, {i}");
        }
    }
}
