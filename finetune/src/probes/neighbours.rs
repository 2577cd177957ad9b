//! Nearest neighbours (arXiv 1805.01978, and DINO's evaluation, arXiv 2104.14294): no parameter is trained at all.

use candle_core::Tensor;
use longmae_ops::{Compute, matmul};
use rayon::prelude::*;

use super::Features;
use crate::{Error, Result};

/// Samples asked for, and samples known, whose similarities are in memory at once.
const QUERIES: usize = 256;
const KNOWN: usize = 8192;

/// How the nearest samples vote for their classes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Vote {
    /// Each with `exp(similarity / temperature)`; 0.07 is usual.
    Weighted {
        /// Above 0; the smaller it is, the more the nearest count.
        temperature: f64,
    },
    /// Each with one voice. Of classes with as many, the first goes first, as in scikit-learn.
    Plain,
}

/// The nearest known samples of each sample that was asked for, by the cosine of their features, the nearest first. Of
/// equally near ones the one known earlier goes first.
#[derive(Debug, Clone)]
pub struct Neighbours {
    k: usize,
    /// `[samples, k]`.
    nearest: Vec<Near>,
    /// `[samples, k]`.
    labels: Vec<u32>,
    classes: usize,
}

/// A known sample and its similarity.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Near {
    index: u32,
    similarity: f32,
}

impl Near {
    fn goes_before(self, other: Self) -> bool {
        let (a, b) = (self.similarity, other.similarity);
        a > b || (a == b && self.index < other.index)
    }
}

impl Neighbours {
    /// The `k` samples of `known` nearest to each row of `asked` `[samples, dim]`.
    ///
    /// Similarities are computed in pieces of 256 x 8,192, so that memory does not grow with the number of samples.
    ///
    /// # Errors
    /// [`Error::Setting`] if `k` is 0 or more than there are, or features differ in width.
    pub fn find(known: &Features, asked: &Features, k: usize) -> Result<Self> {
        if k == 0 || k > known.len() {
            return Err(Error::Setting {
                name: "k",
                found: k.to_string(),
                expected: format!("from 1 to {}, the samples there are", known.len()),
            });
        }
        asked.check_dim(known.dim())?;
        if u32::try_from(known.len()).is_err() {
            let found = known.len().to_string();
            return Err(Error::Setting { name: "samples", found, expected: "fewer".to_owned() });
        }
        let bank = normalised(known.values())?;
        let asked = normalised(asked.values())?;
        let samples = asked.dims()[0];
        let mut nearest = Vec::with_capacity(samples * k);
        for start in (0..samples).step_by(QUERIES) {
            let rows = asked.narrow(0, start, QUERIES.min(samples - start))?;
            nearest.extend(nearest_of(&bank, &rows, k)?.into_iter().flatten());
        }
        let labels = nearest.iter().map(|near| known.labels()[near.index as usize]).collect();
        Ok(Self { k, nearest, labels, classes: known.classes() })
    }

    /// The places of the nearest known samples of each sample, and their cosines.
    pub fn iter(&self) -> impl Iterator<Item = Vec<(u32, f32)>> {
        let rows = self.nearest.chunks_exact(self.k);
        rows.map(|row| row.iter().map(|near| (near.index, near.similarity)).collect())
    }

    /// The share of votes that each class has, `[samples, classes]`, row after row. Where fewer than five classes have any,
    /// a top-5 accuracy goes on with those of no votes in their order, as with scores of any kind.
    ///
    /// # Errors
    /// [`Error::Setting`] if a temperature is not above 0.
    pub fn votes(&self, vote: Vote) -> Result<Vec<f32>> {
        if let Vote::Weighted { temperature } = vote
            && !(temperature > 0.0 && temperature.is_finite())
        {
            let (found, expected) = (temperature.to_string(), "a number above 0".to_owned());
            return Err(Error::Setting { name: "temperature", found, expected });
        }
        let mut votes = vec![0.0; self.nearest.len() / self.k * self.classes];
        let rows = self.nearest.chunks_exact(self.k).zip(self.labels.chunks_exact(self.k));
        for ((near, labels), votes) in rows.zip(votes.chunks_exact_mut(self.classes)) {
            count(near, labels, vote, votes);
        }
        Ok(votes)
    }
}

/// The share of one sample's votes for each class.
fn count(near: &[Near], labels: &[u32], vote: Vote, votes: &mut [f32]) {
    let mut sums = vec![0.0f64; votes.len()];
    // Relative to the nearest, or a small temperature would overflow.
    let nearest = near.first().map_or(0.0, |near| f64::from(near.similarity));
    for (near, label) in near.iter().zip(labels) {
        sums[*label as usize] += match vote {
            Vote::Weighted { temperature } => {
                ((f64::from(near.similarity) - nearest) / temperature).exp()
            }
            Vote::Plain => 1.0,
        };
    }
    let all: f64 = sums.iter().sum();
    votes.iter_mut().zip(sums).for_each(|(vote, sum)| *vote = (sum / all) as f32);
}

/// Rows of length 1; a row of zeros stays one.
fn normalised(rows: &Tensor) -> Result<Tensor> {
    let length = rows.sqr()?.sum_keepdim(1)?.sqrt()?.maximum(1e-12)?;
    Ok(rows.broadcast_div(&length)?)
}

/// The nearest of the bank's rows for each of a few rows.
fn nearest_of(bank: &Tensor, rows: &Tensor, k: usize) -> Result<Vec<Vec<Near>>> {
    let known = bank.dims()[0];
    let mut best: Vec<Vec<Near>> = vec![Vec::with_capacity(k + 1); rows.dims()[0]];
    for start in (0..known).step_by(KNOWN) {
        let piece = bank.narrow(0, start, KNOWN.min(known - start))?;
        let similarities = matmul(rows, &piece.t()?, Compute::default())?;
        let similarities = similarities.flatten_all()?.to_vec1::<f32>()?;
        let similarities = similarities.par_chunks_exact(piece.dims()[0]);
        best.par_iter_mut().zip(similarities).for_each(|(best, similarities)| {
            for (index, similarity) in similarities.iter().enumerate() {
                insert(best, k, Near { index: (start + index) as u32, similarity: *similarity });
            }
        });
    }
    Ok(best)
}

/// Puts a sample at its place among the `k` best, if it is one of them.
fn insert(best: &mut Vec<Near>, k: usize, near: Near) {
    if best.len() == k && best.last().is_none_or(|last| !near.goes_before(*last)) {
        return;
    }
    let place = best.partition_point(|other| other.goes_before(near));
    best.insert(place, near);
    best.truncate(k);
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn features(rows: &[[f32; 2]], labels: &[u32]) -> Features {
        let shape = (rows.len(), 2);
        let values = Tensor::from_vec(rows.concat(), shape, &Device::Cpu).unwrap();
        Features::new(values, labels.to_vec(), 3).unwrap()
    }

    #[test]
    fn equally_near_ones_keep_their_order_and_equal_votes_go_to_the_first_class() {
        let known = features(&[[0.0, 1.0], [2.0, 0.0], [1.0, 0.0], [0.5, 0.0]], &[0, 2, 1, 1]);
        let asked = features(&[[3.0, 0.0]], &[1]);
        let found = Neighbours::find(&known, &asked, 2).unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>(), [[(1, 1.0), (2, 1.0)]]);
        let votes = found.votes(Vote::Plain).unwrap();
        assert_eq!((votes.clone(), crate::metrics::best(&votes)), (vec![0.0, 0.5, 0.5], Some(1)));
    }

    #[test]
    fn a_small_temperature_leaves_the_nearest_alone() {
        let known = features(&[[1.0, 0.1], [1.0, 0.0], [0.0, 1.0]], &[0, 1, 0]);
        let found = Neighbours::find(&known, &features(&[[1.0, 0.0]], &[1]), 3).unwrap();
        let votes = found.votes(Vote::Weighted { temperature: 1e-6 }).unwrap();
        assert_eq!(votes, [0.0, 1.0, 0.0]);
    }

    /// More samples than are in memory at once, on both sides, against one search through all.
    #[test]
    fn pieces_make_no_difference() {
        let wave = |i: usize| [(i as f32 * 0.37).sin(), (i as f32 * 0.73).cos()];
        let known: Vec<_> = (0..KNOWN + 300).map(wave).collect();
        let asked: Vec<_> = (0..QUERIES + 5).map(|i| wave(7 * i + 3)).collect();
        let known = features(&known, &vec![0; known.len()]);
        let asked = features(&asked, &vec![0; asked.len()]);
        let found = Neighbours::find(&known, &asked, 3).unwrap();
        let (bank, rows) =
            (normalised(known.values()).unwrap(), normalised(asked.values()).unwrap());
        let all = matmul(&rows, &bank.t().unwrap(), Compute::default()).unwrap();
        for (found, all) in found.iter().zip(all.to_vec2::<f32>().unwrap()) {
            let mut order: Vec<u32> = (0..all.len() as u32).collect();
            order.sort_by(|a, b| all[*b as usize].total_cmp(&all[*a as usize]));
            let expected: Vec<_> = order[..3].iter().map(|i| (*i, all[*i as usize])).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let known = features(&[[0.0, 1.0], [2.0, 0.0]], &[0, 2]);
        for k in [0, 3] {
            let message = Neighbours::find(&known, &known, k).unwrap_err().to_string();
            assert!(message.contains(&format!("k is {k}")), "{message}");
        }
        let found = Neighbours::find(&known, &known, 1).unwrap();
        for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(found.votes(Vote::Weighted { temperature }).is_err());
        }
    }
}
