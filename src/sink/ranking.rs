//! A rolling ranking in Redis: the sum of a score by member over a sliding window, exactly once in effect.
//!
//! Readers use one sorted set, `ZREVRANGE key 0 9 WITHSCORES`. What makes it right lives beside it under internal keys and changes only
//! in the functions of `redis/highwater.lua`: contributions by bucket of event time, totals, the progress of every partition, and the
//! **floor**, the window's start, which only moves forward and by Redis' clock.
//!
//! What it promises: a batch and its progress are one atomic call that counts once, whoever sends it again. What cannot be continued
//! (another pipeline, topic or Redis process, a snapshot run, a truncate) begins an **epoch**, which is built beside the served one and
//! swapped in when it has caught up: readers never see half a ranking, and an older one only after Redis itself lost writes.
//!
//! What it does not do: retry, or decide what a record means; that is the lane's and [`crate::progress`]'s.

mod config;

pub mod epoch;

mod function;

pub mod owed;

mod payload;

pub mod rebuild;

pub mod schedule;

mod server;

pub mod verify;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use highwater_sql::Plan;
use tokio::sync::Mutex;
use tracing::{info, warn};

pub use config::{RankingConfig, VerifyConfig};
pub use payload::Payload;

use crate::catalog::Database;
use crate::config::{Problem, SecretUrl};
use crate::faults::{Point, Protection, holds, reach};
use crate::metrics::LaneMetrics;
use crate::progress::Boundary;
use crate::sink::{Batch, Error, Failed, Policy, Progress, Resume, Selected, Sink, Slice, Written};
use crate::source::Log;
use config::Layout;
use epoch::{Decision, Reason};
use function::{Done, Epoch, Functions, Identity, OWED_MAX, Reply, Role, State};
use server::Session;
use verify::{Verified, Verifier};

/// How often the epoch may be another one while it is being adopted, before the lane waits a while.
const ADOPT_TRIES_MAX: usize = 8;
/// Calls of one tick while there is more to drain.
const TICK_CALLS_MAX: usize = 40;

/// The sink of one lane.
pub struct Ranking<L> {
    url: SecretUrl,
    layout: Layout,
    functions: Functions,
    log: L,
    metrics: Arc<LaneMetrics>,
    /// An epoch was adopted since the process started: this engine no longer replaces what another pipeline left.
    begun: Arc<AtomicBool>,
    held: Mutex<Held>,
}

/// What is known of the other end.
struct Held {
    session: Option<Session>,
    adopted: Option<Adopted>,
}

/// The epoch that batches are sent to.
struct Adopted {
    id: String,
    topic: String,
    ended: bool,
    /// Dead letters that it could not keep, as far as was said.
    unkept: u64,
    /// Partitions that the epoch does not know: their first offset, where it expects 0.
    unknown: BTreeMap<i32, i64>,
}

impl<L: Log> Ranking<L> {
    /// A ranking that has not connected yet.
    pub fn new(config: &RankingConfig, plan: &Plan, sql: &str, log: L, metrics: Arc<LaneMetrics>) -> Result<Self, Vec<Problem>> {
        let held = Held { session: None, adopted: None };
        Ok(Self {
            url: config.redis.clone(),
            layout: config.layout(plan, sql)?,
            functions: Functions::new(&config.key),
            log,
            metrics,
            begun: Arc::default(),
            held: Mutex::new(held),
        })
    }

    /// The same as the one before it in this process, which had `begun` or not.
    #[must_use]
    pub fn continuing(mut self, begun: Arc<AtomicBool>) -> Self {
        self.begun = begun;
        self
    }

    fn is_starting(&self) -> bool {
        !self.begun.load(Ordering::Relaxed)
    }

    /// The same with this clock instead of the server's; for tests.
    #[must_use]
    pub fn at(mut self, unix_ms: i64) -> Self {
        self.functions = self.functions.at(unix_ms);
        self
    }

    /// Begins an epoch whatever is stored: what `highwater replay` does. `from_ms`: it reads from further back than the window needs. Call it with
    /// no lane of this process running on the ranking.
    pub async fn replay(&self, from_ms: Option<i64>) -> Result<(), Error> {
        let mut held = self.held.lock().await;
        let session = connected(&mut held.session, &self.url, self.is_starting()).await?;
        let state = session.call(&self.functions.state()).await?;
        self.check_from(&state, from_ms)?;
        let topic = self.log.id().await.map_err(unanswered)?;
        let boundary = epoch::carried(state_epoch(&state), &topic);
        if self.begin_epoch(session, &state, topic, boundary, (Reason::Replay, from_ms)).await? { Ok(()) } else { Err(Error::Moved) }
    }

    /// Compares what is served with what SQL says, without changing anything: what `highwater verify` does.
    pub async fn verify(&self, key: &str, sql: &str, database: Database) -> Result<Verified, verify::Failure> {
        let session = Session::open_to_read(&self.url).await?;
        Verifier { session, key, layout: &self.layout, database, sql }.verify().await
    }

    /// Begins an epoch if the state is still this one. False: it is not, and somebody else's is to be adopted.
    async fn begin_epoch(
        &self,
        session: &mut Session,
        state: &State,
        topic: String,
        boundary: Option<Boundary>,
        (reason, from_ms): (Reason, Option<i64>),
    ) -> Result<bool, Error> {
        let identity = self.identity(session, topic);
        let (new, spans) = epoch::plan(&self.log, &self.layout, state, identity, boundary, from_ms).await.map_err(unanswered)?;
        let old = state.current.as_ref().map_or("", |current| &current.id);
        if let Reply::Done(done) = session.call(&self.functions.begin(old, &new)).await? {
            self.metrics.epoch_begun(reason.label());
            info!(epoch = new.id, reason = reason.label(), boundary = ?new.boundary, partitions = ?new.partitions, "a new epoch begins");
            // What lies before a boundary does not count anyway.
            if new.boundary.is_none() {
                spans.warn_of_cuts();
            }
            self.note(&done);
            return Ok(true);
        }
        Ok(false)
    }

    /// What an epoch of this engine is identified by.
    fn identity(&self, session: &Session, topic: String) -> Identity {
        let run_id = if holds(Protection::RunId) { session.run_id.clone() } else { String::new() };
        Identity { run_id, fingerprint: self.layout.fingerprint.clone(), topic }
    }

    /// What every successful call tells.
    fn note(&self, done: &Done) {
        self.metrics.set_rebuilding(done.role == Role::Building);
        if done.role == Role::Building {
            reach(Point::Rebuild);
        }
        if done.swapped {
            info!(epoch = done.epoch, floor_ms = done.floor_ms, "the new epoch is served");
        }
    }

    /// Makes the epoch the one that batches are sent to, if every partition's next record can be read.
    async fn adopt(&self, current: Epoch, partitions: &[i32]) -> Result<(Adopted, Resume), Error> {
        let watermarks = self.log.watermarks().await.map_err(unanswered)?;
        let mut unknown = BTreeMap::new();
        let mut resume = Resume { boundary: current.boundary, ..Resume::default() };
        for partition in partitions {
            let Some((low, high)) = watermarks.get(partition) else {
                return Err(Error::Retry(format!("kafka does not know partition {partition} yet")));
            };
            let progress = match current.progress.get(partition) {
                Some(progress) if progress.next < *low || progress.next > *high => {
                    return Err(out_of_range(*partition, progress.next, *low, *high));
                }
                Some(progress) => progress.clone(),
                None => {
                    unknown.insert(*partition, *low);
                    Progress { next: *low, ..Progress::default() }
                }
            };
            resume.partitions.insert(*partition, progress);
        }
        let ended = resume.boundary.as_ref().is_none_or(|boundary| boundary.ended);
        self.metrics.set_rebuilding(current.role == Role::Building);
        let unkept = current.unkept.unwrap_or(0);
        Ok((Adopted { id: current.id, topic: current.identity.topic, ended, unkept, unknown }, resume))
    }

    async fn try_resume(&self, held: &mut Held, partitions: &[i32]) -> Result<Resume, Error> {
        held.adopted = None;
        let session = connected(&mut held.session, &self.url, self.is_starting()).await?;
        for _ in 0..ADOPT_TRIES_MAX {
            let state: State = session.call(&self.functions.state()).await?;
            let topic = self.log.id().await.map_err(unanswered)?;
            let mine = self.identity(session, topic);
            match (epoch::decide(state_epoch(&state), &mine, self.is_starting()), state.current) {
                (Decision::Adopt, Some(current)) => {
                    let (adopted, resume) = self.adopt(current, partitions).await?;
                    held.adopted = Some(adopted);
                    self.begun.store(true, Ordering::Relaxed);
                    return Ok(resume);
                }
                (Decision::FencedByPipeline, _) => return Err(fenced_by_pipeline()),
                (Decision::FencedByTopic, _) => return Err(fenced_by_topic()),
                (Decision::Begin(reason), current) => {
                    let boundary = epoch::carried(current.as_ref(), &mine.topic);
                    let state = State { now_ms: state.now_ms, current };
                    self.begin_epoch(session, &state, mine.topic, boundary, (reason, None)).await?;
                }
                (Decision::Adopt, None) => {}
            }
        }
        Err(Error::Retry("other engines keep beginning epochs of this ranking".to_owned()))
    }

    async fn try_write(&self, held: &mut Held, batch: Batch<Payload>) -> Result<Written, Error> {
        let (Some(session), Some(adopted)) = (&mut held.session, &mut held.adopted) else { return Err(not_resumed()) };
        let mut targets = BTreeMap::new();
        if batch.run_ended && !adopted.ended {
            let watermarks = self.log.watermarks().await.map_err(unanswered)?;
            targets = watermarks.into_iter().map(|(partition, (_, high))| (partition, high)).collect();
        }
        let mut slices: BTreeMap<i32, Slice> = batch.slices;
        for (partition, low) in &adopted.unknown {
            if let Some(slice) = slices.get_mut(partition).filter(|slice| slice.token == *low) {
                slice.token = 0;
            }
        }
        if !holds(Protection::CompareAndSet) {
            pretend(session.call(&self.functions.state()).await?, &mut adopted.id, &mut slices);
        }
        let call = self.functions.apply(&adopted.id, &slices, &targets, &batch.owed, batch.payload.entries());
        reach(Point::BeforeApply);
        let Reply::Done(done) = session.call(&call).await? else { return Err(Error::Moved) };
        adopted.ended = done.ended;
        adopted.unknown.retain(|partition, _| !slices.contains_key(partition));
        self.note(&done);
        if done.unkept > 0 && adopted.unkept == 0 {
            warn!(
                "{} dead letters are kept in redis, and no more: the others can only be counted by rebuilding, `highwater replay`",
                OWED_MAX
            );
        }
        adopted.unkept = done.unkept;
        Ok(Written { rejected: Vec::new(), late: done.late })
    }

    async fn try_begin(&self, held: &mut Held, boundary: Boundary) -> Result<(), Error> {
        let (Some(session), Some(adopted)) = (&mut held.session, &held.adopted) else { return Err(not_resumed()) };
        let state: State = session.call(&self.functions.state()).await?;
        let ours = state.current.as_ref().filter(|current| current.id == adopted.id);
        if !ours.is_some_and(|current| boundary.exceeds(current.boundary.as_ref())) {
            return Ok(());
        }
        let reason = if boundary.run_tx.is_some() { Reason::Snapshot } else { Reason::Truncate };
        self.begin_epoch(session, &state, adopted.topic.clone(), Some(boundary), (reason, None)).await.map(drop)
    }

    async fn try_tick(&self, held: &mut Held) -> Result<(), Error> {
        let (Some(session), Some(adopted)) = (&mut held.session, &mut held.adopted) else { return Err(not_resumed()) };
        for _ in 0..TICK_CALLS_MAX {
            let Reply::Done(done) = session.call(&self.functions.tick()).await? else { return Err(Error::Moved) };
            self.note(&done);
            if done.epoch != adopted.id {
                return Err(Error::Moved);
            }
            if !done.more {
                break;
            }
        }
        Ok(())
    }
}

/// Without the comparison: whatever is stored is what was expected.
fn pretend(state: State, epoch: &mut String, slices: &mut BTreeMap<i32, Slice>) {
    let Some(current) = state.current else { return };
    *epoch = current.id;
    for (partition, slice) in slices {
        slice.token = current.progress.get(partition).map_or(0, |progress| progress.next);
    }
}

/// The session, opened if there is none.
async fn connected<'a>(session: &'a mut Option<Session>, url: &SecretUrl, starting: bool) -> Result<&'a mut Session, Error> {
    match session {
        Some(session) => Ok(session),
        None => Ok(session.insert(Session::open(url, starting).await?)),
    }
}

/// After trouble nothing that was read on the connection holds: the next call begins with a new one.
fn settle<T>(held: &mut Held, result: Result<T, Error>) -> Result<T, Error> {
    if let Err(Error::Retry(_) | Error::Stop { .. }) = &result {
        held.session = None;
        held.adopted = None;
    }
    result
}

fn state_epoch(state: &State) -> Option<&Epoch> {
    state.current.as_ref()
}

fn unanswered(error: crate::source::Error) -> Error {
    Error::Retry(error.to_string())
}

fn not_resumed() -> Error {
    Error::Retry("redis was not asked where to go on yet".to_owned())
}

fn fenced_by_topic() -> Error {
    Error::Stop {
        message: "the ranking is of another topic than this engine began with: the topic was created anew, or a pipeline on another topic took over the key"
            .to_owned(),
        remedy: "if it was created anew, start this engine again: it rebuilds the ranking; otherwise give each pipeline a key of its own first".to_owned(),
    }
}

fn fenced_by_pipeline() -> Error {
    Error::Stop {
        message: "another pipeline, or another version of this one, has taken over the ranking's key since this engine started".to_owned(),
        remedy: "stop the other one or give it a key of its own, then start this one again: it will rebuild the ranking".to_owned(),
    }
}

fn out_of_range(partition: i32, next: i64, low: i64, high: i64) -> Error {
    Error::Stop {
        message: format!("partition {partition} is to be read from offset {next}, but holds {low} to {high}"),
        remedy: "records were deleted before they were read (retention must cover window + ahead); rebuild with `highwater replay`"
            .to_owned(),
    }
}

impl<L: Log> Sink for Ranking<L> {
    type Payload = Payload;

    fn policy(&self) -> Policy {
        Policy::Boundaries
    }

    async fn resume(&self, partitions: &[i32]) -> Result<Resume, Error> {
        let mut held = self.held.lock().await;
        let mut result = self.try_resume(&mut held, partitions).await;
        if result.is_ok() {
            // A Redis that is full refuses batches, and is never idle: what expired must go here.
            result = self.try_tick(&mut held).await.and(result);
        }
        settle(&mut held, result)
    }

    fn add(&self, payload: &mut Payload, selected: Selected<'_>) -> Result<(), Failed> {
        payload.add(&self.layout, selected.before.as_deref(), selected.after.as_deref())
    }

    fn is_full(&self, payload: &Payload) -> bool {
        payload.is_full()
    }

    async fn write(&self, batch: Batch<Payload>) -> Result<Written, Error> {
        let mut held = self.held.lock().await;
        let result = self.try_write(&mut held, batch).await;
        settle(&mut held, result)
    }

    async fn begin(&self, boundary: Boundary) -> Result<(), Error> {
        let mut held = self.held.lock().await;
        let result = self.try_begin(&mut held, boundary).await;
        settle(&mut held, result)
    }

    async fn tick(&self) -> Result<(), Error> {
        let mut held = self.held.lock().await;
        let result = self.try_tick(&mut held).await;
        settle(&mut held, result)
    }
}

#[cfg(test)]
mod tests;
