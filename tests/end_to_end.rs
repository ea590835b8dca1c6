//! The main promise, through the real parts: whatever is killed, every sink ends up with exactly what Postgres says.
//!
//! Four partitions, two engines, interleaved transactions of inserts, updates, deletes, primary-key changes, NULLs, zero lengths, member
//! changes and rollbacks; `kill -9` of Kafka Connect (Debezium then sends again) and of engines while they write.

use crate::support::database::Load;
use crate::support::scenario::{self, Scenario};
use crate::support::stage::Stage;

/// What goes wrong during a load, spread evenly over it.
struct Faults {
    engine_kills: u64,
    connect_kills: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn the_shipped_select_is_exact_through_kills_of_connect_and_an_engine() {
    let load = Load { writers: 8, changes: 2_000, per_second: 150, seed: 1 };
    run(scenario::engagement("kills"), load, Faults { engine_kills: 1, connect_kills: 1 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn ten_thousand_rows_are_exact_through_ten_kills_of_an_engine() {
    let load = Load { writers: 8, changes: 10_000, per_second: 160, seed: 2 };
    run(scenario::engagement("rows"), load, Faults { engine_kills: 10, connect_kills: 2 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn other_tables_types_and_composite_keys_are_exact() {
    let load = Load { writers: 6, changes: 1_500, per_second: 150, seed: 3 };
    run(scenario::sales_left("left"), load, Faults { engine_kills: 1, connect_kills: 1 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn an_inner_join_with_a_condition_is_exact() {
    let load = Load { writers: 6, changes: 800, per_second: 150, seed: 4 };
    run(scenario::sales_inner("inner"), load, Faults { engine_kills: 1, connect_kills: 0 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn an_append_only_ranking_may_read_lookup_columns() {
    let load = Load { writers: 4, changes: 600, per_second: 150, seed: 5 };
    run(scenario::sales_append_only("append"), load, Faults { engine_kills: 1, connect_kills: 0 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn the_example_with_a_jsonb_payload_is_exact_over_ten_thousand_rows() {
    let load = Load { writers: 8, changes: 10_000, per_second: 350, seed: 6 };
    run_once(scenario::pages("pages"), load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn the_example_with_a_lookup_of_a_lookup_is_exact_over_ten_thousand_rows() {
    let load = Load { writers: 8, changes: 10_000, per_second: 350, seed: 7 };
    run_once(scenario::payments("payments"), load).await;
}

/// GIVEN two engines and a load; WHEN one is killed; THEN webhook and ranking equal Postgres, and again after lookup rows were changed.
async fn run_once(scenario: Scenario, load: Load) {
    let mut stage = Stage::set(scenario).await;
    stage.start_engines(2).await;
    let (mut writers, written) = stage.write(load);
    stage.reached(&written, load.changes / 2).await;
    stage.engines[0].kill_and_restart();
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    stage.wait_ready().await;
    stage.assert_exact().await;
    if !stage.scenario.lookup_changes.is_empty() {
        stage.begin_anew().await;
        stage.change_lookups().await;
        stage.write_all(Load { changes: 300, ..load }).await;
        stage.assert_exact().await;
    }
    stage.strike().await;
}

/// GIVEN two engines and a load; WHEN processes are killed during it; THEN webhook and ranking equal Postgres, also while rows
/// expire, and again after lookup rows were changed.
async fn run(scenario: Scenario, load: Load, faults: Faults) {
    let mut stage = Stage::set(scenario).await;
    stage.start_engines(2).await;
    let (mut writers, written) = stage.write(load);
    let count = faults.engine_kills + faults.connect_kills;
    let connect_every = count / faults.connect_kills.max(1);
    for fault in 1..=count {
        stage.reached(&written, load.changes * fault / (count + 1)).await;
        if faults.connect_kills > 0 && fault % connect_every == 0 {
            stage.stack.kill("connect").await;
            stage.stack.start("connect");
            stage.connector.wait_running().await;
            stage.note("Connect was killed and runs again");
        } else {
            stage.engines[fault as usize % 2].kill_and_restart();
            stage.note("an engine was killed");
        }
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    stage.note("written");
    stage.wait_ready().await;
    stage.note("ready");
    stage.assert_exact().await;
    stage.assert_expiry(load).await;

    if !stage.scenario.lookup_changes.is_empty() {
        stage.begin_anew().await;
        stage.change_lookups().await;
        stage.write_all(Load { changes: 200, ..load }).await;
        stage.assert_exact().await;
    }
    assert!(stage.engines.iter().all(|engine| engine.resident_kib() < 400 * 1024), "an engine holds more than 400 MiB");
    stage.strike().await;
}
