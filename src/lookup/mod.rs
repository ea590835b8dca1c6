//! Rows of the joined tables: from a cache that change events keep fresh, else from Postgres, many keys in one statement.
//!
//! What it promises: a row that `fetch` returns was the committed row at some moment not earlier than the last change that was read from
//! the table's topic, and never older than [`AGE_MAX`]. What remains is the topic's lag. A key without a row has none; nothing is ever
//! invented: while Postgres does not answer, `fetch` fails with `Retry` for the keys it has to load, and the caller waits.
//!
//! ```text
//! fetch --hit--> cache <--remove-- tail <-- the lookup table's topic
//!       --miss-> postgres --row unless its key changed meanwhile--> cache
//! ```

mod cache;

mod given;

pub(crate) mod postgres;

mod tail;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use highwater_sql::{LookupKey, LookupRow, Plan, RowError, Value};

use crate::catalog::Database;
use crate::metrics::Metrics;
use cache::{Cache, Limits};
use postgres::Loader;

pub use given::{Given, JsonRow};
pub use tail::Tail;

/// Bytes of cached rows of one pipeline, divided among its lookups.
pub const CACHE_BYTES_MAX: u64 = 32 << 20;
/// Cached rows of one pipeline, divided among its lookups.
pub const CACHE_ENTRIES_MAX: u64 = 200_000;
/// From load to oblivion. It bounds staleness when changes cannot be read: a topic that is not the table's, Kafka down.
pub const AGE_MAX: Duration = Duration::from_secs(600);
/// Keys in one statement.
const LOAD_KEYS_MAX: usize = 1000;
/// How often a load is repeated because its keys keep changing; what the last one read is used, and not kept.
const LOADS_MAX: usize = 4;

/// What a key stands for: a row, none, or one that the engine cannot read (a dead letter for whoever needs it).
pub type Found = Result<Option<LookupRow>, RowError>;

/// Where lookup rows come from.
#[derive(Debug)]
pub enum Rows {
    /// Cache and database.
    Live(Arc<Lookups>),
    /// Rows that were given beforehand, and no others.
    Given(Given),
}

impl Rows {
    /// The rows of these keys, as [`Lookups::fetch`].
    ///
    /// # Errors
    /// `Retry` while Postgres does not answer and not all keys are cached.
    pub async fn fetch(&self, lookup: usize, keys: &[LookupKey]) -> Result<HashMap<LookupKey, Found>, Error> {
        match self {
            Self::Live(lookups) => lookups.fetch(lookup, keys).await,
            Self::Given(given) => Ok(given.fetch(lookup, keys)),
        }
    }
}

/// The lookups of one pipeline, shared by its lanes.
#[derive(Debug)]
pub struct Lookups {
    database: Database,
    lookups: Vec<One>,
}

/// Rows could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Postgres does not answer, or refuses for now: wait and call again. Logged once per outage by the lane.
    #[error("{0}")]
    Retry(String),
}

struct One {
    table: String,
    loader: Loader,
    cache: Cache<LookupKey, LookupRow>,
    metrics: OneMetrics,
}

struct OneMetrics {
    hit: prometheus::IntCounter,
    miss: prometheus::IntCounter,
    absent: prometheus::IntCounter,
    removed: prometheus::IntCounter,
    discarded: prometheus::IntCounter,
    entries: prometheus::Gauge,
    all: Metrics,
    pipeline: String,
}

impl Lookups {
    /// Empty caches for the lookups of a plan. Rows are kept once a [`Tail`] follows the changes.
    pub fn new(pipeline: &str, plan: &Plan, database: Database, metrics: &Metrics) -> Self {
        let share = u64::try_from(plan.lookups.len().max(1)).unwrap_or(u64::MAX);
        let limits = Limits { entries_max: CACHE_ENTRIES_MAX / share, bytes_max: CACHE_BYTES_MAX / share, age_max: AGE_MAX };
        let one = |lookup: &highwater_sql::Lookup| {
            let table = format!("{}.{}", lookup.table.schema, lookup.table.name);
            let metrics = OneMetrics::new(pipeline, &table, metrics);
            One { table, loader: Loader::new(lookup), cache: Cache::new(limits, entry_bytes), metrics }
        };
        Self { database, lookups: plan.lookups.iter().map(one).collect() }
    }

    /// The rows of these keys of the plan's lookup with that number; every key is in the answer.
    ///
    /// May be called by any number of lanes at once; two that miss the same key both load it. A call that is dropped leaves nothing behind.
    ///
    /// # Errors
    /// `Retry` while Postgres does not answer and not all keys are cached.
    pub async fn fetch(&self, lookup: usize, keys: &[LookupKey]) -> Result<HashMap<LookupKey, Found>, Error> {
        let one = &self.lookups[lookup];
        let mut found = HashMap::with_capacity(keys.len());
        let mut missing = HashSet::new();
        for key in keys {
            if found.contains_key(key) || missing.contains(key) {
                continue;
            }
            match one.cache.get(key) {
                Some(row) => drop(found.insert(key.clone(), Ok(Some(row)))),
                None => drop(missing.insert(key.clone())),
            }
        }
        one.metrics.hit.inc_by(found.len() as u64);
        one.metrics.miss.inc_by(missing.len() as u64);
        let missing: Vec<_> = missing.into_iter().collect();
        for chunk in missing.chunks(LOAD_KEYS_MAX) {
            one.load(&self.database, chunk.to_vec(), &mut found).await?;
        }
        Ok(found)
    }

    /// A change for this key of a lookup was read.
    fn remove(&self, lookup: usize, key: &LookupKey) {
        let one = &self.lookups[lookup];
        if one.cache.remove(key) {
            one.metrics.removed.inc();
        }
    }

    /// Something happened to a lookup's table, or to its changes, that no single removal covers.
    fn clear(&self, lookup: usize, reason: &'static str) {
        let one = &self.lookups[lookup];
        one.cache.clear();
        one.metrics.cleared(&one.table, reason);
    }

    /// Changes of a lookup's table were lost: nothing is kept until [`Lookups::follow`].
    fn lose(&self, lookup: usize) {
        let one = &self.lookups[lookup];
        one.cache.unfollow();
        one.metrics.cleared(&one.table, "offsets_lost");
    }

    /// Changes are read from a point before this call.
    fn follow(&self) {
        self.lookups.iter().for_each(|one| one.cache.follow());
    }

    /// How many there are.
    fn len(&self) -> usize {
        self.lookups.len()
    }
}

impl One {
    async fn load(&self, database: &Database, mut wanted: Vec<LookupKey>, found: &mut HashMap<LookupKey, Found>) -> Result<(), Error> {
        for n in 1..=LOADS_MAX {
            let load = self.cache.begin(&wanted);
            let mut rows = database.within(self.loader.load(database, &wanted)).await?;
            let discarded = load.finish(|key| rows.get(key)?.as_ref().ok().cloned());
            self.metrics.discarded.inc_by(discarded.len() as u64);
            let again: HashSet<_> = if n < LOADS_MAX { discarded.into_iter().collect() } else { HashSet::new() };
            for key in wanted.extract_if(.., |key| !again.contains(key)) {
                let row = rows.remove(&key).transpose();
                if matches!(row, Ok(None)) {
                    self.metrics.absent.inc();
                }
                found.insert(key, row);
            }
            if wanted.is_empty() {
                break;
            }
        }
        self.metrics.entries.set(count(self.cache.len()));
        Ok(())
    }
}

impl OneMetrics {
    fn new(pipeline: &str, table: &str, metrics: &Metrics) -> Self {
        let keys = |result: &str| metrics.lookup_keys.with_label_values(&[pipeline, table, result]);
        Self {
            hit: keys("hit"),
            miss: keys("miss"),
            absent: keys("absent"),
            removed: metrics.lookup_removed.with_label_values(&[pipeline, table]),
            discarded: metrics.lookup_discarded.with_label_values(&[pipeline, table]),
            entries: metrics.lookup_entries.with_label_values(&[pipeline, table]),
            all: metrics.clone(),
            pipeline: pipeline.to_owned(),
        }
    }

    fn cleared(&self, table: &str, reason: &'static str) {
        self.all.lookup_cleared.with_label_values(&[&self.pipeline, table, reason]).inc();
    }
}

impl std::fmt::Debug for One {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("One").field("table", &self.table).field("rows", &self.cache.len()).finish_non_exhaustive()
    }
}

/// A gauge's number.
#[allow(clippy::cast_precision_loss)]
fn count(n: u64) -> f64 {
    n as f64
}

/// What an entry takes, without the overhead of its allocations.
fn entry_bytes(key: &LookupKey, row: &LookupRow) -> u64 {
    /// Of the key, the entry and their places in the map.
    const OVERHEAD_BYTES: usize = 200;
    let key: usize = key.parts().iter().map(|part| part.len() + size_of::<Box<str>>()).sum();
    let row: usize = row.iter().map(value_bytes).sum();
    (OVERHEAD_BYTES + key + row) as u64
}

fn value_bytes(value: &Value) -> usize {
    let behind = match value {
        Value::Text(text) | Value::Json(text) | Value::Jsonb(text) => text.len(),
        Value::Bytea(bytes) => bytes.len(),
        Value::Array(items) => items.iter().map(value_bytes).sum(),
        _ => 0,
    };
    size_of::<Value>() + behind
}

#[cfg(test)]
mod tests;
