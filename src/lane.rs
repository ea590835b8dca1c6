//! The lane: everything that feeds one sink, in one loop.
//!
//! ```text
//! source --Fetched--> judge --> select --> fill --> write --> commit
//!           bytes     Change    + lookups   batch    sink      group offsets
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

mod fill;

mod judge;

mod select;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tracing::{error, info, warn};

use crate::backoff::Backoff;
use crate::dead_letter::{DeadLetter, DeadLetters};
use crate::decode::RecordDecoder;
use crate::progress::Boundary;
use crate::sink::{Batch, Error, Policy, Progress, Resume, Sink, Written};
use crate::source::kafka::{Event, Failure, Fetched, Source};

pub use fill::Filled;
pub use judge::Judged;
pub use select::{Outcome, Select};

/// Behind, calls to the sink start at least this far apart.
const CALL_APART: Duration = Duration::from_millis(5);
/// Selected records that wait for the batch.
const READY_MAX: usize = 10_000;
/// How often offsets are committed for the group.
const COMMIT_EVERY: Duration = Duration::from_millis(200);
/// How often the sink is called when nothing else is to do.
const TICK_EVERY: Duration = Duration::from_secs(1);
/// How long the call under way may take when partitions are taken away.
const RELEASE_WAIT: Duration = Duration::from_secs(5);
/// Bytes of metadata beside a committed offset (the broker's `offset.metadata.max.bytes` is 4096).
const METADATA_BYTES_MAX: usize = 4_000;

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

pub use crate::metrics::LaneMetrics;

/// The lane, running.
pub struct Lane<S: Sink> {
    parts: Parts<S>,
    reading: Reading,
    fetched: VecDeque<Fetched>,
    selecting: Option<JoinHandle<Vec<Outcome>>>,
    ready: VecDeque<Outcome>,
    filled: Filled<S::Payload>,
    call: Option<JoinHandle<Reply>>,
    call_started: Instant,
    settled: BTreeMap<i32, Progress>,
    outage: Option<Instant>,
    backoff: Backoff,
}

/// What is being read, and what is known about it.
#[derive(Default)]
pub struct Reading {
    assigned: Option<Vec<i32>>,
    /// When to ask the sink where to go on; none while it is known.
    resume_at: Option<Instant>,
    generation: u64,
    boundary: Option<Boundary>,
    partitions: BTreeMap<i32, Progress>,
}

/// What the one call under way came to.
enum Reply {
    Resumed(Result<Resume, Error>),
    Written(Result<Written, Error>, BTreeMap<i32, Progress>, Vec<i64>),
    Begun(Result<(), Error>),
    Ticked(Result<(), Error>),
}

impl<S: Sink> Lane<S> {
    /// A lane that has not joined yet.
    pub fn new(parts: Parts<S>) -> Self {
        Self {
            parts,
            reading: Reading::default(),
            fetched: VecDeque::new(),
            selecting: None,
            ready: VecDeque::new(),
            filled: Filled::default(),
            call: None,
            call_started: Instant::now(),
            settled: BTreeMap::new(),
            outage: None,
            backoff: Backoff::new(Duration::from_millis(20), Duration::from_secs(5)),
        }
    }

    /// Runs until `shutdown`, or until going on would be wrong.
    pub async fn run(mut self, mut shutdown: watch::Receiver<bool>) -> Result<(), Error> {
        let mut tick = interval(TICK_EVERY);
        let mut commit = interval(COMMIT_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        commit.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
                _ = tick.tick(), if self.idle() => { self.start_tick(); Ok(()) }
            };
            if let Err(stop) = seen {
                break Err(stop);
            }
        };
        self.parts.metrics.set_ready(false);
        self.close().await;
        ended
    }

    /// Starts what can start. Returns when to look again if nothing happens.
    fn advance(&mut self) -> Result<Instant, Error> {
        if self.selecting.is_none() && self.ready.len() < READY_MAX {
            if let Some(fetched) = self.fetched.pop_front() {
                self.parts.source.credit();
                let judged = self.judge(fetched)?;
                let select = Arc::clone(&self.parts.select);
                self.selecting = Some(tokio::spawn(async move { select.run(judged).await }));
            }
        }
        self.filled.fill(&mut self.ready, &*self.parts.sink);
        let far = Instant::now() + Duration::from_secs(3600);
        if self.call.is_some() {
            return Ok(far);
        }
        if let (Some(assigned), Some(at)) = (&self.reading.assigned, self.reading.resume_at) {
            if at > Instant::now() {
                return Ok(at);
            }
            let (sink, assigned) = (Arc::clone(&self.parts.sink), assigned.clone());
            self.reading.resume_at = None;
            self.start_call(async move { Reply::Resumed(sink.resume(&assigned).await) });
        } else if !self.filled.is_empty() {
            let behind = self.filled.full || self.selecting.is_some() || !self.fetched.is_empty();
            let due = self.call_started + CALL_APART;
            if behind && due > Instant::now() {
                return Ok(due);
            }
            self.start_write();
        } else if let Some(boundary) = fill::next_begin(&mut self.ready) {
            let sink = Arc::clone(&self.parts.sink);
            self.start_call(async move { Reply::Begun(sink.begin(boundary).await) });
        }
        Ok(far)
    }

    fn start_call(&mut self, call: impl Future<Output = Reply> + Send + 'static) {
        self.call_started = Instant::now();
        self.call = Some(tokio::spawn(call));
    }

    fn start_write(&mut self) {
        let Filled { batch, dead, commits_us, records, .. } = std::mem::take(&mut self.filled);
        let (sink, dead_letters) = (Arc::clone(&self.parts.sink), Arc::clone(&self.parts.dead_letters));
        let progress = batch.slices.iter().map(|(p, s)| (*p, s.progress.clone())).collect();
        self.parts.metrics.batch_records(records);
        self.start_call(async move { Reply::Written(write(&*sink, &dead_letters, batch, &dead).await, progress, commits_us) });
    }

    fn start_tick(&mut self) {
        let sink = Arc::clone(&self.parts.sink);
        self.start_call(async move { Reply::Ticked(sink.tick().await) });
    }

    fn idle(&self) -> bool {
        self.call.is_none() && self.filled.is_empty() && self.reading.resume_at.is_none() && self.reading.assigned.is_some()
    }

    /// The call to the sink came back.
    async fn replied(&mut self, reply: Reply) -> Result<(), Error> {
        let took = self.call_started.elapsed();
        let failed = match reply {
            // Meanwhile other partitions were assigned: ask again for those.
            Reply::Resumed(Ok(_)) if self.reading.resume_at.is_some() => return Ok(()),
            Reply::Resumed(Ok(resume)) => return self.resume(resume).await,
            Reply::Written(Ok(written), progress, commits_us) => {
                self.backoff.reset();
                self.parts.metrics.written(took, &written, &commits_us);
                self.settled.extend(progress);
                return Ok(());
            }
            Reply::Begun(Ok(())) => {
                self.restart_at(Instant::now());
                return Ok(());
            }
            Reply::Ticked(Ok(())) => return Ok(()),
            Reply::Resumed(Err(error)) | Reply::Written(Err(error), ..) | Reply::Begun(Err(error)) | Reply::Ticked(Err(error)) => error,
        };
        let wait = self.backoff.wait();
        match failed {
            stop @ Error::Stop { .. } => return Err(stop),
            Error::Moved => self.parts.metrics.moved(),
            Error::Retry(reason) => {
                self.parts.metrics.retry("sink");
                self.parts.metrics.set_outage(true);
                if self.outage.is_none() {
                    self.outage = Some(Instant::now());
                    warn!(reason, "the sink does not answer, waiting");
                }
            }
        }
        self.restart_at(Instant::now() + wait);
        Ok(())
    }

    /// Drops everything in hand; the sink is asked where to go on.
    fn restart_at(&mut self, at: Instant) {
        self.reading.resume_at = Some(at);
        self.reading.generation += 1;
        self.reading.partitions.clear();
        self.drop_in_hand();
        self.parts.metrics.set_ready(false);
    }

    fn drop_in_hand(&mut self) {
        for _ in self.fetched.drain(..) {
            self.parts.source.credit();
        }
        if let Some(selecting) = self.selecting.take() {
            selecting.abort();
        }
        self.ready.clear();
        self.filled = Filled::default();
    }

    /// The sink said where to go on: read there.
    async fn resume(&mut self, resume: Resume) -> Result<(), Error> {
        if let Some(since) = self.outage.take() {
            info!(outage_ms = since.elapsed().as_millis(), tries = self.backoff.tries(), "the sink answers again");
            self.parts.metrics.set_outage(false);
        }
        if matches!(self.parts.sink.policy(), Policy::Events { .. }) {
            // Before the first fetch: or a rebalance before the first write would begin where the policy says, not where we began.
            let offsets = self.offsets(&resume.partitions);
            if let Err(error) = self.parts.source.commit_now(offsets).await {
                self.parts.metrics.retry("kafka");
                warn!(%error, "start offsets could not be committed, trying again");
                self.restart_at(Instant::now() + self.backoff.wait());
                return Ok(());
            }
        }
        self.reading.generation += 1;
        let offsets: Vec<_> = resume.partitions.iter().map(|(p, progress)| (*p, progress.next)).collect();
        info!(?offsets, boundary = ?resume.boundary, "reading");
        self.parts.source.start(self.reading.generation, offsets);
        self.reading.boundary = resume.boundary;
        self.settled = resume.partitions.clone();
        self.reading.partitions = resume.partitions;
        self.parts.metrics.set_ready(true);
        Ok(())
    }

    /// The source has something to say.
    async fn happened(&mut self, event: Option<Event>) -> Result<(), Error> {
        match event {
            Some(Event::Fetched(fetched)) if fetched.generation == self.reading.generation => self.fetched.push_back(fetched),
            Some(Event::Fetched(_)) => self.parts.source.credit(),
            Some(Event::Assigned(partitions)) => {
                info!(?partitions, "assigned");
                self.reading.assigned = Some(partitions);
                self.restart_at(Instant::now());
            }
            Some(Event::Revoked) => {
                info!("partitions are taken away");
                self.reading.assigned = None;
                self.drop_in_hand();
                self.finish_call(RELEASE_WAIT).await?;
                self.restart_at(Instant::now());
                self.commit_settled().await;
                self.parts.source.release();
            }
            Some(Event::Failed(Failure::OutOfRange(message))) => {
                return Err(Error::Stop {
                    message: format!("the next record is not in the topic any more: {message}"),
                    remedy: "retention was shorter than the outage, or the topic was created again; rebuild with `highwater replay`".into(),
                });
            }
            Some(Event::Failed(Failure::Fatal(message))) => {
                return Err(Error::Stop { message, remedy: "every process needs its own instance name".into() });
            }
            None => {
                return Err(Error::Stop { message: "the kafka thread ended".into(), remedy: "start again and report this".into() });
            }
        }
        Ok(())
    }

    /// Lets the call under way end; a call that takes longer may or may not have happened.
    async fn finish_call(&mut self, wait: Duration) -> Result<(), Error> {
        let Some(mut call) = self.call.take() else { return Ok(()) };
        match timeout(wait, &mut call).await {
            Ok(Ok(Reply::Resumed(_))) | Ok(Err(_)) => Ok(()),
            Ok(Ok(reply)) => self.replied(reply).await,
            Err(_) => {
                call.abort();
                Ok(())
            }
        }
    }

    fn offsets(&self, progress: &BTreeMap<i32, Progress>) -> Vec<(i32, i64, String)> {
        let metadata = |progress: &Progress| match self.parts.sink.policy() {
            Policy::Events { .. } => progress.mark.encode(METADATA_BYTES_MAX),
            Policy::Boundaries => String::new(),
        };
        progress.iter().map(|(p, progress)| (*p, progress.next, metadata(progress))).collect()
    }

    fn commit(&mut self) {
        if !self.settled.is_empty() && self.reading.assigned.is_some() {
            self.parts.source.commit(self.offsets(&self.settled));
            self.settled.clear();
        }
    }

    async fn commit_settled(&mut self) {
        let offsets = self.offsets(&self.settled);
        self.settled.clear();
        if !offsets.is_empty() {
            if let Err(error) = self.parts.source.commit_now(offsets).await {
                info!(%error, "the last offsets were not committed; the sink has the progress, or the same ids come again");
            }
        }
    }

    /// Finishes in the order of the data: the call under way, what is ready, the commit, the group.
    async fn close(mut self) {
        let deadline = Instant::now() + self.parts.drain_max;
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        let mut finished = self.finish_call(left(deadline)).await;
        while finished.is_ok() && self.reading.resume_at.is_none() && left(deadline) > Duration::ZERO {
            self.filled.fill(&mut self.ready, &*self.parts.sink);
            if self.filled.is_empty() {
                break;
            }
            self.start_write();
            finished = self.finish_call(left(deadline)).await;
        }
        if let Err(stop) = finished {
            error!(%stop, "while draining");
        }
        self.commit_settled().await;
        self.parts.source.close().await;
    }
}

/// Dead letters first, then the batch, then what the far end refused for good: progress passes none of them before it is parked.
async fn write<S: Sink>(sink: &S, dead_letters: &DeadLetters, batch: Batch<S::Payload>, dead: &[DeadLetter]) -> Result<Written, Error> {
    if !dead.is_empty() {
        dead_letters.write(dead).await?;
    }
    let mut written = sink.write(batch).await?;
    if !written.rejected.is_empty() {
        let refused = |r: crate::sink::Rejected| DeadLetter { record: r.record, class: "rejected", sqlstate: None, message: r.reason };
        let refused: Vec<_> = written.rejected.drain(..).map(refused).collect();
        dead_letters.write(&refused).await?;
    }
    Ok(written)
}

/// Waits for a task; for ever when there is none.
async fn joined<T>(task: &mut Option<JoinHandle<T>>) -> Result<T, Error> {
    let Some(handle) = task else { return std::future::pending().await };
    let result = handle.await;
    *task = None;
    result.map_err(|error| Error::Stop { message: format!("a task of the lane failed: {error}"), remedy: "start again and report this".into() })
}
