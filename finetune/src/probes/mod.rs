//! How good features are, without training the encoder that made them.

mod batch_norm;
mod features;
mod linear;
mod logistic;
mod neighbours;

pub use batch_norm::{BatchNorm, Mode};
pub use features::Features;
pub use linear::LinearProbe;
pub use logistic::{C_GRID, Fit, LogisticConfig, LogisticRegression, Search};
pub use neighbours::{Neighbours, Vote};

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    /// The same bits for any number of threads.
    #[test]
    fn threads_make_no_difference() {
        let values: Vec<f32> = (0..5000 * 24).map(|i| (i as f32 * 0.61).sin() * 2.0).collect();
        let values = Tensor::from_vec(values, (5000, 24), &Device::Cpu).unwrap();
        let labels = (0..5000).map(|i| i * 7 % 11 % 5).collect();
        let features = Features::new(values, labels, 5).unwrap();
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let model = LogisticRegression::fit(&features, &LogisticConfig::default()).unwrap();
                let weight = model.affine().weight.to_vec2::<f32>().unwrap();
                let asked = features.select(&[3, 700, 4999]).unwrap();
                let found = Neighbours::find(&features, &asked, 9).unwrap();
                (weight, model.result(), found.iter().collect::<Vec<_>>())
            })
        };
        let one = run(1);
        assert!(one.1.converged);
        assert_eq!(one, run(3));
    }
}
