//! The cost model counts what the models really have.

use candle_core::Device;
use longmae_mae::{DecoderConfig, Mae, MaeConfig};
use longmae_ops::Params;
use longmae_patching::PatchGrid;
use longmae_report::{ModelShape, Tower};
use longmae_vit::{Preset, TowerConfig};
use longmae_weights::is_encoder;

fn tower(config: TowerConfig) -> Tower {
    let TowerConfig { dim, depth, heads, mlp_ratio, .. } = config;
    Tower { dim, depth, heads, mlp_ratio }
}

/// Parameters of encoder and decoder, by building the model.
fn counted(config: MaeConfig) -> (u64, u64) {
    let params = Params::new(0, &Device::Cpu);
    Mae::new(config, &params).unwrap();
    let (encoder, decoder): (Vec<_>, Vec<_>) =
        params.trainable().into_iter().partition(|param| is_encoder(&param.name));
    let sum = |params: Vec<longmae_ops::Param>| {
        params.iter().map(|param| param.var.elem_count() as u64).sum()
    };
    (sum(encoder), sum(decoder))
}

/// The same, by the cost model.
fn predicted(config: MaeConfig) -> (u64, u64) {
    let grid = config.encoder.grid;
    let shape = ModelShape {
        grid: (grid.rows(), grid.cols()),
        patch_size: grid.patch(),
        channels: config.encoder.channels,
        kept: grid.len() / 4,
        encoder: tower(config.encoder.tower),
        decoder: tower(config.decoder.tower),
        decoder_downsampling: config.decoder.downsampling,
        pred_downsampling: config.decoder.pred_downsampling,
        key_bias: config.encoder.tower.key_bias,
    };
    let cost = shape.cost().unwrap();
    (cost.encoder_parameters, cost.decoder_parameters)
}

#[test]
fn parameters_are_counted_right() {
    for preset in [Preset::Nano, Preset::Tiny, Preset::Small, Preset::Base] {
        let grid = PatchGrid::new((224, 224), preset.patch_size()).unwrap();
        let config = MaeConfig::preset(preset, grid, 3);
        assert_eq!(predicted(config), counted(config), "{preset}");
    }
}

#[test]
fn variants_are_counted_right() {
    let grid = PatchGrid::new((64, 96), 8).unwrap();
    let plain = MaeConfig::preset(Preset::Nano, grid, 5);
    let mut no_key_bias = plain;
    no_key_bias.encoder.tower.key_bias = false;
    no_key_bias.decoder.tower.key_bias = false;
    let decoder = |downsampling, pred_downsampling| MaeConfig {
        decoder: DecoderConfig { downsampling, pred_downsampling, ..plain.decoder },
        ..plain
    };
    for config in [plain, no_key_bias, decoder(2, 1), decoder(2, 2), decoder(4, 2)] {
        assert_eq!(predicted(config), counted(config), "{config:?}");
    }
}
