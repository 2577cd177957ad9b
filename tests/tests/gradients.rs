//! Every trainable parameter of every variant gets a finite, non-zero gradient.

use candle_core::{Device, Tensor};
use longmae_mae::{DecoderConfig, Mae, MaeConfig};
use longmae_masking::{MaskBatch, MaskCount, MaskDesign};
use longmae_ops::Params;
use longmae_patching::PatchGrid;
use longmae_vit::{DropPath, TowerConfig, VitConfig};
use rand::RngCore;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const BATCH: usize = 4;

/// One way to build the model.
#[derive(Clone, Copy)]
struct Variant {
    image: (usize, usize),
    channels: usize,
    strategy: &'static str,
    unit: usize,
    downsampling: usize,
    pred_downsampling: usize,
    key_bias: bool,
    norm_pix_loss: bool,
    drop_path: f64,
}

const PLAIN: Variant = Variant {
    image: (32, 32),
    channels: 3,
    strategy: "random",
    unit: 2,
    downsampling: 1,
    pred_downsampling: 1,
    key_bias: true,
    norm_pix_loss: true,
    drop_path: 0.0,
};

fn variants() -> Vec<Variant> {
    vec![
        PLAIN,
        Variant { norm_pix_loss: false, ..PLAIN },
        Variant { key_bias: false, ..PLAIN },
        Variant { downsampling: 2, ..PLAIN },
        Variant { downsampling: 2, pred_downsampling: 2, ..PLAIN },
        Variant { downsampling: 4, pred_downsampling: 2, ..PLAIN },
        Variant { channels: 1, unit: 1, ..PLAIN },
        Variant { channels: 5, unit: 4, ..PLAIN },
        Variant { image: (24, 40), unit: 3, ..PLAIN },
        Variant { strategy: "block", ..PLAIN },
        Variant { strategy: "grid", ..PLAIN },
        Variant { drop_path: 0.2, ..PLAIN },
    ]
}

impl Variant {
    fn grid(&self) -> PatchGrid {
        PatchGrid::new(self.image, 4).unwrap()
    }

    fn config(&self) -> MaeConfig {
        let tower = |dim, depth, heads| TowerConfig {
            key_bias: self.key_bias,
            ..TowerConfig::new(dim, depth, heads)
        };
        MaeConfig {
            encoder: VitConfig {
                grid: self.grid(),
                channels: self.channels,
                tower: tower(24, 3, 3),
            },
            decoder: DecoderConfig {
                tower: tower(16, 2, 2),
                downsampling: self.downsampling,
                pred_downsampling: self.pred_downsampling,
            },
            norm_pix_loss: self.norm_pix_loss,
        }
    }

    fn masks(&self, rng: &mut dyn RngCore) -> MaskBatch {
        let design = MaskDesign { unit: self.unit, ratio: 0.75, count: MaskCount::Published };
        let strategy = design.strategy(self.strategy).unwrap();
        let plans: Vec<_> = (0..BATCH).map(|_| strategy.plan(self.grid(), rng).unwrap()).collect();
        MaskBatch::stack(&plans, &Device::Cpu).unwrap()
    }

    fn images(&self, rng: &mut dyn RngCore) -> Tensor {
        let shape = (BATCH, self.channels, self.image.0, self.image.1);
        let count = BATCH * self.channels * self.image.0 * self.image.1;
        let values: Vec<f32> =
            (0..count).map(|_| rng.next_u32() as f32 / u32::MAX as f32 - 0.5).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }
}

#[test]
fn every_parameter_of_every_variant_learns() {
    for (number, variant) in variants().iter().enumerate() {
        let mut rng = ChaCha8Rng::seed_from_u64(number as u64);
        let images = variant.images(&mut rng);
        let turned = images.transpose(2, 3).unwrap().contiguous().unwrap();
        let turned = turned.transpose(2, 3).unwrap();
        assert!(!turned.is_contiguous());
        let masks = variant.masks(&mut rng);
        let draws: Vec<_> =
            (0..BATCH).map(|_| DropPath::draw(variant.drop_path, 3, &mut rng).unwrap()).collect();
        let drop = DropPath::stack(&draws).unwrap();

        let params = Params::new(7, &Device::Cpu);
        let mae = Mae::new(variant.config(), &params).unwrap();
        for images in [&images, &turned] {
            let loss = mae.forward(images, &masks, Some(&drop)).unwrap().loss;
            let gradients = longmae_ops::backward(&loss).unwrap();
            for param in params.trainable() {
                let name = &param.name;
                let gradient = gradients
                    .get(&param.var)
                    .unwrap_or_else(|| panic!("variant {number}: `{name}` has no gradient"));
                let size = gradient.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
                assert!(size.is_finite() && size > 0.0, "variant {number}: `{name}`: {size}");
            }
        }
    }
}

#[test]
fn the_layout_of_the_input_changes_nothing() {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let (images, masks) = (PLAIN.images(&mut rng), PLAIN.masks(&mut rng));
    let mae = Mae::new(PLAIN.config(), &Params::new(7, &Device::Cpu)).unwrap();
    let turned = images.transpose(2, 3).unwrap().contiguous().unwrap().transpose(2, 3).unwrap();
    let loss = |images| mae.forward(images, &masks, None).unwrap().loss.to_scalar::<f32>().unwrap();
    assert_eq!(loss(&images), loss(&turned));
}

#[test]
fn the_same_seed_gives_the_same_model() {
    let values = |seed| {
        let params = Params::new(seed, &Device::Cpu);
        Mae::new(PLAIN.config(), &params).unwrap();
        let weight = params.all().into_iter().find(|p| p.name == "blocks.1.mlp.fc1.weight");
        weight.unwrap().var.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    assert_eq!(values(3), values(3));
    assert_ne!(values(3), values(4));
}
