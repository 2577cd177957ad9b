//! What a sample of a dataset shows.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};

use longmae_data::{Pixels, Probe, Sample, Source};

/// One image, looked at.
pub struct Seen {
    pub id: String,
    /// What it shows, or why it cannot be read.
    pub found: Result<Look, String>,
}

pub struct Look {
    /// Rows and columns.
    pub size: (usize, usize),
    /// What its file says, if it is a file.
    pub file: Option<Probe>,
    /// For each channel, the means of samples and of their squares, samples being between 0 and 1.
    pub moments: Vec<(f64, f64)>,
}

/// Looks at the samples with these numbers, on `threads` threads; `tick` is called after each.
pub fn look(
    source: &dyn Source,
    indices: &[usize],
    threads: usize,
    tick: &(dyn Fn() + Sync),
) -> Vec<Seen> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut seen = Vec::new();
        while let Some((place, &index)) = {
            let place = next.fetch_add(1, Ordering::Relaxed);
            indices.get(place).map(|index| (place, index))
        } {
            let found = source.get(index).and_then(|sample| look_at(&sample));
            let found = found.map_err(|e| e.to_string());
            seen.push((place, Seen { id: source.id(index), found }));
            tick();
        }
        seen
    };
    let mut seen: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        let results = workers.into_iter().map(|worker| worker.join());
        results.flat_map(|result| result.unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    seen.sort_by_key(|(place, _)| *place);
    seen.into_iter().map(|(_, seen)| seen).collect()
}

fn look_at(sample: &Sample) -> longmae_data::Result<Look> {
    let file = sample.picture.probe().transpose()?;
    let image = sample.picture.image()?;
    let moments = (0..image.channels)
        .map(|channel| match &image.pixels {
            Pixels::U8(samples) => {
                moments(samples.iter().map(|&v| f64::from(v) / 255.0), channel, image.channels)
            }
            Pixels::F32(samples) => {
                moments(samples.iter().map(|&v| f64::from(v)), channel, image.channels)
            }
        })
        .collect();
    Ok(Look { size: (image.height, image.width), file, moments })
}

fn moments(samples: impl Iterator<Item = f64>, channel: usize, channels: usize) -> (f64, f64) {
    let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
    for sample in samples.skip(channel).step_by(channels) {
        sum += sample;
        squares += sample * sample;
        count += 1.0;
    }
    (sum / count, squares / count)
}

/// Mean and standard deviation of each channel, every image counting alike.
pub fn mean_and_std(looks: &[&Look]) -> Option<Vec<(f64, f64)>> {
    let channels = looks.first()?.moments.len();
    let count = looks.len() as f64;
    let of_channel = |channel: usize| {
        let mean = looks.iter().map(|look| look.moments[channel].0).sum::<f64>() / count;
        let squares = looks.iter().map(|look| look.moments[channel].1).sum::<f64>() / count;
        (mean, (squares - mean * mean).max(0.0).sqrt())
    };
    Some((0..channels).map(of_channel).collect())
}

/// How often each value occurs, the most frequent first.
pub fn counted<T: Ord>(values: impl Iterator<Item = T>) -> Vec<(T, usize)> {
    let mut counts = BTreeMap::new();
    values.for_each(|value| *counts.entry(value).or_insert(0) += 1);
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_counts_alike() {
        let look = |mean: f64| Look {
            size: (1, 1),
            file: None,
            moments: vec![(mean, mean * mean + 0.01)],
        };
        let (dark, bright) = (look(0.25), look(0.75));
        let found = mean_and_std(&[&dark, &bright]).unwrap();
        assert!((found[0].0 - 0.5).abs() < 1e-12, "{found:?}");
        // Half the distance between the means, and what is left inside the images.
        assert!((found[0].1 - (0.0625_f64 + 0.01).sqrt()).abs() < 1e-12, "{found:?}");
        assert!(mean_and_std(&[]).is_none());
    }

    #[test]
    fn the_most_frequent_comes_first() {
        assert_eq!(counted([3, 1, 3, 2, 3, 2].into_iter()), [(3, 3), (2, 2), (1, 1)]);
        assert_eq!(moments([1.0, 9.0, 3.0, 9.0].into_iter(), 0, 2), (2.0, 5.0));
    }
}
