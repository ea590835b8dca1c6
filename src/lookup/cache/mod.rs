//! Rows by join key, and the rule that keeps a stale one out.
//!
//! **A change removes, and never writes.** A change may come late, so writing its row could put an older one over a newer load. What a
//! load read may also be old by the time it is stored: a load registers its keys before it reads; a change for one of them that comes
//! meanwhile makes the load's row for it worthless, and the caller loads it again. A row that is not there is not kept at all, so that a
//! later insert needs no removal.
//!
//! What is remembered beside the rows is bounded by the loads in flight. Nothing is kept until [`Cache::follow`] says that changes
//! are being read from a point before any load; [`Cache::clear`] forgets all rows and makes every load in flight worthless.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::faults::{Protection, holds};

/// Rows of one lookup.
pub struct Cache<K, R> {
    rows: moka::sync::Cache<K, Kept<R>>,
    /// Entries of an older generation do not count. Written under the lock of `loads`.
    generation: AtomicU64,
    loads: Mutex<Loads<K>>,
}

/// How much a cache may hold, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rows.
    pub entries_max: u64,
    /// Bytes, as far as they can be estimated.
    pub bytes_max: u64,
    /// From load to oblivion: the bound on staleness when changes cannot be read, for example while Kafka is down.
    pub age_max: Duration,
}

#[derive(Clone)]
struct Kept<R> {
    generation: u64,
    row: R,
}

struct Loads<K> {
    following: bool,
    in_flight: HashMap<K, InFlight>,
}

#[derive(Default)]
struct InFlight {
    /// How many loads read this key at the moment.
    loads: usize,
    /// How many changes came for it since the first of them began.
    changes: u64,
}

/// A load in flight; dropped without [`Load::finish`] it leaves nothing behind.
pub struct Load<'a, K: Hash + Eq + Clone + Send + Sync + 'static, R: Clone + Send + Sync + 'static> {
    cache: &'a Cache<K, R>,
    generation: u64,
    keys: Vec<(K, u64)>,
}

impl<K: Hash + Eq + Clone + Send + Sync + 'static, R: Clone + Send + Sync + 'static> Cache<K, R> {
    /// An empty cache; `bytes` estimates the size of an entry.
    pub fn new(limits: Limits, bytes: impl Fn(&K, &R) -> u64 + Send + Sync + 'static) -> Self {
        // One capacity bounds both: every entry weighs at least its share of the bytes.
        let share = (limits.bytes_max / limits.entries_max.max(1)).max(1);
        let weigh = move |key: &K, kept: &Kept<R>| u32::try_from(bytes(key, &kept.row).max(share)).unwrap_or(u32::MAX);
        let rows = moka::sync::Cache::builder().weigher(weigh).max_capacity(limits.bytes_max).time_to_live(limits.age_max).build();
        let loads = Mutex::new(Loads { following: false, in_flight: HashMap::new() });
        Self { rows, generation: AtomicU64::new(0), loads }
    }

    /// The row, if one is kept.
    pub fn get(&self, key: &K) -> Option<R> {
        let kept = self.rows.get(key)?;
        (kept.generation == self.generation.load(Ordering::Acquire)).then_some(kept.row)
    }

    /// Registers a load; call it before reading.
    pub fn begin(&self, keys: &[K]) -> Load<'_, K, R> {
        let mut loads = self.lock();
        let register = |key: &K| {
            let in_flight = loads.in_flight.entry(key.clone()).or_default();
            in_flight.loads += 1;
            (key.clone(), in_flight.changes)
        };
        let keys = keys.iter().map(register).collect();
        Load { cache: self, generation: self.generation.load(Ordering::Acquire), keys }
    }

    /// A change for this key was read. True if a row was removed.
    pub fn remove(&self, key: &K) -> bool {
        let mut loads = self.lock();
        if let Some(in_flight) = loads.in_flight.get_mut(key) {
            in_flight.changes += 1;
        }
        self.rows.remove(key).is_some()
    }

    /// Nothing that was read so far counts.
    pub fn clear(&self) {
        let _loads = self.lock();
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.rows.invalidate_all();
    }

    /// From now on changes are read, from a point before this call: what is loaded from now on may be kept.
    pub fn follow(&self) {
        self.lock().following = true;
        self.clear();
    }

    /// Changes were lost: nothing counts, and nothing is kept until [`Cache::follow`].
    pub fn unfollow(&self) {
        self.lock().following = false;
        self.clear();
    }

    /// Rows kept.
    pub fn len(&self) -> u64 {
        // The count lags behind what was inserted until this was run.
        self.rows.run_pending_tasks();
        self.rows.entry_count()
    }

    fn lock(&self) -> MutexGuard<'_, Loads<K>> {
        // Every critical section leaves the counters consistent even if it ends early.
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Clone + Send + Sync + 'static, R: Clone + Send + Sync + 'static> Load<'_, K, R> {
    /// Keeps the rows that were read, except those whose keys changed meanwhile: these come back, to be loaded again.
    pub fn finish(self, row: impl Fn(&K) -> Option<R>) -> Vec<K> {
        // The lock is held until the rows are stored: a change in between would remove nothing.
        let loads = self.cache.lock();
        let generation = self.cache.generation.load(Ordering::Acquire);
        let mut discarded = Vec::new();
        for (key, changes) in &self.keys {
            let unchanged =
                !holds(Protection::InFlightLoads) || loads.in_flight.get(key).is_some_and(|in_flight| in_flight.changes == *changes);
            if !unchanged || generation != self.generation {
                discarded.push(key.clone());
            } else if let Some(row) = row(key).filter(|_| loads.following) {
                self.cache.rows.insert(key.clone(), Kept { generation, row });
            }
        }
        drop(loads);
        discarded
    }
}

impl<K: Hash + Eq + Clone + Send + Sync + 'static, R: Clone + Send + Sync + 'static> Drop for Load<'_, K, R> {
    fn drop(&mut self) {
        let mut loads = self.cache.lock();
        for (key, _) in &self.keys {
            if let Some(in_flight) = loads.in_flight.get_mut(key) {
                in_flight.loads -= 1;
                if in_flight.loads == 0 {
                    loads.in_flight.remove(key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
