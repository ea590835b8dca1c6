//! What a request gets: acknowledged with what it did, or refused with a reason and nothing stored.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{BATCH, Receiver, SINGLE, Sender, event, insert, now_s, parse, row};

async fn refused(sender: &Sender, request: reqwest::RequestBuilder, status: u16, reason: &str) {
    let before = sender.stats().await;
    let response = request.send().await.unwrap();
    assert_eq!(response.status().as_u16(), status, "{reason}");
    let body = parse(response).await;
    assert_eq!(body["error"], reason);
    let after = sender.stats().await;
    let count = |stats: &Value| stats["rejected_reasons"][reason].as_u64().unwrap_or(0);
    assert_eq!(count(&after), count(&before) + 1, "{reason}");
    assert_eq!(after["rejected"].as_u64(), before["rejected"].as_u64().map(|n| n + 1));
    assert_eq!(after["total"], before["total"], "{reason}: something was stored");
}

#[tokio::test]
async fn a_signed_batch_is_stored_and_counted() {
    let receiver = Receiver::start("batch").await;
    let sender = receiver.sender();
    assert_eq!(sender.deliver(&[insert("a"), insert("b")]).await, (2, 0, 0));
    assert_eq!(sender.deliver(&[]).await, (0, 0, 0));
    let stats = sender.stats().await;
    assert_eq!((&stats["total"], &stats["unique"], &stats["rejected"]), (&json!(2), &json!(2), &json!(0)));
    receiver.stop().await;
}

#[tokio::test]
async fn a_single_event_is_stored_too() {
    let receiver = Receiver::start("single").await;
    let sender = receiver.sender();
    let request = sender.signed(insert("a").to_string()).header("content-type", SINGLE).build().unwrap();
    // `header` appends; the signed request had a content type already.
    let mut request = request;
    request.headers_mut().insert("content-type", SINGLE.parse().unwrap());
    assert_eq!(sender.client.execute(request).await.unwrap().status(), 200);
    assert_eq!(sender.stats().await["unique"], 1);
    receiver.stop().await;
}

#[tokio::test]
async fn a_repeated_event_is_a_duplicate_and_with_other_bytes_a_conflict() {
    let receiver = Receiver::start("duplicates").await;
    let sender = receiver.sender();
    assert_eq!(sender.deliver(&[insert("a"), insert("a"), insert("b")]).await, (2, 1, 0));
    let other = event("a", "insert", row("c-2", "play", "web"));
    assert_eq!(sender.deliver(&[insert("a"), other, insert("c")]).await, (1, 2, 1));
    let check = |stats: Value| {
        let counts = ["total", "unique", "duplicates", "conflicts"].map(|name| stats[name].as_u64().unwrap());
        assert_eq!(counts, [6, 3, 3, 1]);
    };
    check(sender.stats().await);
    let first = &sender.export().await[0];
    assert_eq!(first["after"]["content_id"], "c-1", "the first version stays");

    let receiver = receiver.restart().await;
    check(receiver.sender().stats().await);
    receiver.stop().await;
}

#[tokio::test]
async fn without_a_good_signature_nothing_is_stored() {
    let receiver = Receiver::start("signatures").await;
    let sender = receiver.sender();
    let body = serde_json::to_vec(&[insert("a")]).unwrap();
    let url = format!("{}/webhook", sender.base);
    let plain = || sender.client.post(&url).header("content-type", BATCH).body(body.clone());
    refused(&sender, plain(), 401, "missing_signature").await;
    for missing in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let mut request = sender.signed(body.clone()).build().unwrap();
        request.headers_mut().remove(missing);
        let request = reqwest::RequestBuilder::from_parts(sender.client.clone(), request);
        refused(&sender, request, 401, "missing_signature").await;
    }
    refused(&sender, sender.signed(body.clone()).body(b"[]".to_vec()), 401, "bad_signature").await;
    refused(&sender, sender.signed_at(now_s() - 400, body.clone()), 401, "old_timestamp").await;
    refused(&sender, sender.signed_at(now_s() + 400, body.clone()), 401, "future_timestamp").await;
    let unreadable = plain().header("webhook-id", "m").header("webhook-timestamp", "soon").header("webhook-signature", "v1,");
    refused(&sender, unreadable, 401, "bad_timestamp").await;

    let request = sender.signed(body).build().unwrap();
    let good = request.headers()["webhook-signature"].to_str().unwrap().to_owned();
    let mut request = request;
    let several = format!("v1,{} {good}", "A".repeat(43) + "=");
    request.headers_mut().insert("webhook-signature", several.parse().unwrap());
    assert_eq!(sender.client.execute(request).await.unwrap().status(), 200);
    receiver.stop().await;
}

#[tokio::test]
async fn a_body_with_one_bad_event_is_refused_whole() {
    let receiver = Receiver::start("bodies").await;
    let sender = receiver.sender();
    refused(&sender, sender.signed("not json"), 400, "not_json").await;
    refused(&sender, sender.signed(r#"{"an":"object"}"#), 400, "not_json").await;
    refused(&sender, sender.signed(r#"[{"no":"cloud event"}]"#), 400, "not_cloudevents").await;
    let mut nameless = insert("b");
    nameless["id"] = json!("");
    let half_good = serde_json::to_vec(&[insert("a"), nameless]).unwrap();
    refused(&sender, sender.signed(half_good), 400, "not_cloudevents").await;
    let mut other_type = sender.signed("[]").build().unwrap();
    other_type.headers_mut().insert("content-type", "application/json".parse().unwrap());
    let other_type = reqwest::RequestBuilder::from_parts(sender.client.clone(), other_type);
    refused(&sender, other_type, 400, "not_cloudevents").await;
    assert_eq!(sender.export().await, [] as [Value; 0]);

    let receiver = receiver.restart().await;
    assert_eq!(receiver.sender().stats().await["rejected"], 5, "the counters are kept");
    receiver.stop().await;
}

#[tokio::test]
async fn a_body_at_the_limit_is_stored_and_one_beyond_it_gets_413() {
    let receiver = Receiver::start_with("limit", |settings| settings.body_bytes_max = 3_000_000).await;
    let sender = receiver.sender();
    let sized = |id: &str, bytes: usize| {
        let empty = serde_json::to_string(&[event(id, "insert", json!({ "text": "" }))]).unwrap();
        let text = "x".repeat(bytes - empty.len());
        let body = serde_json::to_string(&[event(id, "insert", json!({ "text": text }))]).unwrap();
        assert_eq!(body.len(), bytes);
        body
    };
    assert_eq!(sender.signed(sized("a", 3_000_000)).send().await.unwrap().status(), 200);
    refused(&sender, sender.signed(sized("b", 3_000_001)), 413, "body_too_large").await;
    // Far more than socket buffers hold: the answer must still arrive, not a reset connection.
    refused(&sender, sender.signed(sized("c", 60_000_000)), 413, "body_too_large").await;
    // Without a length, as chunks.
    let mut stream = TcpStream::connect(receiver.address).unwrap();
    let answer = tokio::task::spawn_blocking(move || {
        stream.write_all(b"POST /webhook HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
        let chunk = format!("{:x}\r\n{}\r\n", 100_000, " ".repeat(100_000));
        (0..40).for_each(|_| stream.write_all(chunk.as_bytes()).unwrap());
        stream.write_all(b"0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let answer = answer.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(sender.stats().await["rejected_reasons"], json!({ "body_too_large": 3 }));
    receiver.stop().await;
}

#[tokio::test]
async fn a_record_of_sixteen_megabytes_passes() {
    let receiver = Receiver::start("sixteen").await;
    let sender = receiver.sender();
    let text = "y".repeat(16 * 1024 * 1024);
    assert_eq!(sender.deliver(&[event("big", "insert", json!({ "text": text }))]).await, (1, 0, 0));
    assert_eq!(sender.export().await[0]["after"]["text"].as_str().unwrap().len(), 16 * 1024 * 1024);
    receiver.stop().await;
}

#[tokio::test]
async fn a_slow_client_is_cut_off_and_hinders_nobody() {
    let receiver = Receiver::start_with("slow", |settings| settings.request_s_max = 1).await;
    let sender = receiver.sender();
    let address = receiver.address;
    let slow = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"POST /webhook HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf").unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    assert_eq!(sender.deliver(&[insert("a")]).await, (1, 0, 0));
    let answer = slow.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(sender.stats().await["rejected_reasons"], json!({ "timeout": 1 }));
    receiver.stop().await;
}

#[tokio::test]
async fn a_body_that_breaks_off_is_counted_and_not_stored() {
    let receiver = Receiver::start("broken").await;
    let sender = receiver.sender();
    let mut stream = TcpStream::connect(receiver.address).unwrap();
    stream.write_all(b"POST /webhook HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n").unwrap();
    let began = Instant::now();
    while sender.stats().await["rejected_reasons"] != json!({ "body_incomplete": 1 }) {
        assert!(began.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(sender.stats().await["total"], 0);
    receiver.stop().await;
}

#[tokio::test]
async fn other_methods_and_paths_are_refused() {
    let receiver = Receiver::start("routes").await;
    let sender = receiver.sender();
    assert_eq!(sender.get("/webhook").await.status(), 405);
    assert_eq!(sender.get("/nothing").await.status(), 404);
    assert_eq!(sender.client.post(format!("{}/stats", sender.base)).send().await.unwrap().status(), 405);
    receiver.stop().await;
}
