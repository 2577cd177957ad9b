//! How much memory a training step is expected to need at its peak.

use crate::cost::{Cost, Tower};
use crate::{ModelShape, Result};

/// Weights, gradients and AdamW's two moments, in single precision.
const BYTES_PER_PARAMETER: f64 = 16.0;

/// What backward finds in memory: how many tensors of which shape the forward pass leaves there.
///
/// With B images, N tokens (class token included), width D, hidden width M and H heads, a tower of `depth` blocks keeps
///
/// ```text
/// bytes_per_value * depth * B * ( token_tensors     * N * D
///                               + mlp_tensors       * N * M
///                               + attention_tensors * H * N * N )
/// ```
///
/// and, around the two towers, `image_tensors` tensors as large as the batch of images. A tower that is computed again in
/// the backward pass keeps each block's input and, while it is worked on, the inside of one block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ActivationModel {
    /// Bytes of one value: 4 in single precision.
    pub bytes_per_value: f64,
    /// Tensors `[B, N, D]` a block keeps.
    pub token_tensors: f64,
    /// Tensors `[B, N, M]` a block keeps.
    pub mlp_tensors: f64,
    /// Tensors `[B, H, N, N]` a block keeps.
    pub attention_tensors: f64,
    /// Tensors as large as the images kept by patches, targets and loss.
    pub image_tensors: f64,
    /// Whether blocks are computed again in the backward pass.
    pub recomputed: bool,
    /// Bytes the process needs whatever the model: code, loader, allocator.
    pub process_bytes: f64,
}

impl ActivationModel {
    /// Plain candle operations, each a tensor of its own. A block then leaves two composed layer norms (5 tensors each),
    /// queries, keys and values as product, sum and contiguous heads (9), the scaled queries, the attended values in
    /// both layouts, two projections with and without bias (4) and two residual sums: 28 in all; the hidden layer as
    /// product, sum and GELU (3); attention's scores and the three steps of its softmax (4). To these the backward pass
    /// adds what it holds at the peak; the numbers here are fitted to measured peaks, from which the estimates of seven
    /// runs (nano to base, L = 64 to 784) then differ by 10% at most.
    pub fn plain() -> Self {
        Self {
            bytes_per_value: 4.0,
            token_tensors: 31.0,
            mlp_tensors: 4.0,
            attention_tensors: 6.5,
            image_tensors: 8.0,
            recomputed: false,
            process_bytes: 120e6,
        }
    }

    /// Fused blocks, which keep values of `bytes` bytes: both norms' results, queries, keys and values, what attention
    /// gives (6 tensors), the hidden layer before and after GELU (2), and in single precision the residual stream at the
    /// block's beginning and middle.
    pub fn fused(bytes: f64, recomputed: bool) -> Self {
        Self {
            bytes_per_value: bytes,
            token_tensors: 6.0 + 2.0 * 4.0 / bytes,
            mlp_tensors: 2.0,
            attention_tensors: 0.0,
            image_tensors: 6.0 * 4.0 / bytes,
            recomputed,
            process_bytes: 120e6,
        }
    }
}

/// Expected memory of a training step at its peak, in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Memory {
    /// Weights, their gradients and the optimiser's two moments: 16 bytes a parameter.
    pub parameter_bytes: f64,
    /// What the forward pass keeps for the backward pass.
    pub activation_bytes: f64,
    /// All of it, the process itself included.
    pub total_bytes: f64,
}

impl ModelShape {
    /// Expected memory of one training step on `batch` images.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) if the model's sizes contradict each other.
    pub fn memory_estimate(&self, batch: usize, model: &ActivationModel) -> Result<Memory> {
        Ok(self.memory(&self.cost()?, batch, model))
    }

    /// The same for the encoder alone, as a classifier has it.
    ///
    /// # Errors
    ///
    /// As [`Self::memory_estimate`].
    pub fn encoder_memory_estimate(&self, batch: usize, model: &ActivationModel) -> Result<Memory> {
        Ok(self.memory(&self.encoder_cost()?, batch, model))
    }

    fn memory(&self, cost: &Cost, batch: usize, model: &ActivationModel) -> Memory {
        let parameters = cost.encoder_parameters as f64 + cost.decoder_parameters as f64;
        let parameter_bytes = BYTES_PER_PARAMETER * parameters;
        let towers = [
            (&self.encoder, cost.encoder_tokens as f64),
            (&self.decoder, cost.decoder_tokens as f64),
        ];
        let kept: f64 =
            towers.iter().map(|(tower, tokens)| model.tower_values(tower, *tokens)).sum();
        let worked_on = towers.iter().map(|(tower, tokens)| model.block_values(tower, *tokens));
        let worked_on = if model.recomputed { worked_on.fold(0.0, f64::max) } else { 0.0 };
        let values_per_image = kept + worked_on + model.image_tensors * self.image_values();
        let activation_bytes = model.bytes_per_value * batch as f64 * values_per_image;
        Memory {
            parameter_bytes,
            activation_bytes,
            total_bytes: parameter_bytes + activation_bytes + model.process_bytes,
        }
    }
}

impl ActivationModel {
    /// Values one image leaves behind in a tower.
    fn tower_values(&self, tower: &Tower, tokens: f64) -> f64 {
        let inputs = 4.0 / self.bytes_per_value * tokens * tower.dim as f64;
        let block = if self.recomputed { inputs } else { self.block_values(tower, tokens) };
        tower.depth as f64 * block
    }

    /// Values one image leaves behind in a block that keeps everything.
    fn block_values(&self, tower: &Tower, tokens: f64) -> f64 {
        let per_token = self.token_tensors * tower.dim as f64 + self.mlp_tensors * tower.hidden();
        tokens * per_token + self.attention_tensors * tower.heads as f64 * tokens * tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ViT-B at 448 x 448, with the decoder of long sequences: L = 784.
    fn long() -> ModelShape {
        ModelShape {
            grid: (28, 28),
            patch_size: 16,
            channels: 3,
            kept: 196,
            encoder: Tower { dim: 768, depth: 12, heads: 12, mlp_ratio: 4.0 },
            decoder: Tower { dim: 384, depth: 8, heads: 12, mlp_ratio: 4.0 },
            decoder_downsampling: 1,
            pred_downsampling: 1,
            key_bias: true,
        }
    }

    #[test]
    fn the_plain_path_comes_near_what_was_measured() {
        // Peak resident memory of two steps on two cores, in GB.
        for (batch, measured) in [(1, 4.09e9), (2, 6.42e9)] {
            let memory = long().memory_estimate(batch, &ActivationModel::plain()).unwrap();
            let ratio = memory.total_bytes / measured;
            assert!((0.9..1.1).contains(&ratio), "batch {batch}: {ratio}");
        }
    }

    #[test]
    fn fused_blocks_come_near_what_was_measured() {
        // Batch of 4, two cores: bf16 and single precision.
        for (bytes, measured) in [(2.0, 2.32e9), (4.0, 2.88e9)] {
            let model = ActivationModel::fused(bytes, false);
            let ratio = long().memory_estimate(4, &model).unwrap().total_bytes / measured;
            assert!((0.9..1.1).contains(&ratio), "{bytes} bytes: {ratio}");
        }
        // L = 3136, batch of 1, computed again in the backward pass.
        let longest = ModelShape { grid: (56, 56), kept: 784, ..long() };
        for (bytes, measured) in [(2.0, 1.84e9), (4.0, 1.86e9)] {
            let model = ActivationModel::fused(bytes, true);
            let ratio = longest.memory_estimate(1, &model).unwrap().total_bytes / measured;
            assert!((0.9..1.1).contains(&ratio), "{bytes} bytes, computed again: {ratio}");
        }
    }

    #[test]
    fn each_term_is_the_one_documented() {
        let nothing = ActivationModel {
            bytes_per_value: 2.0,
            token_tensors: 0.0,
            mlp_tensors: 0.0,
            attention_tensors: 0.0,
            image_tensors: 0.0,
            recomputed: false,
            process_bytes: 7.0,
        };
        let activations = |model: ActivationModel| {
            let memory = long().memory_estimate(3, &model).unwrap();
            assert_eq!(memory.total_bytes, memory.parameter_bytes + memory.activation_bytes + 7.0);
            memory.activation_bytes / (2.0 * 3.0)
        };
        let (encoder, decoder) = (197.0, 785.0);
        assert_eq!(activations(nothing), 0.0);
        assert_eq!(
            activations(ActivationModel { token_tensors: 1.0, ..nothing }),
            12.0 * encoder * 768.0 + 8.0 * decoder * 384.0
        );
        assert_eq!(
            activations(ActivationModel { mlp_tensors: 1.0, ..nothing }),
            12.0 * encoder * 3072.0 + 8.0 * decoder * 1536.0
        );
        assert_eq!(
            activations(ActivationModel { attention_tensors: 1.0, ..nothing }),
            12.0 * 12.0 * encoder * encoder + 8.0 * 12.0 * decoder * decoder
        );
        assert_eq!(
            activations(ActivationModel { image_tensors: 1.0, ..nothing }),
            3.0 * 448.0 * 448.0
        );
    }

    #[test]
    fn an_encoder_alone_takes_less() {
        let model = ActivationModel::fused(4.0, false);
        let whole = long().memory_estimate(8, &model).unwrap();
        let encoder = long().encoder_memory_estimate(8, &model).unwrap();
        let decoder = 16.0 * long().cost().unwrap().decoder_parameters as f64;
        let positions = 16.0 * 785.0 * 768.0;
        assert_eq!(whole.parameter_bytes - encoder.parameter_bytes, decoder - positions);
        assert!(encoder.activation_bytes < whole.activation_bytes);
        let flops = long().encoder_cost().unwrap();
        assert!(flops.forward_flops < long().cost().unwrap().forward_flops);
        assert_eq!(flops.training_flops, 3.0 * flops.forward_flops);
    }

    #[test]
    fn parameters_take_sixteen_bytes_whatever_the_batch() {
        let model = ActivationModel::plain();
        let cost = long().cost().unwrap();
        let parameters = (cost.encoder_parameters + cost.decoder_parameters) as f64;
        for batch in [0, 1, 64] {
            let memory = long().memory_estimate(batch, &model).unwrap();
            assert_eq!(memory.parameter_bytes, 16.0 * parameters);
        }
        assert_eq!(long().memory_estimate(0, &model).unwrap().activation_bytes, 0.0);
    }
}
