//! Postgres dies, is restored from an older copy, is replaced by another cluster; a slot vanishes; a column is narrowed.

use tokio::task::block_in_place;

use super::{Trial, seeds};
use crate::support::database::Load;
use crate::support::postgres::Postgres;
use crate::support::scenario::{self, Extra, Scenario};
use crate::support::stack::Stack;
use crate::support::stage::Stage;
use crate::support::{eventually, kafka, seconds};

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn postgres_is_killed() {
    for seed in seeds() {
        let mut trial = Trial::begin("postgres killed", seed, scenario::engagement(&format!("postgres{seed}")), 2).await;
        // The writers would fail with it: what they wrote is on its way.
        trial.quiesce().await;
        trial.stage.stack.kill("postgres").await;
        tokio::time::sleep(seconds(5)).await;
        trial.stage.stack.start("postgres");
        trial.stage.connector.wait_running().await;
        eventually("postgres answers", seconds(30), async || trial.stage.database.try_value("SELECT 1").await).await;
        trial.finish().await;
    }
}

/// The database is restored from an older copy, and the connector made anew on it: what it sends lies below what was applied. Both lanes say so and
/// stop, or begin anew with a warning; after the steps of the README everything is exact.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn the_database_is_restored_from_an_older_copy() {
    for seed in seeds() {
        let cluster = block_in_place(Postgres::start);
        let mut trial = begin_on(&cluster, "restored", seed, scenario::engagement(&format!("restored{seed}"))).await;
        trial.quiesce().await;
        block_in_place(|| cluster.copy("older"));
        trial.stage.connector.wait_running().await;
        trial.stage.write_all(load(seed + 1)).await;
        trial.stage.assert_exact().await;
        // WHEN everything since the copy is gone
        block_in_place(|| cluster.restore("older"));
        trial.note("restored");
        goes_on_elsewhere(&mut trial).await;
        trial.finish_ranking().await;
    }
}

/// Another cluster with the same contents takes over at the same address.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn another_cluster_takes_over() {
    for seed in seeds() {
        let cluster = block_in_place(Postgres::start);
        let mut trial = begin_on(&cluster, "another cluster", seed, scenario::engagement(&format!("cluster{seed}"))).await;
        trial.quiesce().await;
        for _ in 0..3 {
            trial.stage.database.run("SELECT pg_switch_wal()").await;
            trial.stage.write_all(Load { changes: 50, ..load(seed + 1) }).await;
        }
        trial.stage.assert_exact().await;
        let url = trial.stage.stack.postgres.clone();
        block_in_place(|| cluster.replace(&url));
        trial.note("another cluster");
        goes_on_elsewhere(&mut trial).await;
        trial.finish_ranking().await;
    }
}

/// Slot and connector are dropped and created again without a snapshot, with rows changed in between: `verify` says which members differ, and by
/// how much; after a snapshot nothing does.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn a_slot_is_dropped_and_rows_change_before_it_is_created_again() {
    for seed in seeds() {
        let mut trial = Trial::begin("slot dropped", seed, scenario::engagement(&format!("slot{seed}")), 1).await;
        let (events, content) = (trial.stage.scenario.source.clone(), trial.stage.scenario.lookups[0].clone());
        trial.quiesce().await;
        trial.stage.assert_exact().await;
        // WHEN one member gets a known amount, and the connector goes on without it
        trial.stage.connector.delete_wholly(&trial.stage.database).await;
        let member = trial.stage.database.value(&format!("SELECT id::text FROM {content} WHERE slug = 's3'")).await;
        let insert = format!(
            "INSERT INTO {events} (content_id, event_type, duration_ms, event_ts)
             SELECT '{member}', 'play', 123456, now() + n * interval '1 s' FROM generate_series(-3, 22) n"
        );
        trial.stage.database.run(&insert).await;
        trial.stage.connector.set(&[("snapshot.mode", "no_data")]);
        trial.stage.connector.create().await;
        // THEN `verify` shows the member, short by whole rows
        let (code, said) = trial.verify();
        assert_eq!(code, Some(1), "{said}");
        let line = said.lines().find(|line| line.starts_with(&member)).unwrap_or_else(|| panic!("{member} is not in {said}"));
        let numbers: Vec<i64> = line.split_whitespace().skip(1).filter_map(|number| number.replace('.', "").parse().ok()).collect();
        let [ranking, sql, difference, rows, all_rows] = numbers[..] else { panic!("{said}") };
        assert!(all_rows > rows && difference == ranking - sql && difference == (rows - all_rows) * 123_456, "{line}");
        trial.note(&format!("verify: {difference} of {sql} in {} rows", all_rows - rows));
        // AND still does when changes go on, some of them of rows that never came
        trial.stage.write_all(load(seed + 1)).await;
        let (code, said) = trial.verify();
        assert_eq!(code, Some(1), "{said}");
        // AND the remedy brings them
        trial.stage.connector.delete_wholly(&trial.stage.database).await;
        trial.stage.connector.set(&[("snapshot.mode", "initial")]);
        trial.stage.connector.create().await;
        eventually("verify says equal", seconds(60), async || match trial.verify() {
            (Some(0), _) => Ok(()),
            (_, said) => Err(said),
        })
        .await;
        trial.finish_ranking().await;
    }
}

/// A trial whose database is that cluster.
async fn begin_on(cluster: &Postgres, name: &str, seed: u64, scenario: Scenario) -> Trial {
    let url = block_in_place(|| cluster.database("", ""));
    let (address, database) = url.rsplit_once('/').unwrap();
    let port = address.rsplit_once(':').unwrap().1;
    let settings = [
        ("database.hostname", "127.0.0.1"),
        ("database.port", port),
        ("database.user", "test"),
        ("database.password", "secret-word"),
        ("database.dbname", database),
    ];
    let stack = Stack { postgres: url.clone(), ..Stack::running() };
    let stage = Stage::set_on(stack, scenario, &Extra::default(), &settings).await;
    Trial::begin_on(name, seed, stage, 1).await
}

fn load(seed: u64) -> Load {
    Load { writers: 4, changes: 300, per_second: 150, seed }
}

/// The database is another one now: the engine must notice and name the remedy, which is then followed.
async fn goes_on_elsewhere(trial: &mut Trial) {
    // Who starts it again looks at it for a moment: a WAL that has grown past what was read shows nothing.
    tokio::time::sleep(seconds(2)).await;
    trial.stage.write_all(load(trial.seed + 2)).await;
    // THEN the engine stops, however often it is started and however far the WAL has grown
    for _ in 0..2 {
        let status = trial.stage.engines[0].ended(seconds(60)).await;
        let log = trial.stage.engines[0].log();
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(
            log.contains("the database was restored from a backup or is another cluster")
                && log.contains("delete the connector with its stored offsets"),
            "{log}"
        );
        for _ in 0..3 {
            trial.stage.database.run("SELECT pg_switch_wal()").await;
            trial.stage.write_all(Load { changes: 10, ..load(trial.seed + 3) }).await;
        }
        trial.stage.engines[0].restart();
    }
    // AND with the remedy everything is exact
    trial.stage.engines[0].kill();
    let stage = &mut trial.stage;
    stage.connector.delete_wholly(&stage.database).await;
    for table in stage.scenario.tables() {
        let topic = format!("{}.public.{table}", stage.scenario.name);
        kafka::delete_topic(&stage.stack.kafka, &topic).await;
        kafka::create_topic(&stage.stack.kafka, &topic).await;
    }
    stage.connector.create().await;
    stage.engines[0].restart();
    stage.wait_ready().await;
}

/// A column is narrowed by a rewrite of the table between the insert of a row and its delete. No record tells about the rewrite: events go on exactly,
/// none is lost to a wrong type; the ranking withdraws less than it added, which `verify` shows, and a new snapshot mends it.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn a_column_is_narrowed_between_insert_and_delete() {
    for seed in seeds() {
        let mut trial = Trial::begin("column narrowed", seed, scenario::sales_left(&format!("narrowed{seed}")), 1).await;
        let sales = trial.stage.scenario.source.clone();
        let insert = format!(
            "INSERT INTO {sales} (shop, receipt, region, sku, quantity, unit_price, sold_at)
             SELECT 1, 'w' || n, 'west', 1, 1, 10.5555, now() AT TIME ZONE 'UTC' + n * interval '0.5 s' FROM generate_series(0, 50) n"
        );
        trial.stage.database.run(&insert).await;
        trial.quiesce().await;
        trial.stage.assert_exact().await;
        trial.stage.begin_anew().await;
        // WHEN 10.5555 becomes 11 (without the ledger: Postgres changes no type that another table's column has)
        trial.stage.scenario.close_ledger(&trial.stage.database).await;
        trial.stage.database.run(&format!("ALTER TABLE {sales} ALTER COLUMN unit_price TYPE numeric(6,0)")).await;
        trial.stage.scenario.open_ledger(&trial.stage.database).await;
        trial.stage.database.run(&format!("DELETE FROM {sales} WHERE shop = 1 AND right(receipt, 1) IN ('0', '3')")).await;
        // THEN every event is exact, and no record is given up
        let mut writers = load(seed + 1);
        writers.changes = 200;
        trial.stage.write_all(writers).await;
        let expected = trial.stage.scenario.expected_count(&trial.stage.database).await;
        trial.stage.receiver.wait_stored(expected + trial.stage.compared as u64, seconds(60)).await;
        trial.stage.scenario.assert_received(&trial.stage.database, &trial.stage.receiver, trial.stage.compared).await;
        assert_eq!(trial.stage.engines[0].metric("highwater_dead_letters_total", &[]).await, 0.0);
        // AND `verify` shows what the rewrite changed
        let (code, said) = trial.verify();
        assert!(code == Some(1) && said.lines().any(|line| line.starts_with("west")), "{said}");
        // AND with the remedy nothing differs
        trial.stage.connector.delete_wholly(&trial.stage.database).await;
        trial.stage.connector.create().await;
        eventually("verify says equal", seconds(60), async || match trial.verify() {
            (Some(0), _) => Ok(()),
            (_, said) => Err(said),
        })
        .await;
        trial.finish_ranking().await;
    }
}
