//! Old rows that may not be what was in the table.
//!
//! A delete that is written while the replica identity is not FULL brings the key alone. Debezium fills the rest in: NULL where the column may be NULL,
//! else the column's default, else the zero of its type (`JdbcValueConverters.convertValue`), and nothing in the record tells such a row from one
//! that held these values. Taken for the row it would leave in a ranking what the row had added.
//!
//! What this promises: a delete whose values are all such, keys aside, counts only when Postgres says, after the record was read, that the table was
//! defined as it is now (FULL, or there would be no lane) before the delete's transaction began. Else it becomes a dead letter. `ALTER TABLE` takes a lock that
//! no writer of the table shares, and leaves its transaction in `pg_class.xmin`: a transaction with a later number that wrote to the table did so
//! after it, unless the ALTER waited inside a transaction that had got its number earlier.

use highwater_sql::catalog::Table;
use highwater_sql::{Column, Op, RowError, Value};

use crate::change::Change;

/// Whether it is a delete whose old row could as well be made up. `columns` are the row's.
pub fn is_doubtful(change: &Change, table: &Table, columns: &[Column]) -> bool {
    let (Op::Delete, Some(Ok(row))) = (change.op, &change.before) else { return false };
    let mut told = columns.iter().zip(row).filter(|(column, _)| !table.primary_key.contains(&column.name)).peekable();
    told.peek().is_some() && told.all(|(column, value)| could_be_made_up(column, value))
}

/// The table was last defined by the transaction `defined_by`. Numbers go round after 2^32: which is later is told by the shorter way.
#[allow(clippy::cast_possible_truncation, reason = "Postgres' own numbers have 32 bits")]
pub fn is_certain(change: &Change, defined_by: u32) -> bool {
    let (_, transaction) = change.run;
    (transaction as u32).wrapping_sub(defined_by) < 1 << 31
}

/// Of one that is not certain.
pub fn error() -> RowError {
    RowError::new(
        "XX000",
        "the deleted row's values may be Debezium's, not the row's: they are NULL, zeros or defaults, and the table was altered after the delete, \
         perhaps from another REPLICA IDENTITY than FULL",
    )
}

fn could_be_made_up(column: &Column, value: &Value) -> bool {
    match value {
        Value::Null => true,
        _ if !column.not_null => false,
        _ if column.has_default => true,
        Value::Bool(value) => !value,
        Value::Int(value) | Value::Time(value) | Value::Timetz(value, _) | Value::Timestamp(value) => *value == 0,
        Value::Float4(value) => *value == 0.0,
        Value::Float8(value) => *value == 0.0,
        Value::Numeric(value) => value.is_zero(),
        Value::Text(value) => value.trim_end_matches(' ').is_empty(),
        Value::Date(value) => *value == 0,
        Value::Interval(months, days, micros) => (*months, *days, *micros) == (0, 0, 0),
        // An empty document, or one with nothing in it.
        Value::Json(value) | Value::Jsonb(value) => value.len() <= 2,
        Value::Bytea(value) => value.is_empty(),
        Value::Array(value) => value.is_empty(),
        // What stands in for it is no uuid.
        Value::Uuid(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use highwater_sql::catalog::ReplicaIdentity;
    use highwater_sql::{Decoder, Type};

    use super::*;
    use crate::change::Position;

    fn table(columns: &[Column]) -> Table {
        let (schema, name) = ("public".to_owned(), "t".to_owned());
        let (primary_key, replica_identity) = (vec!["id".to_owned()], ReplicaIdentity::Full);
        Table { schema, name, columns: columns.to_vec(), primary_key, unique_keys: Vec::new(), replica_identity }
    }

    /// (name, type, NOT NULL, has a default)
    fn columns(named: &[(&str, Type, bool, bool)]) -> Vec<Column> {
        let column = |(name, ty, not_null, has_default): &(&str, Type, bool, bool)| Column {
            name: (*name).to_owned(),
            ty: ty.clone(),
            not_null: *not_null,
            has_default: *has_default,
            collation_is_c: true,
        };
        named.iter().map(column).collect()
    }

    fn delete(columns: &[Column], before: &str, transaction: u64) -> Change {
        let record = format!(
            r#"{{"before":{before},"after":null,"op":"d","source":{{"name":"s","db":"d","schema":"public","table":"t","snapshot":"false",
               "sequence":"[\"1\",\"2\"]","lsn":2,"txId":{transaction},"ts_ms":1,"ts_us":1}}}}"#
        );
        let envelope = Decoder::new(columns).decode(record.as_bytes()).unwrap();
        let (first, own) = envelope.source.sequence;
        Change {
            op: envelope.op,
            position: Position { first, own },
            commit_us: 1,
            snapshot: envelope.source.snapshot,
            run: (2, envelope.source.tx_id.unwrap()),
            key: Some(Bytes::from_static(b"{}")),
            before: envelope.before,
            after: None,
        }
    }

    /// Old rows as Debezium wrote them for `DELETE` under REPLICA IDENTITY DEFAULT, and rows that are real.
    #[test]
    fn a_row_is_doubtful_when_nothing_in_it_can_only_come_from_the_table() {
        let columns = columns(&[
            ("id", Type::Int8, true, true),
            ("title", Type::Text, true, false),
            ("at", Type::Timestamptz(None), true, true),
            ("n", Type::Int4, true, false),
            ("maybe", Type::Int4, false, true),
            ("open", Type::Bool, true, false),
        ]);
        for (before, doubtful) in [
            (r#"{"id":5,"title":"","at":"1970-01-01T00:00:00Z","n":0,"maybe":null,"open":false}"#, true),
            (r#"{"id":5,"title":"","at":"2026-01-01T00:00:00Z","n":0,"maybe":null,"open":false}"#, true),
            (r#"{"id":5,"title":"a","at":"1970-01-01T00:00:00Z","n":0,"maybe":null,"open":false}"#, false),
            (r#"{"id":5,"title":"","at":"1970-01-01T00:00:00Z","n":1,"maybe":null,"open":false}"#, false),
            (r#"{"id":5,"title":"","at":"1970-01-01T00:00:00Z","n":0,"maybe":0,"open":false}"#, false),
            (r#"{"id":5,"title":"","at":"1970-01-01T00:00:00Z","n":0,"maybe":null,"open":true}"#, false),
        ] {
            let change = delete(&columns, before, 9);
            assert!(matches!(change.before, Some(Ok(_))), "{:?}", change.before);
            assert_eq!(is_doubtful(&change, &table(&columns), &columns), doubtful, "{before}");
        }
        // The key alone is always there.
        let (key, before) = (&columns[..1], r#"{"id":5}"#);
        assert!(!is_doubtful(&delete(key, before, 9), &table(&columns), key));
    }

    #[test]
    fn what_was_written_after_the_table_was_defined_is_certain() {
        let columns = columns(&[("id", Type::Int8, true, false)]);
        for (transaction, defined_by, certain) in
            [(9, 9, true), (10, 9, true), (9, 10, false), (3, u32::MAX - 2, true), (u64::from(u32::MAX) - 2, 3, false), (0, 9, false)]
        {
            let change = delete(&columns, r#"{"id":5}"#, transaction);
            assert_eq!(is_certain(&change, defined_by), certain, "{transaction} after {defined_by}");
        }
    }
}
