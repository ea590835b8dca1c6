//! Partitions come and go, offsets are committed for the group, and the lane ends: always finishing in the order of the data.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::{error, info};

use crate::faults::{Point, Protection, holds, reach};
use crate::lane::call::Reply;
use crate::lane::{Lane, task_failed};
use crate::sink::{Error, Policy, Progress, Sink};
use crate::source::kafka::{Event, Failure, Fetched};

/// How long the call under way may take when partitions are taken away.
const RELEASE_WAIT: Duration = Duration::from_secs(5);
/// What the last commit and leaving the group may take even when the deadline has passed.
const GRACE: Duration = Duration::from_secs(2);
/// Bytes of metadata beside a committed offset (the broker's `offset.metadata.max.bytes` is 4096).
const METADATA_BYTES_MAX: usize = 4_000;

impl<S: Sink> Lane<S> {
    /// The source has something to say. An error stops the lane.
    pub(super) async fn happened(&mut self, event: Option<Event>) -> Result<(), Error> {
        match event {
            Some(Event::Fetched(fetched)) if self.is_current(&fetched) => self.fetched.push_back(fetched),
            // Of an older generation. While the sink is away the credit is kept, so that nothing is read in vain.
            Some(Event::Fetched(_)) if self.reading.partitions.is_empty() => self.owed += 1,
            Some(Event::Fetched(_)) => self.parts.source.credit(),
            Some(Event::Assigned(partitions)) => {
                info!(?partitions, "assigned");
                self.reading.assigned = Some(partitions);
                self.restart_at(Instant::now());
            }
            Some(Event::Revoked) => {
                info!("partitions are taken away");
                self.reading.assigned = None;
                self.restart_at(Instant::now());
                self.finish_call(RELEASE_WAIT).await?;
                self.commit_settled(RELEASE_WAIT).await;
                self.parts.source.release();
            }
            Some(Event::Failed(failure)) => return Err(stop(failure)),
            None => return Err(stop(Failure::Fatal("the kafka thread ended".into()))),
        }
        Ok(())
    }

    fn is_current(&self, fetched: &Fetched) -> bool {
        fetched.generation == self.reading.generation || !holds(Protection::Token) && !self.reading.partitions.is_empty()
    }

    /// Lets the call under way end; one that takes longer may or may not have happened.
    async fn finish_call(&mut self, wait: Duration) -> Result<(), Error> {
        let Some(mut call) = self.call.take() else { return Ok(()) };
        match timeout(wait, &mut call).await {
            Ok(Ok(Reply::Resumed(_))) => Ok(()),
            Ok(Ok(reply)) => self.replied(reply).await,
            Ok(Err(error)) => Err(task_failed(&error)),
            Err(_) => {
                call.abort();
                Ok(())
            }
        }
    }

    /// What is committed for these partitions: for a sink without progress of its own with the mark beside it.
    pub(super) fn offsets(&self, progress: &BTreeMap<i32, Progress>) -> Vec<(i32, i64, String)> {
        let metadata = |progress: &Progress| match self.parts.sink.policy() {
            Policy::Events { .. } => progress.mark.encode(METADATA_BYTES_MAX),
            Policy::Boundaries => String::new(),
        };
        progress.iter().map(|(p, progress)| (*p, progress.next, metadata(progress))).collect()
    }

    /// Commits what was written since the last time, without waiting.
    pub(super) fn commit(&mut self) {
        if !self.settled.is_empty() && self.reading.assigned.is_some() {
            self.parts.source.commit(self.offsets(&self.settled));
            self.committed.append(&mut self.settled);
        }
    }

    /// Commits what was written of every partition, the last time included: nobody waited for the answer then.
    async fn commit_settled(&mut self, wait: Duration) {
        let mut last = std::mem::take(&mut self.committed);
        last.append(&mut self.settled);
        let offsets = self.offsets(&last);
        if offsets.is_empty() {
            return;
        }
        match timeout(wait, self.parts.source.commit_now(offsets)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => info!(%error, "the last offsets were not committed; the sink has the progress, or the same ids come again"),
            Err(_) => info!("the last offsets were not committed in time; the sink has the progress, or the same ids come again"),
        }
    }

    /// Ends in the order of the data, within the deadline: the call under way, what is ready, the commit, the group.
    pub(super) async fn close(mut self) {
        self.parts.metrics.set_ready(false);
        let deadline = Instant::now() + self.parts.drain_max;
        let left = || deadline.saturating_duration_since(Instant::now());
        let mut finished = self.finish_call(left()).await;
        reach(Point::Drain);
        while finished.is_ok() && self.reading.resume_at.is_none() && !left().is_zero() {
            self.filled.fill(&mut self.ready, &*self.parts.sink);
            if self.filled.is_empty() {
                break;
            }
            self.start_write();
            finished = self.finish_call(left()).await;
        }
        if let Err(stop) = finished {
            error!(%stop, "while draining");
        }
        // What is most likely committed already is not waited for longer.
        let wait = if self.settled.is_empty() { GRACE } else { left().max(GRACE) };
        self.commit_settled(wait).await;
        if timeout(left().max(GRACE), self.parts.source.close()).await.is_err() {
            info!("the consumer group was not left in time; its session ends by itself");
        }
    }
}

fn stop(failure: Failure) -> Error {
    let (message, remedy) = match failure {
        Failure::OutOfRange(message) => (
            format!("the next record is not in the topic any more: {message}"),
            "retention was shorter than the outage, or the topic was created again; begin a ranking anew with `highwater replay`, for a webhook \
             reset the offsets of its consumer group",
        ),
        Failure::Fatal(message) => (message, "start again; every process needs an instance name of its own"),
    };
    Error::Stop { message, remedy: remedy.into() }
}
