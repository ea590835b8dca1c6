//! Every type, with its edge values, through the running Debezium in every mode that `check` accepts: what the webhook gets is `to_jsonb(row)`.
//!
//! The values are those of the fixed cases of the input functions (`sql/tests/fixtures/types.tsv`), one row each. A value that Debezium cannot
//! say must be a dead letter and never another value; which those are is written down here.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::scenario::{Extra, Scenario};
use crate::support::stack::root;
use crate::support::stage::Stage;
use crate::support::{kafka, seconds};

/// Settings of the connector, and of a table for which they keep every value.
struct Mode {
    name: &'static str,
    settings: &'static [(&'static str, &'static str)],
    columns: fn(&str) -> bool,
}

const SCHEMAS: (&str, &str) = ("value.converter.schemas.enable", "true");

const MODES: &[Mode] = &[
    Mode { name: "shipped", settings: &[], columns: |_| true },
    Mode { name: "iso", settings: &[("time.precision.mode", "isostring")], columns: is_no_time },
    Mode {
        name: "time_micros",
        settings: &[("time.precision.mode", "adaptive_time_microseconds")],
        columns: |ty| !["time(0)", "time(3)"].contains(&ty),
    },
    // To 15 digits, so that a double tells them apart.
    Mode {
        name: "double",
        settings: &[("decimal.handling.mode", "double")],
        columns: |ty| !ty.starts_with("numeric") || ["numeric(5,2)", "numeric(3,0)", "numeric(2,4)", "numeric(3,-2)"].contains(&ty),
    },
    Mode { name: "schema_precise", settings: &[SCHEMAS, ("decimal.handling.mode", "precise")], columns: |ty| ty != "numeric" },
    Mode { name: "schema_time_micros", settings: &[SCHEMAS, ("time.precision.mode", "adaptive_time_microseconds")], columns: |_| true },
    Mode {
        name: "schema_micros",
        settings: &[SCHEMAS, ("time.precision.mode", "microseconds"), ("decimal.handling.mode", "precise")],
        columns: |ty| ty != "numeric",
    },
    Mode {
        name: "schema_nanos",
        settings: &[SCHEMAS, ("time.precision.mode", "nanoseconds")],
        columns: |ty| !ty.starts_with("timestamp") || ty.starts_with("timestamptz"),
    },
    Mode {
        name: "schema_iso",
        settings: &[SCHEMAS, ("time.precision.mode", "isostring"), ("decimal.handling.mode", "precise")],
        columns: |ty| is_no_time(ty) && ty != "numeric",
    },
];

/// Values at which Debezium's task fails, again at every restart: of the type, whose text has this part. Nothing after them is ever read,
/// which is for the README to say and not for a test to wait for.
const STOP_DEBEZIUM: &[(&str, &str)] = &[("interval", "2562047788:"), ("interval", "2222222222:"), ("interval", "2147483648:")];

/// Values that Debezium cannot say: mode, type, part of the input.
const UNSAYABLE: &[(&str, &str, &str)] =
    &[("all", "date[]", "infinity"), ("iso", "timestamp", "-infinity"), ("schema_iso", "timestamp", "-infinity")];

fn is_no_time(ty: &str) -> bool {
    !ty.starts_with("time") || ty.starts_with("timestamp")
}

/// A value of a type, as its input function reads it.
#[derive(Clone, Debug)]
struct Sample {
    ty: String,
    input: String,
}

/// The valid inputs of the fixture, of types that a record can say at all (`highwater_sql::decode::lost`).
fn samples() -> Vec<Sample> {
    let text = std::fs::read_to_string(root().join("sql/tests/fixtures/types.tsv")).unwrap();
    let fields = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
    let rows = text.lines().filter(|line| !line.starts_with('#')).map(fields);
    let valid = rows.filter(|row| !row[2].starts_with('!') && !row[0].starts_with("timetz") && row[0] != "interval[]");
    let stops = |row: &Vec<String>| STOP_DEBEZIUM.iter().any(|(ty, part)| row[0].starts_with(ty) && row[2].contains(part));
    let valid = valid.filter(|row| !stops(row));
    valid.map(|row| Sample { ty: row[0].clone(), input: row[1].clone() }).collect()
}

/// One column for each type, one row for each sample.
fn scenario(mode: &Mode, samples: &[Sample]) -> (Scenario, BTreeMap<usize, Sample>, String) {
    let name = format!("types_{}_{}", mode.name, std::process::id());
    let (table, mood) = (format!("every_{name}"), format!("mood_{name}"));
    let types: BTreeSet<&str> = samples.iter().map(|sample| sample.ty.as_str()).filter(|ty| (mode.columns)(ty)).collect();
    let column: BTreeMap<&str, String> = types.iter().enumerate().map(|(n, ty)| (*ty, format!("c{n}"))).collect();
    let columns: Vec<_> = column.iter().map(|(ty, name)| format!("{name} {}", if *ty == "mood" { &mood } else { *ty })).collect();
    let rows: BTreeMap<usize, Sample> =
        samples.iter().filter(|sample| column.contains_key(sample.ty.as_str())).cloned().enumerate().collect();
    // COPY's escapes are those of an E'' string, but for the quote.
    let insert = |(id, Sample { ty, input }): (&usize, &Sample)| {
        format!("INSERT INTO {table} (id, {}) VALUES ({id}, E'{}');", column[ty.as_str()], input.replace('\'', "''"))
    };
    let inserts: String = rows.iter().map(insert).collect();
    let scenario = Scenario {
        source: table.clone(),
        key: vec!["id"],
        lookups: Vec::new(),
        schema: format!(
            "CREATE TYPE {mood} AS ENUM ('sad', 'ok', 'happy');
             CREATE TABLE {table} (id int PRIMARY KEY, {}); ALTER TABLE {table} REPLICA IDENTITY FULL;",
            columns.join(", ")
        ),
        first_rows: format!("INSERT INTO {table} (id) VALUES (-1)"),
        select: format!("SELECT * FROM {table}"),
        ranking: None,
        append_only: false,
        statements: Vec::new(),
        lookup_changes: Vec::new(),
        probe: String::new(),
        name,
    };
    (scenario, rows, inserts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn every_type_is_read_in_every_mode() {
    let samples = samples();
    assert!(samples.len() > 500, "{}", samples.len());
    let mut wrong = Vec::new();
    for mode in MODES {
        wrong.extend(unsaid(mode, &samples).await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Runs one mode. -> values that arrived as others; what is parked and not listed as unsayable, and the reverse
async fn unsaid(mode: &Mode, samples: &[Sample]) -> Vec<String> {
    let (scenario, rows, inserts) = scenario(mode, samples);
    let mut stage = Stage::set_connected(scenario, &Extra::default(), mode.settings).await;
    stage.start_engines(1).await;
    stage.database.run(&inserts).await;
    // Old rows too.
    let table = stage.scenario.source.clone();
    stage.database.run(&format!("UPDATE {table} SET id = id + 10000 WHERE id >= 0")).await;
    let expected = stage.scenario.expected_count(&stage.database).await;
    assert_eq!(expected as usize, 3 * rows.len());
    kafka::wait_records(&stage.stack.kafka, &stage.scenario.topic(), expected as i64).await;

    let letters = async || match stage.engines[0].metric("highwater_dead_letters_total", &[]).await {
        0.0 => BTreeMap::new(),
        count => stage.dead_letters("webhook", count as usize).await,
    };
    crate::support::eventually("every event is stored or parked", seconds(60), async || {
        let (stored, parked) = (stage.receiver.stored().await, letters().await.len() as u64);
        if stored + parked >= expected { Ok(()) } else { Err(format!("{stored} stored, {parked} parked of {expected}")) }
    })
    .await;
    let mut parked: BTreeMap<usize, String> = BTreeMap::new();
    for letter in letters().await.values() {
        let key: serde_json::Value = serde_json::from_slice(letter.key.as_ref().unwrap()).unwrap();
        let id = key.get("payload").unwrap_or(&key)["id"].as_u64().unwrap() as usize % 10_000;
        parked.insert(id, letter.headers["highwater-error-message"].clone());
    }
    let mut wrong = Vec::new();
    let differences = stage.scenario.differences(&stage.database, &stage.receiver, 0).await;
    for difference in differences {
        let subject: serde_json::Value = serde_json::from_str(difference[0].as_deref().unwrap()).unwrap();
        let id = subject["id"].as_u64().unwrap() as usize % 10_000;
        if !parked.contains_key(&id) {
            wrong.push(format!("{}: {:?} arrived as another value: {}", mode.name, rows[&id], differing(&difference)));
        }
    }
    stage.note(&format!("{}: {} values, {} of them parked", mode.name, rows.len(), parked.len()));
    for (id, sample) in &rows {
        let listed =
            UNSAYABLE.iter().any(|(of, ty, value)| (*of == mode.name || *of == "all") && sample.ty == *ty && sample.input.contains(value));
        if listed != parked.contains_key(id) {
            wrong.push(format!("{}: {sample:?} is parked: {:?}", mode.name, parked.get(id)));
        }
    }
    stage.strike().await;
    wrong
}

/// The columns of an expected and a received event that differ.
fn differing(row: &[Option<String>]) -> String {
    let object = |n: usize| -> serde_json::Map<String, serde_json::Value> {
        row[n].as_deref().map(|text| serde_json::from_str(text).unwrap()).unwrap_or_default()
    };
    let mut said = format!("{:?} {:?}", row[2], row[5]);
    for (expected, received) in [(object(3), object(6)), (object(4), object(7))] {
        for (column, value) in expected.iter().filter(|(column, value)| received.get(*column) != Some(value)) {
            said += &format!(" {column}: {value} as {:?}", received.get(column).map(ToString::to_string));
        }
    }
    said
}
