//! One random generator a purpose, an epoch and a position: nothing random depends on which thread did what when.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// What random numbers are drawn for. The numbers are part of what makes a run repeatable: never renumber them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u64)]
pub enum Purpose {
    /// The order of an epoch's samples; the position holds the pass (see `repeat` of the loader) and, for joined and
    /// weighted sources, the part and how often it was drawn already.
    Shuffle = 0,
    /// The place and size of a crop, and whether it is mirrored.
    Crop = 1,
    /// Which patches of a sample are hidden.
    Mask = 2,
    /// Which residual branches a sample skips.
    DropPath = 3,
    /// Which samples are held out.
    Split = 4,
    /// The pixels of a synthetic image.
    Synthetic = 5,
    /// How the parts of joined sources are mixed.
    Merge = 6,
    /// What is changed about a sample's colours and shapes.
    Augment = 7,
    /// Which samples of a batch are mixed, and how.
    Mix = 8,
    /// Which anchors and proposals of a batch a detector learns from.
    Regions = 9,
}

/// The generator for one purpose at one place of a run.
///
/// `position` is the sample's place in the epoch's global order. The four numbers *are* the key of the ChaCha8 stream,
/// so that streams never overlap and no state is shared.
pub fn stream(seed: u64, epoch: u64, position: u64, purpose: Purpose) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip([seed, epoch, position, purpose as u64]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::RngCore;

    #[test]
    fn each_of_the_four_numbers_changes_the_stream() {
        let base = stream(1, 2, 3, Purpose::Crop).next_u64();
        assert_eq!(base, stream(1, 2, 3, Purpose::Crop).next_u64());
        for other in [
            stream(0, 2, 3, Purpose::Crop),
            stream(1, 0, 3, Purpose::Crop),
            stream(1, 2, 0, Purpose::Crop),
            stream(1, 2, 3, Purpose::Mask),
        ] {
            assert_ne!(base, other.clone().next_u64());
        }
    }

    /// A change here would silently change every run that is repeated or resumed.
    #[test]
    fn the_stream_is_the_one_that_earlier_versions_drew() {
        assert_eq!(stream(7, 1, 42, Purpose::Mask).next_u64(), 3_141_941_544_158_255_029);
    }
}
