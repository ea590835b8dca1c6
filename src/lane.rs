//! The lane: everything that feeds one sink, in one loop.
//!
//! ```text
//! source --Fetched--> judge --> select --> fill --> call --> commit
//!           bytes     Change    + lookups   batch    sink     group offsets
//! ```
//!
//! What it promises:
//!
//! * At most one call to the sink is under way; meanwhile the next batch is read, selected and grows. It never waits in order to batch: caught
//!   up, a batch is one record. Only behind do calls start at least [`CALL_APART`] apart, because compaction decides throughput.
//! * A batch carries the offsets at which the one before ended and the marks after it. After a conflict, an outage, a rebalance or a
//!   boundary everything in hand is dropped, the sink is asked where it is, and reading starts there under a new generation.
//! * A record that can never be delivered is in the dead-letter topic before progress passes it.
//! * A neighbour that does not answer is waited for, logged once per outage; what cannot go on is an error with its remedy.

mod judge;

mod select;

mod fill;

mod call;

mod handover;

mod old_row;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::backoff::Backoff;
use crate::dead_letter::DeadLetters;
use crate::decode::RecordDecoder;
use crate::metrics::LaneMetrics;
use crate::progress::Boundary;
use crate::sink::{Error, Progress, Sink};
use crate::source::kafka::{Fetched, Source};

use call::Reply;
use fill::{Filled, Ready};
use select::Outcome;

pub use select::{Computed, Select};

/// Behind, calls to the sink start at least this far apart.
const CALL_APART: Duration = Duration::from_millis(5);
/// How often offsets are committed for the group.
const COMMIT_EVERY: Duration = Duration::from_millis(200);
/// How often the sink is called when nothing else is to do.
const TICK_EVERY: Duration = Duration::from_secs(1);

/// What a lane is made of.
pub struct Parts<S> {
    /// Where records come from.
    pub source: Source,
    /// Bytes to change.
    pub decoder: RecordDecoder,
    /// The table only gets inserts.
    pub append_only: bool,
    /// Change to result rows.
    pub select: Arc<Select>,
    /// Where rows go.
    pub sink: Arc<S>,
    /// Where records go that can never be delivered.
    pub dead_letters: Arc<DeadLetters>,
    /// The lane's own metrics.
    pub metrics: Arc<LaneMetrics>,
    /// How long a shutdown may take.
    pub drain_max: Duration,
}

/// The lane, running. Fields in the order of the data.
pub struct Lane<S: Sink> {
    parts: Parts<S>,
    reading: Reading,
    fetched: VecDeque<Fetched>,
    selecting: Option<JoinHandle<Vec<Outcome>>>,
    ready: Ready,
    filled: Filled<S::Payload>,
    call: Option<JoinHandle<Reply>>,
    call_started: Instant,
    /// What was written since the last commit.
    settled: BTreeMap<i32, Progress>,
    /// What was committed without waiting for the broker's answer.
    committed: BTreeMap<i32, Progress>,
    /// Credits that the source gets back when reading starts again.
    owed: usize,
    outage: Option<Instant>,
    backoff: Backoff,
}

/// What is being read, and what is known about it.
#[derive(Default)]
struct Reading {
    assigned: Option<Vec<i32>>,
    /// When to ask the sink where to go on; none while it is known.
    resume_at: Option<Instant>,
    generation: u64,
    boundary: Option<Boundary>,
    partitions: BTreeMap<i32, Progress>,
}

impl<S: Sink> Lane<S> {
    /// A lane that has not been assigned anything yet.
    pub fn new(parts: Parts<S>) -> Self {
        Self {
            parts,
            reading: Reading::default(),
            fetched: VecDeque::new(),
            selecting: None,
            ready: Ready::default(),
            filled: Filled::default(),
            call: None,
            call_started: Instant::now(),
            settled: BTreeMap::new(),
            committed: BTreeMap::new(),
            owed: 0,
            outage: None,
            backoff: Backoff::new(Duration::from_millis(20), Duration::from_secs(5)),
        }
    }

    /// Runs until `shutdown`, or until going on would be wrong.
    pub async fn run(mut self, mut shutdown: watch::Receiver<bool>) -> Result<(), Error> {
        let mut commit = interval(COMMIT_EVERY);
        let mut tick = interval(TICK_EVERY);
        commit.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ended = loop {
            let wake = match self.advance() {
                Ok(wake) => wake,
                Err(stop) => break Err(stop),
            };
            let seen = tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop) => break Ok(()),
                reply = joined(&mut self.call) => match reply {
                    Ok(reply) => self.replied(reply).await,
                    Err(stop) => Err(stop),
                },
                outcomes = joined(&mut self.selecting) => outcomes.map(|outcomes| self.ready.extend(outcomes)),
                event = self.parts.source.next() => self.happened(event).await,
                () = sleep_until(wake) => Ok(()),
                _ = commit.tick() => { self.commit(); Ok(()) }
                _ = tick.tick(), if self.is_idle() => { self.start_tick(); Ok(()) }
            };
            if let Err(stop) = seen {
                break Err(stop);
            }
        };
        self.close().await;
        ended
    }

    /// Starts what can start, in the order of the data. Returns when to look again if nothing happens.
    fn advance(&mut self) -> Result<Instant, Error> {
        let room = self.selecting.is_none() && self.ready.has_room();
        if let Some(fetched) = room.then(|| self.fetched.pop_front()).flatten() {
            self.parts.source.credit();
            let judged = self.judge(fetched)?;
            let select = Arc::clone(&self.parts.select);
            self.selecting = Some(tokio::spawn(async move { select.run(judged).await }));
        }
        self.filled.fill(&mut self.ready, &*self.parts.sink);
        Ok(self.start_call())
    }

    fn is_idle(&self) -> bool {
        self.call.is_none() && self.filled.is_empty() && self.reading.resume_at.is_none() && self.reading.assigned.is_some()
    }
}

/// Waits for a task; for ever when there is none.
async fn joined<T>(task: &mut Option<JoinHandle<T>>) -> Result<T, Error> {
    let Some(handle) = task else { return std::future::pending().await };
    let result = handle.await;
    *task = None;
    result.map_err(|error| task_failed(&error))
}

fn task_failed(error: &JoinError) -> Error {
    Error::Stop { message: format!("a task of the lane failed: {error}"), remedy: "start again and report this".into() }
}
