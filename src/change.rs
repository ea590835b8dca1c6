//! A change: one Debezium event, decoded as far as the SELECT needs it.
//!
//! It promises that what decides (operation, position, commit time, snapshot run) is there whatever the rows hold: a row that cannot
//! be read is an error *in* the change, so that progress covers it and it becomes a dead letter.

use bytes::Bytes;
use highwater_sql::{RowError, Value};

pub use highwater_sql::Op;
pub use highwater_sql::decode::Snapshot;

/// Where a change stands in the WAL: Debezium's `source.sequence`.
///
/// The first element is the LSN of the last commit before it (null in snapshots and until the first commit after a connector's first
/// start), the second the LSN of the event itself. Pairs never go down within a partition; `source.lsn` alone does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The last commit LSN; null where Debezium had none.
    pub first: Option<u64>,
    /// The event's own LSN.
    pub own: u64,
}

impl Position {
    /// What positions are compared by: a null first element reads as the event's own LSN.
    pub fn pair(self) -> (u64, u64) {
        (self.first.unwrap_or(self.own), self.own)
    }
}

/// The values of the SELECT's source columns, in slot order.
pub type Row = Box<[Value]>;

/// One change of one row (or a truncate, or a message).
#[derive(Debug)]
pub struct Change {
    /// What happened.
    pub op: Op,
    /// Where it stands in the WAL.
    pub position: Position,
    /// Commit time in Postgres, Unix microseconds (`source.ts_us`).
    pub commit_us: i64,
    /// Whether it is a row of a snapshot, and which.
    pub snapshot: Snapshot,
    /// `(lsn, txId)` of the source: what identifies a snapshot run.
    pub run: (u64, u64),
    /// The record key as compact JSON, without its schema: the row's identity. Null only where there is no row.
    pub key: Option<Bytes>,
    /// The row before; absent, readable or not.
    pub before: Option<Result<Row, RowError>>,
    /// The row after.
    pub after: Option<Result<Row, RowError>>,
}
