//! A Debezium record to typed rows.
//!
//! [`Decoder::decode`] reads one record value, in the plain envelope (`{"before": …, "after": …, "source": …, "op": …}`) or in the one
//! with a schema (`{"schema": …, "payload": …}`), and fills only the columns it was asked for; all other JSON is skipped. The
//! encodings are those of Debezium 3's PostgreSQL connector. Where a schema is present its type names decide them; without one the
//! catalog type does.
//!
//! What it promises: no panic and no unbounded memory on any bytes; a value that contradicts its column's type is a [`RowError`],
//! never a different value. An error of one row does not hide the rest of the record, which is needed to keep its position.
//!
//! What the wire cannot carry, and what becomes of it:
//! * `timetz` arrives in UTC, its offset lost, and `interval` as microseconds (`interval.handling.mode=numeric`) has lost its months
//!   and days: such values are refused. Intervals need `interval.handling.mode=string`.
//! * `numeric` under `decimal.handling.mode=double` is read only into columns declared with at most 15 digits; under `precise` a column
//!   without a declared scale arrives without its trailing zeros (equal, but printed shorter), and NaN arrives as NULL.
//! * Plain JSON cannot tell every setting of the connector apart. Without a schema `decimal.handling.mode` must be `string` (or `double`, see
//!   above) and `binary.handling.mode` must be `bytes`; a `time.precision.mode` other than `adaptive` and `isostring` must be told to the
//!   decoder ([`Decoder::with_time_precision`]).

mod column;
mod envelope;
mod error;
mod key;
mod mode;
mod number;
mod row;
mod schema;
mod source;
mod temporal;

use std::sync::{Arc, OnceLock, RwLock};

pub use error::DecodeError;
pub use key::{decode_key, key_payload};
pub use mode::{TimePrecision, lost};
pub use source::{Snapshot, Source};

use crate::catalog::Column;
use crate::error::RowError;
use source::Names;

/// Longest record that is read, in bytes.
pub const VALUE_BYTES_MAX: usize = 64 << 20;
/// Most elements that an array value may have.
pub const ARRAY_ITEMS_MAX: usize = 1 << 20;

/// What Debezium puts where an unchanged TOASTed value was not in the WAL.
const UNAVAILABLE: &str = "__debezium_unavailable_value";

/// One row, in the order of the decoder's columns, or why it could not be read.
pub type Row = Result<Box<[crate::value::Value]>, RowError>;

/// What happened to the row (`op`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// `c`: inserted
    Create,
    /// `u`: updated
    Update,
    /// `d`: deleted
    Delete,
    /// `r`: read by a snapshot
    Read,
    /// `t`: the table was truncated
    Truncate,
    /// `m`: a logical message, no row
    Message,
}

impl Op {
    /// Debezium's letter.
    pub fn as_str(self) -> &'static str {
        match self {
            Op::Create => "c",
            Op::Update => "u",
            Op::Delete => "d",
            Op::Read => "r",
            Op::Truncate => "t",
            Op::Message => "m",
        }
    }

    fn parse(text: &str) -> Option<Op> {
        Some(match text {
            "c" => Op::Create,
            "u" => Op::Update,
            "d" => Op::Delete,
            "r" => Op::Read,
            "t" => Op::Truncate,
            "m" => Op::Message,
            _ => return None,
        })
    }
}

/// One change event.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// What happened.
    pub op: Op,
    /// The old row; `None` when the record has none (or null).
    pub before: Option<Row>,
    /// The new row; `None` when the record has none (or null).
    pub after: Option<Row>,
    /// Where in the WAL.
    pub source: Source,
}

/// Reads records of one table into rows with a fixed set of columns. Cheap to share between threads.
#[derive(Debug)]
pub struct Decoder {
    columns: row::Columns,
    /// How columns are encoded in records without a schema, where that is known.
    plain_wires: Option<Box<[schema::Wire]>>,
    /// The names of the first record, shared by all later ones that have the same: a record's own are then not allocated.
    names: OnceLock<Names>,
    /// The last schema seen with what it says about the columns: topics repeat one schema in every record.
    schema: RwLock<Option<Arc<schema::Schema>>>,
}

impl Decoder {
    /// A decoder that fills these columns, in this order.
    pub fn new(columns: &[Column]) -> Decoder {
        Decoder { columns: row::Columns::new(columns), plain_wires: None, names: OnceLock::new(), schema: RwLock::new(None) }
    }

    /// The same decoder for records without a schema of a connector with this `time.precision.mode`. A schema, where there is one,
    /// still decides.
    #[must_use]
    pub fn with_time_precision(mut self, precision: TimePrecision) -> Decoder {
        self.plain_wires = Some(self.columns.as_slice().iter().map(|c| precision.wire(&c.ty)).collect());
        self
    }

    /// Reads one record value. An error means that the record has no position and no rows; errors of single rows are in
    /// the envelope.
    pub fn decode(&self, value: &[u8]) -> Result<Envelope, DecodeError> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(DecodeError::TooLarge { bytes: value.len() });
        }
        let text = std::str::from_utf8(value).map_err(|e| DecodeError::Malformed(e.to_string()))?;
        envelope::read(self, text)
    }
}

// The Decoder is shared by the lanes of a pipeline.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Decoder>();
    shared::<Envelope>();
};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::value::{Type, Value};

    fn column(name: &str, ty: Type) -> Column {
        Column { name: name.into(), ty, not_null: false, has_default: false, collation_is_c: true }
    }

    #[test]
    fn reads_the_plain_envelope() {
        let decoder = Decoder::new(&[column("n", Type::Numeric(Some((10, 2)))), column("id", Type::Int4)]);
        let record = r#"{"before":null,"after":{"id":7,"x":[1],"n":"-1.10"},"source":{"name":"p","schema":"public","table":"t",
            "snapshot":null,"sequence":"[null,\"51\"]","ts_us":5,"lsn":51,"txId":3},"op":"c","ts_ms":1}"#;
        let envelope = decoder.decode(record.as_bytes()).unwrap();
        let row = envelope.after.unwrap().unwrap();
        assert_eq!(row[0].to_text(&Type::Numeric(None)), "-1.10");
        assert!(matches!(row[1], Value::Int(7)));
        assert_eq!(envelope.source.sequence, (None, 51));
        assert_eq!(&*envelope.source.table, "t");
    }
}
