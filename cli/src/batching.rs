//! How many images a step takes: `batch_size` x `accum_iter` x ranks = `effective_batch_size`.

use crate::exit::usage;

/// Images of a micro-batch when nothing is said.
const DEFAULT_BATCH: usize = 64;

/// The largest of each, far beyond use; their product still fits.
const LARGEST: usize = 1 << 30;

/// The numbers, agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// Images of a micro-batch.
    pub batch_size: usize,
    /// Micro-batches of an optimiser step.
    pub accum_iter: usize,
    /// Images of an optimiser step, on all ranks.
    pub effective: usize,
    /// Processes that train together.
    pub ranks: usize,
}

impl Batching {
    /// Finds the numbers that were not given; any two of the three give the third.
    pub fn resolve(
        batch_size: Option<usize>,
        accum_iter: Option<usize>,
        effective: Option<usize>,
        ranks: usize,
    ) -> anyhow::Result<Self> {
        let given = [
            ("batch_size", batch_size),
            ("accum_iter", accum_iter),
            ("effective_batch_size", effective),
            ("ranks", Some(ranks)),
        ];
        for (name, value) in given {
            if let Some(value) = value.filter(|value| !(1..=LARGEST).contains(value)) {
                return Err(usage(format!(
                    "{name} {value}: expected a number from 1 to {LARGEST}"
                )));
            }
        }
        let of_all = effective;
        let effective =
            effective.map(|all| share(all, ranks, "the number of ranks,")).transpose()?;
        let (batch_size, accum_iter) = match (batch_size, accum_iter, effective) {
            (Some(batch), Some(accum), _) => (batch, accum),
            (Some(batch), None, Some(all)) => (batch, share(all, batch, "batch_size")?),
            (None, Some(accum), Some(all)) => (share(all, accum, "accum_iter")?, accum),
            (None, None, Some(all)) if all.is_multiple_of(DEFAULT_BATCH) => {
                (DEFAULT_BATCH, all / DEFAULT_BATCH)
            }
            (None, None, Some(all)) => (all, 1),
            (batch, accum, None) => (batch.unwrap_or(DEFAULT_BATCH), accum.unwrap_or(1)),
        };
        let product = batch_size.saturating_mul(accum_iter).saturating_mul(ranks);
        match of_all {
            Some(all) if all != product => {
                let ranks = if ranks == 1 { String::new() } else { format!(" x {ranks} ranks") };
                Err(usage(format!(
                    "batch_size {batch_size} x accum_iter {accum_iter}{ranks} is {product}, but \
                     effective_batch_size is {all}: give two of the three"
                )))
            }
            _ => Ok(Self { batch_size, accum_iter, effective: product, ranks }),
        }
    }
}

fn share(all: usize, part: usize, name: &str) -> anyhow::Result<usize> {
    if all.is_multiple_of(part) {
        return Ok(all / part);
    }
    Err(usage(format!("effective_batch_size {all} is not a multiple of {name} {part}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_two_give_the_third() {
        let expected = Batching { batch_size: 16, accum_iter: 4, effective: 64, ranks: 1 };
        assert_eq!(Batching::resolve(Some(16), Some(4), None, 1).unwrap(), expected);
        assert_eq!(Batching::resolve(Some(16), None, Some(64), 1).unwrap(), expected);
        assert_eq!(Batching::resolve(None, Some(4), Some(64), 1).unwrap(), expected);
        assert_eq!(Batching::resolve(Some(16), Some(4), Some(64), 1).unwrap(), expected);
    }

    #[test]
    fn ranks_share_the_effective_batch() {
        let expected = Batching { batch_size: 16, accum_iter: 2, effective: 64, ranks: 2 };
        assert_eq!(Batching::resolve(Some(16), None, Some(64), 2).unwrap(), expected);
        assert_eq!(Batching::resolve(Some(16), Some(2), None, 2).unwrap(), expected);
        assert!(Batching::resolve(Some(16), Some(4), Some(64), 2).is_err());
        assert!(Batching::resolve(None, Some(1), Some(63), 2).is_err());
    }

    #[test]
    fn disagreement_is_an_error() {
        assert!(Batching::resolve(Some(16), Some(4), Some(63), 1).is_err());
        assert!(Batching::resolve(Some(16), None, Some(63), 1).is_err());
        assert!(Batching::resolve(Some(0), None, None, 1).is_err());
    }
}
