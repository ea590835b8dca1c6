//! Where rows go. A sink is the authority on its own progress.

pub mod ranking;

pub mod webhook;

use std::collections::BTreeMap;
use std::future::Future;

use highwater_sql::{RowError, Value};

use crate::change::Change;
use crate::progress::{Boundary, Mark};
use crate::source::Record;

/// A result row of the SELECT, in the order of `Plan::outputs`.
pub type ResultRow = Vec<Value>;

/// One change after the SELECT, on its way into a batch.
#[derive(Debug)]
pub struct Selected<'a> {
    /// The Kafka record it came in.
    pub record: &'a Record,
    /// The change.
    pub change: &'a Change,
    /// What the SELECT makes of the row before; none where there was no such row or WHERE removed it.
    pub before: Option<ResultRow>,
    /// What the SELECT makes of the row after.
    pub after: Option<ResultRow>,
}

/// How far one partition is read, and what the last record was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The next offset to read.
    pub next: i64,
    /// The dedup mark after everything before `next`.
    pub mark: Mark,
}

/// One partition's part of a batch. The token travels with the records: it is where the previous batch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The offset that the sink must have stored for this batch to count.
    pub token: i64,
    /// What the sink stores with the batch.
    pub progress: Progress,
}

/// The sides of a change: the row that it takes away, and the row that it adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sides {
    /// The row before.
    pub before: bool,
    /// The row after.
    pub after: bool,
}

impl Sides {
    /// No side.
    pub const NONE: Self = Self { before: false, after: false };
    /// The row that is taken away.
    pub const BEFORE: Self = Self { before: true, after: false };
    /// The row that is added.
    pub const AFTER: Self = Self { before: false, after: true };
    /// Both.
    pub const BOTH: Self = Self { before: true, after: true };

    /// Those of either.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self { before: self.before || other.before, after: self.after || other.after }
    }

    /// Those that are also of the other.
    #[must_use]
    pub const fn within(self, other: Self) -> Self {
        Self { before: self.before && other.before, after: self.after && other.after }
    }

    /// Whether it is no side.
    pub const fn is_empty(self) -> bool {
        !self.before && !self.after
    }
}

/// Sides of a change that cannot be computed or counted, and the first reason.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Which.
    pub sides: Sides,
    /// Why.
    pub error: RowError,
}

impl Failed {
    /// What failed in one step or the next.
    pub fn either(first: Option<Self>, then: Option<Self>) -> Option<Self> {
        match (first, then) {
            (Some(first), Some(then)) => Some(Self { sides: first.sides.and(then.sides), error: first.error }),
            (first, then) => first.or(then),
        }
    }
}

/// A record that was parked: which rows of it the result lacks until it is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// The sides that are in no batch; none of a record that was parked before it could be judged.
    pub sides: Sides,
}

/// What is written in one call: the payload of some records and the progress of their partitions.
#[derive(Debug, Default)]
pub struct Batch<P> {
    /// Progress by partition.
    pub slices: BTreeMap<i32, Slice>,
    /// What the sink makes of the rows.
    pub payload: P,
    /// Records that were parked instead, durably before this is written.
    pub owed: Vec<Owed>,
    /// The end of a snapshot run was read, or a streamed record that counts.
    pub run_ended: bool,
}

/// Where a lane goes on.
#[derive(Debug, Default)]
pub struct Resume {
    /// What lies before it counts no more; rankings only.
    pub boundary: Option<Boundary>,
    /// Progress of each partition that was asked for.
    pub partitions: BTreeMap<i32, Progress>,
    /// Where partitions begin that other engines may have; webhooks only, when nothing was ever committed.
    pub unread: BTreeMap<i32, Progress>,
}

/// A record that the sink's far end refused, alone, for what it is.
#[derive(Debug)]
pub struct Rejected {
    /// The record.
    pub record: Record,
    /// What the far end said, in one line without secrets.
    pub reason: String,
}

/// What a successful write has to say.
#[derive(Debug, Default)]
pub struct Written {
    /// Records that can never be delivered; the lane parks them as dead letters before progress passes them.
    pub rejected: Vec<Rejected>,
    /// Rows that came below the window's start and count no more.
    pub late: u64,
}

/// A destination for the rows of one lane.
///
/// The contract, which one suite checks for every sink:
///
/// * `write` returning `Ok` means durable: what the batch says happened at the far end, and its progress with it or not at all.
/// * Writing a batch twice is writing it once: by compare-and-set on the tokens (`Moved`), or by ids that never change.
/// * One call at a time; `add` may run while a call is under way, for the next batch. A `write` that is dropped half way may or may not have
///   happened; the lane calls `resume` before the next one.
/// * Waiting for the far end is `Retry`, and the lane's business; a sink whose protocol retries parts of a batch does so inside `write`
///   and says so.
pub trait Sink: Send + Sync + 'static {
    /// What one call carries.
    type Payload: Default + Send + 'static;

    /// Which snapshot rows and truncates this sink wants.
    fn policy(&self) -> Policy;

    /// Reads where to go on, for exactly these partitions; at assignment, after `Moved`, after an outage. May begin an epoch.
    fn resume(&self, partitions: &[i32]) -> impl Future<Output = Result<Resume, Error>> + Send;

    /// Adds what one change means to the batch being filled. An error is a dead letter; for events it adds nothing, for a Z-set only the
    /// row that it is of.
    fn add(&self, payload: &mut Self::Payload, selected: Selected<'_>) -> Result<(), Failed>;

    /// No record must be added to this payload any more.
    fn is_full(&self, payload: &Self::Payload) -> bool;

    /// Makes the batch durable.
    fn write(&self, batch: Batch<Self::Payload>) -> impl Future<Output = Result<Written, Error>> + Send;

    /// A boundary was read: everything before it counts no more. Called with nothing in flight; the lane resumes afterwards.
    fn begin(&self, boundary: Boundary) -> impl Future<Output = Result<(), Error>> + Send;

    /// Called about once a second when nothing else is in flight.
    fn tick(&self) -> impl Future<Output = Result<(), Error>> + Send;
}

/// What a sink does with records that are not plain changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Rows are a Z-set: snapshot runs and truncates are boundaries, rows of incremental snapshots are in it already.
    Boundaries,
    /// Changes are events: a truncate is one, snapshot rows are when wanted.
    Events {
        /// Snapshot rows are delivered.
        snapshot: bool,
    },
}

/// What the lane must do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The far end did not answer, or not now: wait, resume, go on. Logged once per outage.
    #[error("{0}")]
    Retry(String),
    /// The sink's progress is not what the batch was read under: drop what is in hand, resume, seek.
    #[error("progress moved: another engine wrote, or a new epoch began")]
    Moved,
    /// Going on would be wrong.
    #[error("{message}; {remedy}")]
    Stop {
        /// What is wrong.
        message: String,
        /// What an operator does about it.
        remedy: String,
    },
}
