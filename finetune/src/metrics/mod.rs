//! How good predictions are: counts that can be added up over batches and processes, and the shares that follow.

mod accuracy;
mod confusion;

use std::cmp::Ordering;

pub use accuracy::Accuracy;
pub use confusion::ConfusionMatrix;

/// The class with the greatest of one sample's scores: of equal ones the first, and never one that is not a number.
/// None if there is no number.
///
/// ```
/// use longmae_finetune::metrics::best;
/// assert_eq!(best(&[0.5, f32::NAN, 2.0, 2.0]), Some(2));
/// assert_eq!(best(&[f32::NAN]), None);
/// ```
pub fn best(scores: &[f32]) -> Option<usize> {
    let numbers = scores.iter().enumerate().filter(|(_, score)| !score.is_nan());
    // `max_by` takes the last of equal ones.
    let order = |a: &f32, b: &f32| a.partial_cmp(b).unwrap_or(Ordering::Equal);
    numbers.rev().max_by(|a, b| order(a.1, b.1)).map(|(class, _)| class)
}
