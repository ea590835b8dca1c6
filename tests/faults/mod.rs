//! Exactly once in effect, under faults: steady load, a fault, recovery; then everything is compared with Postgres.
//!
//! Each scenario is a test with its own name and runs once for each seed (`HIGHWATER_FAULT_SEEDS`, 1 without it; the first is
//! `HIGHWATER_FAULT_SEED`). What it must come to:
//!
//! * **C1** the ranking equals SQL at the stored floor, every member, and again at every step of the window until its last row has expired;
//! * **C2** how long after the end of the fault everything was read that was written until then, and the longest time without progress;
//! * **C3** the receiver holds every owed event once, per key in the order of commits, and nothing else;
//! * **C4** no engine ended by itself, memory stayed bounded, the log does not repeat itself.
//!
//! A gap is attributed to its hop: the changes that the table's ledger holds, the records of the topic, the events at the receiver are
//! counted apart.

mod front;
mod neighbours;
mod proxy;
mod small_disk;

mod backlog;

mod connect;

mod kafka;

mod postgres;

mod engines;

mod mutations;

mod network;

mod receiver;

mod records;

mod redis;

mod soak;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::{JoinHandle, JoinSet};

use self::neighbours::Neighbours;
use crate::support::database::{Load, Written};
use crate::support::engine::Engine;
use crate::support::ranking::{Ranking, Seen};
use crate::support::redis_server::RedisServer;
use crate::support::scenario::{Scenario, sample};
use crate::support::stack::{program, root};
use crate::support::stage::Stage;
use crate::support::{eventually, kafka as topics, seconds};

/// Faults of every engine, in the words of `src/faults.rs`.
const ENGINE_FAULTS: &str = "HIGHWATER_FAULTS_OF_ENGINES";
/// Changes a second, all writers together.
const RATE: u32 = 150;
/// Changes before the fault.
const CHANGES_BEFORE: u64 = 300;
/// Lines of one text at warn and error that one engine may log in all its lives.
const REPEATS_MAX: usize = 25;
/// What an engine may hold at most.
const PEAK_KIB_MAX: u64 = 256 * 1024;

/// The seeds of this run.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str, otherwise: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(otherwise);
    let first = number("HIGHWATER_FAULT_SEED", 1);
    first..first + number("HIGHWATER_FAULT_SEEDS", 1)
}

/// One run of one scenario.
struct Trial {
    stage: Stage,
    /// The server that `stage.stack.redis` names.
    redis: RedisServer,
    network: Neighbours,
    random: StdRng,
    name: String,
    seed: u64,
    load: Load,
    written: Arc<Written>,
    writers: JoinSet<()>,
    watch: JoinHandle<()>,
    gap_ms: Arc<AtomicU64>,
    /// When the fault was over, and how long it then took.
    healed: Option<JoinHandle<Duration>>,
    peak_kib: Arc<Mutex<u64>>,
    /// Lines of one text that an engine may log.
    lines_max: usize,
}

impl Trial {
    /// The stage is set, engines run, and the writers write until the end.
    async fn begin(name: &str, seed: u64, scenario: Scenario, engines: usize) -> Self {
        Self::begin_on(name, seed, Stage::set(scenario).await, engines).await
    }

    /// The same, on a stage that is set.
    async fn begin_on(name: &str, seed: u64, mut stage: Stage, engines: usize) -> Self {
        let redis = RedisServer::start(stage.directory(), "redis").await;
        stage.stack.redis = redis.url();
        let network = Neighbours::stand_between(&stage, &redis);
        stage.faults = std::env::var(ENGINE_FAULTS).unwrap_or_default();
        stage.start_engines(engines).await;
        let load = Load { writers: 6, changes: u64::MAX, per_second: RATE, seed };
        let (writers, written) = stage.write(load);
        let gap_ms = Arc::new(AtomicU64::new(0));
        let watch = tokio::spawn(watch(&stage, Arc::clone(&gap_ms)));
        let random = StdRng::seed_from_u64(seed);
        let (name, healed, peak_kib, lines_max) = (name.to_owned(), None, Arc::default(), REPEATS_MAX);
        let trial = Self { stage, redis, network, random, name, seed, load, written, writers, watch, gap_ms, healed, peak_kib, lines_max };
        trial.stage.reached(&trial.written, CHANGES_BEFORE).await;
        trial
    }

    /// The writers end.
    async fn quiesce(&mut self) {
        self.written.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.writers.join_next().await {
            ended.unwrap();
        }
    }

    /// The writers write on.
    fn write_on(&mut self) {
        (self.writers, self.written) = self.stage.write(Load { seed: self.seed + 25, ..self.load });
    }

    /// Waits until every row that is in the table now has left the window.
    async fn wait_past_the_window(&self) {
        let newest = format!("SELECT max(event_ts)::text FROM {}", self.stage.scenario.source);
        let newest = self.stage.database.value(&newest).await;
        self.stage.database.run(&format!("SELECT pg_sleep_until('{newest}'::timestamptz + interval '31 s')")).await;
    }

    /// `highwater verify`: exit code, and what it said.
    fn verify(&self) -> (Option<i32>, String) {
        command(self, "verify")
    }

    /// Somewhere between two numbers.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        self.random.random_range(low..=high)
    }

    /// A moment at random.
    async fn pause(&mut self, low_ms: u64, high_ms: u64) {
        let wait = self.between(low_ms, high_ms);
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }

    fn note(&self, text: &str) {
        self.stage.note(&format!("{} seed {}: {text}", self.name, self.seed));
    }

    /// The engine's peak, before it is killed.
    fn remember_peak(&self, engine: usize) {
        let peak = self.stage.engines[engine].peak_kib().unwrap_or(0);
        let mut highest = self.peak_kib.lock().unwrap();
        *highest = peak.max(*highest);
    }

    /// Kills an engine and starts it again.
    fn kill_engine(&mut self, engine: usize) {
        self.remember_peak(engine);
        self.stage.engines[engine].kill_and_restart();
    }

    /// From here on nothing is wrong any more: measures until everything that was written until now is read.
    fn heal(&mut self) {
        self.note("the fault is over");
        self.healed = Some(tokio::spawn(caught_up(&self.stage)));
    }

    /// The writers rest, everything must be exact, and they go on.
    async fn compare_and_go_on(&mut self) {
        self.quiesce().await;
        self.stage.wait_ready().await;
        self.stage.assert_exact().await;
        self.stage.begin_anew().await;
        self.load.seed += 1;
        (self.writers, self.written) = self.stage.write(self.load);
    }

    /// The writers end; everything must be exact, down to the last row that expires; the figures are reported.
    async fn finish(mut self) {
        if self.healed.is_none() {
            self.heal();
        }
        // Recovery is under load.
        tokio::time::sleep(seconds(1)).await;
        self.quiesce().await;
        self.stage.wait_ready().await;
        let recovery = self.healed.take().unwrap().await.unwrap();
        self.watch.abort();
        self.compare(self.stage.assert_exact()).await;
        let figures = self.figures(recovery).await;
        self.stage.assert_expiry(Load { seed: self.seed, ..self.load }).await;
        self.assert_quiet();
        self.report(&figures);
        self.stage.strike().await;
    }

    /// Where it fails, the three ledgers are told too.
    async fn compare(&self, comparison: impl Future<Output = ()>) {
        if let Err(panic) = AssertUnwindSafe(comparison).catch_unwind().await {
            self.note(&self.stage.hops().await);
            resume_unwind(panic);
        }
    }

    /// The same where the webhook cannot be compared: what was written while there was no slot is in no record, by Debezium's design.
    async fn finish_ranking(mut self) {
        self.heal();
        self.quiesce().await;
        self.stage.wait_ready().await;
        let recovery = self.healed.take().unwrap().await.unwrap();
        self.watch.abort();
        self.stage.wait_sent().await;
        self.compare(self.stage.assert_ranking()).await;
        self.stage.wait_read().await;
        let figures = self.figures(recovery).await;
        self.stage.begin_anew().await;
        self.stage.write_all(Load { changes: 300, seed: self.seed + 50, ..self.load }).await;
        self.compare(self.stage.assert_exact()).await;
        self.assert_quiet();
        self.report(&figures);
        self.stage.strike().await;
    }

    /// C4.
    fn assert_quiet(&mut self) {
        for n in 0..self.stage.engines.len() {
            self.remember_peak(n);
            assert_quiet_log(&mut self.stage.engines[n], self.lines_max);
        }
        let peak = *self.peak_kib.lock().unwrap();
        assert!(peak <= PEAK_KIB_MAX, "an engine held {peak} KiB");
    }

    async fn figures(&self, recovery: Duration) -> Vec<String> {
        let stats = self.stage.receiver.stats().await;
        let noted = self.stage.scenario.noted(&self.stage.database).await;
        let records: i64 = topics::ends(&self.stage.stack.kafka, &self.stage.scenario.topic()).values().sum();
        vec![
            self.name.clone(),
            self.seed.to_string(),
            noted.to_string(),
            records.to_string(),
            stats["unique"].to_string(),
            stats["duplicates"].to_string(),
            format!("{:.1}", recovery.as_secs_f64()),
            format!("{:.1}", Duration::from_millis(self.gap_ms.load(Ordering::Relaxed)).as_secs_f64()),
        ]
    }

    /// One line of the table that `./test_pipeline.sh --faults` shows at its end.
    fn report(&self, figures: &[String]) {
        let mut figures = figures.to_vec();
        figures.push((*self.peak_kib.lock().unwrap() / 1024).to_string());
        let path = root().join(".local/test-logs/faults.tsv");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "{}", figures.join("\t")).unwrap();
        self.note("exact");
    }
}

/// It lives, and its log does not repeat itself.
fn assert_quiet_log(engine: &mut Engine, lines_max: usize) {
    assert!(engine.is_running(), "an engine ended by itself:\n{}", engine.log());
    let mut said: BTreeMap<String, usize> = BTreeMap::new();
    for line in engine.warnings() {
        let parsed: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        *said.entry(parsed["message"].as_str().unwrap_or(&line).to_owned()).or_default() += 1;
    }
    let most = said.iter().max_by_key(|(_, count)| **count);
    assert!(most.is_none_or(|(_, count)| *count <= lines_max), "the log repeats itself: {most:?}");
}

/// `highwater replay`: a new epoch begins.
fn replay(trial: &Trial) {
    let (code, said) = command(trial, "replay");
    assert_eq!(code, Some(0), "{said}");
}

/// Runs a command of the program on the trial's pipeline: exit code, and what it said.
fn command(trial: &Trial, name: &str) -> (Option<i32>, String) {
    let command = || Command::new(program("highwater")).arg(name).arg(&trial.stage.pipeline).output().unwrap();
    let output = tokio::task::block_in_place(command);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// The writers leave rows alone whose device is this.
fn spare(mut scenario: Scenario, device: &str) -> Scenario {
    let some = sample(&scenario.source);
    let all = format!("FROM {some} ORDER BY random()");
    let others = format!("FROM {some} WHERE device IS DISTINCT FROM '{device}' ORDER BY random()");
    let spared = scenario.statements.iter().filter(|(_, statement)| statement.contains(&all)).count();
    assert!(spared > 5, "the statements are not as they were");
    for (_, statement) in &mut scenario.statements {
        *statement = statement.replace(&all, &others);
    }
    scenario
}

/// Until the ranking has read everything that is written now: how long that took.
fn caught_up(stage: &Stage) -> impl Future<Output = Duration> + Send + use<> {
    caught_up_within(stage, seconds(120))
}

/// The same within that time.
fn caught_up_within(stage: &Stage, limit: Duration) -> impl Future<Output = Duration> + Send + use<> {
    let (kafka_url, topic) = (stage.stack.kafka.clone(), stage.scenario.topic());
    let (sink, redis) = (stage.scenario.ranking.clone(), stage.stack.redis.clone());
    let began = Instant::now();
    async move {
        let Some(sink) = sink else { return Duration::ZERO };
        let ends = topics::ends(&kafka_url, &topic);
        let ranking = Ranking::open(&redis, &sink).await;
        loop {
            let seen = ranking.look().await;
            let caught_up = |seen: &Seen| ends.iter().all(|(partition, end)| seen.next(*partition) >= *end);
            if seen.is_some_and(|seen| !seen.building && caught_up(&seen)) {
                return began.elapsed();
            }
            assert!(began.elapsed() < limit, "what was written is not read within {limit:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Until the webhook has delivered everything that is written now: how long that took. An offset is committed after its event was answered.
async fn delivered(stage: &Stage) -> Duration {
    let began = Instant::now();
    let (servers, topic, group) = (&stage.stack.kafka, stage.scenario.topic(), format!("highwater.{}.webhook", stage.scenario.name));
    let ends = topics::ends(servers, &topic);
    eventually("what was written during the fault is delivered", seconds(120), async || {
        let committed = topics::committed(servers, &group, &topic);
        let behind = ends.iter().filter(|(partition, end)| committed.get(partition).is_none_or(|next| next < *end)).count();
        if behind == 0 { Ok(()) } else { Err(format!("{behind} partitions are behind: {committed:?}, {ends:?}")) }
    })
    .await;
    began.elapsed()
}

/// Sends a signal.
fn signal(pid: u32, name: &str) {
    assert!(std::process::Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

/// Notes the longest time during which the progress of some partition stood still.
fn watch(stage: &Stage, gap_ms: Arc<AtomicU64>) -> impl Future<Output = ()> + Send + use<> {
    let (sink, url) = (stage.scenario.ranking.clone(), stage.stack.redis.clone());
    async move {
        let Some(sink) = sink else { return };
        let client = ::redis::Client::open(url).unwrap();
        let mut moved: BTreeMap<i32, (String, Instant)> = BTreeMap::new();
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let Ok(mut connection) = client.get_multiplexed_async_connection().await else { continue };
            let script = "local l = redis.call('HGET', '{' .. KEYS[1] .. '}:state', 'served') if not l then return {} end
                          return redis.call('HMGET', '{' .. KEYS[1] .. '}:' .. l, 'next:0', 'next:1', 'next:2', 'next:3')";
            let read: ::redis::RedisResult<Vec<Option<String>>> =
                ::redis::cmd("EVAL").arg(script).arg(1).arg(&sink.key).query_async(&mut connection).await;
            for (partition, next) in (0..).zip(read.unwrap_or_default()) {
                let (next, now) = (next.unwrap_or_default(), Instant::now());
                let (was, since) = moved.entry(partition).or_insert_with(|| (next.clone(), now));
                if *was != next {
                    let gap = u64::try_from(since.elapsed().as_millis()).unwrap();
                    gap_ms.fetch_max(gap, Ordering::Relaxed);
                    (*was, *since) = (next, now);
                }
            }
        }
    }
}
