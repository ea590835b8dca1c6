//! The second step: lookup rows join the change, and the SELECT makes result rows of it.
//!
//! One batch at a time: all keys of a lookup are asked for together, once each. A row that fails becomes a dead letter, its neighbours go on.
//! Postgres not answering is waited for, with one line in the log per outage: nothing is sent with invented NULLs. A record that contradicts its
//! table, or fails, is given up only after Postgres said that the tables are still those the SELECT was checked against; a delete whose old row may be made
//! up counts only after it said that it is not.

use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use highwater_sql::{LookupKey, LookupRow, Plan, RowError};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::change::{Change, Row};
use crate::check::watch::Witness;
use crate::dead_letter::DeadLetter;
use crate::decode;
use crate::lane::judge::{Judged, Work};
use crate::lane::old_row;
use crate::lookup::{self, Found, Rows};
use crate::metrics::LaneMetrics;
use crate::progress::Boundary;
use crate::sink::{Failed, Policy, Progress, ResultRow, Sides};
use crate::source::Record;

/// The SELECT with its lookups; shared by nothing but this lane's batches.
pub struct Select {
    /// The checked SELECT.
    pub plan: Arc<Plan>,
    /// The lookup rows, shared by all lanes of the pipeline.
    pub lookups: Rows,
    /// What the sink wants. For a ranking the two sides of a change stand alone: what a row adds and what it takes away later must be the
    /// same, also when one of its neighbours in time fails.
    pub policy: Policy,
    /// Whether the tables still are what the plan was made for.
    pub witness: Witness,
    /// The runtime that all lanes share.
    pub shared: tokio::runtime::Handle,
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

impl Outcome {
    /// Bytes of the record that it holds.
    pub fn bytes(&self) -> usize {
        let record = match &self.effect {
            Effect::Rows(record, ..) => record,
            Effect::Park(letter) => &letter.record,
            Effect::Nothing | Effect::Begin(_) => return 0,
        };
        record.key.as_ref().map_or(0, Bytes::len) + record.value.as_ref().map_or(0, Bytes::len)
    }
}

/// What a record means to the sink.
#[derive(Debug)]
pub enum Effect {
    /// Nothing but progress.
    Nothing,
    /// Result rows taken away and added. With an error: of a side that is left out, because the SELECT fails for that row; the record is
    /// parked as well.
    Rows(Record, Box<Change>, Option<ResultRow>, Option<ResultRow>, Option<Failed>),
    /// It can never be delivered.
    Park(DeadLetter),
    /// An epoch begins.
    Begin(Boundary),
}

/// What the SELECT made of one change.
#[derive(Debug, Default)]
pub struct Computed {
    /// Taken away.
    pub before: Option<ResultRow>,
    /// Added.
    pub after: Option<ResultRow>,
    /// The rows of the change cannot be read at all: there is no result.
    pub unreadable: Option<RowError>,
    /// A lookup or the SELECT fails for a side, which is left out; the other side stands.
    pub failed: Option<Failed>,
}

impl Computed {
    fn fail(&mut self, sides: Sides, error: RowError) {
        self.failed = Failed::either(self.failed.take(), Some(Failed { sides, error }));
    }
}

/// One row on its way through the lookups: which change it is of, its source values, what was found.
struct InFlight {
    change: usize,
    side: Sides,
    source: Row,
    found: Vec<Option<LookupRow>>,
    failed: bool,
}

/// The rows of some changes, and what is known of each change.
struct InFlightRows {
    before: Vec<InFlight>,
    after: Vec<InFlight>,
    computed: Vec<Computed>,
}

impl InFlightRows {
    fn of<'a>(changes: impl Iterator<Item = &'a mut Change>) -> Self {
        let (mut before, mut after, mut computed) = (Vec::new(), Vec::new(), Vec::new());
        for (n, change) in changes.enumerate() {
            let mut unreadable = None;
            match decode::rows(change) {
                Ok((old, new)) => {
                    let row = |side| move |source| InFlight { change: n, side, source, found: Vec::new(), failed: false };
                    before.extend(old.map(row(Sides::BEFORE)));
                    after.extend(new.map(row(Sides::AFTER)));
                }
                Err(error) => unreadable = Some(error),
            }
            computed.push(Computed { unreadable, ..Computed::default() });
        }
        Self { before, after, computed }
    }
}

impl Select {
    /// Joins and computes; keeps the order.
    pub async fn run(&self, mut judged: Vec<Judged>) -> Vec<Outcome> {
        let changes = judged.iter_mut().filter_map(|judged| match &mut judged.work {
            Work::Select(_, change) => Some(&mut **change),
            _ => None,
        });
        let rows = self.rows_of(changes).await;
        let contradicts = |judged: &Judged| matches!(judged.work, Work::Park(_, decode::INCOMPLETE | decode::NULL_KEY, ..));
        let computed = self.join_and_evaluate(rows).await;
        let fails = |computed: &Computed| computed.unreadable.is_some() || computed.failed.is_some();
        if computed.iter().any(fails) || judged.iter().any(contradicts) {
            self.witness.unchanged().await;
        }
        let mut computed = computed.into_iter();
        let outcome = |judged: Judged| {
            let effect = match judged.work {
                Work::Nothing => Effect::Nothing,
                Work::Begin(boundary) => Effect::Begin(boundary),
                Work::Park(record, class, error, owed) => Effect::Park(DeadLetter::of_row(record, class, error).owing(owed)),
                Work::Select(record, change) => self.effect(record, change, computed.next().unwrap_or_default()),
            };
            Outcome { partition: judged.partition, from: judged.from, progress: judged.progress, run_ended: judged.run_ended, effect }
        };
        judged.into_iter().map(outcome).collect()
    }

    fn effect(&self, record: Record, change: Box<Change>, computed: Computed) -> Effect {
        match computed {
            Computed { unreadable: Some(error), .. } => Effect::Park(DeadLetter::of_row(record, "row", error).owing(Sides::BOTH)),
            Computed { failed: Some(failed), .. } if self.policy != Policy::Boundaries => {
                Effect::Park(DeadLetter::of_row(record, "row", failed.error).owing(Sides::BOTH))
            }
            Computed { before, after, failed, .. } => Effect::Rows(record, change, before, after, failed),
        }
    }

    /// The result rows of each change, in order. Takes the rows out of the changes.
    pub async fn compute<'a>(&self, changes: impl Iterator<Item = &'a mut Change>) -> Vec<Computed> {
        let rows = self.rows_of(changes).await;
        self.join_and_evaluate(rows).await
    }

    /// The rows that the changes take away and add. Takes them out of the changes.
    async fn rows_of<'a>(&self, changes: impl Iterator<Item = &'a mut Change>) -> InFlightRows {
        let mut changes: Vec<_> = changes.collect();
        if changes.iter().any(|change| self.is_doubtful(change))
            && let Some(defined_by) = self.witness.unchanged().await
        {
            for change in &mut changes {
                if self.is_doubtful(change) && !old_row::is_certain(change, defined_by) {
                    change.before = Some(Err(old_row::error()));
                }
            }
        }
        InFlightRows::of(changes.into_iter())
    }

    fn is_doubtful(&self, change: &Change) -> bool {
        old_row::is_doubtful(change, &self.plan.source, &self.plan.source_columns)
    }

    async fn join_and_evaluate(&self, InFlightRows { mut before, mut after, mut computed }: InFlightRows) -> Vec<Computed> {
        for lookup in 0..self.plan.lookups.len() {
            self.join(lookup, &mut before, &mut after, &mut computed).await;
        }
        for (rows, is_after) in [(&before, false), (&after, true)] {
            for row in rows.iter().filter(|row| !row.failed) {
                let of = &mut computed[row.change];
                match self.plan.evaluate(&row.source, &row.found) {
                    Ok(result) if is_after => of.after = result,
                    Ok(result) => of.before = result,
                    Err(error) => of.fail(row.side, error),
                }
            }
        }
        computed
    }

    /// Gives every row its row of one lookup table.
    async fn join(&self, lookup: usize, before: &mut [InFlight], after: &mut [InFlight], computed: &mut [Computed]) {
        let mut keys: Vec<Option<LookupKey>> = Vec::with_capacity(before.len() + after.len());
        for row in before.iter_mut().chain(after.iter_mut()) {
            let key = if row.failed { Ok(None) } else { self.plan.lookup_key(lookup, &row.source, &row.found) };
            keys.push(key.unwrap_or_else(|error| {
                row.failed = true;
                computed[row.change].fail(row.side, error);
                None
            }));
        }
        let distinct: HashSet<&LookupKey> = keys.iter().flatten().collect();
        let wanted: Vec<LookupKey> = distinct.into_iter().cloned().collect();
        let found = if wanted.is_empty() { HashMap::new() } else { self.load(lookup, &wanted).await };
        for (row, key) in before.iter_mut().chain(after).zip(keys) {
            row.found.push(match key.and_then(|key| found.get(&key)) {
                Some(Ok(found)) => found.clone(),
                Some(Err(error)) => {
                    row.failed = true;
                    computed[row.change].fail(row.side, error.clone());
                    None
                }
                None => None,
            });
        }
    }

    /// Polled inside the runtime that owns the connections to Postgres, which all lanes share.
    async fn fetch(&self, lookup: usize, wanted: &[LookupKey]) -> Result<HashMap<LookupKey, Found>, lookup::Error> {
        let mut fetch = pin!(self.lookups.fetch(lookup, wanted));
        poll_fn(|context| {
            let _inside = self.shared.enter();
            fetch.as_mut().poll(context)
        })
        .await
    }

    async fn load(&self, lookup: usize, wanted: &[LookupKey]) -> HashMap<LookupKey, Found> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        let mut since = None;
        loop {
            match self.fetch(lookup, wanted).await {
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
