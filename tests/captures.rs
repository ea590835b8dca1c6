//! Real Debezium records, captured while Connect was killed and connectors were created again, through the product's own decoder and
//! `progress::decide`.
//!
//! Expected values are the table's true contents at the moment of the capture (`*.table.json.gz`), read from Postgres then.
//!
//! | capture | what happened |
//! |---|---|
//! | `redelivery-after-kill` | 8 concurrent writers, Connect killed: 125 records sent again |
//! | `incremental-snapshot` | the same topic, further on: an incremental snapshot ran during load |
//! | `second-snapshot` | the same topic, further on: connector and slot made anew, so a second snapshot; the gap's changes are in no record |
//! | `recreated-on-empty-table` | connector and slot deleted, the table emptied, both made again: no snapshot row marks the second life |

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

use bytes::Bytes;
use flate2::read::GzDecoder;
use highwater::decode::{Decoded, RecordDecoder, rows};
use highwater::progress::{Boundary, Mark, Verdict, decide};
use highwater::sink::Policy;
use highwater::source::Record;
use highwater_sql::{Column, Type, Value};

use crate::support::stack::root;

/// What a replay came to.
struct Replayed {
    /// Rows that count by id: how often, and the sum of their amounts in thousandths.
    rows: BTreeMap<i64, (i64, i64)>,
    /// Records by verdict.
    verdicts: BTreeMap<&'static str, usize>,
    /// The last boundary.
    boundary: Boundary,
}

fn read(name: &str) -> String {
    let mut text = String::new();
    let file = File::open(root().join("tests/captures").join(name)).unwrap();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text
}

fn records(capture: &str) -> Vec<Record> {
    let bytes = |value: &serde_json::Value| value.as_str().map(|text| Bytes::copy_from_slice(text.as_bytes()));
    let record = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let number = |name: &str| line[name].as_i64().unwrap();
        let (partition, offset, timestamp_ms) = (number("partition") as i32, number("offset"), number("timestamp_ms"));
        Record { partition, offset, timestamp_ms, key: bytes(&line["key"]), value: bytes(&line["value"]) }
    };
    read(&format!("{capture}.jsonl.gz")).lines().map(record).collect()
}

fn columns() -> [Column; 2] {
    let column = |name: &str, ty| Column { name: name.into(), ty, not_null: false, has_default: false, collation_is_c: true };
    [column("id", Type::Int8), column("amount", Type::Numeric(None))]
}

/// Reads the topic as a lane does: a greater boundary begins everything again.
fn replay(capture: &str, prefix: &str) -> Replayed {
    let (records, decoder) = (records(capture), RecordDecoder::new(&columns(), prefix));
    let mut boundary = None;
    'epoch: loop {
        let (mut marks, mut sums, mut verdicts) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for record in &records {
            let Decoded::Change(mut change) = decoder.decode(record).unwrap() else { continue };
            let mark = marks.entry(record.partition).or_insert_with(Mark::default);
            let verdict = decide(&change, record.timestamp_ms, Policy::Boundaries, boundary.as_ref(), mark);
            let name = match verdict {
                Verdict::Begin(found) => {
                    boundary = Some(found);
                    continue 'epoch;
                }
                Verdict::Count => "count",
                Verdict::BeganAnew => "began anew",
                Verdict::Ignored => "ignored",
                Verdict::Duplicate => "duplicate",
                Verdict::WentBack => "went back",
            };
            *verdicts.entry(name).or_insert(0) += 1;
            if name == "count" || name == "began anew" {
                let (before, after) = rows(&mut change).unwrap();
                for (row, sign) in [(before, -1), (after, 1)] {
                    add(&mut sums, row.as_deref(), sign);
                }
            }
        }
        sums.retain(|_, sum| *sum != (0, 0));
        return Replayed { rows: sums, verdicts, boundary: boundary.unwrap() };
    }
}

fn add(sums: &mut BTreeMap<i64, (i64, i64)>, row: Option<&[Value]>, sign: i64) {
    let Some([Value::Int(id), amount]) = row else { return };
    let thousandths = if amount.is_null() { 0 } else { amount.to_scaled(3).unwrap() };
    let sum = sums.entry(*id).or_insert((0, 0));
    *sum = (sum.0 + sign, sum.1 + sign * thousandths);
}

/// `[id, member, amount, at]` as Postgres printed them: each row once, with its amount.
fn truth(capture: &str) -> BTreeMap<i64, (i64, i64)> {
    let table: Vec<Vec<Option<String>>> = serde_json::from_str(&read(&format!("{capture}.table.json.gz"))).unwrap();
    let row = |row: &Vec<Option<String>>| {
        // numeric(_, 3): without its point it is in thousandths.
        let amount = row[2].as_ref().map_or(0, |amount| amount.replace('.', "").parse().unwrap());
        (row[0].as_ref().unwrap().parse().unwrap(), (1, amount))
    };
    table.iter().map(row).collect()
}

fn assert_true(capture: &str) -> Replayed {
    let (replayed, truth) = (replay(capture, "fr"), truth(capture));
    assert!(truth.len() > 1_000, "{} rows", truth.len());
    assert!(replayed.rows == truth, "{capture} does not give the table's rows: {:?}", replayed.verdicts);
    assert!(!replayed.verdicts.contains_key("went back"), "a false alarm: {:?}", replayed.verdicts);
    replayed
}

#[test]
fn records_sent_again_after_a_kill_count_once() {
    let replayed = assert_true("redelivery-after-kill");
    assert_eq!(replayed.verdicts["duplicate"], 125);
}

#[test]
fn rows_of_an_incremental_snapshot_are_in_it_already() {
    let replayed = assert_true("incremental-snapshot");
    assert!(replayed.verdicts["ignored"] > 0, "{:?}", replayed.verdicts);
}

#[test]
fn a_second_snapshot_begins_anew() {
    let first = assert_true("redelivery-after-kill");
    let replayed = assert_true("second-snapshot");
    assert!(replayed.boundary.lsn > first.boundary.lsn);
}

#[test]
fn the_second_life_of_a_connector_on_an_empty_table_counts_and_warns() {
    let replayed = replay("recreated-on-empty-table", "rva");
    let counted = (101..125).filter(|id| replayed.rows.get(id) == Some(&(1, 1000))).count();
    assert_eq!(counted, 24, "{:?}", replayed.rows);
    assert!(replayed.verdicts["began anew"] > 0, "nothing warns: {:?}", replayed.verdicts);
}
