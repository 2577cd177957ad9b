use longmae_mae::{DecoderConfig, MaeConfig};
use longmae_patching::PatchGrid;
use longmae_vit::{TowerConfig, VitConfig};
use longmae_weights::{ModelInfo, TowerInfo};

/// The model that a weight file describes; `decoder` stands in where it knows of none.
pub fn mae_config(info: &ModelInfo, decoder: TowerConfig) -> MaeConfig {
    let [height, width] = info.image_size;
    let tower = |tower: &TowerInfo| TowerConfig {
        dim: tower.dim,
        depth: tower.depth,
        heads: tower.heads,
        mlp_ratio: tower.mlp_ratio,
        key_bias: info.key_bias,
        layer_norm_eps: info.layer_norm_eps,
    };
    MaeConfig {
        encoder: VitConfig {
            grid: PatchGrid::new((height, width), info.patch_size).unwrap(),
            channels: info.channels,
            tower: tower(&info.encoder),
        },
        decoder: DecoderConfig {
            tower: info.decoder.as_ref().map_or(decoder, tower),
            downsampling: info.decoder_downsampling,
            pred_downsampling: info.pred_downsampling,
        },
        norm_pix_loss: info.norm_pix_loss,
    }
}

/// What a weight file says of a model; what the model does not know is as MAE has it for ImageNet.
pub fn model_info(config: &MaeConfig) -> ModelInfo {
    let (height, width) = config.encoder.grid.image_size();
    let channels = config.encoder.channels;
    let [mean, std] = match channels {
        3 => [vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225]],
        _ => [vec![0.45; channels], vec![0.225; channels]],
    };
    ModelInfo {
        image_size: [height, width],
        patch_size: config.encoder.grid.patch(),
        channels,
        mean,
        std,
        mask_unit: 1,
        mask_ratio: 0.75,
        mask_strategy: "random".to_owned(),
        mask_count: "published".to_owned(),
        encoder: tower(&config.encoder.tower),
        decoder: Some(tower(&config.decoder.tower)),
        decoder_downsampling: config.decoder.downsampling,
        pred_downsampling: config.decoder.pred_downsampling,
        key_bias: config.encoder.tower.key_bias,
        norm_pix_loss: config.norm_pix_loss,
        layer_norm_eps: config.encoder.tower.layer_norm_eps,
        steps: 0,
        epochs: None,
        loss: None,
        code_version: env!("CARGO_PKG_VERSION").to_owned(),
        classifier: None,
        detector: None,
    }
}

fn tower(config: &TowerConfig) -> TowerInfo {
    let TowerConfig { dim, depth, heads, mlp_ratio, .. } = *config;
    TowerInfo { dim, depth, heads, mlp_ratio }
}
