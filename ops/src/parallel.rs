//! Work shared out over rayon's threads. What a task computes never depends on how many threads there are.

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use rayon::prelude::IndexedParallelIterator;

/// Runs `task` for every number below `tasks`.
pub(crate) fn parallel(tasks: usize, task: impl Fn(usize) + Sync + Send) {
    if tasks <= 1 || rayon::current_num_threads() == 1 {
        (0..tasks).for_each(task);
    } else {
        (0..tasks).into_par_iter().with_max_len(1).for_each(task);
    }
}

/// Runs `task` for pieces `(start, end)` of about `size` items that cover `0..items`.
pub(crate) fn parallel_pieces(
    items: usize,
    size: usize,
    task: impl Fn(usize, usize) + Sync + Send,
) {
    parallel(items.div_ceil(size), |i| task(i * size, ((i + 1) * size).min(items)));
}

/// Runs `run` on one of the pool's threads, so that the parts which it shares out start without waking a sleeping pool.
pub(crate) fn in_pool<R: Send>(run: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| run())
}

/// How many threads compute at once.
pub(crate) fn threads() -> usize {
    rayon::current_num_threads()
}
