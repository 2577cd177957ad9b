//! What a detector computes for an image: multiply-adds of its products, by the shapes alone.

use longmae_finetune::detect::{DetectorConfig, FeaturePyramid};
use longmae_vit::WindowedVitConfig;

/// Floating-point operations for an image, two a multiply-add.
pub struct Cost {
    pub backbone: f64,
    /// The pyramid and the proposals.
    pub maps: f64,
    /// Boxes and masks of as many regions as training takes.
    pub heads: f64,
}

impl Cost {
    pub fn of(config: &DetectorConfig) -> Self {
        let flops = |products: f64| 2.0 * products;
        Self {
            backbone: flops(backbone(&config.vit)),
            maps: flops(pyramid(config) + proposals(config)),
            heads: flops(heads(config)),
        }
    }

    pub fn forward(&self) -> f64 {
        self.backbone + self.maps + self.heads
    }
}

fn backbone(vit: &WindowedVitConfig) -> f64 {
    let WindowedVitConfig { grid, channels, tower, window, global_blocks, .. } = *vit;
    let (tokens, dim) = (grid.len() as f64, tower.dim as f64);
    let hidden = (dim * tower.mlp_ratio).floor();
    let linear = tokens * (4.0 * dim * dim + 2.0 * dim * hidden);
    // Queries with keys, weights with values; queries with the tables of rows and columns.
    let attention = |rows: usize, cols: usize, windows: f64| {
        let own = (rows * cols) as f64;
        windows * own * dim * (2.0 * own + (rows + cols) as f64)
    };
    let windows = (grid.rows().div_ceil(window) * grid.cols().div_ceil(window)) as f64;
    let global = global_blocks as f64 * attention(grid.rows(), grid.cols(), 1.0);
    let windowed = (tower.depth - global_blocks) as f64 * attention(window, window, windows);
    let embedding = tokens * (grid.patch() * grid.patch() * channels) as f64 * dim;
    embedding + tower.depth as f64 * linear + global + windowed
}

/// Pixels of each map of the pyramid.
fn pixels(config: &DetectorConfig) -> [f64; FeaturePyramid::LEVELS] {
    let tokens = config.vit.grid.len() as f64;
    [16.0, 4.0, 1.0, 0.25, 0.0625].map(|share| share * tokens)
}

fn pyramid(config: &DetectorConfig) -> f64 {
    let (dim, out) = (config.vit.tower.dim as f64, config.channels as f64);
    let tokens = config.vit.grid.len() as f64;
    let up = |pixels: f64, inputs: f64| pixels * inputs * (inputs / 2.0) * 4.0;
    let [four, two, same, half, _] = pixels(config);
    let up = 2.0 * up(tokens, dim) + up(4.0 * tokens, dim / 2.0);
    let reduce = four * dim / 4.0 * out + two * dim / 2.0 * out + (same + half) * dim * out;
    up + reduce + (four + two + same + half) * 9.0 * out * out
}

fn proposals(config: &DetectorConfig) -> f64 {
    let out = config.channels as f64;
    let convolutions = config.rpn.convolutions as f64 * 9.0 * out * out;
    let judged = 5.0 * config.rpn.anchors.ratios.len() as f64 * out;
    pixels(config).iter().sum::<f64>() * (convolutions + judged)
}

fn heads(config: &DetectorConfig) -> f64 {
    let heads = &config.heads;
    let (regions, head) = (heads.samples as f64, heads.box_head);
    let area = (head.side * head.side) as f64;
    let (out, width, classes) = (head.channels as f64, head.width as f64, head.classes as f64);
    let boxes = if head.class_agnostic { 4.0 } else { 4.0 * classes };
    let convolutions = |count: usize| count as f64 * 9.0 * out * out;
    let of_box =
        area * (convolutions(head.convolutions) + out * width) + width * (classes + 1.0 + boxes);
    let of_mask = heads.mask_head.map_or(0.0, |head| {
        let area = (head.side * head.side) as f64;
        let channels = if head.class_agnostic { 1.0 } else { classes };
        area * (convolutions(head.convolutions) + 4.0 * out * out + 4.0 * out * channels)
    });
    heads.stages.len() as f64 * regions * of_box + heads.fraction * regions * of_mask
}

#[cfg(test)]
mod tests {
    use longmae_patching::PatchGrid;
    use longmae_vit::Preset;

    use super::*;

    /// Published: ViTDet's ViT-B takes about 800 GFLOP (multiply-adds) at 1024 x 1024, head and all.
    #[test]
    fn vit_base_at_1024_takes_what_is_published() {
        let grid = |side| PatchGrid::new((side, side), 16).unwrap();
        let vit = WindowedVitConfig::new(grid(1024), grid(224), Preset::Base.tower());
        let cost = Cost::of(&DetectorConfig::mask_rcnn(vit, 80, true));
        // By hand, in billions: 347.9 in linear layers, 104.7 in global attention, 12.6 in windows, 2.4 in patches.
        assert!((cost.backbone / 2e9 - 467.6).abs() < 0.2, "{}", cost.backbone / 2e9);
        let forward = cost.forward() / 2e9;
        assert!((600.0..1000.0).contains(&forward), "{forward}");
    }
}
