//! A Kafka record becomes a change, through the SQL crate's decoder.
//!
//! It promises a verdict for every record: a change, nothing (a tombstone), or an error that makes the record a dead letter.
//! Rows that cannot be read are errors inside the change, because progress has to cover them.

use bytes::Bytes;
use highwater_sql::decode::{DecodeError, key_payload};
use highwater_sql::{Column, Decoder, Op, RowError};

use crate::change::{Change, Position, Row};
use crate::source::Record;

/// What came in a record.
#[derive(Debug)]
pub enum Decoded {
    /// A change of the source table.
    Change(Box<Change>),
    /// No value: the marker that follows a delete.
    Tombstone,
    /// It is of another database or table than the topic's name says.
    Foreign(String),
}

/// The decoder of one topic.
pub struct RecordDecoder {
    decoder: Decoder,
    prefix: String,
}

impl RecordDecoder {
    /// For the SELECT's source columns, and changes whose `source.name` is `prefix`.
    pub fn new(columns: &[Column], prefix: &str) -> Self {
        Self { decoder: Decoder::new(columns), prefix: prefix.to_owned() }
    }

    /// Reads one record.
    pub fn decode(&self, record: &Record) -> Result<Decoded, DecodeError> {
        let Some(value) = &record.value else { return Ok(Decoded::Tombstone) };
        let envelope = self.decoder.decode(value)?;
        let source = envelope.source;
        if *source.name != *self.prefix {
            return Ok(Decoded::Foreign(source.name.to_string()));
        }
        let key = match &record.key {
            Some(key) => key_payload(key)?.map(|k| Bytes::copy_from_slice(&k)),
            None => None,
        };
        let (first, own) = source.sequence;
        Ok(Decoded::Change(Box::new(Change {
            op: envelope.op,
            position: Position { first, own },
            commit_us: source.ts_us,
            snapshot: source.snapshot,
            run: (source.lsn.unwrap_or(own), source.tx_id.unwrap_or(0)),
            key,
            before: envelope.before,
            after: envelope.after,
        })))
    }
}

/// The class of a change that lacks a row.
pub const INCOMPLETE: &str = "incomplete";
/// The class of a change without a key.
pub const NULL_KEY: &str = "null_key";

/// What makes a change a dead letter although it could be decoded: what it must have for its operation.
///
/// `before` is missing on an update or delete when the replica identity is not FULL; a key is missing when the table has none.
pub fn complete(change: &Change, append_only: bool) -> Result<(), (&'static str, RowError)> {
    let missing = |what: &str| (INCOMPLETE, RowError::new("XX000", what));
    let keyless = matches!(change.op, Op::Create | Op::Update | Op::Delete) && change.key.is_none();
    if keyless {
        return Err((NULL_KEY, RowError::new("XX000", "the change has no key: the table needs a primary key")));
    }
    if append_only && matches!(change.op, Op::Update | Op::Delete) {
        return Err(("append_only", RowError::new("XX000", "an update or delete on a source that is declared append_only")));
    }
    if matches!(change.op, Op::Update | Op::Delete) && change.before.is_none() {
        return Err(missing("the change has no old row: ALTER TABLE ... REPLICA IDENTITY FULL"));
    }
    if matches!(change.op, Op::Create | Op::Update | Op::Read) && change.after.is_none() {
        return Err(missing("the change has no new row"));
    }
    Ok(())
}

/// The rows a change takes away and adds.
pub fn rows(change: &mut Change) -> Result<(Option<Row>, Option<Row>), RowError> {
    let before = if matches!(change.op, Op::Update | Op::Delete) { change.before.take().transpose()? } else { None };
    let after = if change.op == Op::Delete { None } else { change.after.take().transpose()? };
    Ok((before, after))
}
