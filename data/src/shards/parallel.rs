//! The same for many files, on a few threads.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};

/// The most threads; opening files waits for disks more than for processors.
const THREADS: usize = 8;

/// What `work` gives for each item, in their order; the first error in that order if there are any.
pub(super) fn in_parallel<I: Sync, T: Send>(
    items: &[I],
    work: impl Fn(&I) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(items.len())));
    let run = || {
        while let Some((number, item)) = {
            let number = next.fetch_add(1, Ordering::Relaxed);
            items.get(number).map(|item| (number, item))
        } {
            let result = work(item);
            if result.is_err() {
                // What comes later is not looked at: an earlier item's error wins, and those have been taken already.
                next.store(items.len(), Ordering::Relaxed);
            }
            results.lock().unwrap_or_else(PoisonError::into_inner).push((number, result));
        }
    };
    std::thread::scope(|scope| {
        let helpers = (1..THREADS.min(items.len()))
            .map(|_| std::thread::Builder::new().spawn_scoped(scope, run).map_err(Error::Spawn));
        let helpers = helpers.collect::<Result<Vec<_>>>()?;
        run();
        drop(helpers);
        Ok::<(), Error>(())
    })?;
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_unstable_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order_and_the_first_error_wins() {
        let items: Vec<usize> = (0..100).collect();
        let squares = in_parallel(&items, |i| Ok(i * i)).unwrap();
        assert_eq!(squares, items.iter().map(|i| i * i).collect::<Vec<_>>());
        let failing = |i: &usize| match *i {
            i if i >= 3 => Err(Error::NoSuchSample { index: i, len: 0 }),
            i => Ok(i),
        };
        let error = in_parallel(&items, failing).unwrap_err();
        assert!(matches!(error, Error::NoSuchSample { index: 3, .. }), "{error}");
    }
}
