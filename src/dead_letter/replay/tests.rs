//! Which records are replayed, where they are read from, and what is said; what a sink makes of them is tested on real servers.

#![allow(clippy::unwrap_used)]

use rdkafka::Timestamp;
use rdkafka::message::{Header, OwnedHeaders};

use super::*;

fn said(record: Coordinates, at: i64, class: &str) -> Said {
    Said { record, place: (0, at), written_ms: at * 1000, class: class.to_owned(), ..Said::default() }
}

fn ledger() -> Ledger {
    let mut ledger = Ledger::whole();
    for (n, (record, class)) in [((0, 7), "row"), ((1, 3), "row"), ((1, 4), "malformed"), ((2, 9), "row")].into_iter().enumerate() {
        ledger.take(&said(record, i64::try_from(n).unwrap(), class));
    }
    let headers = [("entry", "0:1"), ("replayed", "2026-11-21T00:00:00Z")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    ledger.take(&Said { headers: BTreeMap::from(headers), ..said((1, 3), 4, "row") });
    ledger
}

fn chosen(wanted: &Wanted) -> (Vec<Coordinates>, Report) {
    let mut report = Report::default();
    let todo = choose(&ledger(), wanted, &mut report);
    (todo.into_iter().map(|(at, _)| at).collect(), report)
}

#[test]
fn what_is_outstanding_is_chosen_by_class_time_and_name() {
    assert_eq!(chosen(&Wanted::default()).0, [(0, 7), (1, 4), (2, 9)]);
    assert_eq!(chosen(&Wanted { class: Some("row".to_owned()), ..Wanted::default() }).0, [(0, 7), (2, 9)]);
    assert_eq!(chosen(&Wanted { since_ms: Some(2000), ..Wanted::default() }).0, [(1, 4), (2, 9)]);
    let (todo, report) = chosen(&Wanted { records: vec![(2, 9), (1, 3), (5, 5)], ..Wanted::default() });
    assert_eq!((todo, report.unknown.clone()), (vec![(2, 9)], vec![(5, 5)]));
    assert_eq!(report.classes["row"], Counts { settled: 1, ..Counts::default() }, "it was replayed before");
    assert!(!report.is_clean());
    let (todo, report) = chosen(&Wanted { since_ms: Some(9000), ..Wanted::default() });
    assert_eq!((todo, report.render()), (vec![], "nothing of what was asked for is outstanding; 3 others are\n".to_owned()));
}

#[test]
fn a_report_says_why_and_counts_by_class() {
    let mut report = Report::default();
    assert_eq!((report.render(), report.is_clean()), ("nothing is outstanding\n".to_owned(), true));
    report.add((0, 7), "row", Outcome::Replayed);
    report.add((0, 8), "row", Outcome::Settled);
    report.add((1, 2), "malformed", Outcome::Settled);
    assert!(report.is_clean());
    report.add((3, 1207), "row", Outcome::Failing("division\nby zero".to_owned()));
    assert!(!report.is_clean());
    let expected = "  3:1207  division by zero\nmalformed: 0 replayed, 0 still failing, 1 no longer outstanding\n\
                    row: 1 replayed, 1 still failing, 1 no longer outstanding\n";
    assert_eq!(report.render(), expected);
    for offset in 0..60 {
        report.add((4, offset), "row", Outcome::Failing("no".to_owned()));
    }
    assert_eq!(report.reasons.len(), REASONS_MAX);
    assert!(report.render().contains("\n  and 11 more\n"), "{}", report.render());
}

const TIME_MS: i64 = 1_784_900_000_123;

fn message(key: &[u8], value: &[u8], at_ms: i64, headers: &[(&str, &str)]) -> OwnedMessage {
    let headers = headers.iter().fold(OwnedHeaders::new(), |all, &(key, value)| all.insert(Header { key, value: Some(value) }));
    let timestamp = Timestamp::CreateTime(at_ms);
    OwnedMessage::new(Some(value.to_vec()), Some(key.to_vec()), "topic".to_owned(), timestamp, 3, 7, Some(headers))
}

fn value(record: &Record) -> (&[u8], i64) {
    (record.value.as_deref().unwrap(), record.timestamp_ms)
}

#[test]
fn a_record_is_read_from_its_topic_or_else_from_its_entry() {
    let time = rfc3339(TIME_MS * 1000).unwrap();
    let entry = message(b"k", b"v", 5, &[("highwater-time", &time)]);
    let held = message(b"k", b"v", TIME_MS, &[]);
    for held in [Some(&held), None] {
        let record = record_of((3, 7), &entry, held).unwrap();
        assert_eq!((value(&record), record.partition, record.offset), ((&b"v"[..], TIME_MS), 3, 7));
    }
    // Another topic of that name.
    for other in [message(b"k", b"other", TIME_MS, &[]), message(b"other", b"v", TIME_MS, &[]), message(b"k", b"v", TIME_MS + 1, &[])] {
        assert_eq!(value(&record_of((3, 7), &entry, Some(&other)).unwrap()), (&b"v"[..], TIME_MS));
    }
}

/// Expected: `printf v | sha256sum`.
#[test]
fn an_entry_that_keeps_a_hash_needs_the_record_that_it_is_of() {
    let time = rfc3339(TIME_MS * 1000).unwrap();
    let kept = br#"{"value_sha256": "4c94485e0c21ae6c41ce1dfe7b6bfaceea5ab68e40a2476f50208e526f506080"}"#;
    let entry = message(b"k", kept, 5, &[("highwater-time", &time), ("highwater-value", "sha256")]);
    assert_eq!(value(&record_of((3, 7), &entry, Some(&message(b"k", b"v", TIME_MS, &[]))).unwrap()), (&b"v"[..], TIME_MS));
    for held in [None, Some(message(b"k", b"w", TIME_MS, &[])), Some(message(b"k", b"v", 1, &[]))] {
        let reason = record_of((3, 7), &entry, held.as_ref()).unwrap_err();
        assert!(reason.contains("SHA-256"), "{reason}");
    }
}
