//! The fourth step: the one call to the sink, and what its reply means.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::dead_letter::{DeadLetter, DeadLetters};
use crate::faults::{Point, reach};
use crate::lane::fill::{self, Filled, Ready};
use crate::lane::{CALL_APART, Lane};
use crate::sink::{Batch, Error, Policy, Progress, Rejected, Resume, Sink, Written};

/// When there is nothing to wake up for.
const FAR: Duration = Duration::from_secs(3600);

/// What the call came to.
pub(super) enum Reply {
    /// Where to go on.
    Resumed(Result<Resume, Error>),
    /// A batch with its progress and commit times.
    Written(Result<Written, Error>, BTreeMap<i32, Progress>, Vec<i64>),
    /// An epoch begun at a boundary.
    Begun(Result<(), Error>),
    /// Nothing was to do.
    Ticked(Result<(), Error>),
}

impl<S: Sink> Lane<S> {
    /// Starts the call that is due, if none is under way. Returns when to look again.
    pub(super) fn start_call(&mut self) -> Instant {
        let now = Instant::now();
        if self.call.is_some() {
            return now + FAR;
        }
        let sink = Arc::clone(&self.parts.sink);
        if let Some(at) = self.reading.resume_at {
            let Some(assigned) = self.reading.assigned.clone() else { return now + FAR };
            if at > now {
                return at;
            }
            self.reading.resume_at = None;
            self.spawn(async move { Reply::Resumed(sink.resume(&assigned).await) });
        } else if !self.filled.is_empty() {
            let behind = self.filled.full || self.selecting.is_some() || !self.fetched.is_empty();
            let due = self.call_started + CALL_APART;
            if behind && due > now {
                return due;
            }
            self.start_write();
        } else if let Some(boundary) = fill::next_begin(&mut self.ready) {
            self.spawn(async move { Reply::Begun(sink.begin(boundary).await) });
        }
        now + FAR
    }

    fn spawn(&mut self, call: impl Future<Output = Reply> + Send + 'static) {
        self.call_started = Instant::now();
        self.call = Some(tokio::spawn(call));
    }

    pub(super) fn start_write(&mut self) {
        let Filled { batch, dead, commits_us, records, .. } = std::mem::take(&mut self.filled);
        let (sink, dead_letters) = (Arc::clone(&self.parts.sink), Arc::clone(&self.parts.dead_letters));
        let progress = batch.slices.iter().map(|(p, s)| (*p, s.progress.clone())).collect();
        self.parts.metrics.batch_records(records);
        self.spawn(async move { Reply::Written(write(&*sink, &dead_letters, batch, &dead).await, progress, commits_us) });
    }

    pub(super) fn start_tick(&mut self) {
        let sink = Arc::clone(&self.parts.sink);
        self.spawn(async move { Reply::Ticked(sink.tick().await) });
    }

    /// The call came back. An error stops the lane.
    pub(super) async fn replied(&mut self, reply: Reply) -> Result<(), Error> {
        match reply {
            // Meanwhile other partitions were assigned: the sink is asked again for those.
            Reply::Resumed(Ok(_)) if self.reading.resume_at.is_some() => {}
            Reply::Resumed(Ok(resume)) => return self.resume(resume).await,
            Reply::Written(Ok(written), progress, commits_us) => {
                self.outage_ended();
                self.parts.metrics.written(self.call_started.elapsed(), &written, &commits_us);
                self.settled.extend(progress);
                reach(Point::AfterReply);
            }
            Reply::Begun(Ok(())) => self.restart_at(Instant::now()),
            Reply::Ticked(Ok(())) => self.outage_ended(),
            Reply::Resumed(Err(error)) | Reply::Written(Err(error), ..) | Reply::Begun(Err(error)) | Reply::Ticked(Err(error)) => {
                return self.failed(error);
            }
        }
        Ok(())
    }

    /// A write, or a tick when nothing waits, succeeded: being able to say where to go on is not enough.
    fn outage_ended(&mut self) {
        if let Some(since) = self.outage.take() {
            info!(outage_ms = since.elapsed().as_millis(), tries = self.backoff.tries(), "the sink answers again");
            self.parts.metrics.set_outage(false);
        }
        self.backoff.reset();
    }

    fn failed(&mut self, error: Error) -> Result<(), Error> {
        match error {
            Error::Stop { .. } => return Err(error),
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
        let wait = self.backoff.wait();
        self.restart_at(Instant::now() + wait);
        Ok(())
    }

    /// Drops everything in hand; at that moment the sink is asked where to go on.
    pub(super) fn restart_at(&mut self, at: Instant) {
        self.reading.resume_at = Some(at);
        self.reading.generation += 1;
        self.reading.partitions.clear();
        self.parts.metrics.set_ready(false);
        self.owed += self.fetched.len();
        self.fetched.clear();
        if let Some(selecting) = self.selecting.take() {
            selecting.abort();
        }
        self.ready = Ready::default();
        self.filled = Filled::default();
    }

    /// The sink said where to go on: read there.
    async fn resume(&mut self, resume: Resume) -> Result<(), Error> {
        if matches!(self.parts.sink.policy(), Policy::Events { .. }) {
            // Before the first fetch: a rebalance before the first write must go on where this began.
            let mut starts = resume.partitions.clone();
            starts.extend(resume.unread);
            if let Err(error) = self.parts.source.commit_now(self.offsets(&starts)).await {
                return self.failed(Error::Retry(format!("start offsets could not be committed: {error}")));
            }
        }
        self.reading.generation += 1;
        let offsets: Vec<_> = resume.partitions.iter().map(|(p, progress)| (*p, progress.next)).collect();
        info!(?offsets, boundary = ?resume.boundary, "reading");
        self.parts.source.start(self.reading.generation, offsets);
        for _ in 0..std::mem::take(&mut self.owed) {
            self.parts.source.credit();
        }
        for progress in resume.partitions.values() {
            self.parts.select.witness.read(progress.mark.read_lsn());
        }
        self.reading.boundary = resume.boundary;
        self.committed.clear();
        self.settled = resume.partitions.clone();
        self.reading.partitions = resume.partitions;
        self.parts.metrics.set_ready(true);
        Ok(())
    }
}

/// Dead letters first, then the batch, then what the far end refused for good: progress passes none of them before it is parked.
async fn write<S: Sink>(sink: &S, dead_letters: &DeadLetters, batch: Batch<S::Payload>, dead: &[DeadLetter]) -> Result<Written, Error> {
    if !dead.is_empty() {
        dead_letters.write(dead).await?;
    }
    reach(Point::BeforeCall);
    let mut written = sink.write(batch).await?;
    reach(Point::BeforeReply);
    if !written.rejected.is_empty() {
        let refused = |r: Rejected| DeadLetter::new(r.record, "rejected", r.reason);
        let refused: Vec<_> = written.rejected.drain(..).map(refused).collect();
        dead_letters.write(&refused).await?;
    }
    Ok(written)
}
