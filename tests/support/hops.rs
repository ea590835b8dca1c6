//! What the topic says of the source table: the middle one of three ledgers (the table's own, the topic, the receiver).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::kafka::{self, Stored};

/// Streamed changes of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Each counted once, however often it was sent.
    pub changes: u64,
    /// Records beyond the first of their change.
    pub again: u64,
}

/// One record of Debezium.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its letter.
    pub op: String,
    /// `source.sequence`.
    pub sequence: String,
    /// `source.snapshot`; empty while streaming.
    pub snapshot: String,
    /// The snapshot run: LSN and transaction.
    pub run: (u64, u64),
    /// The record's key.
    pub key: Vec<u8>,
}

/// A record's envelope; none for a tombstone.
pub fn told(record: &Stored) -> Option<Told> {
    let value: Value = serde_json::from_slice(record.value.as_deref()?).ok()?;
    let source = &value["source"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Some(Told {
        op: text(&value["op"]),
        sequence: text(&source["sequence"]),
        snapshot: text(&source["snapshot"]),
        run: (source["lsn"].as_u64().unwrap_or(0), source["txId"].as_u64().unwrap_or(0)),
        key: record.key.clone().unwrap_or_default(),
    })
}

/// Counts the streamed changes from these offsets on (from its start where there is none).
pub fn sent(servers: &str, topic: &str, from: &BTreeMap<i32, i64>) -> Sent {
    let (mut seen, mut records) = (BTreeSet::new(), 0);
    for record in kafka::records(servers, topic) {
        if record.offset < from.get(&record.partition).copied().unwrap_or(0) {
            continue;
        }
        let Some(told) = told(&record).filter(|told| ["c", "u", "d"].contains(&told.op.as_str())) else { continue };
        records += 1;
        seen.insert((told.sequence, told.op, told.key));
    }
    Sent { changes: seen.len() as u64, again: records - seen.len() as u64 }
}
