//! Redis dies, forgets, fills up, is slow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::redis::Value;

use super::neighbours::loopback;
use super::proxy::Conditions;
use super::small_disk::SmallDisk;
use super::{Trial, caught_up, seeds, signal, spare};
use crate::support::redis_server::{RedisServer, connect};
use crate::support::{eventually, scenario, seconds};

/// The device of rows that the writers leave alone.
const CONSTANT: &str = "constant";
/// Members that such rows keep in the ranking.
const CONSTANT_MEMBERS: usize = 300;

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
        tokio::time::sleep(seconds(60)).await;
        trial.redis.restart().await;
        trial.pause(1_000, 3_000).await;
        // Half a second for each call.
        trial.network.redis.set(Conditions { latency: Duration::from_millis(250), ..Conditions::default() });
        trial.pause(8_000, 12_000).await;
        trial.network.redis.pass();
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
        trial.redis.run::<Value>(&["CLIENT", "PAUSE", "20000", "WRITE"]).await;
        trial.pause(400, 900).await;
        signal(trial.stage.engines[0].pid(), "-STOP");
        // The other one was given its partitions and has read the progress before the writes come through: a session of 8 s, a heartbeat of 2 s and
        // 5 s for its own call, which waits as well.
        tokio::time::sleep(seconds(22)).await;
        signal(trial.stage.engines[0].pid(), "-CONT");
        trial.finish().await;
    }
}

/// The last bytes of the append-only file are not on the disk after a crash, in the middle of a call; what comes next is batched another way, and then it
/// happens again.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn redis_loses_the_end_of_its_file() {
    for seed in seeds() {
        let mut trial = Trial::begin("redis file torn", seed, scenario::engagement(&format!("torn{seed}")), 2).await;
        for round in 0..5 {
            trial.redis.kill();
            tear(&mut trial);
            if round % 2 == 1 {
                // Other batches: the engine reads again from what is stored.
                let engine = trial.between(0, 1) as usize;
                trial.kill_engine(engine);
            }
            trial.redis.restart().await;
            // From before the first call to after the new epoch is served.
            trial.pause(0, 1_500).await;
        }
        trial.finish().await;
    }
}

/// Cuts the append-only file at a random byte: within the last call, the last few, or anywhere.
fn tear(trial: &mut Trial) {
    let path = trial.redis.append_only_file();
    let length = std::fs::metadata(&path).unwrap().len();
    let reach = [200, 20_000, length][trial.between(0, 2) as usize].min(length);
    let lost = trial.between(0, reach);
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length - lost).unwrap();
    trial.note(&format!("{lost} of {length} bytes are lost"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn redis_comes_back_empty() {
    for seed in seeds() {
        let mut trial = Trial::begin("redis empty", seed, scenario::engagement(&format!("empty{seed}")), 2).await;
        for _ in 0..2 {
            trial.redis.kill();
            std::fs::remove_dir_all(trial.redis.directory().join("appendonlydir")).unwrap();
            trial.redis.restart().await;
            trial.pause(500, 3_000).await;
        }
        trial.finish().await;
    }
}

/// Members that are in the ranking from now on, whatever the writers do, until their rows leave the window.
async fn constant_members(trial: &Trial) -> BTreeSet<String> {
    let (source, contents) = (&trial.stage.scenario.source, &trial.stage.scenario.lookups[0]);
    // As late as the pipeline takes rows: they stay for 30 s and more.
    let insert = format!(
        "WITH members AS (INSERT INTO {contents} (slug, title, content_type, publish_ts)
           SELECT gen_random_uuid(), 'constant', 'video', now() FROM generate_series(1, {CONSTANT_MEMBERS}) RETURNING id)
         INSERT INTO {source} (content_id, event_type, event_ts, duration_ms, device)
         SELECT id, 'play', now() + interval '25 s', 1000, '{CONSTANT}' FROM members"
    );
    trial.stage.database.run(&insert).await;
    let members = trial.stage.database.rows(&format!("SELECT id::text FROM {contents} WHERE title = 'constant'")).await;
    let members: BTreeSet<String> = members.into_iter().flatten().flatten().collect();
    let key = &trial.stage.scenario.ranking.as_ref().unwrap().key;
    eventually("they are in the ranking", seconds(20), async || {
        let ranked: BTreeSet<String> = trial.redis.run(&["ZRANGE", key, "0", "-1"]).await;
        match members.difference(&ranked).count() {
            0 => Ok(()),
            missing => Err(format!("{missing} are not")),
        }
    })
    .await;
    members
}

/// Reads the ranking as its users do, again and again: it is whole or not there. Counts both.
async fn read_again_and_again(url: String, key: String, constant: BTreeSet<String>, stop: Arc<AtomicBool>) -> (u64, u64) {
    let mut connection = connect(&url).await;
    let (mut whole, mut none) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let ranking: BTreeMap<String, f64> =
            ::redis::cmd("ZRANGE").arg(&key).arg(0).arg(-1).arg("WITHSCORES").query_async(&mut connection).await.unwrap();
        let missing = constant.iter().filter(|member| ranking.get(*member).is_none_or(|score| *score < 1.0)).count();
        match (ranking.len(), missing) {
            (0, _) => none += 1,
            (_, 0) => whole += 1,
            (members, missing) => panic!("a reader saw {members} members, and {missing} of {} are missing", constant.len()),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    (whole, none)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn readers_never_see_a_part_of_a_ranking() {
    for seed in seeds() {
        let scenario = spare(scenario::engagement(&format!("readers{seed}")), CONSTANT);
        let mut trial = Trial::begin("FLUSHALL, readers", seed, scenario, 2).await;
        let constant = constant_members(&trial).await;
        let (stop, key) = (Arc::new(AtomicBool::new(false)), trial.stage.scenario.ranking.as_ref().unwrap().key.clone());
        let reading = || tokio::spawn(read_again_and_again(trial.redis.url(), key.clone(), constant.clone(), Arc::clone(&stop)));
        let readers = [reading(), reading(), reading()];
        for round in 0..4 {
            trial.pause(800, 2_500).await;
            trial.redis.run::<Value>(&["FLUSHALL"]).await;
            if round == 2 {
                trial.pause(0, 300).await;
                trial.kill_engine(0);
            }
        }
        caught_up(&trial.stage).await;
        trial.pause(500, 1_000).await;
        stop.store(true, Ordering::Relaxed);
        for reader in readers {
            let (whole, none) = reader.await.unwrap();
            trial.note(&format!("a reader saw {whole} whole rankings, and none {none} times"));
            assert!(whole > 20 && none > 0);
        }
        trial.finish().await;
    }
}

/// A replica that stopped following is promoted in its master's place: the last writes are lost. Before that it refuses writes for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn a_stale_replica_is_promoted() {
    for seed in seeds() {
        let mut trial = Trial::begin("stale replica promoted", seed, scenario::engagement(&format!("promoted{seed}")), 2).await;
        let replica = RedisServer::start(trial.stage.directory(), "replica").await;
        let master = trial.redis.port().to_string();
        replica.run::<Value>(&["REPLICAOF", "127.0.0.1", &master]).await;
        eventually("the replica has everything", seconds(20), async || {
            let told: String = replica.run(&["INFO", "replication"]).await;
            if told.contains("master_link_status:up") { Ok(()) } else { Err(told) }
        })
        .await;
        // GIVEN a replica that follows nobody any more, and a master that goes on
        replica.run::<Value>(&["REPLICAOF", "127.0.0.1", "1"]).await;
        trial.pause(500, 4_000).await;
        // WHEN it takes the master's place
        trial.redis.kill();
        trial.network.redis.lead_to(loopback(replica.port()));
        trial.pause(1_000, 3_000).await;
        replica.run::<Value>(&["REPLICAOF", "NO", "ONE"]).await;
        trial.stage.stack.redis = replica.url();
        trial.redis = replica;
        trial.heal();
        trial.finish().await;
    }
}

/// Nothing more fits on Redis' disk: it refuses writes. Once room comes back by itself, once Redis dies before.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn the_disk_of_redis_is_full() {
    for seed in seeds() {
        let Some(disk) = SmallDisk::mount(&format!("redis-disk{seed}"), 16) else { continue };
        let mut trial = Trial::begin("redis' disk full", seed, scenario::engagement(&format!("disk{seed}")), 2).await;
        trial.redis.stop().await;
        disk.copy(&trial.redis.directory().join("appendonlydir"));
        trial.redis = RedisServer::start_on(trial.stage.directory(), disk.path()).await;
        trial.stage.stack.redis = trial.redis.url();
        trial.network.redis.lead_to(loopback(trial.redis.port()));
        for dies in [false, true] {
            caught_up(&trial.stage).await;
            disk.fill();
            eventually("redis cannot write its file", seconds(30), async || {
                let told: String = trial.redis.run(&["INFO", "persistence"]).await;
                if told.contains("aof_last_write_status:err") { Ok(()) } else { Err(told) }
            })
            .await;
            trial.pause(2_000, 5_000).await;
            if dies {
                trial.redis.kill();
            }
            disk.free();
            if dies {
                trial.redis.restart().await;
            }
        }
        trial.finish().await;
    }
}
