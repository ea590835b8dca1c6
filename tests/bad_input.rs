//! Records that can never be delivered: each is parked with its reason and where it was, and nothing else is affected.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::database::Load;
use crate::support::kafka;
use crate::support::scenario;
use crate::support::stack::program;
use crate::support::stage::Stage;

const LOAD: Load = Load { writers: 4, changes: 150, per_second: 200, seed: 11 };

/// A record put into the topic beside Debezium.
pub struct Bad {
    /// The class of error it is parked under.
    pub class: &'static str,
    /// What the reason, or the column it names, must hold.
    pub reason: &'static str,
    /// The record's key.
    pub key: Option<Vec<u8>>,
    /// The record's value.
    pub value: Vec<u8>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn every_bad_record_is_parked_with_its_reason_and_the_rest_is_exact() {
    // GIVEN an engine that has read everything
    let mut stage = Stage::set(scenario::engagement("bad")).await;
    stage.start_engines(1).await;
    stage.write_all(LOAD).await;
    stage.assert_exact().await;

    // WHEN records that no Debezium writes stand in every partition
    let topic = stage.scenario.topic();
    let mut produced = BTreeMap::new();
    let last_changes = last_changes(&stage.stack.kafka, &topic);
    assert_eq!(last_changes.len(), 4, "a partition has no change");
    for (partition, last) in last_changes {
        for (n, bad) in bad_records(&last).into_iter().enumerate() {
            let at = kafka::produce(&stage.stack.kafka, &topic, partition, bad.key.as_deref(), Some(&bad.value)).await;
            assert!(produced.insert(at, bad).is_none(), "record {n}");
        }
    }
    stage.write_all(Load { seed: 12, ..LOAD }).await;

    // THEN the rest is exact, and each is in the dead-letter topic of each lane
    stage.assert_exact().await;
    for sink in ["ranking", "webhook"] {
        let letters = stage.dead_letters(sink, produced.len()).await;
        for (at, bad) in &produced {
            let letter = letters.get(at).unwrap_or_else(|| panic!("{sink}: {at:?} ({}) is not parked", bad.class));
            let header = |name: &str| letter.headers.get(name).map_or("", String::as_str);
            assert_eq!((header("highwater-error-class"), header("highwater-topic")), (bad.class, topic.as_str()), "{:?}", letter.headers);
            let reason = format!("{} {}", header("highwater-error-message"), header("highwater-column"));
            assert!(reason.contains(bad.reason), "{sink}: {:?} does not say {:?}", letter.headers, bad.reason);
            assert_eq!((&letter.key, letter.value.as_ref()), (&bad.key, Some(&bad.value)), "{sink}: the entry is not the record");
        }
        assert_eq!(letters.len(), produced.len(), "{sink}: more is parked than was bad");
    }
    let parked = stage.engines[0].metric("highwater_dead_letters_total", &[]).await;
    assert_eq!(parked as usize, 2 * produced.len());

    // AND an operator sees them: all, those of a class, one whole
    let listed = dead_letters(&stage, &["list"], &[]);
    assert!(listed.contains(&format!("\n{} parked: ", produced.len())), "{listed}");
    let of_class = |class: &str| produced.values().filter(|bad| bad.class == class).count();
    let malformed = dead_letters(&stage, &["list"], &["--reason", "malformed", "--since", "1h", "--limit", "3"]);
    assert!(malformed.ends_with(&format!("\n{} parked: malformed {}\n", of_class("malformed"), of_class("malformed"))), "{malformed}");
    assert_eq!(malformed.lines().count(), 1 + 3 + 2, "{malformed}");
    let ((partition, offset), bad) = produced.iter().find(|(_, bad)| bad.class == "row").unwrap();
    let shown = dead_letters(&stage, &["show"], &[&format!("{partition}:{offset}")]);
    assert!(shown.ends_with(&format!("\n{}\n", String::from_utf8_lossy(&bad.value))) && shown.contains(bad.reason), "{shown}");
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn ten_megabytes_pass_and_what_does_not_fit_is_parked_as_its_hash() {
    let mut stage = Stage::set(scenario::engagement("large")).await;
    stage.start_engines(1).await;

    // GIVEN a row of ten megabytes, and its end
    let events = &stage.scenario.source;
    let insert =
        format!("INSERT INTO {events} (id, event_type, duration_ms, device) VALUES (-7, 'play', 1000, repeat('0123456789', 1000000))");
    stage.database.run(&insert).await;
    stage.assert_exact().await;
    stage.database.run(&format!("DELETE FROM {events} WHERE id = -7")).await;
    stage.assert_exact().await;

    // WHEN a record comes that is as large as the broker takes, and bad
    let topic = stage.scenario.topic();
    let value = vec![b'x'; (17 << 20) - 4096];
    let at = kafka::produce(&stage.stack.kafka, &topic, 0, Some(b"{\"id\":1}"), Some(&value)).await;
    stage.write_all(LOAD).await;

    // THEN its entry says where it is and what it was
    stage.assert_exact().await;
    for sink in ["ranking", "webhook"] {
        let letters = stage.dead_letters(sink, 1).await;
        let letter = &letters[&at];
        assert_eq!(letter.headers["highwater-value"], "sha256");
        let text = String::from_utf8(letter.value.clone().unwrap()).unwrap();
        let hash: String = Sha256::digest(&value).iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(text.contains(&hash) && text.contains(&value.len().to_string()), "{text}");
    }
    stage.strike().await;
}

/// What `highwater dead-letters` says about the webhook's.
fn dead_letters(stage: &Stage, command: &[&str], more: &[&str]) -> String {
    let run = || {
        let mut highwater = Command::new(program("highwater"));
        highwater.arg("dead-letters").args(command).arg(&stage.pipeline).arg("webhook").args(more).output().unwrap()
    };
    let output = tokio::task::block_in_place(run);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The last streamed change of every partition that has one: the bad ones stand at its position, where only their keys are new.
pub fn last_changes(servers: &str, topic: &str) -> BTreeMap<i32, Value> {
    let mut last = BTreeMap::new();
    for record in kafka::records(servers, topic) {
        let Some(value) = record.value else { continue };
        let value: Value = serde_json::from_slice(&value).unwrap();
        if value["op"] != "r" {
            last.insert(record.partition, value);
        }
    }
    last
}

/// One of each kind, made from a good change.
pub fn bad_records(good: &Value) -> Vec<Bad> {
    let mut row = if good["after"].is_null() { good["before"].clone() } else { good["after"].clone() };
    row["duration_ms"] = Value::from(1000);
    let mut good = good.clone();
    good["op"] = Value::from("c");
    good["before"] = Value::Null;
    good["after"] = row.clone();
    let mut all = Vec::new();
    let mut id = 900_000;
    let mut add = |class, reason, change: &dyn Fn(&mut Value)| {
        id += 1;
        let mut value = good.clone();
        value["after"]["id"] = Value::from(id);
        change(&mut value);
        all.push(Bad { class, reason, key: Some(format!("{{\"id\":{id}}}").into_bytes()), value: value.to_string().into_bytes() });
    };
    add("unknown_op", "op", &|value| value["op"] = Value::from("x"));
    add("row", "column", &|value| drop(value["after"].as_object_mut().unwrap().remove("duration_ms")));
    add("row", "duration_ms", &|value| value["after"]["duration_ms"] = Value::from("long"));
    add("row", "device", &|value| value["after"]["device"] = Value::from("__debezium_unavailable_value"));
    add("row", "event_type", &|value| value["after"]["event_type"] = Value::Null);
    add("incomplete", "REPLICA IDENTITY FULL", &|value| value["op"] = Value::from("u"));
    add("incomplete", "new row", &|value| value["after"] = Value::Null);
    add("no_position", "sequence", &|value| value["source"]["sequence"] = Value::Null);
    add("not_an_envelope", "source", &|value| drop(value.as_object_mut().unwrap().remove("source")));
    let good = good.to_string().into_bytes();
    all.push(Bad { class: "null_key", reason: "key", key: None, value: good.clone() });
    all.push(Bad { class: "null_key", reason: "key", key: Some(b"null".to_vec()), value: good.clone() });
    for broken in [&b"{\"op\": \"c\", "[..], b"\xff\xfe", b"", b"[]", b"17"] {
        all.push(Bad { class: "malformed", reason: "", key: Some(b"{\"id\":5}".to_vec()), value: broken.to_vec() });
    }
    all
}
