//! The windowed Vision Transformer and the pyramid against detectron2's formulas.

use candle_core::{Device, Tensor};
use longmae_finetune::detect::FeaturePyramid;
use longmae_ops::{Compute, Params};
use longmae_vit::{PatchGrid, TowerConfig, WindowedVit, WindowedVitConfig};

use super::fixture::{FUSED, Fixture, GRADIENT, OUTPUT, REFERENCE, assert_close, channels_first};

struct Case {
    fixture: Fixture,
    params: Params,
    net: WindowedVit,
    pyramid: FeaturePyramid,
}

fn grid((rows, cols): (usize, usize), patch: usize) -> PatchGrid {
    PatchGrid::new((rows * patch, cols * patch), patch).unwrap()
}

impl Case {
    fn new(compute: Compute) -> Self {
        let fixture = Fixture::open("backbone");
        let patch = fixture.number("patch");
        let params = Params::new(0, &Device::Cpu).computing(compute);
        let number = |name| fixture.number(name);
        let config = WindowedVitConfig {
            window: number("window"),
            global_blocks: number("global_blocks"),
            ..WindowedVitConfig::new(
                grid(fixture.pair("grid"), patch),
                grid(fixture.pair("pretrain_grid"), patch),
                TowerConfig::new(number("dim"), number("depth"), number("heads")),
            )
        };
        let pyramid = FeaturePyramid::new(number("dim"), number("channels"), &params).unwrap();
        let net = WindowedVit::new(config, &params.pp("net")).unwrap();
        fixture.set_weights(&params);
        Self { fixture, params, net, pyramid }
    }

    /// Tokens as a map.
    fn map(&self, net: &WindowedVit, images: &str) -> Tensor {
        let tokens = net.encode(self.fixture.get(images), None).unwrap();
        let (batch, _, dim) = tokens.dims3().unwrap();
        let grid = net.config().grid;
        tokens.reshape((batch, grid.rows(), grid.cols(), dim)).unwrap()
    }
}

#[test]
fn features_pyramid_and_gradients_are_detectron2s() {
    for compute in [FUSED, REFERENCE, Compute { grad_checkpoint: true, ..FUSED }] {
        let case = Case::new(compute);
        let map = case.map(&case.net, "imgs");
        assert_close("features", &map, case.fixture.get("features"), OUTPUT);
        let mut loss = Tensor::zeros((), candle_core::DType::F32, &Device::Cpu).unwrap();
        for (level, found) in (2..).zip(case.pyramid.forward(&map).unwrap()) {
            let found = channels_first(&found);
            let name = format!("p{level}");
            assert_close(&name, &found, case.fixture.get(&name), OUTPUT);
            let part = (found * case.fixture.get(&format!("dp{level}"))).unwrap();
            loss = (loss + part.sum_all().unwrap()).unwrap();
        }
        let what = compute.kernels.to_string();
        case.fixture.check_gradients(&case.params, &loss, GRADIENT, &what);
    }
}

#[test]
fn another_size_resizes_positions() {
    for compute in [FUSED, REFERENCE] {
        let case = Case::new(compute);
        let other = grid(case.fixture.pair("other_grid"), case.fixture.number("patch"));
        let net = case.net.on_grid(other).unwrap();
        let map = case.map(&net, "other.imgs");
        assert_close("features", &map, case.fixture.get("other.features"), OUTPUT);
        assert!(case.net.on_grid(PatchGrid::new((8, 8), 4).unwrap()).is_err());
    }
}
