//! Sums over validation data, by all ranks together, over the same samples every time.

use std::collections::BTreeSet;
use std::sync::Arc;

use longmae_data::{Source, Subset};
use longmae_train::{Collective, Status};

/// What one rank found in its share of the data.
pub struct Pass {
    /// What is to be added up over ranks; always as many.
    pub sums: Vec<f64>,
    /// Names of corrupt samples.
    pub corrupt: Vec<String>,
}

/// The sums of a pass over all samples that can be read. Corrupt ones are left out of `source` from the pass on that meets
/// them, which is made again, so that what different epochs find is over the same samples.
pub fn agreed_sums(
    source: &mut Arc<dyn Source>,
    collective: &dyn Collective,
    mut pass: impl FnMut(&Arc<dyn Source>) -> anyhow::Result<Pass>,
    count: usize,
) -> anyhow::Result<Vec<f64>> {
    loop {
        let own = pass(source);
        let failure = own.as_ref().err().map(|error| format!("{error:#}"));
        let (sums, bad_samples) = match &own {
            Ok(pass) => (pass.sums.clone(), pass.corrupt.clone()),
            Err(_) => (vec![0.0; count], Vec::new()),
        };
        let all = Status { failure, bad_samples, sums, stop: false }.agree(collective);
        own?;
        let all = all?;
        if all.bad_samples.is_empty() {
            return Ok(all.sums);
        }
        *source = without(source, all.bad_samples)?;
    }
}

/// The samples but those of these names.
pub fn without(source: &Arc<dyn Source>, names: Vec<String>) -> anyhow::Result<Arc<dyn Source>> {
    let bad: BTreeSet<String> = names.into_iter().collect();
    let good = (0..source.len()).filter(|index| !bad.contains(&source.id(*index))).collect();
    Ok(Arc::new(Subset::new(source.clone(), good)?))
}
