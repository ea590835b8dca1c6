//! One test's own world: tables, topics, connector, receiver, pipeline file, and the engines it starts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::connector::{Connector, sweep};
use super::database::{Database, Load, Written, write};
use super::engine::Engine;
use super::kafka::{self, Stored};
use super::ranking::Ranking;
use super::receiver::Receiver;
use super::scenario::{Extra, Scenario};
use super::stack::Stack;
use super::{eventually, hops, seconds};

/// The receiver's and the engines' shared secret; of no worth elsewhere.
pub const SECRET: &str = "whsec_dGhpcyBpcyBhIHNlY3JldCBvZiB0aGUgdGVzdHM=";

/// A directory that is gone when the test is.
pub struct Directory(PathBuf);

impl Directory {
    /// A new, empty one.
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("highwater-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("logs are kept in {}", self.0.display());
        } else {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }
}

/// Everything a test needs, standing.
pub struct Stage {
    /// Engines; first, so that they end first.
    pub engines: Vec<Engine>,
    /// The receiver.
    pub receiver: Receiver,
    /// Servers.
    pub stack: Stack,
    /// The database.
    pub database: Database,
    /// What is run.
    pub scenario: Arc<Scenario>,
    /// Debezium.
    pub connector: Connector,
    /// The pipeline file.
    pub pipeline: PathBuf,
    /// What goes wrong inside every engine that is started from now on.
    pub faults: String,
    /// Pipeline files that the engines run beside it.
    pub more_pipelines: Vec<PathBuf>,
    /// Events at the receiver that earlier comparisons were about.
    pub compared: usize,
    /// Where the topic ended then.
    pub compared_records: BTreeMap<i32, i64>,
    directory: Directory,
    began: Instant,
}

impl Stage {
    /// Tables with their first rows, topics, ledger, connector past its snapshot, receiver; no engine yet.
    pub async fn set(scenario: Scenario) -> Self {
        Self::set_with(scenario, &Extra::default()).await
    }

    /// The same, with more in the pipeline file.
    pub async fn set_with(scenario: Scenario, more: &Extra) -> Self {
        Self::set_connected(scenario, more, &[]).await
    }

    /// The same, with settings of the connector put over those of the repository's.
    pub async fn set_connected(scenario: Scenario, more: &Extra, settings: &[(&str, &str)]) -> Self {
        Self::set_on(Stack::running(), scenario, more, settings).await
    }

    /// The same, on these servers.
    pub async fn set_on(stack: Stack, scenario: Scenario, more: &Extra, settings: &[(&str, &str)]) -> Self {
        let began = Instant::now();
        let database = Database::open(&stack.postgres);
        let directory = Directory::new(&scenario.name);
        sweep(&stack, &Database::open(&Stack::running().postgres)).await;
        database.run(&scenario.schema).await;
        database.run(&scenario.first_rows).await;
        scenario.open_ledger(&database).await;
        for table in scenario.tables() {
            kafka::create_topic(&stack.kafka, &format!("{}.public.{table}", scenario.name)).await;
        }
        let connector = Connector::new(&stack, &scenario.name, &scenario.tables(), settings);
        connector.create().await;
        for table in scenario.tables() {
            // From its first record on, every commit is streamed: the slot is older than the snapshot.
            let rows: i64 = database.value(&format!("SELECT count(*) FROM {table}")).await.parse().unwrap();
            kafka::wait_records(&stack.kafka, &format!("{}.public.{table}", scenario.name), rows).await;
        }
        let receiver = Receiver::start(directory.path(), SECRET).await;
        let pipeline = directory.path().join("pipeline.toml");
        std::fs::write(&pipeline, scenario.pipeline(&receiver.url(), SECRET, more)).unwrap();
        let scenario = Arc::new(scenario);
        println!("  {:6.1} s  the stage is set for {}", began.elapsed().as_secs_f64(), scenario.name);
        Self {
            engines: Vec::new(),
            receiver,
            stack,
            database,
            scenario,
            connector,
            pipeline,
            faults: String::new(),
            more_pipelines: Vec::new(),
            compared: 0,
            compared_records: BTreeMap::new(),
            directory,
            began,
        }
    }

    /// Where a test may write files; gone when the stage is.
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// Starts one more engine.
    pub fn start_engine(&mut self) -> &mut Engine {
        let name = format!("engine-{}", self.engines.len() + 1);
        let pipelines: Vec<_> = std::iter::once(&self.pipeline).chain(&self.more_pipelines).cloned().collect();
        self.engines.push(Engine::start_faulty(self.directory.path(), &name, &pipelines, &self.faults));
        self.engines.last_mut().unwrap()
    }

    /// Starts engines and waits until all are ready.
    pub async fn start_engines(&mut self, count: usize) {
        for _ in 0..count {
            self.start_engine();
        }
        self.wait_ready().await;
    }

    /// Waits until every engine is ready.
    pub async fn wait_ready(&mut self) {
        for engine in &mut self.engines {
            engine.wait_ready().await;
        }
    }

    /// Begins to write.
    pub fn write(&self, load: Load) -> (tokio::task::JoinSet<()>, Arc<Written>) {
        let written = Arc::new(Written::default());
        (write(&self.database, &self.scenario, load, &written), written)
    }

    /// Writes a load to its end.
    pub async fn write_all(&self, load: Load) {
        let (mut writers, _) = self.write(load);
        while let Some(ended) = writers.join_next().await {
            ended.unwrap();
        }
    }

    /// Nothing is written any more: the receiver gets every owed event, the ranking every record; then both are compared with Postgres.
    pub async fn assert_exact(&self) {
        let expected = self.scenario.expected_count(&self.database).await;
        self.receiver.wait_stored(expected + self.compared as u64, seconds(90)).await;
        self.note(&format!("the receiver holds {expected} events"));
        self.assert_ranking().await;
        self.scenario.assert_received(&self.database, &self.receiver, self.compared).await;
        self.note("every event is as Postgres computes it");
    }

    /// The ranking, when it has read everything, equals the oracle.
    pub async fn assert_ranking(&self) {
        if let Some(sink) = &self.scenario.ranking {
            let seen = Ranking::open(&self.stack.redis, sink).await.wait_read(&self.stack.kafka, &self.scenario.topic()).await;
            let members = self.scenario.assert_ranking(&self.database, sink, &seen).await;
            self.note(&format!("the ranking is exact, {members} members"));
        }
    }

    /// Everything that is in the topic is in the ranking, and the webhook has nothing left to send.
    pub async fn wait_read(&self) {
        let sink = self.scenario.ranking.as_ref().unwrap();
        Ranking::open(&self.stack.redis, sink).await.wait_read(&self.stack.kafka, &self.scenario.topic()).await;
        let (topic, group) = (self.scenario.topic(), format!("highwater.{}.webhook", self.scenario.name));
        eventually("the webhook has no lag", seconds(60), async || {
            let (ends, committed) = (kafka::ends(&self.stack.kafka, &topic), kafka::committed(&self.stack.kafka, &group, &topic));
            if committed == ends { Ok(()) } else { Err(format!("committed {committed:?}, ends {ends:?}")) }
        })
        .await;
    }

    /// What a test does, with the time since its stage was set; shown when it fails, or with `--nocapture`.
    pub fn note(&self, text: &str) {
        println!("  {:6.1} s  {text}", self.began.elapsed().as_secs_f64());
    }

    /// Writes rows into the window, then compares at every step of it until nothing is left; the ranking must be gone with its last row.
    pub async fn assert_expiry(&self, load: Load) {
        let Some(sink) = &self.scenario.ranking else { return };
        self.write_all(Load { changes: 200, seed: load.seed + 100, ..load }).await;
        self.wait_sent().await;
        self.assert_ranking().await;
        let ranking = Ranking::open(&self.stack.redis, sink).await;
        let (mut floor_ms, mut steps, mut members) = (0, 0, usize::MAX);
        while members > 0 {
            let seen = eventually("the window moves on", seconds(20), async || {
                let seen = ranking.look().await.ok_or("no epoch is served")?;
                if seen.floor_ms > floor_ms && seen.undrained == 0 { Ok(seen) } else { Err(format!("floor {}", seen.floor_ms)) }
            })
            .await;
            floor_ms = seen.floor_ms;
            members = self.scenario.assert_ranking(&self.database, sink, &seen).await;
            steps += 1;
            assert!(steps < 120, "{members} members are left after {steps} steps of the window");
        }
        self.note(&format!("exact at {steps} steps of the window, down to nothing"));
        assert!(steps > 5, "the window emptied in {steps} steps: too few to have seen rows expire");
    }

    /// Everything at the receiver so far has been compared; the next comparison is about what comes.
    pub async fn begin_anew(&mut self) {
        self.compared = self.receiver.export().await.lines().count();
        self.compared_records = kafka::ends(&self.stack.kafka, &self.scenario.topic());
        self.scenario.clear_ledger(&self.database).await;
    }

    /// Nothing else is written any more: waits until Debezium has sent it all, told by rows that are written last and are many enough for every partition.
    pub async fn wait_sent(&self) {
        let lsn: u64 = self.database.value("SELECT (pg_current_wal_lsn() - '0/0')::text").await.parse().unwrap();
        let before = self.scenario.noted(&self.database).await;
        for _ in 0..2 {
            self.database.run(&self.scenario.probe).await;
        }
        let rows = self.scenario.noted(&self.database).await - before;
        eventually("every change is in the topic", seconds(90), async || {
            let records = kafka::records(&self.stack.kafka, &self.scenario.topic());
            let is_last = |told: &hops::Told| told.op == "c" && told.run.0 >= lsn;
            match records.iter().filter_map(hops::told).filter(is_last).count() as u64 {
                count if count >= rows => Ok(()),
                count => Err(format!("{count} of {rows}")),
            }
        })
        .await;
    }

    /// The three ledgers since the last comparison, and the hop of the first gap.
    pub async fn hops(&self) -> String {
        let changes = self.scenario.noted_changes(&self.database).await;
        let sent = hops::sent(&self.stack.kafka, &self.scenario.topic(), &self.compared_records);
        let (owed, received) = (self.scenario.expected_count(&self.database).await, self.receiver.stored().await - self.compared as u64);
        let gap = match () {
            () if sent.changes < changes => "before the topic: Debezium did not send it, or not yet",
            () if sent.changes > changes => "before the table's ledger: Debezium sent what it does not hold",
            () if received < owed => "after the topic: the engine",
            () => "none; what is wrong is a value",
        };
        format!(
            "table: {changes} changes; topic: {}, {} of them again; receiver: {received} of {owed} events. The first gap: {gap}",
            sent.changes, sent.again
        )
    }

    /// Changes lookup rows and waits until every engine shows the new ones, in rows of all partitions.
    pub async fn change_lookups(&mut self) {
        for change in &self.scenario.lookup_changes {
            self.database.run(change).await;
        }
        // What is sent before a change of a lookup row was read may hold the old one: new probes until all are new.
        eventually("the engines see the changed lookup rows", seconds(30), async || {
            self.compared = self.receiver.export().await.lines().count();
            self.scenario.clear_ledger(&self.database).await;
            self.database.run(&self.scenario.probe).await;
            let expected = self.scenario.expected_count(&self.database).await;
            self.receiver.wait_stored(expected + self.compared as u64, seconds(30)).await;
            match self.scenario.differences(&self.database, &self.receiver, self.compared).await.len() {
                0 => Ok(()),
                old => Err(format!("{old} of {expected} probes differ")),
            }
        })
        .await;
    }

    /// The entries of a lane's dead-letter topic by the partition and offset they name, once there are that many.
    pub async fn dead_letters(&self, sink: &str, count: usize) -> BTreeMap<(i32, i64), Stored> {
        let topic = format!("highwater.{}.{sink}.dead-letters", self.scenario.name);
        eventually("the dead letters are there", seconds(30), async || {
            let mut letters = BTreeMap::new();
            for record in kafka::records(&self.stack.kafka, &topic) {
                let number = |name: &str| record.headers[name].parse::<i64>().unwrap();
                letters.insert((number("highwater-partition") as i32, number("highwater-offset")), record);
            }
            if letters.len() >= count { Ok(letters) } else { Err(format!("{} in {topic}", letters.len())) }
        })
        .await
    }

    /// SIGTERM to all engines: each ends with 0 within the limit.
    pub async fn terminate(&mut self, limit: Duration) {
        for engine in &mut self.engines {
            let (status, took) = engine.terminate(limit).await;
            assert!(status.success(), "the engine ended with {status} after {took:?}:\n{}", engine.log());
        }
    }

    /// Takes everything down that would weigh on the tests that follow.
    pub async fn strike(mut self) {
        self.terminate(seconds(40)).await;
        self.connector.clean_up(&self.database).await;
    }

    /// Waits until the writers committed that many changes.
    pub async fn reached(&self, written: &Written, changes: u64) {
        eventually("the writers go on", seconds(300), async || match written.changes.load(Ordering::Relaxed) {
            done if done >= changes => Ok(()),
            done => Err(format!("{done} changes")),
        })
        .await;
    }
}
