//! Redis dies, forgets, fills up, is slow.

use ::redis::Value;

use super::{Trial, seeds, signal};
use crate::support::{scenario, seconds};

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn redis_is_killed() {
    for seed in seeds() {
        let mut trial = Trial::begin("redis killed", seed, scenario::engagement(&format!("redis{seed}")), 2).await;
        for fsync in ["everysec", "always", "everysec"] {
            trial.redis.run::<Value>(&["CONFIG", "SET", "appendfsync", fsync]).await;
            trial.pause(200, 1_500).await;
            trial.redis.kill();
            trial.redis.restart().await;
            if fsync == "always" {
                // Twice in a row: before the new epoch is complete.
                trial.pause(0, 300).await;
                trial.redis.kill();
                trial.redis.restart().await;
            }
        }
        trial.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn redis_forgets_everything() {
    for seed in seeds() {
        let mut trial = Trial::begin("FLUSHALL", seed, scenario::engagement(&format!("flushall{seed}")), 2).await;
        for words in [&["FLUSHALL"][..], &["SCRIPT", "FLUSH"], &["FUNCTION", "FLUSH"], &["FLUSHALL"]] {
            trial.redis.run::<Value>(words).await;
            trial.note(&words.join(" "));
            trial.pause(800, 2_500).await;
        }
        trial.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn redis_is_full() {
    for seed in seeds() {
        let mut trial = Trial::begin("redis full", seed, scenario::engagement(&format!("full{seed}")), 1).await;
        trial.redis.run::<Value>(&["CONFIG", "SET", "maxmemory", "1mb"]).await;
        trial.pause(3_000, 5_000).await;
        trial.redis.run::<Value>(&["CONFIG", "SET", "maxmemory", "0"]).await;
        trial.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn redis_is_read_only_for_a_while() {
    for seed in seeds() {
        let mut trial = Trial::begin("redis read only", seed, scenario::engagement(&format!("readonly{seed}")), 2).await;
        // A replica of nobody: it answers reads and refuses writes.
        trial.redis.run::<Value>(&["REPLICAOF", "127.0.0.1", "1"]).await;
        trial.pause(2_000, 5_000).await;
        trial.redis.run::<Value>(&["REPLICAOF", "NO", "ONE"]).await;
        trial.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn redis_is_away_and_then_slow() {
    for seed in seeds() {
        let mut trial = Trial::begin("redis away, slow", seed, scenario::engagement(&format!("slow{seed}")), 2).await;
        trial.redis.stop().await;
        tokio::time::sleep(seconds(8)).await;
        trial.redis.restart().await;
        for _ in 0..8 {
            trial.redis.run::<Value>(&["CLIENT", "PAUSE", "500", "ALL"]).await;
            trial.pause(550, 700).await;
        }
        trial.finish().await;
    }
}

/// A batch waits in Redis' own queue while its engine is thought dead and another one goes on. Which of the two is refused depends on who is first
/// in the queue; that one must be shows `mutations::without_the_comparison`.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn a_call_comes_late() {
    for seed in seeds() {
        let mut trial = Trial::begin("late call", seed, scenario::engagement(&format!("late{seed}")), 2).await;
        trial.redis.run::<Value>(&["CLIENT", "PAUSE", "16000", "WRITE"]).await;
        trial.pause(400, 900).await;
        signal(trial.stage.engines[0].pid(), "-STOP");
        // The other one was given its partitions and has read the progress before the writes come through.
        tokio::time::sleep(seconds(18)).await;
        signal(trial.stage.engines[0].pid(), "-CONT");
        trial.finish().await;
    }
}
