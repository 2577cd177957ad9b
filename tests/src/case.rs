use candle_core::{Device, Tensor};
use longmae_mae::{DecoderConfig, Mae, MaeConfig};
use longmae_masking::{MaskBatch, MaskPlan};
use longmae_ops::{Compute, Params};
use longmae_patching::PatchGrid;
use longmae_vit::{TowerConfig, VitConfig};
use serde_json::Value;

use crate::{Fixture, ids};

/// A masked autoencoder of a fixture, with its weights, its batch and its masks.
pub struct Case {
    /// The model.
    pub mae: Mae,
    /// Its parameters.
    pub params: Params,
    /// `[batch, channels, height, width]`.
    pub images: Tensor,
    /// The fixture's masks.
    pub masks: MaskBatch,
    /// Side of a mask unit.
    pub mask_unit: usize,
    /// Mask ratio.
    pub mask_ratio: f64,
}

impl Case {
    /// Builds the model that a fixture describes. Settings that it does not name are those of the reference
    /// model of the larger set: 64 x 64 images in patches of 8, encoder 48x3x3, decoder 32x2x4.
    pub fn new(fixture: &Fixture, compute: Compute) -> Self {
        let case: Value = serde_json::from_str(&fixture.case).unwrap();
        let number = |names: [&str; 2], default: u64| {
            let value = names.iter().find_map(|name| case[*name].as_u64());
            value.unwrap_or(default) as usize
        };
        let flag =
            |names: [&str; 2]| names.iter().find_map(|name| case[*name].as_bool()).unwrap_or(true);
        let images = fixture.get("imgs").clone();
        let (_, channels, height, width) = images.dims4().unwrap();
        let grid = PatchGrid::new((height, width), number(["patch_size", "p"], 8)).unwrap();
        let key_bias = flag(["key_bias", "k_bias"]);
        let tower =
            |dim, depth, heads| TowerConfig { key_bias, ..TowerConfig::new(dim, depth, heads) };
        let config = MaeConfig {
            encoder: VitConfig {
                grid,
                channels,
                tower: tower(
                    number(["dim"; 2], 48),
                    number(["depth"; 2], 3),
                    number(["heads"; 2], 3),
                ),
            },
            decoder: DecoderConfig {
                tower: tower(
                    number(["decoder_dim"; 2], 32),
                    number(["decoder_depth"; 2], 2),
                    number(["decoder_heads"; 2], 4),
                ),
                downsampling: number(["decoder_downsampling", "dec_down"], 1),
                pred_downsampling: number(["pred_downsampling", "pred_down"], 1),
            },
            norm_pix_loss: flag(["norm_pix_loss", "norm_pix"]),
        };
        let params = Params::new(0, &Device::Cpu).computing(compute);
        let mae = Mae::new(config, &params).unwrap();
        set_weights(&params, fixture);
        let plans = plans(&ids(fixture.get("ids_shuffle")), fixture.get("ids_keep").dims()[1]);
        Self {
            mae,
            params,
            images,
            masks: MaskBatch::stack(&plans, &Device::Cpu).unwrap(),
            mask_unit: number(["mask_unit"; 2], 1),
            mask_ratio: case["mask_ratio"].as_f64().unwrap(),
        }
    }
}

/// Sets every parameter from `weights.NAME`; a name on one side only is a failure.
pub(crate) fn set_weights(params: &Params, fixture: &Fixture) {
    let all = params.all();
    for param in &all {
        param.var.set(fixture.get(&format!("weights.{}", param.name))).unwrap();
    }
    assert_eq!(fixture.below("weights.").len(), all.len(), "number of weights");
}

fn plans(orders: &[Vec<u32>], kept: usize) -> Vec<MaskPlan> {
    orders.iter().map(|order| MaskPlan::from_order(order, kept).unwrap()).collect()
}
