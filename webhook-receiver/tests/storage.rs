//! The file: group commit, a full disk, a second process, and stopping in good order.

use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use webhook_receiver::settings::Settings;

use crate::support::process::{Process, command};
use crate::support::temp_dir::TempDir;
use crate::support::{Receiver, SECRET, event, insert, row};

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_wait_share_a_transaction_and_each_gets_its_own_receipt() {
    let receiver = Receiver::start("group").await;
    let sender = receiver.sender();
    let mut requests = JoinSet::new();
    for request in 0..200 {
        let sender = sender.clone();
        // Every event is sent by two requests; which of them stores it is open, but one does.
        requests.spawn(async move { sender.deliver(&[insert(&format!("e-{}", request / 2)), insert(&format!("own-{request}"))]).await });
    }
    let receipts = requests.join_all().await;
    assert!(receipts.iter().all(|(stored, duplicates, _)| stored + duplicates == 2 && *stored >= 1));
    assert_eq!(receipts.iter().map(|(stored, ..)| stored).sum::<u64>(), 300);
    let stats = sender.stats().await;
    assert_eq!((&stats["unique"], &stats["duplicates"], &stats["conflicts"]), (&json!(300), &json!(100), &json!(0)));
    let commits = stats["commit_ms"]["samples"].as_u64().unwrap();
    assert!(commits < 200, "{commits} transactions for 200 requests");
    receiver.stop().await;
}

#[tokio::test]
async fn a_full_file_answers_503_and_goes_on_when_there_is_room() {
    let receiver = Receiver::start_with("full", |settings| settings.db_bytes_max = 1024 * 1024).await;
    let sender = receiver.sender();
    let big = |id: &str| event(id, "insert", json!({ "text": "x".repeat(200_000) }));
    let mut stored = Vec::new();
    let refused = loop {
        let id = format!("e-{}", stored.len());
        let response = sender.send(&[insert(&format!("{id}-small")), big(&id)]).await;
        if response.status() != 200 {
            break response;
        }
        stored.push(id);
        assert!(stored.len() < 20, "the limit has no effect");
    };
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let stats = sender.stats().await;
    assert_eq!(stats["unique"], stored.len() * 2, "a refused request left something behind");
    assert_eq!(stats["rejected_reasons"], json!({ "storage_unavailable": 1 }));
    assert_eq!(sender.get_json("/health").await["storage"], "failing");
    assert_eq!(sender.deliver(&[insert("small")]).await, (1, 0, 0), "what fits is still taken");
    assert_eq!(sender.get_json("/health").await["storage"], "ok");
    let exported = sender.export().await.len();
    assert_eq!(exported, stored.len() * 2 + 1);

    let (directory, settings) = receiver.stop().await;
    let more = Settings { db_bytes_max: 0, ..settings };
    let connection = Connection::open(&more.db).unwrap();
    let rows: usize = connection.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, exported);
    drop(directory);
}

#[tokio::test]
async fn counters_equal_a_recount_of_the_stored_events() {
    let receiver = Receiver::start("recount").await;
    let sender = receiver.sender();
    for batch in 0..20 {
        let events: Vec<Value> = (0..25)
            .map(|n| {
                let number = batch * 25 + n;
                let op = ["insert", "update", "delete", "snapshot"][number % 7 % 4];
                let device = ["web", "ios", "tv"][number % 3];
                let event_type = ["play", "pause", "finish", "click"][number % 5 % 4];
                event(&format!("e-{}", number % 400), op, row(&format!("c-{}", number % 11), event_type, device))
            })
            .collect();
        sender.deliver(&events).await;
    }
    let before = sender.stats().await;
    let receiver = receiver.restart().await;
    let stats = receiver.sender().stats().await;
    for name in ["per_operation", "per_content_type", "per_event_type", "per_device", "top_content", "first", "last", "latency_ms"] {
        assert_eq!(stats[name], before[name], "{name} after a restart");
    }
    let connection = Connection::open(&receiver.settings.db).unwrap();
    let recount = |label: &str, condition: &str| {
        let sql = format!(
            "SELECT json_group_object(label, n) FROM (SELECT json_extract(body, '{label}') AS label, count(*) AS n
             FROM events WHERE {condition} GROUP BY 1)"
        );
        let text: String = connection.query_row(&sql, [], |row| row.get(0)).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let inserts = "json_extract(body, '$.data.op') = 'insert'";
    assert_eq!(stats["per_operation"], recount("$.data.op", "true"));
    assert_eq!(stats["per_content_type"], recount("$.data.after.content_type", inserts));
    assert_eq!(stats["per_event_type"], recount("$.data.after.event_type", inserts));
    assert_eq!(stats["per_device"], recount("$.data.after.device", inserts));
    let top = recount("$.data.after.content_id", inserts);
    let listed = stats["top_content"].as_array().unwrap();
    assert_eq!(listed.len(), 10);
    for item in listed {
        assert_eq!(item["events"], top[item["content_id"].as_str().unwrap()]);
    }
    let least_listed = listed.iter().map(|item| item["events"].as_u64().unwrap()).min().unwrap();
    let all = top.as_object().unwrap();
    assert!(all.values().filter(|count| count.as_u64().unwrap() > least_listed).count() <= 10);
    let minutes = stats["events_per_minute"]["last_60_minutes"].as_array().unwrap();
    assert_eq!(minutes.iter().map(|count| count.as_u64().unwrap()).sum::<u64>(), 400);
    drop(connection);
    receiver.stop().await;
}

#[test]
fn a_second_receiver_on_the_same_file_is_refused() {
    let directory = TempDir::new("second");
    let db = directory.path().join("r.sqlite");
    let first = Process::start(&db);
    let output = command(&db).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("in use by another receiver"), "{log}");
    first.kill();
    Process::start(&db).kill();
}

#[test]
fn wrong_settings_end_with_code_2_and_never_show_the_secret() {
    let directory = TempDir::new("settings");
    let db = directory.path().join("r.sqlite");
    let run = |name: &str, value: &str| {
        let output = command(&db).env(name, value).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (name, value) in [
        ("WEBHOOK_SECRET", "hunter2hunter2hunter2hunter2"),
        ("WEBHOOK_SECRET", "whsec_hunter2"),
        ("WEBHOOK_SECRET", ""),
        ("RECEIVER_LISTEN", "nowhere"),
        ("RECEIVER_TOLERANCE_S", "-1"),
        ("RECEIVER_REQUEST_S_MAX", "0"),
    ] {
        let (code, log) = run(name, value);
        assert_eq!(code, Some(2), "{name}={value}: {log}");
        assert!(!log.contains("hunter2") && !log.contains(&SECRET[6..]), "{log}");
    }
    assert!(!db.exists());
    let (code, log) = run("RECEIVER_DB", "/nowhere/r.sqlite");
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("/nowhere/r.sqlite"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_what_is_under_way_and_exits_0() {
    let directory = TempDir::new("sigterm");
    let db = directory.path().join("r.sqlite");
    let process = Process::start(&db);
    let sender = crate::support::Sender::to(process.address);
    // A screen that watches must not hold the end back.
    let mut screen = sender.get("/events/stream").await;
    assert!(screen.chunk().await.unwrap().is_some());
    assert_eq!(sender.signed("rubbish").send().await.unwrap().status(), 400);
    let mut requests = JoinSet::new();
    for n in 0..50 {
        let sender = sender.clone();
        requests.spawn(async move {
            let sent = sender.signed(serde_json::to_vec(&[insert(&format!("e-{n}"))]).unwrap()).send().await;
            (n, sent.is_ok_and(|response| response.status() == 200))
        });
    }
    let began = Instant::now();
    let (status, log) = tokio::task::spawn_blocking(move || process.terminate()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(log.iter().any(|line| line.contains("stopped")), "{log:?}");
    assert!(log.iter().all(|line| !line.contains(&SECRET[6..])));
    assert!(!db.with_extension("sqlite-wal").exists(), "the log is folded into the file");
    let acknowledged: Vec<i32> = requests.join_all().await.into_iter().filter(|(_, ok)| *ok).map(|(n, _)| n).collect();
    let connection = Connection::open(&db).unwrap();
    for n in acknowledged {
        let found: i64 = connection.query_row("SELECT count(*) FROM events WHERE id = ?1", [format!("e-{n}")], |row| row.get(0)).unwrap();
        assert_eq!(found, 1, "e-{n}");
    }
    let saved: i64 =
        connection.query_row("SELECT count FROM counters WHERE kind = 'rejected' AND name = 'not_json'", [], |row| row.get(0)).unwrap();
    assert_eq!(saved, 1);
}
