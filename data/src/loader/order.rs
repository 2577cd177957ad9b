//! The order of an epoch's samples.

use std::ops::Range;

use rand::Rng;
use rand::seq::SliceRandom;

use crate::rng::{Purpose, stream};
use crate::source::Part;

/// The seed and epoch that an order is drawn for.
#[derive(Clone, Copy)]
pub(super) struct Draw {
    pub seed: u64,
    pub epoch: u64,
    pub shuffle: bool,
}

/// How many samples one pass over all parts draws.
pub(super) fn draws(parts: &[Part]) -> Option<usize> {
    parts.iter().try_fold(0_usize, |sum, part| sum.checked_add(part.draws()))
}

impl Draw {
    /// Pass after pass over the parts, so that the draws of one sample lie far apart; each sample `times` in a row.
    pub fn order(self, parts: &[Part], passes: usize, times: usize) -> Vec<usize> {
        let mut order = Vec::new();
        for pass in 0..passes {
            let of_parts = parts.iter().enumerate().map(|(number, part)| {
                // A single part without a weight draws from the stream that it has always drawn from.
                self.part(part, (pass as u64) | (number as u64) << 32)
            });
            order.extend(self.merged(of_parts.collect(), pass as u64));
        }
        if times > 1 {
            order = order.into_iter().flat_map(|index| std::iter::repeat_n(index, times)).collect();
        }
        order
    }

    /// The draws of one part in one pass.
    fn part(self, part: &Part, pass: u64) -> Vec<usize> {
        let (whole, rest) = part.passes();
        let mut order = Vec::with_capacity(part.draws());
        for again in 0..=whole as u64 {
            let mut indices = self.pass(part, pass | again << 48);
            indices.truncate(if again < whole as u64 { indices.len() } else { rest });
            order.append(&mut indices);
        }
        order
    }

    /// Every sample of a part once: at random, or shard by shard at random.
    fn pass(self, part: &Part, pass: u64) -> Vec<usize> {
        if !self.shuffle {
            return part.samples.clone().collect();
        }
        let mut rng = stream(self.seed, self.epoch, pass, Purpose::Shuffle);
        if part.shards.is_empty() {
            let mut order: Vec<usize> = part.samples.clone().collect();
            order.shuffle(&mut rng);
            return order;
        }
        let mut shards = part.shards.clone();
        shards.shuffle(&mut rng);
        let mut order = Vec::with_capacity(part.samples.len());
        for block in blocks(&shards, part.buffer) {
            let start = order.len();
            block.iter().cloned().for_each(|shard| order.extend(shard));
            order[start..].shuffle(&mut rng);
        }
        order
    }

    /// The parts' orders, mixed so that each is spread over the whole.
    fn merged(self, mut parts: Vec<Vec<usize>>, pass: u64) -> Vec<usize> {
        if parts.len() == 1 || !self.shuffle {
            return parts.concat();
        }
        let mut rng = stream(self.seed, self.epoch, pass, Purpose::Merge);
        parts.iter_mut().for_each(|part| part.reverse());
        let mut left: usize = parts.iter().map(Vec::len).sum();
        let mut order = Vec::with_capacity(left);
        while left > 0 {
            let mut ticket = rng.random_range(0..left);
            for part in &mut parts {
                match ticket.checked_sub(part.len()) {
                    Some(beyond) => ticket = beyond,
                    None => {
                        order.extend(part.pop());
                        break;
                    }
                }
            }
            left -= 1;
        }
        order
    }
}

/// Shards in a row that together hold at least `buffer` samples.
fn blocks(shards: &[Range<usize>], buffer: usize) -> Vec<&[Range<usize>]> {
    let (mut blocks, mut start, mut held) = (Vec::new(), 0, 0);
    for (number, shard) in shards.iter().enumerate() {
        held += shard.len();
        if held >= buffer {
            blocks.push(&shards[start..=number]);
            (start, held) = (number + 1, 0);
        }
    }
    blocks.push(&shards[start..]);
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(epoch: u64) -> Draw {
        Draw { seed: 7, epoch, shuffle: true }
    }

    #[test]
    fn shards_stay_together_and_are_mixed() {
        let part = Part::sharded([10; 20], 25);
        let order = draw(0).order(std::slice::from_ref(&part), 1, 1);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..200).collect::<Vec<_>>());
        for block in order.chunks(30) {
            let mut shards: Vec<_> = block.iter().map(|index| index / 10).collect();
            assert!(shards.windows(2).any(|pair| pair[0] != pair[1]), "{shards:?}");
            shards.sort_unstable();
            shards.dedup();
            assert!(shards.len() <= 3, "{shards:?}");
        }
        assert_ne!(order, draw(1).order(&[part], 1, 1));
    }

    #[test]
    fn parts_are_drawn_by_weight_and_spread() {
        let parts = [
            Part { weight: 2.5, ..Part::random_access(100) },
            Part::random_access(250).shifted(100),
        ];
        let order = draw(0).order(&parts, 1, 1);
        assert_eq!(order.len(), 500);
        let first: Vec<_> = order.iter().filter(|&&index| index < 100).collect();
        assert_eq!(first.len(), 250);
        for index in 0..100 {
            let drawn = first.iter().filter(|&&&other| other == index).count();
            assert!((2..=3).contains(&drawn), "{index}: {drawn}");
        }
        // Half of each half, within five deviations of a fair coin.
        let early = order[..250].iter().filter(|&&index| index < 100).count();
        assert!((85..165).contains(&early), "{early}");
        let other = draw(1).order(&parts, 1, 1);
        assert_ne!(order, other);
    }

    #[test]
    fn repeats_stand_side_by_side() {
        let order = draw(0).order(&[Part::random_access(5)], 1, 3);
        assert!(order.chunks(3).all(|three| three.iter().all(|index| *index == three[0])));
        assert_eq!(order.len(), 15);
    }
}
