//! Values that are costly to make and to keep.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A cache bounded by what its values cost, which forgets what was used least recently.
///
/// A value is made once: threads that need it wait for the one that makes it, others are not held up. Values in use
/// live on after they are forgotten.
#[derive(Debug)]
pub(super) struct Cache<V> {
    limit: AtomicU64,
    state: Mutex<State<V>>,
    /// The keys of all values made.
    #[cfg(test)]
    pub made: Mutex<Vec<usize>>,
}

#[derive(Debug)]
struct State<V> {
    entries: HashMap<usize, Entry<V>>,
    /// Counts uses.
    clock: u64,
    /// Of all entries together.
    cost: u64,
}

#[derive(Debug)]
struct Entry<V> {
    slot: Slot<V>,
    used: u64,
    /// `None` while the value is being made.
    cost: Option<u64>,
}

/// The value, once it is made; who makes it holds the lock.
type Slot<V> = Arc<Mutex<Option<Arc<V>>>>;

impl<V> Cache<V> {
    pub fn new(limit: u64) -> Self {
        let state = State { entries: HashMap::new(), clock: 0, cost: 0 };
        Self {
            limit: AtomicU64::new(limit),
            state: Mutex::new(state),
            #[cfg(test)]
            made: Mutex::default(),
        }
    }

    /// Keeps values of this cost from now on, if that is more than before.
    pub fn raise(&self, limit: u64) {
        self.limit.fetch_max(limit, Ordering::Relaxed);
    }

    /// The value of `key`, which `make` makes with its cost if it is not there. An error is not kept.
    pub fn get<E>(
        &self,
        key: usize,
        make: impl FnOnce() -> Result<(V, u64), E>,
    ) -> Result<Arc<V>, E> {
        let slot = self.slot(key);
        let mut value = lock(&slot);
        if let Some(value) = &*value {
            return Ok(Arc::clone(value));
        }
        let (made, cost) = make()?;
        #[cfg(test)]
        lock(&self.made).push(key);
        let made = Arc::new(made);
        *value = Some(Arc::clone(&made));
        drop(value);
        lock(&self.state).keep(key, &slot, cost, self.limit.load(Ordering::Relaxed));
        Ok(made)
    }

    fn slot(&self, key: usize) -> Slot<V> {
        let mut state = lock(&self.state);
        state.clock += 1;
        let used = state.clock;
        let new = || Entry { slot: Slot::default(), used, cost: None };
        let entry = state.entries.entry(key).or_insert_with(new);
        entry.used = used;
        Arc::clone(&entry.slot)
    }
}

impl<V> State<V> {
    /// Notes what a value costs, and makes room for it.
    fn keep(&mut self, key: usize, slot: &Slot<V>, cost: u64, limit: u64) {
        match self.entries.get_mut(&key) {
            Some(entry) if Arc::ptr_eq(&entry.slot, slot) => entry.cost = Some(cost),
            _ => return,
        }
        self.cost = self.cost.saturating_add(cost);
        while self.cost > limit {
            let others =
                self.entries.iter().filter(|(other, entry)| **other != key && entry.cost.is_some());
            let Some(oldest) = others.min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key)
            else {
                return;
            };
            let forgotten = self.entries.remove(&oldest).and_then(|entry| entry.cost);
            self.cost = self.cost.saturating_sub(forgotten.unwrap_or(0));
        }
    }
}

/// How many blocks of an order (see [`Part::buffer`](crate::source::Part::buffer)) `in_flight` samples may lie in: those
/// they fill, and one more at each end.
pub(super) fn blocks(in_flight: usize, buffer: usize) -> u64 {
    (in_flight / buffer.max(1)).saturating_add(2) as u64
}

/// What a panic left behind is whole: values are put in when they are made.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use super::*;

    fn get(cache: &Cache<usize>, key: usize, made: &AtomicUsize) -> usize {
        let make = || {
            made.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Infallible>((key * 10, 4))
        };
        *cache.get(key, make).unwrap()
    }

    #[test]
    fn what_was_used_least_recently_is_forgotten() {
        let (cache, made) = (Cache::new(12), AtomicUsize::new(0));
        for key in [1, 2, 3, 1, 4, 1, 3, 4] {
            assert_eq!(get(&cache, key, &made), key * 10);
        }
        assert_eq!(made.load(Ordering::SeqCst), 4);
        get(&cache, 2, &made);
        get(&cache, 1, &made);
        assert_eq!(made.load(Ordering::SeqCst), 6);
        assert_eq!(lock(&cache.state).cost, 12);
    }

    #[test]
    fn a_limit_is_only_raised() {
        let (cache, made) = (Cache::new(4), AtomicUsize::new(0));
        cache.raise(12);
        cache.raise(8);
        for key in [1, 2, 3, 1, 2, 3] {
            get(&cache, key, &made);
        }
        assert_eq!(made.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn a_value_beyond_the_limit_is_kept_alone() {
        let cache = Cache::new(10);
        for key in 0..3 {
            cache.get(key, || Ok::<_, Infallible>((key, 100))).unwrap();
            let state = lock(&cache.state);
            assert_eq!((state.cost, state.entries.len()), (100, 1));
        }
    }

    #[test]
    fn errors_are_not_kept() {
        let cache = Cache::<u8>::new(10);
        assert_eq!(cache.get(0, || Err("no")).unwrap_err(), "no");
        assert_eq!(*cache.get(0, || Ok::<_, &str>((1, 1))).unwrap(), 1);
    }

    #[test]
    fn threads_wait_for_their_own_value_only() {
        let (cache, made, inside) = (Cache::new(100), AtomicUsize::new(0), Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let slow = || {
                    inside.wait();
                    std::thread::sleep(Duration::from_millis(50));
                    made.fetch_add(1, Ordering::SeqCst);
                    Ok::<_, Infallible>((0, 1))
                };
                cache.get(0, slow).unwrap();
            });
            inside.wait();
            // The value of another key is had while the first is being made.
            get(&cache, 1, &made);
            assert_eq!(made.load(Ordering::SeqCst), 1);
            assert_eq!(get(&cache, 0, &made), 0);
            assert_eq!(made.load(Ordering::SeqCst), 2);
        });
    }
}
