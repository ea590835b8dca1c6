//! From commit in Postgres to visible in Redis and to stored at the receiver, beside a bare consumer of the same topic in the same run.
//!
//! It measures and judges nothing. Every row is its own transaction with a member of its own, so that each is seen by itself. All three are
//! measured from Postgres' commit timestamp (`source.ts_us`), by one clock:
//!
//! * the bare consumer, when librdkafka hands out the record;
//! * Redis, when `ZMSCORE` of the public key has the member, asked as soon as a keyspace notification says that the key changed: later than the
//!   truth by one round trip on loopback, about 0.1 ms;
//! * the receiver, its own `received_at`, after its transaction was committed.
//!
//! `cargo bench --bench latency -- --seconds 20`, with the stack of `./test_pipeline.sh --latency`, which runs it.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a measurement that fails may panic")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use redis::PushInfo;
use redis::aio::MultiplexedConnection;
use serde_json::Value;
use sqlx::AssertSqlSafe;
use tokio::time::{MissedTickBehavior, interval};

use support::kafka;
use support::scenario::{RankingSink, Scenario};
use support::stage::Stage;

/// Rows a second.
const RATES: [u32; 2] = [50, 500];
/// Rows of the first seconds are not counted: connections, caches and the JVMs warm up.
const WARM_UP_SECONDS: u32 = 3;

/// Microseconds since 1970 by row.
type Moments = BTreeMap<u64, i64>;

fn now_us() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

/// A row, a lookup, a ranking and a webhook.
fn scenario(name: &str) -> Scenario {
    let (plays, titles) = (format!("plays_{name}"), format!("titles_{name}"));
    Scenario {
        source: plays.clone(),
        key: vec!["id"],
        lookups: vec![titles.clone()],
        schema: format!(
            "CREATE TABLE {titles} (id int PRIMARY KEY, kind text NOT NULL, length int);
             CREATE TABLE {plays} (id bigserial PRIMARY KEY, title_id int, member text NOT NULL, at timestamptz NOT NULL, millis int);
             ALTER TABLE {titles} REPLICA IDENTITY FULL; ALTER TABLE {plays} REPLICA IDENTITY FULL;"
        ),
        first_rows: format!(
            "INSERT INTO {titles} SELECT n, 'k' || n % 3, n * 10 FROM generate_series(1, 50) n;
             INSERT INTO {plays} (title_id, member, at, millis) SELECT n, 'first', now(), n FROM generate_series(1, 20) n;"
        ),
        select: format!(
            "SELECT p.id, p.member, p.at, t.kind, p.millis / 1000.0 AS seconds, round(p.millis / 1000.0 / nullif(t.length, 0), 4) AS part
             FROM {plays} p LEFT JOIN {titles} t ON t.id = p.title_id"
        ),
        ranking: Some(RankingSink { key: format!("{name}:30s"), member: "member", score: "seconds", time: "at", scale: 3 }),
        append_only: false,
        statements: Vec::new(),
        lookup_changes: Vec::new(),
        probe: String::new(),
        name: name.to_owned(),
    }
}

/// Rows on their way: written, and not seen in Redis yet.
type Outstanding = Arc<Mutex<Vec<u64>>>;

async fn write(stage: &Stage, rate: u32, rows: u64, outstanding: &Outstanding) {
    let insert = format!(
        "INSERT INTO {} (title_id, member, at, millis) VALUES (1 + $1::bigint % 50, 'm' || $1, now(), 1000 + $1 % 9000)",
        stage.scenario.source
    );
    let mut connection = stage.database.pool.acquire().await.unwrap();
    let mut pace = interval(Duration::from_secs(1) / rate);
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for row in 0..rows {
        pace.tick().await;
        outstanding.lock().unwrap().push(row);
        sqlx::query(AssertSqlSafe(insert.as_str())).bind(i64::try_from(row).unwrap()).execute(&mut *connection).await.unwrap();
    }
}

/// Consumes the topic from its end on. -> (commit, arrival) by row
fn consume(servers: &str, topic: &str, stop: &AtomicBool) -> (Moments, Moments) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers).set("group.id", "highwater-latency").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.set("fetch.wait.max.ms", "50").set("fetch.queue.backoff.ms", "10").create().unwrap();
    let mut assignment = TopicPartitionList::new();
    for (partition, end) in kafka::ends(servers, topic) {
        assignment.add_partition_offset(topic, partition, Offset::Offset(end)).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let (mut commits, mut arrivals) = (Moments::new(), Moments::new());
    while !stop.load(Ordering::Relaxed) {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let (at, message) = (now_us(), message.unwrap());
        let value: Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
        if let Some(row) = row_of(&value["after"]) {
            commits.insert(row, value["source"]["ts_us"].as_i64().unwrap());
            arrivals.insert(row, at);
        }
    }
    (commits, arrivals)
}

fn row_of(row: &Value) -> Option<u64> {
    row["member"].as_str()?.strip_prefix('m')?.parse().ok()
}

/// Notes when each member is in the ranking.
async fn watch(url: &str, key: &str, outstanding: &Outstanding, seen: &Mutex<Moments>) {
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let (sender, mut pushes) = tokio::sync::mpsc::unbounded_channel::<PushInfo>();
    let subscriber = subscribe(url, key, sender).await;
    while pushes.recv().await.is_some() {
        while pushes.try_recv().is_ok() {}
        let asked: Vec<u64> = outstanding.lock().unwrap().clone();
        if asked.is_empty() {
            continue;
        }
        let members: Vec<String> = asked.iter().map(|row| format!("m{row}")).collect();
        let scores: Vec<Option<f64>> = redis::cmd("ZMSCORE").arg(key).arg(&members).query_async(&mut connection).await.unwrap();
        let at = now_us();
        let visible: Vec<u64> = asked.into_iter().zip(scores).filter_map(|(row, score)| score.map(|_| row)).collect();
        outstanding.lock().unwrap().retain(|row| !visible.contains(row));
        seen.lock().unwrap().extend(visible.into_iter().map(|row| (row, at)));
    }
    drop(subscriber);
}

async fn subscribe(url: &str, key: &str, sender: tokio::sync::mpsc::UnboundedSender<PushInfo>) -> MultiplexedConnection {
    let client = redis::Client::open(format!("{url}/?protocol=resp3")).unwrap();
    let config = redis::AsyncConnectionConfig::new().set_push_sender(sender);
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
    let _: () = redis::cmd("CONFIG").arg(&["SET", "notify-keyspace-events", "Kz"]).query_async(&mut connection).await.unwrap();
    let _: () = redis::cmd("SUBSCRIBE").arg(format!("__keyspace@0__:{key}")).query_async(&mut connection).await.unwrap();
    connection
}

/// p50, p90, p99 and the greatest, in milliseconds.
fn percentiles(commits: &Moments, moments: &Moments, from: u64) -> [f64; 4] {
    let mut waits: Vec<i64> = moments.range(from..).filter_map(|(row, at)| Some(at - commits.get(row)?)).collect();
    waits.sort_unstable();
    let at = |part: f64| waits[((waits.len() - 1) as f64 * part).round() as usize] as f64 / 1000.0;
    [at(0.5), at(0.9), at(0.99), at(1.0)]
}

fn line(name: &str, values: [f64; 4]) {
    println!("  {name:<28} {:>8.1} {:>8.1} {:>8.1} {:>8.1}", values[0], values[1], values[2], values[3]);
}

async fn measure(rate: u32, seconds: u32) {
    let mut stage = Stage::set(scenario(&format!("latency{rate}_{}", std::process::id()))).await;
    stage.start_engines(1).await;
    let rows = u64::from(rate) * u64::from(seconds + WARM_UP_SECONDS);
    let (outstanding, seen, stop) = (Outstanding::default(), Arc::new(Mutex::new(Moments::new())), Arc::new(AtomicBool::new(false)));
    let key = stage.scenario.ranking.as_ref().unwrap().key.clone();
    let watcher = {
        let (url, outstanding, seen) = (stage.stack.redis.clone(), Arc::clone(&outstanding), Arc::clone(&seen));
        tokio::spawn(async move { watch(&url, &key, &outstanding, &seen).await })
    };
    let consumer = {
        let (servers, topic, stop) = (stage.stack.kafka.clone(), stage.scenario.topic(), Arc::clone(&stop));
        tokio::task::spawn_blocking(move || consume(&servers, &topic, &stop))
    };
    write(&stage, rate, rows, &outstanding).await;
    stage.receiver.wait_stored(rows, support::seconds(30)).await;
    support::eventually("every row is in the ranking", support::seconds(30), async || match outstanding.lock().unwrap().len() {
        0 => Ok(()),
        left => Err(format!("{left} are not")),
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    let (commits, arrivals) = consumer.await.unwrap();
    watcher.abort();
    let mut received = Moments::new();
    for event in stage.receiver.export().await.lines() {
        let event: Value = serde_json::from_str(event).unwrap();
        received.extend(row_of(&event["after"]).map(|row| (row, event["received_at_us"].as_i64().unwrap())));
    }
    let from = u64::from(rate) * u64::from(WARM_UP_SECONDS);
    let seen = seen.lock().unwrap().clone();
    let counts = [&arrivals, &seen, &received].map(|moments| moments.range(from..).count());
    let [bare, redis, receiver] = [&arrivals, &seen, &received].map(|moments| percentiles(&commits, moments, from));
    println!(
        "\n{rate} rows/s for {seconds} s, ms from commit {:>9} {:>8} {:>8} {:>8}   (rows seen: {counts:?})",
        "p50", "p90", "p99", "max"
    );
    line("bare consumer of the topic", bare);
    line("visible in Redis", redis);
    line("stored at the receiver", receiver);
    println!("  engine adds, to Redis        {:>8.1} {:>8} {:>8.1}", redis[0] - bare[0], "", redis[2] - bare[2]);
    println!("  engine and receiver add      {:>8.1} {:>8} {:>8.1}", receiver[0] - bare[0], "", receiver[2] - bare[2]);
    stage.strike().await;
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let given = arguments.iter().position(|argument| argument == "--seconds").and_then(|at| arguments.get(at + 1));
    let seconds = given.map_or(20, |seconds| seconds.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        for rate in RATES {
            measure(rate, seconds).await;
        }
    });
}
