//! `/stats`, `/events`, `/export`, `/health` and the stream.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Receiver, event, insert, now_s, row};

fn ids(answer: &Value) -> Vec<&str> {
    answer["events"].as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn events_come_newest_first_and_filtered() {
    let receiver = Receiver::start("events").await;
    let sender = receiver.sender();
    let some = [("a", "c-1", "play"), ("b", "c-2", "play"), ("c", "c-1", "click"), ("d", "c-1", "play")];
    for (id, content, event_type) in some {
        sender.deliver(&[event(id, "insert", row(content, event_type, "web"))]).await;
    }
    sender.deliver(&[event("e", "delete", row("c-2", "play", "web"))]).await;
    for (query, expected) in [
        ("", vec!["e", "d", "c", "b", "a"]),
        ("?limit=2", vec!["e", "d"]),
        ("?limit=1000000", vec!["e", "d", "c", "b", "a"]),
        ("?content_id=c-1", vec!["d", "c", "a"]),
        ("?event_type=play", vec!["e", "d", "b", "a"]),
        ("?content_id=c-1&event_type=play&limit=1", vec!["d"]),
        ("?content_id=c-2", vec!["e", "b"]),
        ("?content_id=none", vec![]),
        ("?content_id=%27%20OR%201%3D1--", vec![]),
    ] {
        assert_eq!(ids(&sender.get_json(&format!("/events{query}")).await), expected, "{query}");
    }
    for query in ["limit=0", "limit=-1", "limit=x", "limit=1.5", "limit=", "limit=99999999999999999999", "lmit=5", "limit=1&limit=2"] {
        let response = sender.get(&format!("/events?{query}")).await;
        assert_eq!(response.status(), 400, "{query}");
        let error: Value = crate::support::parse(response).await;
        assert!(error["error"].is_string(), "{query}");
    }
    receiver.stop().await;
}

#[tokio::test]
async fn an_event_is_shown_as_it_came() {
    let receiver = Receiver::start("shown").await;
    let sender = receiver.sender();
    // Digits that a float would lose, key order, escapes, and line ends between the tokens.
    let row = "{ \"z\": 8.0030000000000000001, \"a\":\r\n 12345678901234567890, \"t\": \"\\u00e9\\n<b>\" }";
    let body = format!(
        r#"[{{"specversion":"1.0","id":"é","source":"s","type":"highwater.row.update","subject":"k",
            "time":"2026-01-15T10:30:00.25+01:00","data":{{"op":"update","before":null,"after":{row}}}}}]"#
    );
    assert_eq!(sender.signed(body).send().await.unwrap().status(), 200);
    let text = sender.get("/events").await.text().await.unwrap();
    assert!(text.contains(&format!(r#""after":{row}"#)), "{text}");
    let item = &sender.get_json("/events").await["events"][0];
    for (name, expected) in [
        ("id", json!("é")),
        ("op", json!("update")),
        ("type", json!("highwater.row.update")),
        ("source", json!("s")),
        ("subject", json!("k")),
        ("time", json!("2026-01-15T10:30:00.25+01:00")),
        ("before", Value::Null),
    ] {
        assert_eq!(item[name], expected);
    }
    assert!(item["received_at"].as_str().unwrap().ends_with('Z'));
    let export = sender.get("/export").await;
    assert_eq!(export.headers()["content-type"], "application/x-ndjson");
    let text = export.text().await.unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("8.0030000000000000001"), "{text}");
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&line["id"], &line["subject"], &line["op"]), (&json!("é"), &json!("k"), &json!("update")));
    let received_us = line["received_at_us"].as_u64().unwrap();
    assert!(received_us / 1_000_000 <= now_s() && received_us / 1_000_000 + 60 > now_s());
    receiver.stop().await;
}

#[tokio::test]
async fn rows_of_another_pipeline_are_stored_whole() {
    let receiver = Receiver::start("other").await;
    let sender = receiver.sender();
    let rows = [json!({ "sku": 5, "price": "1.50" }), json!({ "content_id": [1], "device": { "x": 1 } }), json!([1, 2]), json!(null)];
    let mut events: Vec<Value> = (0..).zip(rows).map(|(n, row)| event(&format!("o-{n}"), "insert", row)).collect();
    events.push(json!({ "specversion": "1.0", "id": "f", "source": "x", "type": "com.example.order", "data_base64": "AAA=" }));
    events.push(event("t", "truncate", Value::Null));
    assert_eq!(sender.deliver(&events).await, (6, 0, 0));
    let answer = sender.get_json("/events").await;
    assert_eq!(ids(&answer), ["t", "f", "o-3", "o-2", "o-1", "o-0"]);
    assert_eq!(answer["events"][5]["after"], json!({ "sku": 5, "price": "1.50" }));
    assert_eq!(answer["events"][1]["op"], Value::Null);
    let stats = sender.stats().await;
    assert_eq!(stats["per_operation"], json!({ "com.example.order": 1, "insert": 4, "truncate": 1 }));
    assert_eq!(stats["per_device"], json!({}));
    receiver.stop().await;
}

#[tokio::test]
async fn stats_say_what_happened() {
    let receiver = Receiver::start("stats").await;
    let sender = receiver.sender();
    let empty = sender.stats().await;
    assert_eq!((&empty["total"], &empty["latency_ms"], &empty["first"]), (&json!(0), &Value::Null, &Value::Null));
    let mut recent = insert("new");
    recent["time"] = json!(webhook_receiver::timestamp::format(webhook_receiver::timestamp::now_us() - 250_000));
    sender.deliver(&[recent]).await;
    let stats = sender.stats().await;
    let p50 = stats["latency_ms"]["p50"].as_f64().unwrap();
    assert!((250.0..5_000.0).contains(&p50), "{p50}");
    let mut null_type = row("c-9", "click", "tv");
    null_type["content_type"] = Value::Null;
    sender.deliver(&[event("n", "insert", null_type), event("u", "update", row("c-1", "pause", "ios"))]).await;
    let stats = sender.stats().await;
    assert_eq!(stats["per_content_type"], json!({ "(null)": 1, "podcast": 1 }));
    assert_eq!(stats["per_event_type"], json!({ "click": 1, "play": 1 }));
    assert_eq!(stats["per_device"], json!({ "tv": 1, "web": 1 }));
    assert_eq!(stats["per_operation"], json!({ "insert": 2, "update": 1 }));
    assert_eq!((&stats["first"]["id"], &stats["last"]["id"]), (&json!("new"), &json!("u")));
    assert_eq!(stats["events_per_minute"]["current"], 3);
    assert_eq!(stats["events_per_minute"]["last_60_minutes"].as_array().unwrap().len(), 60);
    assert_eq!(stats["latency_ms"]["samples"], 3);
    assert_eq!(sender.get_json("/health").await, json!({ "status": "ok", "storage": "ok" }));
    receiver.stop().await;
}

#[tokio::test]
async fn an_export_is_complete_in_order_and_of_one_moment() {
    let receiver = Receiver::start("export").await;
    let sender = receiver.sender();
    // Several chunks, some of them larger than a chunk is meant to be.
    for batch in 0..30 {
        let text = "z".repeat(if batch % 10 == 0 { 400_000 } else { 2_000 });
        let events: Vec<Value> = (0..10).map(|n| event(&format!("e-{batch}-{n}"), "insert", json!({ "text": text }))).collect();
        sender.deliver(&events).await;
    }
    let mut export = sender.get("/export").await;
    let mut bytes = export.chunk().await.unwrap().unwrap().to_vec();
    sender.deliver(&[insert("late")]).await;
    while let Some(chunk) = export.chunk().await.unwrap() {
        bytes.extend_from_slice(&chunk);
    }
    let lines: Vec<Value> =
        bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| serde_json::from_slice(line).unwrap()).collect();
    let exported: Vec<&str> = lines.iter().map(|line| line["id"].as_str().unwrap()).collect();
    let expected: Vec<String> = (0..30).flat_map(|batch| (0..10).map(move |n| format!("e-{batch}-{n}"))).collect();
    assert_eq!(exported, expected);

    // 30 events of 400 kB do not fit into one answer of /events, and it says so.
    let page = sender.get_json("/events?limit=1000").await;
    assert_eq!(page["truncated"], true);
    assert_eq!(page["events"][0]["id"], "late");
    assert_eq!(sender.get_json("/events?limit=5").await["truncated"], false);
    receiver.stop().await;
}

#[tokio::test]
async fn the_stream_tells_at_once_and_with_every_change() {
    let receiver = Receiver::start("stream").await;
    let sender = receiver.sender();
    let mut stream = sender.get("/events/stream").await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let (mut text, began) = (String::new(), Instant::now());
    let mut sent = false;
    loop {
        text.push_str(std::str::from_utf8(&stream.chunk().await.unwrap().unwrap()).unwrap());
        let newest =
            text.split("\n\n").filter_map(|event| event.strip_prefix("event: live\ndata: ")).filter(|data| data.ends_with('}')).last();
        let Some(live) = newest.and_then(|data| serde_json::from_str::<Value>(data).ok()) else {
            continue;
        };
        if !sent {
            assert_eq!(live["stats"]["unique"], 0);
            let nasty = json!({ "device": "<img src=x onerror=alert(1)>".repeat(10_000), "content_id": "c" });
            sender.deliver(&[event("a", "insert", nasty)]).await;
            sent = true;
        } else if live["stats"]["unique"] == 1 {
            assert_eq!(live["latest"][0]["op"], "insert");
            assert_eq!(live["per_second"].as_array().unwrap().len(), 120);
            assert!(live.to_string().len() < 20_000, "one event must not blow up every screen");
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(10));
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    drop(stream);
    receiver.stop().await;
}

#[tokio::test]
async fn screens_are_limited_and_leave_room_again() {
    let receiver = Receiver::start("screens").await;
    let sender = receiver.sender();
    let mut screens = Vec::new();
    for _ in 0..64 {
        let screen = sender.get("/events/stream").await;
        assert_eq!(screen.status(), 200);
        screens.push(screen);
    }
    assert_eq!(sender.get("/events/stream").await.status(), 503);
    assert_eq!(sender.get("/stats").await.status(), 200);
    screens.clear();
    let began = Instant::now();
    while sender.get("/events/stream").await.status() != 200 {
        assert!(began.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    receiver.stop().await;
}

/// Run by hand: `cargo test --release -p webhook-receiver -- --ignored --nocapture a_million`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn a_million_rows_do_not_slow_the_answers() {
    let receiver = Receiver::start("million").await;
    let sender = receiver.sender();
    let began = Instant::now();
    let mut senders = tokio::task::JoinSet::new();
    for part in 0..8 {
        let sender = sender.clone();
        senders.spawn(async move {
            for batch in 0..250 {
                let events: Vec<Value> = (0..500)
                    .map(|n| {
                        event(&format!("{part}-{batch}-{n}"), "insert", row(&format!("c-{}", (batch * 500 + n) % 5_000), "play", "web"))
                    })
                    .collect();
                assert_eq!(sender.deliver(&events).await, (500, 0, 0));
            }
        });
    }
    senders.join_all().await;
    println!("{:.0} events/s in batches of 500", 1e6 / began.elapsed().as_secs_f64());
    for path in
        ["/stats", "/events?limit=50", "/events?content_id=c-77&limit=50", "/events?content_id=none", "/events?event_type=play&limit=50"]
    {
        let mut times: Vec<Duration> = Vec::new();
        for _ in 0..50 {
            let began = Instant::now();
            sender.get_json(path).await;
            times.push(began.elapsed());
        }
        times.sort();
        println!("{path}: p50 {:?}, max {:?}", times[25], times[49]);
        assert!(times[25] < Duration::from_millis(50), "{path}");
    }
    let began = Instant::now();
    let receiver = receiver.restart().await;
    assert_eq!(receiver.sender().stats().await["unique"], 1_000_000);
    println!("restart {:?}", began.elapsed());
    let began = Instant::now();
    let mut export = receiver.sender().get("/export").await;
    let mut bytes = 0;
    while let Some(chunk) = export.chunk().await.unwrap() {
        bytes += chunk.len();
    }
    println!("export of {} MB {:?}", bytes / 1_000_000, began.elapsed());
    receiver.stop().await;
}
