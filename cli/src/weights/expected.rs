//! Names and shapes of a model: those of the model here, built with one block, which stands for all.

use std::collections::BTreeMap;

use candle_core::Device;
use longmae_mae::Mae;
use longmae_ops::Params;
use longmae_weights::{ModelInfo, TowerInfo, is_decoder};

use crate::pretrain::mae_config;

/// Shapes by MAE's names.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// Names and shapes of the encoder that `info` describes, and of its decoder if it has one.
pub fn expected(info: &ModelInfo) -> anyhow::Result<Shapes> {
    let one_block = |tower: &TowerInfo| TowerInfo { depth: 1, ..tower.clone() };
    let decoder = info.decoder.as_ref();
    let config = mae_config(&ModelInfo {
        encoder: one_block(&info.encoder),
        decoder: decoder.map(one_block),
        ..info.clone()
    })?;
    let params = Params::new(0, &Device::Cpu);
    Mae::new(config, &params)?;
    let mut shapes = Shapes::new();
    for param in params.all() {
        let (name, shape) = (param.name, param.var.dims().to_vec());
        let depth = match (is_decoder(&name), decoder) {
            (true, None) => continue,
            (true, Some(tower)) => tower.depth,
            (false, _) => info.encoder.depth,
        };
        match name.split_once("blocks.0.") {
            None => _ = shapes.insert(name, shape),
            Some((list, inner)) => shapes.extend(
                (0..depth).map(|block| (format!("{list}blocks.{block}.{inner}"), shape.clone())),
            ),
        }
    }
    Ok(shapes)
}

#[cfg(test)]
mod tests {
    use longmae_mae::{DecoderConfig, MaeConfig};
    use longmae_patching::PatchGrid;
    use longmae_vit::{TowerConfig, VitConfig};

    use super::*;

    #[test]
    fn they_are_the_whole_models() {
        for (key_bias, downsampling, pred_downsampling) in
            [(true, 1, 1), (false, 4, 2), (true, 2, 1)]
        {
            let grid = PatchGrid::new((32, 64), 8).unwrap();
            let tower = |dim, depth| TowerConfig { key_bias, ..TowerConfig::new(dim, depth, 2) };
            let config = MaeConfig {
                encoder: VitConfig { grid, channels: 4, tower: tower(16, 3) },
                decoder: DecoderConfig { tower: tower(8, 2), downsampling, pred_downsampling },
                norm_pix_loss: true,
            };
            let params = Params::new(0, &Device::Cpu);
            Mae::new(config, &params).unwrap();
            let all: Shapes =
                params.all().into_iter().map(|p| (p.name, p.var.dims().to_vec())).collect();
            let towers = |dim, depth| TowerInfo { dim, depth, heads: 2, mlp_ratio: 4.0 };
            let mut info = ModelInfo {
                image_size: [32, 64],
                patch_size: 8,
                channels: 4,
                mean: vec![0.5; 4],
                std: vec![0.5; 4],
                mask_unit: 1,
                mask_ratio: 0.75,
                mask_strategy: "random".into(),
                mask_count: "published".into(),
                encoder: towers(16, 3),
                decoder: Some(towers(8, 2)),
                decoder_downsampling: downsampling,
                pred_downsampling,
                key_bias,
                norm_pix_loss: true,
                layer_norm_eps: 1e-6,
                steps: 0,
                epochs: None,
                loss: None,
                code_version: "0".into(),
                classifier: None,
                detector: None,
            };
            assert_eq!(expected(&info).unwrap(), all);
            info.decoder = None;
            let encoder: Shapes = all.into_iter().filter(|(name, _)| !is_decoder(name)).collect();
            assert_eq!(expected(&info).unwrap(), encoder);
        }
    }
}
