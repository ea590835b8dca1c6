//! Kafka Connect and Debezium: what they send again, snapshots of every kind, long transactions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinSet;

use super::{Trial, seeds};
use crate::support::database::Load;
use crate::support::hops::{self, Told, told};
use crate::support::ranking::Ranking;
use crate::support::scenario::Extra;
use crate::support::stage::Stage;
use crate::support::{eventually, kafka, scenario, seconds};

/// A long transaction is open, or being sent, while short ones commit and while Connect dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn connect_is_killed_with_long_and_short_transactions() {
    for seed in seeds() {
        let mut trial = Trial::begin("connect killed", seed, scenario::engagement(&format!("connect{seed}")), 2).await;
        for rows in [2_000, 100_000, 5_000] {
            let insert = format!("BEGIN; {}; SELECT pg_sleep(2); COMMIT", play(&trial, rows, "now()"));
            let before = records(&trial);
            let database = trial.stage.database.clone();
            let long = tokio::spawn(async move { database.run(&insert).await });
            trial.pause(500, 2_500).await;
            kill_connect(&trial).await;
            if rows > 10_000 {
                long.await.unwrap();
                let part = before + i64::from(rows) / 10 + i64::try_from(trial.between(0, 20_000)).unwrap();
                kafka::wait_records(&trial.stage.stack.kafka, &trial.stage.scenario.topic(), part).await;
                trial.note(&format!("killed after {} of {rows} rows", records(&trial) - before));
                kill_connect(&trial).await;
            } else {
                long.await.unwrap();
            }
        }
        trial.finish().await;
    }
}

/// Connect dies before it has written down how far it is: Debezium sends everything since its start again, under other offsets.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn connect_dies_before_it_has_written_down_how_far_it_is() {
    for seed in seeds() {
        let mut trial = Trial::begin("sent again", seed, scenario::engagement(&format!("again{seed}")), 2).await;
        // GIVEN a Connect that does not write it down for ten minutes, and has sent a while's changes
        trial.quiesce().await;
        trial.stage.stack.stop("connect");
        trial.stage.stack.start_with("connect", &[("OFFSET_FLUSH_MS", "600000")]);
        trial.stage.connector.wait_running().await;
        let again = |trial: &Trial| hops::sent(&trial.stage.stack.kafka, &trial.stage.scenario.topic(), &Default::default()).again;
        let marked = again(&trial);
        // Dated far ahead, so that however long Connect takes to come back, a row that counts twice stays in sight.
        trial.stage.database.run(&play(&trial, 200, "now() + interval '1 h'")).await;
        let changes = trial.between(300, 900);
        trial.stage.write_all(Load { changes, seed: seed + 1, writers: 6, per_second: 300 }).await;
        trial.stage.wait_sent().await;
        // WHEN it dies
        kill_connect(&trial).await;
        trial.write_on();
        // THEN all of that comes again
        eventually("Debezium sends again what it sent", seconds(60), async || match again(&trial) - marked {
            count if count >= 300 => Ok(()),
            count => Err(format!("{count} changes")),
        })
        .await;
        trial.note(&format!("{} changes were sent again", again(&trial) - marked));
        // Withdrawn once: what counted twice is left over.
        let events = trial.stage.scenario.source.clone();
        trial.stage.database.run(&format!("DELETE FROM {events} WHERE event_ts > now() + interval '10 min'")).await;
        trial.finish().await;
    }
}

/// The connector's task ends and starts in good order, again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn a_task_is_restarted() {
    for seed in seeds() {
        let mut trial = Trial::begin("task restarted", seed, scenario::engagement(&format!("task{seed}")), 2).await;
        for _ in 0..5 {
            trial.pause(100, 2_000).await;
            trial.stage.connector.restart().await;
            trial.stage.connector.wait_running().await;
        }
        trial.finish().await;
    }
}

/// Changes that no record tells about, and then a second snapshot, with transactions open while its slot is created: some of their rows lie
/// below the snapshot and are in none of its rows, because they commit after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn a_connector_is_made_anew() {
    for seed in seeds() {
        let mut trial = Trial::begin("connector anew", seed, scenario::engagement(&format!("anew{seed}")), 2).await;
        for _ in 0..2 {
            trial.stage.connector.delete_wholly(&trial.stage.database).await;
            let (mut open, stop) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
            for _ in 0..3 {
                let wait = f64::from(u32::try_from(trial.between(300, 1_500)).unwrap()) / 1000.0;
                let (database, insert, stop) = (trial.stage.database.clone(), play(&trial, 5, "now()"), Arc::clone(&stop));
                open.spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        database.run(&format!("BEGIN; {insert}; SELECT pg_sleep({wait}); {insert}; COMMIT")).await;
                    }
                });
            }
            trial.pause(500, 2_000).await;
            trial.stage.connector.create().await;
            trial.pause(2_000, 4_000).await;
            stop.store(true, Ordering::Relaxed);
            while let Some(ended) = open.join_next().await {
                ended.unwrap();
            }
        }
        trial.finish_ranking().await;
    }
}

/// The connector is made anew on a table that was emptied meanwhile. No record says that the rows are gone: the engine warns, `verify` shows it,
/// what is written from then on counts, and with the window the ranking is exact again.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn a_connector_is_made_anew_on_an_emptied_table() {
    for seed in seeds() {
        let mut trial = Trial::begin("connector anew, empty", seed, scenario::engagement(&format!("emptied{seed}")), 1).await;
        let (events, content) = (trial.stage.scenario.source.clone(), trial.stage.scenario.lookups[0].clone());
        // GIVEN rows that stay in the window for a while
        trial.stage.database.run(&play(&trial, 30, "now() + n * interval '0.9 s'")).await;
        trial.quiesce().await;
        trial.stage.assert_exact().await;
        let newest = format!("SELECT (extract(epoch FROM max(event_ts)) * 1000)::bigint FROM {events}");
        let newest_ms: i64 = trial.stage.database.value(&newest).await.parse().unwrap();
        // WHEN they are deleted while there is no slot
        trial.stage.connector.delete_wholly(&trial.stage.database).await;
        trial.stage.database.run(&format!("DELETE FROM {events}")).await;
        trial.stage.begin_anew().await;
        let topic = format!("{}.public.{content}", trial.stage.scenario.name);
        let rows: i64 = kafka::ends(&trial.stage.stack.kafka, &topic).values().sum();
        trial.stage.connector.create().await;
        kafka::wait_records(&trial.stage.stack.kafka, &topic, 2 * rows).await;
        // THEN `verify` shows them
        let (code, said) = trial.verify();
        assert_eq!(code, Some(1), "{said}");
        // AND what is written counts, with a warning
        trial.stage.write_all(Load { changes: 300, seed, writers: 4, per_second: 150 }).await;
        eventually("the engine warns", seconds(30), async || {
            let log = trial.stage.engines[0].log();
            if log.contains("the connector began anew") { Ok(()) } else { Err("it does not".to_owned()) }
        })
        .await;
        // AND once they have left the window everything is exact
        let ranking = Ranking::open(&trial.stage.stack.redis, trial.stage.scenario.ranking.as_ref().unwrap()).await;
        eventually("the rows leave the window", seconds(90), async || match ranking.look().await {
            Some(seen) if seen.floor_ms > newest_ms => Ok(()),
            seen => Err(format!("{newest_ms}: {:?}", seen.map(|seen| seen.floor_ms))),
        })
        .await;
        trial.stage.assert_exact().await;
        let (code, said) = trial.verify();
        assert_eq!(code, Some(0), "{said}");
        trial.finish_ranking().await;
    }
}

/// The second snapshot is interrupted twice in the middle of its rows: each run counts alone, and only the last one is whole. Nothing is written
/// meanwhile: a Debezium that starts again on the slot of before notes its LSN and takes its view later, and what commits in between is in both.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn a_snapshot_is_interrupted_twice() {
    for seed in seeds() {
        let mut trial = Trial::begin("snapshot interrupted", seed, scenario::engagement(&format!("interrupt{seed}")), 2).await;
        let events = trial.stage.scenario.source.clone();
        let mut runs = snapshot_runs(&trial);
        let first = runs.len();
        trial.stage.connector.delete_wholly(&trial.stage.database).await;
        trial.stage.database.run(&play(&trial, 4_000, "now() + n * interval '0.005 s'")).await;
        trial.quiesce().await;
        // A millisecond a row, so that a restart falls into it.
        let slowly = format!("SELECT * FROM public.{events} WHERE pg_sleep(0.001) IS NOT NULL");
        trial.stage.connector.set(&[
            ("snapshot.select.statement.overrides", &format!("public.{events}")),
            (&format!("snapshot.select.statement.overrides.public.{events}"), &slowly),
            ("snapshot.fetch.size", "20"),
            ("max.batch.size", "50"),
            ("max.queue.size", "200"),
        ]);
        trial.stage.connector.create().await;
        for interrupted in 1..=2 {
            let rows = trial.between(100, 1_200) as usize;
            runs = eventually("the snapshot is under way", seconds(60), async || {
                let runs = snapshot_runs(&trial);
                let sent = runs.get(first + interrupted - 1).map_or(0, |(_, rows, _)| *rows);
                if sent >= rows { Ok(runs) } else { Err(format!("{sent} of {rows} rows")) }
            })
            .await;
            if interrupted == 1 {
                trial.stage.connector.restart().await;
            } else {
                // New settings restart the task too.
                let at_once = format!("SELECT * FROM public.{events}");
                trial.stage.connector.set(&[(&format!("snapshot.select.statement.overrides.public.{events}"), &at_once)]);
                trial.stage.connector.create().await;
            }
        }
        trial.note(&format!("interrupted after {:?} rows", runs[first..].iter().map(|(_, rows, _)| rows).collect::<Vec<_>>()));
        let runs = eventually("the last snapshot ends", seconds(90), async || {
            let runs = snapshot_runs(&trial);
            if runs.last().unwrap().2 { Ok(runs) } else { Err(format!("{runs:?}")) }
        })
        .await;
        let ended: Vec<bool> = runs[first..].iter().map(|(_, _, ended)| *ended).collect();
        assert_eq!(ended, [false, false, true], "the restarts did not fall into the snapshot: {runs:?}");
        trial.stage.connector.wait_running().await;
        trial.write_on();
        trial.finish_ranking().await;
    }
}

/// An incremental snapshot reads the table again in chunks while it changes: its rows are in every sink already.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn an_incremental_snapshot_runs_under_load() {
    for seed in seeds() {
        let mut scenario = scenario::engagement(&format!("chunks{seed}"));
        let (events, signals) = (scenario.source.clone(), format!("signals_{}", scenario.name));
        scenario.schema += &format!("CREATE TABLE {signals} (id text PRIMARY KEY, type text NOT NULL, data text);");
        let tables: Vec<_> = scenario.tables().into_iter().chain([signals.as_str()]).map(|table| format!("public.{table}")).collect();
        let settings = [
            ("table.include.list", tables.join(",")),
            ("signal.data.collection", format!("public.{signals}")),
            ("incremental.snapshot.chunk.size", "40".to_owned()),
        ];
        let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let stage = Stage::set_connected(scenario, &Extra::default(), &settings).await;
        let mut trial = Trial::begin_on("incremental snapshot", seed, stage, 2).await;
        for n in 1..=2 {
            trial.stage.database.run(&play(&trial, 400, "now()")).await;
            let ask = format!(
                "INSERT INTO {signals} VALUES ('ask{n}', 'execute-snapshot', '{{\"type\": \"incremental\", \"data-collections\": [\"public.{events}\"]}}')"
            );
            trial.stage.database.run(&ask).await;
            // Rows that changed meanwhile are left out.
            eventually("the incremental snapshot has read the table", seconds(60), async || {
                let rows = snapshots(&trial).iter().filter(|told| told.snapshot == "incremental").count();
                if rows >= n * 400 { Ok(()) } else { Err(format!("{rows} rows")) }
            })
            .await;
            trial.pause(200, 1_000).await;
        }
        trial.finish().await;
    }
}

/// Inserts that many rows of one member, the `n`th of them dated `moment`.
fn play(trial: &Trial, rows: u32, moment: &str) -> String {
    let (events, content) = (&trial.stage.scenario.source, &trial.stage.scenario.lookups[0]);
    format!(
        "INSERT INTO {events} (content_id, event_type, duration_ms, event_ts)
         SELECT (SELECT id FROM {content} LIMIT 1), 'play', n, {moment} FROM generate_series(1, {rows}) n"
    )
}

fn records(trial: &Trial) -> i64 {
    kafka::ends(&trial.stage.stack.kafka, &trial.stage.scenario.topic()).values().sum()
}

async fn kill_connect(trial: &Trial) {
    trial.stage.stack.kill("connect").await;
    trial.stage.stack.start("connect");
    trial.stage.connector.wait_running().await;
}

/// Rows of snapshots in the topic.
fn snapshots(trial: &Trial) -> Vec<Told> {
    let records = kafka::records(&trial.stage.stack.kafka, &trial.stage.scenario.topic());
    records.iter().filter_map(told).filter(|told| told.op == "r").collect()
}

/// The snapshot runs in the topic in their order: LSN and transaction, rows, whether its end is there.
fn snapshot_runs(trial: &Trial) -> Vec<((u64, u64), usize, bool)> {
    let mut runs: Vec<((u64, u64), usize, bool)> = Vec::new();
    for told in snapshots(trial) {
        if !runs.iter().any(|(run, ..)| *run == told.run) {
            runs.push((told.run, 0, false));
        }
        let run = runs.iter_mut().find(|(run, ..)| *run == told.run).unwrap();
        run.1 += 1;
        run.2 |= told.snapshot.starts_with("last");
    }
    runs.sort_unstable();
    runs
}
