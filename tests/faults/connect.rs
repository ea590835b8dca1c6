//! Kafka Connect and Debezium: what they send again, snapshots, long transactions; and the broker under them.

use super::{Trial, seeds};
use crate::support::{eventually, kafka, scenario, seconds};

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn connect_is_killed_with_long_and_short_transactions() {
    for seed in seeds() {
        let mut trial = Trial::begin("connect killed", seed, scenario::engagement(&format!("connect{seed}")), 2).await;
        let events = trial.stage.scenario.source.clone();
        for round in 0..3 {
            // A long transaction, open while short ones commit and while Connect dies.
            let insert = format!(
                "BEGIN; INSERT INTO {events} (content_id, event_type, duration_ms)
                 SELECT (SELECT id FROM {} LIMIT 1), 'play', n FROM generate_series(1, {}) n; SELECT pg_sleep(2); COMMIT",
                trial.stage.scenario.lookups[0],
                if round == 1 { 20_000 } else { 2_000 },
            );
            let database = trial.stage.database.clone();
            let long = tokio::spawn(async move { database.run(&insert).await });
            trial.pause(500, 2_500).await;
            trial.stage.stack.kill("connect").await;
            trial.stage.stack.start("connect");
            trial.stage.connector.wait_running().await;
            long.await.unwrap();
        }
        trial.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn the_broker_is_killed_and_paused() {
    for seed in seeds() {
        let mut trial = Trial::begin("broker killed", seed, scenario::engagement(&format!("broker{seed}")), 2).await;
        trial.stage.stack.kill("kafka").await;
        trial.stage.stack.start("kafka");
        trial.pause(1_000, 3_000).await;
        trial.stage.stack.stop("kafka");
        trial.stage.stack.start("kafka");
        trial.stage.connector.wait_running().await;
        trial.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn aborted_transactions_of_a_producer_never_count() {
    for seed in seeds() {
        let trial = Trial::begin("aborted transactions", seed, scenario::engagement(&format!("aborted{seed}")), 1).await;
        let topic = trial.stage.scenario.topic();
        let before = trial.stage.receiver.stored().await;
        assert!(before > 0);
        let records = kafka::records(&trial.stage.stack.kafka, &topic);
        let last = records.iter().rev().find(|record| record.value.is_some()).unwrap();
        kafka::produce_aborted(&trial.stage.stack.kafka, &topic, last, 50).await;
        trial.finish().await;
    }
}

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

/// Changes that no record tells about, and then a second snapshot, with transactions open while its slot is created.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn a_connector_is_made_anew() {
    for seed in seeds() {
        let mut trial = Trial::begin("connector anew", seed, scenario::engagement(&format!("anew{seed}")), 2).await;
        for _ in 0..2 {
            trial.stage.connector.delete_wholly(&trial.stage.database).await;
            trial.pause(500, 2_000).await;
            trial.stage.connector.create().await;
            trial.pause(2_000, 4_000).await;
        }
        trial.finish_ranking().await;
    }
}
