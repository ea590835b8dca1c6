//! The second step: lookup rows join the change, and the SELECT makes result rows of it.
//!
//! One batch at a time: all keys of a lookup are asked for together, once each. A row that fails becomes a dead letter, its neighbours go on.
//! Postgres not answering is waited for, with one line in the log per outage: nothing is sent with invented NULLs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_sql::{LookupKey, LookupRow, Plan, RowError};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::change::{Change, Row};
use crate::dead_letter::DeadLetter;
use crate::decode;
use crate::lane::LaneMetrics;
use crate::lane::judge::{Judged, Work};
use crate::lookup::Lookups;
use crate::progress::Boundary;
use crate::sink::{Progress, ResultRow};
use crate::source::Record;

/// The SELECT with its lookups; shared by nothing but this lane's batches.
pub struct Select {
    /// The checked SELECT.
    pub plan: Arc<Plan>,
    /// The lookup rows, shared by all lanes of the pipeline.
    pub lookups: Arc<Lookups>,
    /// The lane's metrics.
    pub metrics: Arc<LaneMetrics>,
}

/// A judged record after the SELECT.
#[derive(Debug)]
pub struct Outcome {
    /// The partition that moves.
    pub partition: i32,
    /// Where the partition was before.
    pub from: i64,
    /// Where it is after.
    pub progress: Progress,
    /// A streamed record that counts, or the last row of a snapshot run.
    pub run_ended: bool,
    /// What it means to the sink.
    pub effect: Effect,
}

/// What a record means to the sink.
#[derive(Debug)]
pub enum Effect {
    /// Nothing but progress.
    Nothing,
    /// Result rows taken away and added.
    Rows(Record, Box<Change>, Option<ResultRow>, Option<ResultRow>),
    /// It can never be delivered.
    Park(DeadLetter),
    /// An epoch begins.
    Begin(Boundary),
}

/// One row on its way through the lookups: which judged record it is of, its source values, what was found.
struct InFlight {
    judged: usize,
    source: Row,
    found: Vec<Option<LookupRow>>,
}

impl Select {
    /// Joins and computes; keeps the order.
    pub async fn run(&self, mut judged: Vec<Judged>) -> Vec<Outcome> {
        let mut failed: HashMap<usize, RowError> = HashMap::new();
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (n, judged) in judged.iter_mut().enumerate() {
            let Work::Select(_, change) = &mut judged.work else { continue };
            match decode::rows(change) {
                Ok((old, new)) => {
                    let row = |source| InFlight { judged: n, source, found: Vec::new() };
                    before.extend(old.map(row));
                    after.extend(new.map(row));
                }
                Err(error) => drop(failed.insert(n, error)),
            }
        }
        for lookup in 0..self.plan.lookups.len() {
            self.join(lookup, &mut before, &mut after, &mut failed).await;
        }
        let mut results: HashMap<usize, (Option<ResultRow>, Option<ResultRow>)> = HashMap::with_capacity(after.len());
        for (rows, is_after) in [(&before, false), (&after, true)] {
            for row in rows {
                match self.plan.evaluate(&row.source, &row.found) {
                    Ok(result) => {
                        let both = results.entry(row.judged).or_default();
                        *(if is_after { &mut both.1 } else { &mut both.0 }) = result;
                    }
                    Err(error) => drop(failed.entry(row.judged).or_insert(error)),
                }
            }
        }
        let outcome = |(n, judged): (usize, Judged)| {
            let effect = match judged.work {
                Work::Nothing => Effect::Nothing,
                Work::Begin(boundary) => Effect::Begin(boundary),
                Work::Park(record, class, error) => Effect::Park(dead_letter(record, class, error)),
                Work::Select(record, change) => match failed.remove(&n) {
                    Some(error) => Effect::Park(dead_letter(record, "row", error)),
                    None => {
                        let (before, after) = results.remove(&n).unwrap_or_default();
                        Effect::Rows(record, change, before, after)
                    }
                },
            };
            Outcome { partition: judged.partition, from: judged.from, progress: judged.progress, run_ended: judged.run_ended, effect }
        };
        judged.into_iter().enumerate().map(outcome).collect()
    }

    /// Gives every row its row of one lookup table.
    async fn join(&self, lookup: usize, before: &mut [InFlight], after: &mut [InFlight], failed: &mut HashMap<usize, RowError>) {
        let rows = || before.iter().chain(after.iter());
        let mut keys: Vec<Option<LookupKey>> = Vec::with_capacity(before.len() + after.len());
        for row in rows() {
            keys.push(match self.plan.lookup_key(lookup, &row.source, &row.found) {
                Ok(key) => key,
                Err(error) => {
                    failed.entry(row.judged).or_insert(error);
                    None
                }
            });
        }
        let mut wanted: Vec<LookupKey> = keys.iter().flatten().cloned().collect();
        wanted.sort_unstable();
        wanted.dedup();
        let found = if wanted.is_empty() { HashMap::new() } else { self.load(lookup, &wanted).await };
        for (row, key) in before.iter_mut().chain(after).zip(keys) {
            row.found.push(key.and_then(|key| found.get(&key).cloned().flatten()));
        }
    }

    async fn load(&self, lookup: usize, wanted: &[LookupKey]) -> HashMap<LookupKey, Option<LookupRow>> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        let mut since = None;
        loop {
            match self.lookups.fetch(lookup, wanted).await {
                Ok(found) => {
                    if let Some(since) = since.map(|since: Instant| since.elapsed()) {
                        info!(outage_ms = since.as_millis(), tries = backoff.tries(), "lookups answer again");
                    }
                    return found;
                }
                Err(error) => {
                    self.metrics.retry("lookup");
                    if since.is_none() {
                        since = Some(Instant::now());
                        warn!(%error, "lookup rows cannot be loaded, waiting");
                    }
                    sleep(backoff.wait()).await;
                }
            }
        }
    }
}

pub(super) fn dead_letter(record: Record, class: &'static str, error: RowError) -> DeadLetter {
    let message = match &error.column {
        Some(column) => format!("{} (column {column})", error.message),
        None => error.message,
    };
    DeadLetter { record, class, sqlstate: Some(error.sqlstate), message }
}
