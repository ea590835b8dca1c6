//! From a change to a CloudEvent 1.0 in JSON, under an id that never changes.
//!
//! The id is the first 128 bits, in hexadecimal, of the SHA-256 over seven netstrings (`length:bytes,`): Debezium's source name, schema,
//! table, the record key as compact JSON (empty for a truncate), the event's own LSN, Debezium's operation letter, and the commit time in
//! Unix microseconds, numbers in decimal. All of it comes from the write-ahead log, so that a retry, a crash, a rebalance and a replay give the same
//! id; what is in lookup tables, Kafka offsets and the clock do not enter. Everything but `data` depends on the same and on the configuration.
//!
//! | op | before | after | `type` |
//! |---|---|---|---|
//! | `c` | | row | `highwater.row.insert` |
//! | `u` | row | row | `highwater.row.update` |
//! | `u` | none | row | `highwater.row.insert`: it moved into the SELECT's WHERE |
//! | `u` | row | none | `highwater.row.delete`: it moved out |
//! | `d` | row | | `highwater.row.delete` |
//! | `r` | | row | `highwater.row.snapshot` |
//! | `t` | | | `highwater.row.truncate` |
//!
//! Nothing else is an event: WHERE removed the row, or it is no change of a row.
//!
//! A row that was read from the table is in no change (`highwater replay --source postgres`): it is a `highwater.row.snapshot` without a `time`. Its id is the first
//! 128 bits of the SHA-256 over six netstrings: source name, schema, table, the key as compact JSON, `row`, and what identifies its content: the SHA-256 in
//! hexadecimal over the netstrings of name and text of every source column that the SELECT reads, by name, `n` in place of the text where it is NULL.
//! The same row with the same content has the same id whenever it is read.

use std::fmt::Write as _;

use bytes::Bytes;
use highwater_sql::{Op, Plan, RowError, Type};
use sha2::{Digest as _, Sha256};
use xxhash_rust::xxh3::xxh3_64;

use super::time::rfc3339;
use crate::sink::{ResultRow, Selected};
use crate::source::Record;

/// One event, ready to be sent.
#[derive(Debug)]
pub struct Event {
    /// What the receiver knows it by.
    pub id: String,
    /// The CloudEvent as JSON.
    pub json: String,
    /// Events of the same hash keep their order; one without is in order with all others.
    pub key_hash: Option<u64>,
    /// The record it came in, for the case that the endpoint refuses it.
    pub record: Record,
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Insert,
    Update,
    Delete,
    Truncate,
    Snapshot,
}

/// What all events of a sink have in common.
#[derive(Debug)]
pub struct Template {
    /// The netstrings of source name, schema and table, with which every id begins.
    id_prefix: String,
    /// `"source":...`
    source: String,
    columns: Vec<Column>,
}

/// A result column.
#[derive(Debug)]
struct Column {
    name: String,
    /// The name as a JSON string.
    json_name: String,
    ty: Type,
}

impl Kind {
    fn of(op: Op, before: bool, after: bool) -> Option<Self> {
        match (op, before, after) {
            (Op::Create, _, true) | (Op::Update, false, true) => Some(Self::Insert),
            (Op::Update, true, true) => Some(Self::Update),
            (Op::Update, true, false) | (Op::Delete, true, _) => Some(Self::Delete),
            (Op::Read, _, true) => Some(Self::Snapshot),
            (Op::Truncate, _, _) => Some(Self::Truncate),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
            Self::Snapshot => "snapshot",
        }
    }

    fn shows_before(self) -> bool {
        matches!(self, Self::Update | Self::Delete)
    }

    fn shows_after(self) -> bool {
        matches!(self, Self::Update | Self::Insert | Self::Snapshot)
    }
}

impl Column {
    fn new((name, ty): (&str, Type)) -> Self {
        Self { name: name.to_owned(), json_name: json_string(name), ty }
    }
}

impl Template {
    /// The events of `pipeline` about the source table of `plan`; `prefix` is Debezium's source name (its `topic.prefix`).
    pub fn new(pipeline: &str, prefix: &str, plan: &Plan) -> Self {
        let columns = plan.outputs.iter().map(|output| (output.name.as_str(), output.ty.clone()));
        Self::of_table(pipeline, [prefix, &plan.source.schema, &plan.source.name], columns)
    }

    pub(super) fn of_table<'a>(pipeline: &str, table: [&str; 3], columns: impl Iterator<Item = (&'a str, Type)>) -> Self {
        let id_prefix = table.iter().map(|part| netstring(part)).collect();
        let source = format!("\"source\":{}", json_string(&format!("/highwater/{pipeline}")));
        Self { id_prefix, source, columns: columns.map(Column::new).collect() }
    }

    /// The event of one change; none where nothing is to be said.
    pub fn event(&self, selected: &Selected<'_>) -> Result<Option<Event>, RowError> {
        let Selected { record, change, before, after } = selected;
        let Some(kind) = Kind::of(change.op, before.is_some(), after.is_some()) else { return Ok(None) };
        let key = if kind == Kind::Truncate { None } else { Some(text_of(change.key.as_ref())?) };
        let (lsn, commit_us) = (change.position.own.to_string(), change.commit_us.to_string());
        let id = self.id(&[key.unwrap_or_default(), &lsn, change.op.as_str(), &commit_us]);
        self.write(record, kind, id, key, rfc3339(change.commit_us), before.as_ref(), after.as_ref()).map(Some)
    }

    /// The event of a row of the table; `content` identifies what the SELECT reads of it. The record is made up, but for its key.
    pub fn row_event(&self, record: &Record, content: &str, row: &ResultRow) -> Result<Event, RowError> {
        let key = text_of(record.key.as_ref())?;
        let id = self.id(&[key, "row", content]);
        self.write(record, Kind::Snapshot, id, Some(key), None, None, Some(row))
    }

    #[allow(clippy::too_many_arguments, reason = "each is a part of the event")]
    fn write(
        &self,
        record: &Record,
        kind: Kind,
        id: String,
        key: Option<&str>,
        time: Option<String>,
        before: Option<&ResultRow>,
        after: Option<&ResultRow>,
    ) -> Result<Event, RowError> {
        let mut json = format!(r#"{{"specversion":"1.0","id":"{id}",{},"type":"highwater.row.{}""#, self.source, kind.as_str());
        if let Some(key) = key {
            json += ",\"subject\":";
            json += &json_string(key);
        }
        if let Some(time) = time {
            let _ = write!(json, r#","time":"{time}""#);
        }
        let _ = write!(json, r#","datacontenttype":"application/json","data":{{"op":"{}","before":"#, kind.as_str());
        self.write_row(before.filter(|_| kind.shows_before()), &mut json)?;
        json += ",\"after\":";
        self.write_row(after.filter(|_| kind.shows_after()), &mut json)?;
        json += "}}";
        Ok(Event { id, json, key_hash: key.map(|key| xxh3_64(key.as_bytes())), record: record.detached() })
    }

    fn id(&self, parts: &[&str]) -> String {
        let mut hash = Sha256::new();
        hash.update(&self.id_prefix);
        for part in parts {
            hash.update(netstring(part));
        }
        half_hex(hash)
    }

    fn write_row(&self, row: Option<&ResultRow>, out: &mut String) -> Result<(), RowError> {
        let Some(row) = row else {
            out.push_str("null");
            return Ok(());
        };
        for (n, (column, value)) in self.columns.iter().zip(row).enumerate() {
            out.push(if n == 0 { '{' } else { ',' });
            out.push_str(&column.json_name);
            out.push(':');
            value.write_json(&column.ty, out).map_err(|error| error.in_column(&column.name))?;
        }
        // A SELECT has at least one column.
        out.push('}');
        Ok(())
    }
}

/// The key, without which an event has no order.
fn text_of(key: Option<&Bytes>) -> Result<&str, RowError> {
    let key = key.ok_or_else(|| RowError::new("23502", "the record has no key, so its events have no order"))?;
    std::str::from_utf8(key).map_err(|_| RowError::new("22021", "the record key is not UTF-8"))
}

/// What identifies a request: the first 128 bits of the SHA-256 over its events' ids, in order.
pub fn request_id(events: &[&Event]) -> String {
    let mut hash = Sha256::new();
    for event in events {
        hash.update(&event.id);
    }
    half_hex(hash)
}

fn half_hex(hash: Sha256) -> String {
    let mut text = String::with_capacity(32);
    for byte in &hash.finalize()[..16] {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn netstring(text: &str) -> String {
    format!("{}:{text},", text.len())
}

fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use highwater_sql::Value;
    use highwater_sql::decode::Snapshot;

    use super::*;
    use crate::change::Change;
    use crate::change::Position;

    fn template() -> Template {
        let numeric = Type::Numeric(None);
        let columns = [("id", Type::Int8), ("said \"so\"", Type::Text), ("amount", numeric)];
        Template::of_table("shop", ["streaming", "public", "orders"], columns.into_iter())
    }

    fn change(op: Op) -> Change {
        Change {
            op,
            position: Position { first: Some(24_023_000), own: 24_023_200 },
            commit_us: 1_784_900_000_123_456,
            snapshot: Snapshot::No,
            run: (24_023_200, 700),
            key: Some(Bytes::from_static(br#"{"id":7}"#)),
            before: None,
            after: None,
        }
    }

    fn record() -> Record {
        Record { partition: 0, offset: 5, timestamp_ms: 0, key: None, value: None }
    }

    fn row(text: &str, amount: &str) -> ResultRow {
        let amount = Value::from_text(&Type::Numeric(None), amount).unwrap();
        vec![Value::Int(7), Value::Text(text.into()), amount]
    }

    fn event(change: &Change, before: Option<ResultRow>, after: Option<ResultRow>) -> Option<Event> {
        template().event(&Selected { record: &record(), change, before, after }).unwrap()
    }

    /// Expected: `printf '9:streaming,6:public,6:orders,8:{"id":7},8:24023200,1:u,16:1784900000123456,' | sha256sum | cut -c1-32`
    /// and `printf '9:streaming,6:public,6:orders,0:,8:24023200,1:t,16:1784900000123456,' | sha256sum | cut -c1-32`.
    #[test]
    fn ids_are_what_anyone_can_compute_from_the_wal() {
        let update = event(&change(Op::Update), Some(row("a", "1")), Some(row("b", "2"))).unwrap();
        assert_eq!(update.id, "90c1be43975d781e13f87f7d00601e9b");
        let truncate = event(&Change { key: None, ..change(Op::Truncate) }, None, None).unwrap();
        assert_eq!(truncate.id, "92a5fe343834e0740686125ccffd8a4d");
    }

    /// Expected: `printf '9:streaming,6:public,6:orders,8:{"id":7},3:row,4:c0de,' | sha256sum | cut -c1-32`.
    #[test]
    fn a_row_of_the_table_is_a_snapshot_known_by_its_key_and_content() {
        let keyed = Record { partition: -1, offset: -1, key: Some(Bytes::from_static(br#"{"id":7}"#)), ..record() };
        let event = template().row_event(&keyed, "c0de", &row("a", "1.50")).unwrap();
        let expected = concat!(
            r#"{"specversion":"1.0","id":"cc5c842462423ca28df34c87b5b1bd8b","source":"/highwater/shop","type":"highwater.row.snapshot","#,
            r#""subject":"{\"id\":7}","datacontenttype":"application/json","data":{"op":"snapshot","before":null,"#,
            r#""after":{"id":7,"said \"so\"":"a","amount":1.50}}}"#,
        );
        assert_eq!(event.json, expected);
        let id = |key: &'static str, content: &str| {
            let record = Record { key: Some(Bytes::from_static(key.as_bytes())), ..record() };
            template().row_event(&record, content, &row("joined", "2")).unwrap().id
        };
        assert_eq!(id(r#"{"id":7}"#, "c0de"), event.id, "what was joined is not in it");
        assert_ne!(id(r#"{"id":8}"#, "c0de"), event.id);
        assert_ne!(id(r#"{"id":7}"#, "c0df"), event.id);
        assert_eq!(template().row_event(&record(), "c0de", &row("a", "1")).unwrap_err().sqlstate, "23502");
    }

    #[test]
    fn an_id_depends_on_the_change_and_not_on_where_or_when_it_was_read_or_what_was_joined() {
        let one = event(&change(Op::Update), Some(row("a", "1")), Some(row("b", "2"))).unwrap();
        let again = Change { position: Position { first: None, own: 24_023_200 }, run: (1, 1), ..change(Op::Update) };
        let again = template()
            .event(&Selected {
                record: &Record { partition: 3, offset: 99, ..record() },
                change: &again,
                before: None,
                after: Some(row("joined", "3")),
            })
            .unwrap();
        assert_eq!(again.unwrap().id, one.id);

        let mut ids = vec![one.id];
        for other in [
            Change { key: Some(Bytes::from_static(br#"{"id":8}"#)), ..change(Op::Update) },
            Change { position: Position { first: None, own: 24_023_201 }, ..change(Op::Update) },
            Change { commit_us: 1_784_900_000_123_457, ..change(Op::Update) },
            change(Op::Create),
            change(Op::Delete),
        ] {
            ids.push(event(&other, Some(row("a", "1")), Some(row("b", "2"))).unwrap().id);
        }
        let mut distinct = ids.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), ids.len());
    }

    #[test]
    fn an_event_is_a_cloudevent_whose_rows_keep_every_digit() {
        let update =
            event(&change(Op::Update), Some(row("a \"b\"\n", "8.0030")), Some(row("ü", "123456789012345678901234567890.10"))).unwrap();
        let expected = concat!(
            r#"{"specversion":"1.0","id":"90c1be43975d781e13f87f7d00601e9b","source":"/highwater/shop","type":"highwater.row.update","#,
            r#""subject":"{\"id\":7}","time":"2026-07-24T13:33:20.123456Z","datacontenttype":"application/json","data":{"op":"update","#,
            r#""before":{"id":7,"said \"so\"":"a \"b\"\n","amount":8.0030},"#,
            r#""after":{"id":7,"said \"so\"":"ü","amount":123456789012345678901234567890.10}}}"#,
        );
        assert_eq!(update.json, expected);
        assert!(update.key_hash.is_some());

        let truncate = event(&Change { key: None, ..change(Op::Truncate) }, None, None).unwrap();
        let expected = concat!(
            r#"{"specversion":"1.0","id":"92a5fe343834e0740686125ccffd8a4d","source":"/highwater/shop","type":"highwater.row.truncate","#,
            r#""time":"2026-07-24T13:33:20.123456Z","datacontenttype":"application/json","data":{"op":"truncate","before":null,"after":null}}"#,
        );
        assert_eq!(truncate.json, expected);
        assert_eq!(truncate.key_hash, None);
    }

    #[test]
    fn the_rows_that_where_left_decide_what_happened() {
        let (none, row) = (None::<&str>, Some("row"));
        for (op, before, after, expected) in [
            (Op::Create, none, row, Some(("insert", none, row))),
            (Op::Create, none, none, None),
            (Op::Update, row, row, Some(("update", row, row))),
            (Op::Update, none, row, Some(("insert", none, row))),
            (Op::Update, row, none, Some(("delete", row, none))),
            (Op::Update, none, none, None),
            (Op::Delete, row, none, Some(("delete", row, none))),
            (Op::Delete, none, none, None),
            (Op::Read, none, row, Some(("snapshot", none, row))),
            (Op::Read, none, none, None),
            (Op::Truncate, none, none, Some(("truncate", none, none))),
            (Op::Message, none, none, None),
        ] {
            let result = |text: Option<&str>| text.map(|text| self::row(text, "1"));
            let found = event(&change(op), result(before), result(after)).map(|event| {
                let event: serde_json::Value = serde_json::from_str(&event.json).unwrap();
                let data = event["data"].clone();
                assert_eq!(event["type"], format!("highwater.row.{}", data["op"].as_str().unwrap()));
                data
            });
            let as_json = |row: Option<&str>| row.map(|text| serde_json::json!({"id": 7, "said \"so\"": text, "amount": 1}));
            let expected =
                expected.map(|(op, before, after)| serde_json::json!({"op": op, "before": as_json(before), "after": as_json(after)}));
            assert_eq!(found, expected, "{op:?} {before:?} {after:?}");
        }
    }

    #[test]
    fn a_row_without_an_order_is_an_error_and_not_an_event() {
        for (key, sqlstate) in [(None, "23502"), (Some(Bytes::from_static(b"\xff")), "22021")] {
            let change = Change { key, ..change(Op::Create) };
            let selected = Selected { record: &record(), change: &change, before: None, after: Some(row("a", "1")) };
            assert_eq!(template().event(&selected).unwrap_err().sqlstate, sqlstate);
        }
    }

    /// Expected: `printf 90c1be43975d781e13f87f7d00601e9b92a5fe343834e0740686125ccffd8a4d | sha256sum | cut -c1-32`.
    #[test]
    fn a_request_is_known_by_its_events_and_their_order() {
        let update = event(&change(Op::Update), Some(row("a", "1")), Some(row("b", "2"))).unwrap();
        let truncate = event(&Change { key: None, ..change(Op::Truncate) }, None, None).unwrap();
        assert_eq!(request_id(&[&update, &truncate]), "d4b6f714bb3d59699ddcaa8a8b051389");
        assert_ne!(request_id(&[&truncate, &update]), request_id(&[&update, &truncate]));
    }
}
