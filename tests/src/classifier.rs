use candle_core::{DType, Device, Tensor};
use longmae_data::Targets;
use longmae_finetune::{Classifier, ClassifierConfig, Pool, soft_cross_entropy};
use longmae_ops::{Compute, Params};
use longmae_patching::PatchGrid;
use longmae_vit::{TowerConfig, VitConfig};
use serde_json::Value;

use crate::Fixture;
use crate::case::set_weights;

/// A classifier of a fixture, with its weights and its batch.
pub struct ClassifierCase {
    /// The model.
    pub model: Classifier,
    /// Its parameters.
    pub params: Params,
    /// `[batch, channels, height, width]`.
    pub images: Tensor,
    /// `[batch, classes]`.
    pub targets: Tensor,
}

impl ClassifierCase {
    /// Builds the model that a fixture describes. The larger set's has no description: 64 x 64 images in patches of 8, 48x3x3,
    /// 10 classes, mean pooling, labels smoothed by 0.1.
    pub fn new(fixture: &Fixture, compute: Compute) -> Self {
        let case: Value = serde_json::from_str(&fixture.case).unwrap_or_default();
        let number = |name: &str, default| case[name].as_u64().unwrap_or(default) as usize;
        let images = fixture.get("imgs").clone();
        let (_, channels, height, width) = images.dims4().unwrap();
        let grid = PatchGrid::new((height, width), number("patch_size", 8)).unwrap();
        let tower = TowerConfig::new(number("dim", 48), number("depth", 3), number("heads", 3));
        let classes = number("classes", 10);
        let pool = case["pool"].as_str().map_or(Pool::Mean, |pool| pool.parse().unwrap());
        let config = ClassifierConfig { vit: VitConfig { grid, channels, tower }, classes, pool };
        let params = Params::new(0, &Device::Cpu).computing(compute);
        let model = Classifier::new(config, &params).unwrap();
        set_weights(&params, fixture);
        let targets = match fixture.below("labels").first() {
            Some((_, labels)) => smoothed(labels, classes),
            None => fixture.get("targets").clone(),
        };
        Self { model, params, images, targets }
    }

    /// The loss, a scalar.
    pub fn loss(&self) -> Tensor {
        soft_cross_entropy(&self.model.forward(&self.images, None).unwrap(), &self.targets).unwrap()
    }
}

fn smoothed(labels: &Tensor, classes: usize) -> Tensor {
    let labels: Vec<u32> = labels.to_dtype(DType::U32).and_then(|t| t.to_vec1()).unwrap();
    let labels: Vec<usize> = labels.into_iter().map(|label| label as usize).collect();
    let rows = Targets::new(classes, 0.1).unwrap().smoothed(&labels).unwrap();
    Tensor::from_vec(rows, (labels.len(), classes), &Device::Cpu).unwrap()
}
