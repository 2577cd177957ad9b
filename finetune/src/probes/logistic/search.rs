use super::objective::Objective;
use super::standard::Standard;
use super::{LogisticConfig, LogisticRegression, check_classes, minimise};
use crate::metrics::Accuracy;
use crate::probes::Features;
use crate::{Error, Result};

/// How well each `C` did on samples that were held out.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    /// Each `C`, in order, and its share of held-out samples that were classified rightly.
    pub tried: Vec<(f64, f64)>,
    /// The best; of equally good ones the smallest, which trusts the samples least.
    pub best: f64,
    /// How many samples were held out.
    pub held_out: usize,
}

impl LogisticRegression {
    /// Chooses `C` among `grid` by the accuracy on a held-out share of the samples, the same share of each class, then
    /// fits all of them. What `config` says of `C` does not count.
    ///
    /// The larger `C`, the longer the way, so each begins where the one before it ended.
    ///
    /// # Errors
    /// As [`Self::fit`]; if the share is not above 0 and at most 0.5, or holds no sample out.
    pub fn search(
        features: &Features,
        grid: &[f64],
        share: f64,
        config: &LogisticConfig,
    ) -> Result<(Self, Search)> {
        let grid = sorted(grid, config)?;
        check_classes(features)?;
        let (train, held_out) = split(features, share)?;
        let accuracies = accuracies(&train, &held_out, &grid, config)?;
        let tried: Vec<(f64, f64)> = grid.iter().copied().zip(accuracies).collect();
        let mut best = tried[0];
        for candidate in &tried[1..] {
            if candidate.1 > best.1 {
                best = *candidate;
            }
        }
        let model = Self::fit(features, &LogisticConfig { c: best.0, ..*config })?;
        Ok((model, Search { tried, best: best.0, held_out: held_out.len() }))
    }
}

/// The grid from the smallest on.
fn sorted(grid: &[f64], config: &LogisticConfig) -> Result<Vec<f64>> {
    let mut grid = grid.to_vec();
    for c in &grid {
        LogisticConfig { c: *c, ..*config }.check()?;
    }
    grid.sort_by(f64::total_cmp);
    grid.dedup();
    match grid.is_empty() {
        false => Ok(grid),
        true => Err(Error::Setting {
            name: "C",
            found: "an empty list".to_owned(),
            expected: "one value at least".to_owned(),
        }),
    }
}

/// The accuracy of each `C` on what was held out.
fn accuracies(
    train: &Features,
    held_out: &Features,
    grid: &[f64],
    config: &LogisticConfig,
) -> Result<Vec<f64>> {
    check_classes(train)?;
    let standard = Standard::of(train.values(), config.standardise)?;
    let objective = Objective::new(train, &standard)?;
    let mut x = vec![0.0; objective.len()];
    let mut accuracies = Vec::with_capacity(grid.len());
    for c in grid {
        let (lowest, fit) = minimise(&objective, &x, &LogisticConfig { c: *c, ..*config })?;
        let model = LogisticRegression::of(&objective, &lowest, &standard, fit)?;
        x = lowest;
        let scores = model.logits(held_out.values())?.flatten_all()?.to_vec1()?;
        let mut accuracy = Accuracy::default();
        accuracy.add(&scores, held_out.classes(), held_out.labels())?;
        accuracies.push(accuracy.top1());
    }
    Ok(accuracies)
}

/// Every so-manieth sample of each class is held out, beginning in the middle of the first so many.
fn split(features: &Features, share: f64) -> Result<(Features, Features)> {
    let refused = |found: String, expected: &str| {
        Err(Error::Setting { name: "held-out share", found, expected: expected.to_owned() })
    };
    if !(share > 0.0 && share <= 0.5) {
        return refused(share.to_string(), "above 0 and at most 0.5");
    }
    let every = (1.0 / share).round() as u64;
    let mut seen = vec![0u64; features.classes()];
    let (mut train, mut held_out) = (Vec::new(), Vec::new());
    for (place, label) in features.labels().iter().enumerate() {
        let count = &mut seen[*label as usize];
        let side = if *count % every == every / 2 { &mut held_out } else { &mut train };
        side.push(place as u32);
        *count += 1;
    }
    if held_out.is_empty() {
        let found = format!("{share} of {} samples: none", features.len());
        return refused(found, "more samples of a class, or a larger share");
    }
    Ok((features.select(&train)?, features.select(&held_out)?))
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    fn features(samples: usize) -> Features {
        let wave = |i: usize| (i as f32 * 1.3).sin() + if i.is_multiple_of(2) { 0.8 } else { -0.8 };
        let values: Vec<f32> = (0..samples * 3).map(|i| wave(i / 3) + (i as f32).cos()).collect();
        let values = Tensor::from_vec(values, (samples, 3), &Device::Cpu).unwrap();
        Features::new(values, (0..samples as u32).map(|i| i % 2).collect(), 2).unwrap()
    }

    #[test]
    fn the_same_share_of_each_class_is_held_out() {
        let features = features(100);
        let (train, held_out) = split(&features, 0.1).unwrap();
        assert_eq!((train.len(), held_out.len()), (90, 10));
        assert_eq!(held_out.labels().iter().filter(|label| **label == 1).count(), 5);
        for share in [0.0, 0.6, f64::NAN, 0.01] {
            assert!(split(&features, share).is_err(), "{share}");
        }
    }

    #[test]
    fn the_best_of_a_grid_is_fitted_to_all() {
        let features = features(60);
        let config = LogisticConfig::default();
        let (model, search) =
            LogisticRegression::search(&features, &[1.0, 1e-3, 1.0], 0.2, &config).unwrap();
        assert_eq!(search.tried.iter().map(|(c, _)| *c).collect::<Vec<_>>(), [1e-3, 1.0]);
        assert_eq!((model.result().c, search.held_out), (search.best, 12));
        let greatest = search.tried.iter().map(|(_, accuracy)| *accuracy).fold(0.0, f64::max);
        let first = search.tried.iter().find(|(_, accuracy)| *accuracy == greatest).unwrap();
        assert_eq!(search.best, first.0);
        assert!(LogisticRegression::search(&features, &[], 0.2, &config).is_err());
        assert!(LogisticRegression::search(&features, &[0.0], 0.2, &config).is_err());
    }
}
