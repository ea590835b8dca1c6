//! Redis dies, forgets, fills up, is slow.

use ::redis::aio::MultiplexedConnection;

use super::{Trial, seeds, signal};
use crate::support::{scenario, seconds};

async fn connect(trial: &Trial) -> MultiplexedConnection {
    ::redis::Client::open(trial.stage.stack.redis.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

async fn run(connection: &mut MultiplexedConnection, words: &[&str]) {
    let mut command = ::redis::cmd(words[0]);
    command.arg(&words[1..]);
    let _: ::redis::Value = command.query_async(connection).await.unwrap_or_else(|error| panic!("{words:?}: {error}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn redis_is_killed() {
    for seed in seeds() {
        let mut trial = Trial::begin("redis killed", seed, scenario::engagement(&format!("redis{seed}")), 2).await;
        for fsync in ["everysec", "always", "everysec"] {
            run(&mut connect(&trial).await, &["CONFIG", "SET", "appendfsync", fsync]).await;
            trial.pause(200, 1_500).await;
            trial.stage.stack.kill("redis").await;
            trial.stage.stack.start("redis");
            if fsync == "always" {
                // Twice in a row: before the new epoch is complete.
                trial.pause(0, 300).await;
                trial.stage.stack.kill("redis").await;
                trial.stage.stack.start("redis");
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
        let mut connection = connect(&trial).await;
        for words in [&["FLUSHALL"][..], &["SCRIPT", "FLUSH"], &["FUNCTION", "FLUSH"], &["FLUSHALL"]] {
            run(&mut connection, words).await;
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
        let mut connection = connect(&trial).await;
        run(&mut connection, &["CONFIG", "SET", "maxmemory", "1mb"]).await;
        trial.pause(3_000, 5_000).await;
        run(&mut connection, &["CONFIG", "SET", "maxmemory", "0"]).await;
        trial.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn redis_is_read_only_for_a_while() {
    for seed in seeds() {
        let mut trial = Trial::begin("redis read only", seed, scenario::engagement(&format!("readonly{seed}")), 2).await;
        let mut connection = connect(&trial).await;
        // A replica of nobody: it answers reads and refuses writes.
        run(&mut connection, &["REPLICAOF", "127.0.0.1", "1"]).await;
        trial.pause(2_000, 5_000).await;
        run(&mut connection, &["REPLICAOF", "NO", "ONE"]).await;
        trial.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn redis_is_away_and_then_slow() {
    for seed in seeds() {
        let mut trial = Trial::begin("redis away, slow", seed, scenario::engagement(&format!("slow{seed}")), 2).await;
        trial.stage.stack.stop("redis");
        tokio::time::sleep(seconds(8)).await;
        trial.stage.stack.start("redis");
        let mut connection = connect(&trial).await;
        for _ in 0..8 {
            run(&mut connection, &["CLIENT", "PAUSE", "500", "ALL"]).await;
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
        run(&mut connect(&trial).await, &["CLIENT", "PAUSE", "16000", "WRITE"]).await;
        trial.pause(400, 900).await;
        signal(trial.stage.engines[0].pid(), "-STOP");
        // The other one was given its partitions and has read the progress before the writes come through.
        tokio::time::sleep(seconds(18)).await;
        signal(trial.stage.engines[0].pid(), "-CONT");
        trial.finish().await;
    }
}
