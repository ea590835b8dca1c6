//! The recorded Debezium captures, decoded, against the rows that Postgres had (`changes.tsv`).

use std::io::Read as _;

use highwater_sql::decode::{Decoder, Envelope, Row, Snapshot, decode_key, key_payload};
use highwater_sql::json::Json;
use highwater_sql::{Column, Op, Type, Value};

use crate::support::{copy_fields, type_of};

/// The columns of the tables of `1-tables.sql`, without `big`.
const KITCHEN_SINK: &[(&str, &str)] = &[
    ("id", "bigint"),
    ("b", "boolean"),
    ("i2", "smallint"),
    ("i4", "integer"),
    ("i8", "bigint"),
    ("f4", "real"),
    ("f8", "double precision"),
    ("n", "numeric(20,6)"),
    ("nn", "numeric"),
    ("t", "text"),
    ("vc", "varchar(20)"),
    ("ch", "char(5)"),
    ("d", "date"),
    ("ti", "time"),
    ("ttz", "timetz"),
    ("ts", "timestamp"),
    ("tstz", "timestamptz"),
    ("iv", "interval"),
    ("u", "uuid"),
    ("j", "json"),
    ("jb", "jsonb"),
    ("ba", "bytea"),
    ("ia", "integer[]"),
    ("ta", "text[]"),
    ("m", "mood"),
    ("ip", "inet"),
];
const COMPOSITE_KEY: &[(&str, &str)] = &[("a", "integer"), ("b", "text"), ("v", "numeric(10,2)")];
const NO_KEY: &[(&str, &str)] = &[("a", "integer"), ("v", "text")];

/// What the connector cannot carry, and its message (`*`: whatever the value).
const LOST: &[(&str, &str)] = &[
    ("ttz", "the connector has converted time with time zone to UTC: its offset is lost"),
    ("iv", "microseconds cannot carry an interval: set interval.handling.mode=string in the connector"),
];

pub struct Record {
    pub topic: String,
    pub key: Option<String>,
    pub value: Option<String>,
}

pub fn capture(name: &str) -> Vec<Record> {
    let bytes: &[u8] = match name {
        "schemas-disabled" => include_bytes!("../fixtures/schemas-disabled.jsonl.gz"),
        _ => include_bytes!("../fixtures/schemas-enabled.jsonl.gz"),
    };
    let mut text = String::new();
    flate2::read::GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    let records = text.lines().map(|line| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let part = |name: &str| record[name].as_str().map(str::to_owned);
        Record { topic: part("topic").unwrap(), key: part("key"), value: part("value") }
    });
    records.collect()
}

pub fn columns(of: &[(&str, &str)]) -> Vec<Column> {
    let column = |(name, ty): &(&str, &str)| Column {
        name: (*name).into(),
        ty: type_of(ty),
        not_null: false,
        has_default: false,
        collation_is_c: true,
    };
    of.iter().map(column).collect()
}

/// One change of a table, as the trigger of `changes.sql` saw it.
struct Expected {
    op: String,
    old: Option<Json>,
    new: Option<Json>,
}

fn expected(table: &str) -> Vec<Expected> {
    let lines = include_str!("../fixtures/changes.tsv").lines().filter(|l| !l.starts_with('#'));
    let row = |line: &str| {
        // A field that is NULL is written as \N, which no JSON is.
        let null: Vec<bool> = line.split('\t').map(|f| f == "\\N").collect();
        let fields = copy_fields(line);
        let json = |at: usize| (!null[at]).then(|| Json::parse(&fields[at]).unwrap());
        (fields[0].clone(), Expected { op: fields[1].clone(), old: json(2), new: json(3) })
    };
    lines.map(row).filter(|(name, _)| name == table).map(|(_, e)| e).collect()
}

/// The envelopes of a table, in the order of the WAL.
fn changes(capture_name: &str, table: &str, columns: &[Column]) -> Vec<Envelope> {
    let decoder = Decoder::new(columns);
    let records = capture(capture_name);
    let values = records.iter().filter(|r| r.topic.ends_with(&format!(".{table}"))).filter_map(|r| r.value.as_deref());
    let mut changes: Vec<Envelope> = values.map(|v| decoder.decode(v.as_bytes()).unwrap()).collect();
    changes.sort_by_key(|c| (c.source.snapshot == Snapshot::No, c.source.sequence.1));
    changes
}

/// The row as `to_jsonb` has it.
fn to_json(row: &Row, columns: &[Column]) -> Json {
    let row = row.as_ref().unwrap();
    let pairs = row.iter().zip(columns).map(|(value, column)| {
        let mut text = String::new();
        value.write_json(&column.ty, &mut text).unwrap();
        (column.name.clone(), Json::parse(&text).unwrap())
    });
    Json::object(pairs.collect())
}

fn text_of(json: &Json) -> String {
    let mut text = String::new();
    json.write(&mut text);
    text
}

/// Every column of the kitchen sink on its own, so that one that is lost hides no other.
fn check_kitchen_sink(capture_name: &str, differs: impl Fn(&str, &str) -> Option<&'static str>) {
    let expected = expected("kitchen_sink");
    assert_eq!(expected.len(), 5);
    for column in columns(KITCHEN_SINK) {
        let changes = changes(capture_name, "kitchen_sink", std::slice::from_ref(&column));
        assert_eq!(changes.iter().map(|c| c.op.as_str()).collect::<Vec<_>>(), expected.iter().map(|e| &e.op).collect::<Vec<_>>());
        let rows = changes.iter().zip(&expected).flat_map(|(c, e)| [(&c.before, &e.old), (&c.after, &e.new)]);
        for (row, expected) in rows {
            let (Some(row), Some(expected)) = (row, expected) else {
                assert!(row.is_none() && expected.is_none());
                continue;
            };
            let expected = text_of(expected.get(&column.name).unwrap());
            let lost = LOST.iter().find(|(name, _)| *name == column.name && expected != "null").map(|(_, message)| *message);
            let wanted = differs(&column.name, &expected).or(lost).unwrap_or(&expected);
            let found = match row {
                Ok(values) => {
                    let mut text = String::new();
                    values[0].write_json(&column.ty, &mut text).unwrap();
                    // A json value prints as jsonb, so NULL and the JSON null look alike: tell them apart.
                    assert_eq!(values[0].is_null(), matches!(values[0], Value::Null));
                    text
                }
                Err(e) => {
                    assert_eq!((e.sqlstate, e.column.as_deref()), ("0A000", Some(column.name.as_str())));
                    e.message.clone()
                }
            };
            assert_eq!(found, wanted, "{}", column.name);
        }
    }
}

#[test]
fn every_type_arrives_without_a_schema() {
    check_kitchen_sink("schemas-disabled", |column, expected| {
        (column == "nn" && expected == "\"NaN\"").then_some("numeric NaN and infinities are not supported")
    });
}

#[test]
fn every_type_arrives_with_a_schema_and_precise_decimals() {
    // The connector drops trailing zeros of a numeric without a scale, and has no NaN.
    check_kitchen_sink("schemas-enabled", |column, expected| match (column, expected) {
        ("nn", "123.4500") => Some("123.45"),
        ("nn", "\"NaN\"") => Some("null"),
        _ => None,
    });
}

#[test]
fn whole_rows_arrive_in_both_envelopes() {
    for capture_name in ["schemas-disabled", "schemas-enabled"] {
        for (table, names) in [("composite_key", COMPOSITE_KEY), ("no_key", NO_KEY)] {
            let columns = columns(names);
            let changes = changes(capture_name, table, &columns);
            let expected = expected(table);
            assert_eq!(changes.len(), expected.len());
            for (change, expected) in changes.iter().zip(&expected) {
                assert_eq!(change.op.as_str(), expected.op);
                assert_eq!(change.before.as_ref().map(|r| to_json(r, &columns)), expected.old);
                assert_eq!(change.after.as_ref().map(|r| to_json(r, &columns)), expected.new);
                assert_eq!((&*change.source.schema, &*change.source.table), ("public", table));
                assert_eq!(change.source.lsn, Some(change.source.sequence.1));
            }
        }
    }
}

#[test]
fn positions_are_those_of_the_record() {
    let changes = changes("schemas-disabled", "kitchen_sink", &[]);
    let first = &changes[0].source;
    assert_eq!((&*first.name, first.snapshot, first.sequence), ("fx", Snapshot::Row, (None, 51_075_880)));
    assert_eq!((first.tx_id, first.ts_us), (Some(8871), 1_795_239_072_454_460));
    let last = &changes[4].source;
    assert_eq!((last.snapshot, last.sequence), (Snapshot::No, (Some(51_151_720), 51_151_776)));
    // Records of one table share the names.
    assert!(std::sync::Arc::ptr_eq(&first.table, &last.table));
}

#[test]
fn old_rows_of_the_default_identity_have_only_the_key() {
    let mut columns = columns(&[("id", "integer"), ("name", "text")]);
    columns[0].not_null = true;
    let changes = changes("schemas-disabled", "default_identity", &columns);
    let deletes: Vec<_> = changes.iter().filter(|c| c.op == Op::Delete).collect();
    assert_eq!(deletes.len(), 2);
    for delete in deletes {
        let row = delete.before.as_ref().unwrap().as_ref().unwrap();
        assert!(matches!(row[0], Value::Int(_)) && row[1].is_null());
    }
    columns[1].not_null = true;
    let changes = super::fixtures::changes("schemas-disabled", "default_identity", &columns);
    let error = changes.iter().find(|c| c.op == Op::Delete).unwrap().before.clone().unwrap().unwrap_err();
    assert_eq!((error.sqlstate, error.column.as_deref()), ("23502", Some("name")));
}

#[test]
fn a_value_that_is_not_in_the_record_is_an_error_of_its_row() {
    let columns = columns(&[("id", "integer"), ("big", "text")]);
    let changes = changes("schemas-disabled", "default_identity", &columns);
    let update = changes.iter().find(|c| c.op == Op::Update).unwrap();
    assert!(update.before.is_none());
    let error = update.after.clone().unwrap().unwrap_err();
    assert_eq!((error.sqlstate, error.column.as_deref()), ("22P03", Some("big")));
    assert!(error.message.contains("TOAST"));
}

#[test]
fn columns_come_and_go_between_records() {
    for (capture_name, extra) in [("schemas-disabled", "numeric(6,2)"), ("schemas-enabled", "numeric(6,2)")] {
        let columns = columns(&[("id", "integer"), ("extra", extra)]);
        let changes = changes(capture_name, "default_identity", &columns);
        let after: Vec<&Row> = changes.iter().filter_map(|c| c.after.as_ref()).collect();
        let error = after[0].clone().unwrap_err();
        assert_eq!((error.sqlstate, error.column.as_deref()), ("42703", Some("extra")));
        let last: Vec<String> = after[after.len() - 2..].iter().map(|r| text_of(&to_json(r, &columns))).collect();
        assert_eq!(last, ["{\"id\": 10, \"extra\": 2.25}", "{\"id\": 11, \"extra\": 3.50}"]);
    }
}

#[test]
fn messages_and_transactions_are_told_apart_from_rows() {
    let decoder = Decoder::new(&columns(NO_KEY));
    for capture_name in ["schemas-disabled", "schemas-enabled"] {
        for record in capture(capture_name) {
            let Some(value) = record.value else { continue };
            let decoded = decoder.decode(value.as_bytes());
            if record.topic.ends_with(".message") {
                let message = decoded.unwrap();
                assert_eq!(message.op, Op::Message);
                assert!(message.before.is_none() && message.after.is_none());
            } else if record.topic.ends_with(".transaction") {
                assert_eq!(decoded.unwrap_err().class(), "not_an_envelope");
            } else {
                decoded.unwrap();
            }
        }
    }
}

#[test]
fn keys_are_the_same_with_and_without_a_schema() {
    let keys = |capture_name: &str| {
        let mut keys: Vec<String> = Vec::new();
        for record in capture(capture_name).iter().filter(|r| r.topic.ends_with("composite_key")) {
            let Some(key) = &record.key else { continue };
            let payload = key_payload(key.as_bytes()).unwrap().unwrap();
            keys.push(String::from_utf8(payload.into_owned()).unwrap());
        }
        keys.sort();
        keys
    };
    let plain = keys("schemas-disabled");
    assert!(plain.contains(&"{\"a\":2,\"b\":\"y\"}".to_owned()));
    assert_eq!(plain, keys("schemas-enabled"));
}

#[test]
fn keys_decode_to_values() {
    let columns = columns(&[("b", "text"), ("a", "integer")]);
    let decoder = Decoder::new(&columns);
    for capture_name in ["schemas-disabled", "schemas-enabled"] {
        for record in capture(capture_name).iter().filter(|r| r.topic.ends_with("composite_key")) {
            let Some(key) = &record.key else { continue };
            let row = decode_key(&decoder, key.as_bytes()).unwrap().unwrap().unwrap();
            let (Value::Text(b), Value::Int(a)) = (&row[0], &row[1]) else { panic!("{row:?}") };
            let plain = format!("{{\"a\":{a},\"b\":\"{b}\"}}");
            assert_eq!(key_payload(key.as_bytes()).unwrap().unwrap(), plain.as_bytes());
        }
    }
    assert!(decode_key(&decoder, b"null").unwrap().is_none());
    assert!(matches!(Type::Int4, Type::Int4));
}
