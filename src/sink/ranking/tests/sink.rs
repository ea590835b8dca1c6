//! The sink on a real Redis, over a log in memory: resuming, fencing, epochs, outages.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex as Lock};

use highwater_sql::{RowError, Type, Value};

use super::redis_server::{RedisServer, run};
use crate::config::SecretUrl;
use crate::metrics::{LaneMetrics, Metrics};
use crate::progress::{Boundary, Mark};
use crate::sink::ranking::config::{Layout, Slot};
use crate::sink::ranking::function::{AMOUNT_MAX, Functions, LIBRARY, VERSION};
use crate::sink::ranking::owed::{Due, Standing};
use crate::sink::ranking::{Held, Payload, Ranking};
use crate::sink::{Batch, Error, Failed, Owed, Progress, Resume, Sides, Sink, Slice, Written};
use crate::source::{self, Log};

const NOW: i64 = 1_700_000_000_000;
const WINDOW: i64 = 60_000;
const AHEAD: i64 = 20_000;

/// A topic in memory.
#[derive(Clone)]
struct MemoryLog(Arc<Lock<Topic>>);

struct Topic {
    id: String,
    /// The lowest offset of each partition, and the timestamps from there on.
    partitions: BTreeMap<i32, (i64, Vec<i64>)>,
}

impl MemoryLog {
    fn new(partitions: &[(i64, &[i64])]) -> Self {
        let partitions = (0..).zip(partitions.iter().map(|(low, times)| (*low, times.to_vec()))).collect();
        Self(Arc::new(Lock::new(Topic { id: "topic-1".to_owned(), partitions })))
    }

    fn set(&self, partition: i32, low: i64, times: &[i64]) {
        self.0.lock().unwrap().partitions.insert(partition, (low, times.to_vec()));
    }

    fn recreate(&self, id: &str) {
        self.0.lock().unwrap().id = id.to_owned();
    }

    fn each<T>(&self, what: impl Fn(i64, &[i64]) -> T) -> BTreeMap<i32, T> {
        self.0.lock().unwrap().partitions.iter().map(|(p, (low, times))| (*p, what(*low, times))).collect()
    }
}

fn offset(low: i64, at: usize) -> i64 {
    low + i64::try_from(at).unwrap()
}

impl Log for MemoryLog {
    async fn id(&self) -> Result<String, source::Error> {
        Ok(self.0.lock().unwrap().id.clone())
    }

    async fn watermarks(&self) -> Result<BTreeMap<i32, (i64, i64)>, source::Error> {
        Ok(self.each(|low, times| (low, offset(low, times.len()))))
    }

    async fn offsets_at(&self, unix_ms: i64) -> Result<BTreeMap<i32, i64>, source::Error> {
        Ok(self.each(|low, times| offset(low, times.iter().position(|at| *at >= unix_ms).unwrap_or(times.len()))))
    }

    async fn committed(&self, _: &[i32]) -> Result<BTreeMap<i32, (i64, String)>, source::Error> {
        Ok(BTreeMap::new())
    }
}

/// Redis, a topic, and any number of engines on them.
struct Bench {
    server: RedisServer,
    log: MemoryLog,
    metrics: Metrics,
}

impl Bench {
    fn start(partitions: &[(i64, &[i64])]) -> Self {
        Self { server: RedisServer::start(), log: MemoryLog::new(partitions), metrics: Metrics::new().unwrap() }
    }

    fn engine(&self) -> Ranking<MemoryLog> {
        self.engine_of("pipeline")
    }

    fn engine_of(&self, fingerprint: &str) -> Ranking<MemoryLog> {
        self.engine_at(&self.server.url(), fingerprint)
    }

    fn engine_at(&self, url: &str, fingerprint: &str) -> Ranking<MemoryLog> {
        Ranking {
            url: SecretUrl::new(url),
            layout: layout(fingerprint),
            functions: Functions::new("top").at(NOW),
            log: self.log.clone(),
            metrics: Arc::new(LaneMetrics::new(self.metrics.clone(), "p", "s")),
            begun: Arc::default(),
            held: tokio::sync::Mutex::new(Held { session: None, adopted: None }),
        }
    }

    fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        run(&mut self.server.connection(), words)
    }

    fn top(&self) -> Vec<String> {
        self.ask(&["ZREVRANGE", "top", "0", "-1", "WITHSCORES"])
    }

    fn epochs(&self, reason: &str) -> bool {
        self.metrics.render().unwrap().contains(&format!("highwater_epochs_total{{pipeline=\"p\",reason=\"{reason}\",sink=\"s\"}} 1"))
    }
}

fn layout(fingerprint: &str) -> Layout {
    let slot = |index, name: &str, ty| Slot { index, name: name.to_owned(), ty };
    Layout {
        member: slot(0, "member", Type::Text),
        score: slot(1, "score", Type::Int8),
        time: slot(2, "at", Type::Timestamptz(None)),
        scale: 3,
        window_ms: 60_000,
        bucket_ms: 1000,
        ahead_ms: 20_000,
        fingerprint: fingerprint.to_owned(),
    }
}

fn row(member: &str, score: i64, at_ms: i64) -> Vec<Value> {
    vec![Value::Text(member.into()), Value::Int(score), Value::Timestamp(at_ms * 1000)]
}

fn batch(slices: &[(i32, i64, i64)], rows: &[(&str, i64, i64)]) -> Batch<Payload> {
    let mut payload = Payload::default();
    for (member, score, at_ms) in rows {
        payload.add(&layout(""), None, Some(&row(member, *score, *at_ms))).unwrap();
    }
    let slice = |next| Progress { next, mark: Mark::decode("5;6;7;0;00000000000000ff").unwrap() };
    let slices = slices.iter().map(|&(p, token, next)| (p, Slice { token, progress: slice(next) })).collect();
    Batch { slices, payload, ..Batch::default() }
}

async fn write(engine: &Ranking<MemoryLog>, slices: &[(i32, i64, i64)], rows: &[(&str, i64, i64)]) -> Result<Written, Error> {
    engine.write(batch(slices, rows)).await
}

fn next(resume: &Resume) -> Vec<(i32, i64)> {
    resume.partitions.iter().map(|(p, progress)| (*p, progress.next)).collect()
}

fn is_retry<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Retry(_)))
}

/// The remedy of a stop.
fn stops<T>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Stop { remedy, .. }) => remedy,
        Err(other) => panic!("not a stop: {other}"),
        Ok(_) => panic!("not a stop"),
    }
}

fn snapshot(lsn: u64, arrived_ms: i64) -> Boundary {
    Boundary { lsn, run_tx: Some(9), arrived_ms, commit_us: 0, ended: false }
}

/// GIVEN records before and after the moment from which the window needs them
/// WHEN a lane starts on an empty Redis
/// THEN it reads from that moment on, and readers see the ranking when it has caught up.
#[tokio::test]
async fn an_empty_redis_gets_an_epoch_that_reads_back_window_and_ahead() {
    let since = NOW - WINDOW - AHEAD;
    let bench = Bench::start(&[(0, &[since - 2, since - 1, since, NOW]), (5, &[NOW, NOW])]);
    let engine = bench.engine();
    assert_eq!(next(&engine.resume(&[0, 1]).await.unwrap()), [(0, 2), (1, 5)]);
    assert!(bench.epochs("missing"));
    write(&engine, &[(0, 2, 4)], &[("a", 8, NOW)]).await.unwrap();
    assert!(bench.top().is_empty(), "half a ranking is served");
    write(&engine, &[(1, 5, 7)], &[("b", 9, NOW)]).await.unwrap();
    assert_eq!(bench.top(), ["b", "9", "a", "8"]);
}

/// GIVEN records that were parked, one of them before it could be judged
/// WHEN somebody asks how the ranking stands to them, and has one counted twice
/// THEN it counts once, and where the ranking cannot know, it says so.
#[tokio::test]
async fn a_ranking_knows_what_it_owes_of_a_parked_record() {
    let bench = Bench::start(&[(0, &[NOW; 9])]);
    let (engine, replayer) = (bench.engine(), bench.engine());
    assert!(stops(replayer.standing(&[(0, 1)]).await).contains("start an engine"), "there is no ranking yet");
    engine.resume(&[0]).await.unwrap();
    let owed = |offset, sides| Owed { partition: 0, offset, sides };
    let parked = vec![owed(1, Sides::AFTER), owed(2, Sides::NONE)];
    engine.write(Batch { owed: parked, ..batch(&[(0, 0, 9)], &[]) }).await.unwrap();

    let records = [(0, 1), (0, 2), (0, 3), (0, 9)];
    let (epoch, standing) = replayer.standing(&records).await.unwrap();
    assert_eq!(standing, [Standing::Owed(Sides::AFTER), Standing::Unjudged, Standing::Settled, Standing::Unread]);
    let due = replayer.due(Sides::AFTER, (None, Some(&row("a", 8, NOW))), None);
    replayer.count(&epoch, (0, 1), Sides::AFTER, &due).await.unwrap();
    assert!(matches!(replayer.count(&epoch, (0, 1), Sides::AFTER, &due).await, Err(Error::Moved)));
    assert_eq!(bench.top(), ["a", "8"]);
    assert_eq!(replayer.standing(&records).await.unwrap().1[0], Standing::Settled);

    // An edited pipeline's ranking is another one, and is to be built first.
    assert!(stops(bench.engine_of("edited").standing(&records).await).contains("start an engine"));
    // No room was left, or the epoch is of a version that kept none.
    let _: i64 = bench.ask(&["HINCRBY", "{top}:a", "unkept", "1"]);
    assert_eq!(replayer.standing(&records).await.unwrap().1[2], Standing::Unknown);
    let _: i64 = bench.ask(&["HDEL", "{top}:a", "unkept"]);
    assert_eq!(replayer.standing(&records).await.unwrap().1[2], Standing::Unknown);
}

#[test]
fn a_side_that_is_not_owed_is_not_counted_and_one_that_fails_stays_owed() {
    let failed = |sides| Some(Failed { sides, error: RowError::new("22012", "division by zero") });
    let (old, new) = (row("a", 1, NOW), row("a", 5, NOW));
    let due = |owed, failed| {
        let due = Due::new(&layout(""), owed, (Some(&old), Some(&new)), failed);
        let sums: Vec<_> = due.payload.entries().map(|(_, _, sum)| (sum.amount, sum.rows)).collect();
        (sums, due.left, due.reason.is_some())
    };
    assert_eq!(due(Sides::BOTH, None), (vec![(4000, 0)], Sides::NONE, false));
    assert_eq!(due(Sides::AFTER, None), (vec![(5000, 1)], Sides::NONE, false));
    assert_eq!(due(Sides::BEFORE, failed(Sides::AFTER)), (vec![(-1000, -1)], Sides::NONE, false));
    assert_eq!(due(Sides::BOTH, failed(Sides::AFTER)), (vec![(-1000, -1)], Sides::AFTER, true));
}

/// GIVEN two engines that both believe in a partition
/// WHEN the second goes on and the first comes back with an older batch, or sends its batch again
/// THEN it is fenced, and resumes where the second is.
#[tokio::test]
async fn zombies_and_redeliveries_are_fenced() {
    let bench = Bench::start(&[(0, &[])]);
    let (one, two) = (bench.engine(), bench.engine());
    one.resume(&[0]).await.unwrap();
    write(&one, &[(0, 0, 3)], &[("a", 1, NOW)]).await.unwrap();
    assert!(matches!(write(&one, &[(0, 0, 3)], &[("a", 1, NOW)]).await, Err(Error::Moved)));
    let resumed = two.resume(&[0]).await;
    assert!(stops(resumed).contains("replay"), "3 is past the end of the topic");
    bench.log.set(0, 0, &[NOW; 9]);
    let resumed = two.resume(&[0]).await.unwrap();
    assert_eq!(resumed.partitions[&0], Progress { next: 3, mark: Mark::decode("5;6;7;0;00000000000000ff").unwrap() });
    write(&two, &[(0, 3, 6)], &[("a", 1, NOW)]).await.unwrap();
    assert!(matches!(write(&one, &[(0, 3, 5)], &[("a", 100, NOW)]).await, Err(Error::Moved)));
    assert_eq!(next(&one.resume(&[0]).await.unwrap()), [(0, 6)]);
    assert_eq!(bench.top(), ["a", "2"]);
}

/// GIVEN a served ranking and a boundary
/// WHEN Redis is killed and started again
/// THEN the lane waits, then begins an epoch with the boundary kept, and readers see the old one meanwhile.
#[tokio::test]
async fn a_redis_restart_begins_an_epoch() {
    let mut bench = Bench::start(&[(0, &[NOW])]);
    let engine = bench.engine();
    engine.resume(&[0]).await.unwrap();
    engine.begin(Boundary { ended: true, run_tx: None, ..snapshot(50, NOW) }).await.unwrap();
    let boundary = engine.resume(&[0]).await.unwrap().boundary;
    write(&engine, &[(0, 0, 1)], &[("a", 1, NOW)]).await.unwrap();
    bench.server.kill();
    assert!(is_retry(&write(&engine, &[(0, 1, 2)], &[("b", 1, NOW)]).await));
    assert!(is_retry(&engine.tick().await));
    assert!(is_retry(&engine.resume(&[0]).await));
    bench.server.restart();
    let resumed = engine.resume(&[0]).await.unwrap();
    assert_eq!((next(&resumed), resumed.boundary), (vec![(0, 0)], boundary));
    assert!(bench.epochs("redis_restarted") && bench.epochs("truncate"));
    assert_eq!(bench.top(), ["a", "1"]);
    write(&engine, &[(0, 0, 1)], &[("a", 1, NOW)]).await.unwrap();
    assert_eq!(bench.top(), ["a", "1"]);
}

#[tokio::test]
async fn lost_state_begins_an_epoch() {
    let bench = Bench::start(&[(0, &[])]);
    let engine = bench.engine();
    engine.resume(&[0]).await.unwrap();
    bench.ask::<()>(&["FLUSHALL"]);
    assert!(matches!(engine.tick().await, Err(Error::Moved)));
    engine.resume(&[0]).await.unwrap();
    engine.tick().await.unwrap();
}

/// GIVEN an engine that runs
/// WHEN an edited pipeline starts beside it
/// THEN the new one takes over and the old one stops, for good and without a fight.
#[tokio::test]
async fn a_starting_pipeline_replaces_a_running_one_which_stops() {
    let bench = Bench::start(&[(0, &[])]);
    let (old, new) = (bench.engine(), bench.engine_of("edited"));
    old.resume(&[0]).await.unwrap();
    new.resume(&[0]).await.unwrap();
    assert!(bench.epochs("edited"));
    assert!(matches!(old.tick().await, Err(Error::Moved)));
    stops(old.resume(&[0]).await);
    stops(old.resume(&[0]).await);
    // Nor when a change of the tables starts its lane again.
    stops(bench.engine().continuing(Arc::clone(&old.begun)).resume(&[0]).await);
    new.tick().await.unwrap();
}

/// GIVEN a partition without its first five records, one of whose others is of before the window, and one that is whole
/// WHEN both are to be read since then, and since before
/// THEN only what was removed where all that is left is wanted may be missing.
#[tokio::test]
async fn a_topic_that_was_cut_within_what_is_read_is_noticed() {
    let bench = Bench::start(&[(5, &[NOW - 2, NOW]), (0, &[NOW])]);
    let spans = async |since_ms| super::super::epoch::spans(&bench.log, since_ms).await.unwrap();
    let (whole, cut) = (spans(NOW - 1).await, spans(NOW - 2).await);
    assert_eq!((whole.partitions[&0], whole.cut), ((6, 7), BTreeMap::new()));
    assert_eq!((cut.partitions[&0], cut.cut), ((5, 7), BTreeMap::from([(0, 5)])));
}

/// GIVEN a topic that was created again
/// WHEN a running engine resumes, and a starting one
/// THEN the first stops, the second begins an epoch that keeps nothing of the old topic.
#[tokio::test]
async fn a_recreated_topic_is_not_continued() {
    let bench = Bench::start(&[(0, &[])]);
    let engine = bench.engine();
    engine.resume(&[0]).await.unwrap();
    engine.begin(Boundary { ended: true, ..snapshot(50, NOW) }).await.unwrap();
    engine.resume(&[0]).await.unwrap();
    write(&engine, &[(0, 0, 900)], &[("old", 1, NOW)]).await.unwrap();
    bench.log.recreate("topic-2");
    bench.log.set(0, 0, &[NOW, NOW]);
    stops(engine.resume(&[0]).await);
    let engine = bench.engine();
    let resumed = engine.resume(&[0]).await.unwrap();
    assert_eq!((next(&resumed), resumed.boundary), (vec![(0, 0)], None));
    // Offset 900 of the old topic is no target.
    write(&engine, &[(0, 0, 2)], &[("new", 1, NOW)]).await.unwrap();
    assert_eq!(bench.top(), ["new", "1"]);
}

/// GIVEN a snapshot run of which 2 records are written when it is seen
/// WHEN it is read, and its end
/// THEN readers see the epoch only when all that was in the topic at that moment is in it.
#[tokio::test]
async fn a_snapshot_run_is_served_whole() {
    let bench = Bench::start(&[(0, &[NOW, NOW])]);
    let engine = bench.engine();
    engine.resume(&[0]).await.unwrap();
    engine.begin(snapshot(50, NOW)).await.unwrap();
    assert!(bench.epochs("snapshot"));
    assert_eq!(engine.resume(&[0]).await.unwrap().boundary, Some(snapshot(50, NOW)));
    write(&engine, &[(0, 0, 2)], &[("a", 1, NOW)]).await.unwrap();
    assert!(bench.top().is_empty());
    bench.log.set(0, 0, &[NOW; 5]);
    engine.write(Batch { run_ended: true, ..batch(&[(0, 2, 4)], &[("b", 2, NOW)]) }).await.unwrap();
    assert!(bench.top().is_empty(), "one record of the log is missing");
    assert!(engine.held.lock().await.adopted.as_ref().unwrap().ended);
    write(&engine, &[(0, 4, 5)], &[("c", 3, NOW)]).await.unwrap();
    assert_eq!(bench.top(), ["c", "3", "b", "2", "a", "1"]);
}

/// GIVEN a boundary
/// WHEN a smaller or equal one is read again, or a greater one under an epoch that is gone
/// THEN no epoch begins.
#[tokio::test]
async fn only_a_greater_boundary_begins_an_epoch_and_only_over_the_own_one() {
    let bench = Bench::start(&[(0, &[])]);
    let (engine, other) = (bench.engine(), bench.engine());
    engine.resume(&[0]).await.unwrap();
    engine.begin(snapshot(50, NOW)).await.unwrap();
    engine.resume(&[0]).await.unwrap();
    other.resume(&[0]).await.unwrap();
    let held = engine.held.lock().await.adopted.as_ref().unwrap().id.clone();
    engine.begin(snapshot(50, NOW + 5)).await.unwrap();
    engine.begin(snapshot(49, NOW + 5)).await.unwrap();
    engine.resume(&[0]).await.unwrap();
    assert_eq!(engine.held.lock().await.adopted.as_ref().unwrap().id, held);
    engine.begin(snapshot(60, NOW)).await.unwrap();
    other.begin(snapshot(70, NOW)).await.unwrap();
    assert_eq!(other.resume(&[0]).await.unwrap().boundary, Some(snapshot(60, NOW)));
}

#[tokio::test]
async fn a_boundary_that_arrived_before_everything_that_will_be_read_is_dropped() {
    for (arrived, kept) in [(NOW - WINDOW - AHEAD, true), (NOW - WINDOW - AHEAD - 1, false)] {
        let bench = Bench::start(&[(0, &[])]);
        let engine = bench.engine();
        engine.resume(&[0]).await.unwrap();
        engine.begin(snapshot(50, arrived)).await.unwrap();
        assert_eq!(engine.resume(&[0]).await.unwrap().boundary.is_some(), kept);
    }
}

#[tokio::test]
async fn records_that_are_gone_stop_the_lane_and_replay_heals_it() {
    let bench = Bench::start(&[(0, &[NOW, NOW])]);
    let engine = bench.engine();
    engine.resume(&[0]).await.unwrap();
    bench.log.set(0, 1, &[NOW]);
    let remedy = stops(engine.resume(&[0]).await);
    assert!(remedy.contains("highwater replay"), "{remedy}");
    bench.engine().replay(None).await.unwrap();
    assert!(bench.epochs("replay"));
    assert_eq!(next(&engine.resume(&[0]).await.unwrap()), [(0, 1)]);
}

/// GIVEN a partition that was added after the epoch began, whose first records are gone
/// WHEN it is assigned
/// THEN it is read from its first record, and fenced like any other from then on.
#[tokio::test]
async fn a_new_partition_starts_at_its_beginning() {
    let bench = Bench::start(&[(0, &[])]);
    let (engine, zombie) = (bench.engine(), bench.engine());
    engine.resume(&[0]).await.unwrap();
    bench.log.set(3, 40, &[NOW; 9]);
    assert_eq!(next(&engine.resume(&[0, 3]).await.unwrap()), [(0, 0), (3, 40)]);
    zombie.resume(&[3]).await.unwrap();
    write(&engine, &[(3, 40, 42)], &[("a", 1, NOW)]).await.unwrap();
    write(&engine, &[(3, 42, 43)], &[("a", 1, NOW)]).await.unwrap();
    assert!(matches!(write(&zombie, &[(3, 40, 42)], &[("a", 1, NOW)]).await, Err(Error::Moved)));
    assert_eq!(bench.top(), ["a", "2"]);
    assert!(is_retry(&engine.resume(&[7]).await), "kafka does not know it yet");
}

#[tokio::test]
async fn late_rows_are_counted() {
    let bench = Bench::start(&[(0, &[])]);
    let engine = bench.engine();
    engine.resume(&[0]).await.unwrap();
    let rows = [("a", 1, NOW - WINDOW - 1), ("a", 1, NOW - WINDOW - 2), ("a", 5, NOW - WINDOW)];
    assert_eq!(write(&engine, &[(0, 0, 1)], &rows).await.unwrap().late, 2);
    assert_eq!(bench.top(), ["a", "5"]);
}

#[tokio::test]
async fn a_sum_that_does_not_fit_stops_the_lane_with_a_remedy() {
    let bench = Bench::start(&[(0, &[])]);
    let engine = bench.engine();
    engine.resume(&[0]).await.unwrap();
    let most = AMOUNT_MAX / 1000;
    let remedy = stops(write(&engine, &[(0, 0, 1)], &[("a", most, NOW), ("a", most, NOW)]).await);
    assert!(remedy.contains("scale"), "{remedy}");
}

/// GIVEN a library that is missing, older, changed, or newer
/// WHEN a lane connects
/// THEN it holds the right one, or stops before it touches a newer engine's data.
#[tokio::test]
async fn the_library_is_loaded_in_the_right_version() {
    let bench = Bench::start(&[(0, &[])]);
    let text = |version: u32| LIBRARY.replace(&format!("VERSION = '{VERSION}'"), &format!("VERSION = '{version}'"));
    for old in [text(0), text(VERSION) + "\n-- changed"] {
        bench.ask::<String>(&["FUNCTION", "LOAD", "REPLACE", &old]);
        bench.engine().resume(&[0]).await.unwrap();
        let mut connection = bench.server.connection();
        let list: Vec<Vec<redis::Value>> = redis::cmd("FUNCTION").arg("LIST").arg("WITHCODE").query(&mut connection).unwrap();
        assert!(list[0].contains(&redis::Value::BulkString(LIBRARY.as_bytes().to_vec())));
    }
    let engine = bench.engine();
    engine.resume(&[0]).await.unwrap();
    bench.ask::<()>(&["FUNCTION", "FLUSH"]);
    assert!(is_retry(&write(&engine, &[(0, 0, 1)], &[("a", 1, NOW)]).await));
    engine.resume(&[0]).await.unwrap();
    write(&engine, &[(0, 0, 1)], &[("a", 1, NOW)]).await.unwrap();
    bench.ask::<String>(&["FUNCTION", "LOAD", "REPLACE", &text(VERSION + 1)]);
    bench.log.set(0, 0, &[NOW]);
    assert!(is_retry(&engine.tick().await), "a call of another version is refused");
    assert!(stops(engine.resume(&[0]).await).contains("newer engine"));
}

/// GIVEN a Redis that is a replica, out of memory, loading or wants another password
/// WHEN the lane calls it
/// THEN it waits, or at its start stops with what to correct; the password is in no message.
#[tokio::test]
async fn what_can_heal_is_waited_for() {
    let bench = Bench::start(&[(0, &[])]);
    let engine = bench.engine();
    engine.resume(&[0]).await.unwrap();
    bench.ask::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    assert!(is_retry(&write(&engine, &[(0, 0, 1)], &[("a", 1, NOW)]).await));
    let Err(Error::Retry(reason)) = engine.resume(&[0]).await else { panic!("a replica is no place to write") };
    assert!(reason.contains("replica"), "{reason}");
    bench.ask::<()>(&["REPLICAOF", "NO", "ONE"]);
    engine.resume(&[0]).await.unwrap();
    bench.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(is_retry(&write(&engine, &[(0, 0, 1)], &[("a", 1, NOW)]).await));
    bench.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    engine.resume(&[0]).await.unwrap();
    write(&engine, &[(0, 0, 1)], &[("a", 1, NOW)]).await.unwrap();
    bench.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    let engine = engine.at(NOW + 2 * WINDOW);
    assert!(is_retry(&write(&engine, &[(0, 1, 1)], &[]).await));
    bench.log.set(0, 0, &[NOW]);
    engine.resume(&[0]).await.unwrap();
    assert!(bench.top().is_empty(), "what is full drains nevertheless");
    bench.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]);

    let wrong = bench.server.url().replace("redis://", "redis://:hunter2@");
    bench.ask::<()>(&["CONFIG", "SET", "requirepass", "another"]);
    let refused = bench.engine_at(&wrong, "pipeline").resume(&[0]).await.unwrap_err();
    assert!(matches!(refused, Error::Stop { .. }) && !format!("{refused} {refused:?}").contains("hunter2"), "{refused}");
    let nobody = bench.engine_at("redis://user:hunter2@127.0.0.1:1", "pipeline").resume(&[0]).await.unwrap_err();
    assert!(matches!(nobody, Error::Retry(_)) && !format!("{nobody} {nobody:?}").contains("hunter2"), "{nobody}");
}

#[tokio::test]
async fn somebody_elses_key_stops_the_lane() {
    let bench = Bench::start(&[(0, &[])]);
    bench.ask::<()>(&["SET", "top", "precious"]);
    assert!(stops(bench.engine().resume(&[0]).await).contains("another key"));
    assert_eq!(bench.ask::<String>(&["GET", "top"]), "precious");
}

/// GIVEN many expired entries
/// WHEN the lane ticks once
/// THEN all are gone: a ranking without events must not lag behind its window.
#[tokio::test]
async fn one_tick_drains_everything_that_expired() {
    let bench = Bench::start(&[(0, &[])]);
    let mut engine = bench.engine();
    engine.resume(&[0]).await.unwrap();
    for n in 0..4 {
        let names: Vec<String> = (0..400).map(|m| format!("m{n}-{m}")).collect();
        let rows: Vec<_> = names.iter().map(|name| (name.as_str(), 1, NOW)).collect();
        write(&engine, &[(0, n, n + 1)], &rows).await.unwrap();
    }
    engine = engine.at(NOW + WINDOW + 1000);
    engine.tick().await.unwrap();
    assert!(bench.top().is_empty());
}
