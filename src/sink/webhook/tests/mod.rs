//! The webhook against endpoints that follow a script, over real connections.

#![allow(clippy::unwrap_used)]

mod server;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;
use highwater_sql::decode::Snapshot;
use highwater_sql::{Op, Type, Value};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, timeout};

use super::*;
use crate::change::{Change, Position};
use crate::config;
use crate::source::Record;
use server::{Reply, Request, Server, row_id};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A topic whose answers are written down.
#[derive(Clone, Default)]
struct Topic {
    watermarks: BTreeMap<i32, (i64, i64)>,
    committed: BTreeMap<i32, (i64, String)>,
}

impl Log for Topic {
    async fn id(&self) -> Result<String, source::Error> {
        Ok("topic".to_owned())
    }
    async fn watermarks(&self) -> Result<BTreeMap<i32, (i64, i64)>, source::Error> {
        Ok(self.watermarks.clone())
    }
    async fn offsets_at(&self, _: i64) -> Result<BTreeMap<i32, i64>, source::Error> {
        Ok(BTreeMap::new())
    }
    async fn committed(&self, partitions: &[i32]) -> Result<BTreeMap<i32, (i64, String)>, source::Error> {
        Ok(self.committed.clone().into_iter().filter(|(partition, _)| partitions.contains(partition)).collect())
    }
}

fn config(url: &str) -> WebhookConfig {
    WebhookConfig {
        name: None,
        url: EndpointUrl::new(url),
        secret: Secret::new(SECRET),
        batch_max: 10,
        batch_bytes_max: 1 << 20,
        in_flight_max: 4,
        timeout: config::Duration::from_millis(2000),
        snapshot: false,
        retry_max_wait: config::Duration::from_millis(20),
    }
}

fn webhook_of(config: &WebhookConfig, topic: Topic, start: Start) -> Result<(Webhook<Topic>, Metrics), Error> {
    let metrics = Metrics::new().unwrap();
    let place = Place { pipeline: "shop", sink: "hook", kafka: "kafka:9092", prefix: "streaming", start };
    let columns = [("id", Type::Int8), ("note", Type::Text)];
    let template = Template::of_table("shop", ["streaming", "public", "orders"], columns.into_iter());
    let sink = Webhook::with_template(config, place, template, "streaming.public.orders".to_owned(), topic, metrics.clone())?;
    Ok((sink, metrics))
}

fn webhook(config: &WebhookConfig) -> (Webhook<Topic>, Metrics) {
    webhook_of(config, Topic::default(), Start::Earliest).unwrap()
}

/// An insert of the row `id` under `key`, at the offset and LSN `id`.
fn insert(sink: &Webhook<Topic>, payload: &mut Payload, key: i64, id: i64, note: &str) {
    let row = vec![Value::Int(id), Value::Text(note.into())];
    add(sink, payload, Op::Create, Some(key), id, Some(row));
}

fn truncate(sink: &Webhook<Topic>, payload: &mut Payload, id: i64) {
    add(sink, payload, Op::Truncate, None, id, None);
}

fn add(sink: &Webhook<Topic>, payload: &mut Payload, op: Op, key: Option<i64>, id: i64, after: Option<Vec<Value>>) {
    let record = Record { partition: 0, offset: id, timestamp_ms: 0, key: None, value: Some(Bytes::from(id.to_string())) };
    let change = Change {
        op,
        position: Position { first: None, own: u64::try_from(id).unwrap() },
        commit_us: 1_784_900_000_000_000,
        snapshot: Snapshot::No,
        run: (0, 0),
        key: key.map(|key| Bytes::from(format!("{{\"id\":{key}}}"))),
        before: None,
        after: None,
    };
    sink.add(payload, Selected { record: &record, change: &change, before: None, after }).unwrap();
}

/// `count` inserts, of which each of `keys` keys gets every `keys`-th; ids from 1.
fn inserts(sink: &Webhook<Topic>, count: i64, keys: i64) -> Batch<Payload> {
    let mut batch = Batch::default();
    for id in 1..=count {
        insert(sink, &mut batch.payload, id % keys, id, "");
    }
    batch
}

fn rejected_offsets(written: &Written) -> Vec<i64> {
    written.rejected.iter().map(|rejected| rejected.record.offset).collect()
}

fn by_key(events: &[serde_json::Value]) -> HashMap<String, Vec<i64>> {
    let mut all: HashMap<String, Vec<i64>> = HashMap::new();
    for event in events {
        all.entry(event["subject"].to_string()).or_default().push(row_id(event));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_arrives_in_order_and_whole_whatever_the_endpoint_does() {
    for seed in 0..6 {
        // GIVEN an endpoint of which half of the answers are failures of some kind
        let random = Mutex::new(StdRng::seed_from_u64(seed));
        let server = Server::start_at(0, Duration::from_millis(2), move |_| match random.lock().unwrap().random_range(0..40) {
            0..6 => Reply::status(500),
            6..9 => Reply::status(503),
            9..11 => Reply::status(404),
            11..15 => Reply::AppliedThenCut,
            15..19 => Reply::Cut,
            19 => Reply::AppliedThenHang,
            20 => Reply::Hang,
            _ => Reply::status(200),
        })
        .await;
        let (sink, metrics) = webhook(&WebhookConfig { timeout: config::Duration::from_millis(150), ..config(&server.url()) });

        // WHEN 400 events of 17 keys are written
        let written = sink.write(inserts(&sink, 400, 17)).await.unwrap();

        // THEN each is there, each key's in order, never more requests at once than allowed, and more than one
        assert!(written.rejected.is_empty());
        let arrived = server.distinct();
        assert_eq!(arrived.len(), 400, "seed {seed}");
        for (key, ids) in by_key(&arrived) {
            assert!(ids.is_sorted(), "seed {seed}: {key} came as {ids:?}");
        }
        let highest = server.in_flight_highest.load(SeqCst);
        assert!((2..=4).contains(&highest), "seed {seed}: {highest} at once");
        assert_eq!(metrics.outage.with_label_values(&["shop", "hook"]).get(), 0);
        assert!(metrics.retries.with_label_values(&["shop", "hook", "sink"]).get() > 0);
    }
}

#[tokio::test]
async fn requests_keep_to_the_limits_and_to_one_connection_each() {
    let server = Server::start(|_| Reply::status(200)).await;
    let (sink, metrics) = webhook(&WebhookConfig { in_flight_max: 1, batch_bytes_max: 4000, ..config(&server.url()) });
    let mut batch = inserts(&sink, 95, 95);
    insert(&sink, &mut batch.payload, 96, 96, &"x".repeat(5000));
    insert(&sink, &mut batch.payload, 97, 97, "");
    sink.write(batch).await.unwrap();

    let requests = server.requests();
    for request in &requests {
        let (count, bytes) = (request.events().len(), request.body.len());
        assert!(count <= 10, "{count} events");
        assert!(bytes <= 4000 || count == 1, "{count} events, {bytes} bytes");
    }
    assert_eq!(requests.iter().flat_map(Request::row_ids).collect::<Vec<_>>(), (1..=97).collect::<Vec<_>>());
    assert_eq!(server.connections.load(SeqCst), 1);
    let counted = metrics.webhook_requests.with_label_values(&["shop", "hook", "2xx"]).get();
    assert_eq!(counted, requests.len() as u64);
}

#[tokio::test]
async fn a_small_batch_is_one_request() {
    let server = Server::start(|_| Reply::status(204)).await;
    let (sink, _) = webhook(&config(&server.url()));
    sink.write(inserts(&sink, 9, 9)).await.unwrap();
    assert_eq!(server.requests().len(), 1);
    sink.write(Batch::default()).await.unwrap();
    assert_eq!(server.requests().len(), 1, "a batch without events is no request");
}

#[tokio::test]
async fn halving_a_batch_finds_exactly_the_events_that_are_refused() {
    // GIVEN an endpoint that refuses each request with a poisonous event in it
    let poison: BTreeSet<i64> = [1, 7, 8, 40, 55, 99, 100].into();
    let poisonous = poison.clone();
    let server = Server::start(move |request| {
        let status = [400, 413, 415, 422][request.number % 4];
        let bad = request.row_ids().iter().any(|id| poisonous.contains(id));
        if bad { Reply::Status(status, String::new(), "not\n\u{7}this".to_owned()) } else { Reply::status(200) }
    })
    .await;
    let (sink, metrics) = webhook(&WebhookConfig { batch_max: 40, ..config(&server.url()) });

    // WHEN a batch with several is written
    let written = sink.write(inserts(&sink, 100, 10)).await.unwrap();

    // THEN those are named, with what was said, and all others arrived once and in order
    assert_eq!(rejected_offsets(&written), poison.iter().copied().collect::<Vec<_>>());
    for rejected in &written.rejected {
        assert!(rejected.reason.starts_with('4') && rejected.reason.ends_with(": not this"), "{}", rejected.reason);
        assert_eq!(rejected.record.value.as_deref(), Some(rejected.record.offset.to_string().as_bytes()));
    }
    let arrived = server.distinct();
    assert_eq!(arrived.iter().map(row_id).collect::<BTreeSet<_>>(), (1..=100).filter(|id| !poison.contains(id)).collect());
    assert_eq!(server.applied.lock().unwrap().len(), 93, "what was delivered is not sent again");
    assert!(by_key(&arrived).values().all(|ids| ids.is_sorted()));
    // A refusal is an answer: nothing was retried, there is no outage.
    assert_eq!(metrics.retries.with_label_values(&["shop", "hook", "sink"]).get(), 0);
}

#[tokio::test]
async fn retry_after_is_waited_for_by_every_request_and_cut_to_the_limit() {
    for (retry_after, max, least, most) in [("1", 5000, 1000, 3000), ("86400", 400, 400, 2000)] {
        let server = Server::start(move |request| match request.number {
            0 => Reply::Status(429, format!("retry-after: {retry_after}\r\n"), String::new()),
            _ => Reply::status(200),
        })
        .await;
        let retry_max_wait = config::Duration::from_millis(max);
        let (sink, _) = webhook(&WebhookConfig { in_flight_max: 1, retry_max_wait, ..config(&server.url()) });
        sink.write(inserts(&sink, 30, 30)).await.unwrap();

        let requests = server.requests();
        let waited = requests[1].at - requests[0].at;
        assert!((Duration::from_millis(least)..Duration::from_millis(most)).contains(&waited), "{retry_after}: {waited:?}");
        assert_eq!(requests.len(), 4);
    }
}

#[tokio::test]
async fn the_same_events_are_sent_again_under_the_same_ids_when_the_reply_is_lost() {
    let server = Server::start(|request| match request.number {
        0 | 2 => Reply::AppliedThenCut,
        1 => Reply::AppliedThenHang,
        _ => Reply::status(200),
    })
    .await;
    let (sink, _) = webhook(&WebhookConfig { timeout: config::Duration::from_millis(300), ..config(&server.url()) });
    sink.write(inserts(&sink, 5, 5)).await.unwrap();
    // And once more after a crash, which is another sink.
    let (sink, _) = webhook(&config(&server.url()));
    sink.write(inserts(&sink, 5, 5)).await.unwrap();

    let requests = server.requests();
    assert_eq!(requests.len(), 5);
    for request in &requests {
        assert_eq!(request.body, requests[0].body);
        assert_eq!(request.headers["webhook-id"], requests[0].headers["webhook-id"]);
        assert_eq!(request.headers["content-type"], "application/cloudevents-batch+json");
    }
    assert_eq!(server.distinct().len(), 5);
}

#[tokio::test]
async fn gone_is_the_end() {
    let server = Server::start(|_| Reply::status(410)).await;
    let url = format!("{}/T0KEN?key=T0KEN", server.url());
    let (sink, _) = webhook(&config(&url));
    let error = timeout(Duration::from_secs(10), sink.write(inserts(&sink, 5, 5))).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Stop { .. }), "{error:?}");
    let said = format!("{error} {error:?}");
    assert!(said.contains("410") && !said.contains("T0KEN") && !said.contains(SECRET), "{said}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let server = Server::start(|request| match request.number {
        n @ 0..5 => Reply::Status([301, 302, 303, 307, 308][n], "location: /elsewhere\r\n".to_owned(), String::new()),
        _ => Reply::status(200),
    })
    .await;
    let (sink, metrics) = webhook(&config(&server.url()));
    sink.write(inserts(&sink, 3, 3)).await.unwrap();
    assert_eq!(server.requests().iter().map(|request| request.path.clone()).collect::<Vec<_>>(), ["/hook"; 6]);
    assert_eq!(metrics.webhook_requests.with_label_values(&["shop", "hook", "3xx"]).get(), 5);
}

#[tokio::test]
async fn a_truncate_waits_for_what_is_before_it_and_holds_what_is_after_it() {
    let server = Server::start_at(0, Duration::from_millis(20), |_| Reply::status(200)).await;
    let (sink, _) = webhook(&config(&server.url()));
    let mut batch = inserts(&sink, 40, 40);
    truncate(&sink, &mut batch.payload, 41);
    truncate(&sink, &mut batch.payload, 42);
    for id in 43..=80 {
        insert(&sink, &mut batch.payload, id, id, "");
    }
    sink.write(batch).await.unwrap();

    let order: Vec<_> = server.distinct().iter().map(|event| event["data"]["after"]["id"].as_i64()).collect();
    let places: Vec<_> = order.iter().enumerate().filter(|(_, id)| id.is_none()).map(|(n, _)| n).collect();
    assert_eq!(places, [40, 41]);
    assert_eq!(order[..40].iter().copied().collect::<BTreeSet<_>>(), (1..=40).map(Some).collect());
    assert_eq!(order.len(), 80);
}

#[tokio::test]
async fn a_write_may_be_dropped_at_any_moment() {
    // GIVEN an endpoint that answers slowly, some requests never
    let server =
        Server::start_at(
            0,
            Duration::from_millis(5),
            |request| if request.number % 5 == 1 { Reply::AppliedThenHang } else { Reply::status(200) },
        )
        .await;
    let (sink, metrics) = webhook(&config(&server.url()));
    // WHEN writes are dropped after 1, 3, 5, ... milliseconds, and one is not
    for milliseconds in (1..40).step_by(2) {
        let _ = timeout(Duration::from_millis(milliseconds), sink.write(inserts(&sink, 60, 7))).await;
    }
    let (sink_again, _) = webhook(&WebhookConfig { timeout: config::Duration::from_millis(100), ..config(&server.url()) });
    sink_again.write(inserts(&sink_again, 60, 7)).await.unwrap();
    // THEN nothing is missing and the order of first arrivals held
    let arrived = server.distinct();
    assert_eq!(arrived.len(), 60);
    assert!(by_key(&arrived).values().all(|ids| ids.is_sorted()));
    assert_eq!(metrics.outage.with_label_values(&["shop", "hook"]).get(), 0, "a write that was dropped is no failure");
}

#[tokio::test]
async fn an_outage_ends_for_an_engine_that_has_nothing_left_to_send() {
    // GIVEN nobody listens, and a write that was given up because its partitions are another engine's
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (sink, metrics) = webhook(&config(&format!("http://127.0.0.1:{port}/")));
    assert!(timeout(Duration::from_millis(300), sink.write(inserts(&sink, 40, 40))).await.is_err());
    let outage = || metrics.outage.with_label_values(&["shop", "hook"]).get();
    assert_eq!(outage(), 1);
    // WHEN nothing is to do, twice: after the first time its events may come again
    sink.tick().await.unwrap();
    assert_eq!(outage(), 1);
    assert!(timeout(Duration::from_millis(300), sink.write(inserts(&sink, 40, 40))).await.is_err());
    sink.tick().await.unwrap();
    assert_eq!(outage(), 1);
    sink.tick().await.unwrap();
    // THEN the alarm is off
    assert_eq!(outage(), 0);
}

#[tokio::test]
async fn an_outage_is_one_alarm_and_two_lines_however_long_it_is() {
    // GIVEN nobody listens
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (sink, metrics) = webhook(&config(&format!("http://user:pass-word@127.0.0.1:{port}/T0KEN")));
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).finish();
    // While there is one dispatcher, a callsite that is first met on another test's thread asks that thread's, finds none and stays silent.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let logging = tracing::subscriber::set_default(subscriber);

    // WHEN a write is tried, dropped, and tried again until somebody does
    let outage = || metrics.outage.with_label_values(&["shop", "hook"]).get();
    assert!(timeout(Duration::from_millis(300), sink.write(inserts(&sink, 40, 40))).await.is_err());
    assert_eq!(outage(), 1);
    let write = sink.write(inserts(&sink, 40, 40));
    let begin = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(outage(), 1);
        Server::start_at(port, Duration::ZERO, |_| Reply::status(200)).await
    };
    let (written, server) = tokio::join!(write, begin);
    drop(logging);

    // THEN all is delivered, the alarm is off, and the log has a line for the begin and one for the end
    written.unwrap();
    assert_eq!(server.distinct().len(), 40);
    assert_eq!(outage(), 0);
    let tries = metrics.retries.with_label_values(&["shop", "hook", "sink"]).get();
    assert!(tries > 10, "{tries}");
    assert_eq!(metrics.webhook_requests.with_label_values(&["shop", "hook", "transport"]).get(), tries);
    let text = lines.text();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("webhook endpoint")).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(
        lines[0].contains("WARN") && lines[0].contains("cannot connect") && lines[0].contains(&format!("http://127.0.0.1:{port}")),
        "{text}"
    );
    assert!(lines[1].contains("INFO") && lines[1].contains(&format!("tries={tries}")), "{text}");
    for secret in ["pass-word", "T0KEN", SECRET] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let server = Server::start(|_| Reply::Endless).await;
    let (sink, _) = webhook(&WebhookConfig { timeout: config::Duration::from_secs(10), ..config(&server.url()) });
    let begun = Instant::now();
    sink.write(inserts(&sink, 3, 3)).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_payload_is_full_by_number_and_by_bytes() {
    let (sink, _) = webhook(&WebhookConfig { batch_bytes_max: 10_000, ..config("http://127.0.0.1:9") });
    let mut payload = Payload::default();
    for id in 1..=40 {
        assert!(!sink.is_full(&payload), "{id}");
        insert(&sink, &mut payload, id, id, "");
    }
    assert!(sink.is_full(&payload));
    let mut payload = Payload::default();
    insert(&sink, &mut payload, 1, 1, &"x".repeat(40_000));
    assert!(sink.is_full(&payload));
}

/// What a change of `mark` encodes to, so that resumed marks can be told apart.
fn mark(own: u64) -> Mark {
    Mark::decode(&format!("{own};{own};5;0;00000000000000ab")).unwrap()
}

#[tokio::test]
async fn a_lane_goes_on_where_the_group_committed() {
    let topic = Topic {
        watermarks: [(0, (10, 50)), (1, (0, 7)), (2, (3, 9))].into(),
        committed: [(0, (20, mark(4).encode(4000))), (1, (7, "unreadable".to_owned()))].into(),
    };
    let resumed = async |topic: &Topic, start, partitions: &[i32]| {
        let (sink, _) = webhook_of(&config("http://127.0.0.1:9"), topic.clone(), start).unwrap();
        let resume = sink.resume(partitions).await;
        resume.map(|resume| resume.partitions.into_iter().map(|(p, progress)| (p, progress.next, progress.mark)).collect::<Vec<_>>())
    };
    let none = Mark::default;
    for start in [Start::Earliest, Start::Latest] {
        // Partition 2 is new: it starts at its beginning. The metadata of 1 is lost, its offset is not.
        let all = resumed(&topic, start, &[0, 1, 2]).await.unwrap();
        assert_eq!(all, [(0, 20, mark(4)), (1, 7, none()), (2, 3, none())]);
        // Also when the partitions that have a commit belong to another engine.
        assert_eq!(resumed(&topic, start, &[2]).await.unwrap(), [(2, 3, none())]);
    }
    let fresh = Topic { committed: BTreeMap::new(), ..topic.clone() };
    assert_eq!(resumed(&fresh, Start::Earliest, &[0, 2]).await.unwrap(), [(0, 10, none()), (2, 3, none())]);
    assert_eq!(resumed(&fresh, Start::Latest, &[0, 2]).await.unwrap(), [(0, 50, none()), (2, 9, none())]);
    // The engine that is first says where the partitions of others begin too: beside its commits theirs would begin at the beginning.
    let (first, _) = webhook_of(&config("http://127.0.0.1:9"), fresh.clone(), Start::Latest).unwrap();
    let unread = first.resume(&[0, 2]).await.unwrap().unread;
    assert_eq!(unread.into_iter().map(|(p, progress)| (p, progress.next)).collect::<Vec<_>>(), [(1, 7)]);

    for (next, words) in [(9, "removed 1 records of partition 0"), (51, "ends at offset 50 of partition 0")] {
        let gone = Topic { committed: [(0, (next, String::new()))].into(), ..topic.clone() };
        let error = resumed(&gone, Start::Latest, &[0]).await.unwrap_err();
        assert!(
            matches!(&error, Error::Stop { message, remedy } if message.contains(words) && remedy.contains("--group highwater.shop.hook")),
            "{error}"
        );
    }
    assert!(matches!(resumed(&topic, Start::Latest, &[3]).await, Err(Error::Retry(_))));
}

#[test]
fn what_cannot_be_configured_stops_without_showing_the_secret() {
    for config in [WebhookConfig { secret: Secret::new("pass-word"), ..config("http://127.0.0.1:9") }, config("pass-word://127.0.0.1")] {
        let error = webhook_of(&config, Topic::default(), Start::Earliest).err().unwrap();
        assert!(matches!(error, Error::Stop { .. }) && !format!("{error} {error:?}").contains("pass-word"), "{error:?}");
    }
}

#[tokio::test]
async fn strangers_verify_the_signature_and_read_the_events() {
    let Ok(python) = std::env::var("HIGHWATER_TEST_PYTHON") else {
        eprintln!("SKIPPED: HIGHWATER_TEST_PYTHON does not name a Python with tests/interop/requirements.txt installed");
        return;
    };
    // GIVEN a request as it went over the wire
    let server = Server::start(|_| Reply::status(200)).await;
    let (sink, _) = webhook(&config(&server.url()));
    let mut batch = Batch::default();
    insert(&sink, &mut batch.payload, 1, 1, "ü \"quoted\" \u{1F300}\n");
    insert(&sink, &mut batch.payload, 2, 2, "");
    sink.write(batch).await.unwrap();
    let requests = server.requests();
    let file = std::env::temp_dir().join(format!("highwater-webhook-request-{}.json", std::process::id()));
    let request = serde_json::json!({"headers": requests[0].headers, "body": requests[0].body});
    std::fs::write(&file, request.to_string()).unwrap();

    // WHEN the reference libraries read it
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/verify.py");
    let read = Command::new(python).arg(script).arg(&file).arg(SECRET).output().unwrap();
    std::fs::remove_file(&file).unwrap();

    // THEN they accept it, and see what was sent
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let text = String::from_utf8(read.stdout).unwrap();
    let seen: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sent = requests[0].events();
    assert_eq!(seen.len(), 2);
    for (seen, sent) in seen.iter().zip(sent) {
        assert_eq!((&seen["id"], &seen["subject"]), (&sent["id"], &sent["subject"]));
        assert_eq!(seen["type"], "highwater.row.insert");
        assert_eq!(seen["time"], "2026-07-24T13:33:20+00:00");
    }
}

/// What was logged.
#[derive(Clone, Default)]
struct Lines(std::sync::Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Lines {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
