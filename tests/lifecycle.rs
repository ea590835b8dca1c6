//! What happens to a pipeline over its life: ends and starts under load, a truncated table, a connector made anew, an engine that was
//! thought dead.

use std::process::Command;

use highwater::check::origin::{Kept, Origin};

use crate::support::database::Load;
use crate::support::stack::{Stack, program};
use crate::support::stage::Stage;
use crate::support::{kafka, scenario, seconds};

const LOAD: Load = Load { writers: 6, changes: 600, per_second: 200, seed: 31 };

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn sigterm_under_load_drains_and_nothing_is_sent_twice() {
    let mut stage = Stage::set(scenario::engagement("sigterm")).await;
    stage.start_engines(1).await;
    let (mut writers, written) = stage.write(LOAD);
    for end in 1..=3 {
        stage.reached(&written, LOAD.changes * end / 4).await;
        let (status, took) = stage.engines[0].terminate(seconds(15)).await;
        assert_eq!(status.code(), Some(0), "after {took:?}:\n{}", stage.engines[0].log());
        stage.engines[0].restart();
        stage.wait_ready().await;
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    stage.assert_exact().await;
    let stats = stage.receiver.stats().await;
    assert_eq!(stats["duplicates"].as_u64(), Some(0), "an engine that ended in good order had something sent again: {stats}");
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn a_truncate_empties_the_ranking_and_is_one_event() {
    let mut stage = Stage::set(scenario::engagement("truncate")).await;
    stage.start_engines(2).await;
    stage.write_all(LOAD).await;
    stage.assert_exact().await;

    let before = stage.receiver.stored().await;
    stage.database.run(&format!("TRUNCATE {}", stage.scenario.source)).await;
    stage.receiver.wait_stored(before + 1, seconds(30)).await;
    let export = stage.receiver.export().await;
    assert!(export.lines().last().unwrap().contains("highwater.row.truncate"), "{}", export.lines().last().unwrap());
    stage.assert_ranking().await;

    stage.begin_anew().await;
    stage.write_all(Load { seed: 32, ..LOAD }).await;
    stage.assert_exact().await;
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn a_connector_made_anew_brings_a_snapshot_and_the_ranking_follows_it() {
    let mut stage = Stage::set(scenario::engagement("anew")).await;
    stage.start_engines(2).await;
    stage.write_all(LOAD).await;
    stage.assert_exact().await;

    // GIVEN changes that no record tells about
    stage.connector.delete_wholly(&stage.database).await;
    stage.write_all(Load { changes: 300, seed: 33, ..LOAD }).await;
    // WHEN the connector is made again
    let topic = stage.scenario.topic();
    let before: i64 = kafka::ends(&stage.stack.kafka, &topic).values().sum();
    let rows: i64 = stage.database.value(&format!("SELECT count(*) FROM {}", stage.scenario.source)).await.parse().unwrap();
    stage.connector.create().await;
    kafka::wait_records(&stage.stack.kafka, &topic, before + rows).await;
    // THEN the ranking is the table again, and what follows is exact
    stage.assert_ranking().await;
    stage.begin_anew().await;
    stage.write_all(Load { seed: 34, ..LOAD }).await;
    stage.assert_exact().await;
    stage.assert_expiry(LOAD).await;
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn an_engine_that_was_thought_dead_changes_nothing() {
    let mut stage = Stage::set(scenario::engagement("zombie")).await;
    stage.start_engines(2).await;
    let (mut writers, written) = stage.write(Load { changes: 3_000, ..LOAD });
    stage.reached(&written, 300).await;
    signal(stage.engines[0].pid(), "-STOP");
    // Longer than the group waits for it: 150 changes a second take 13 seconds.
    stage.reached(&written, 2_900).await;
    signal(stage.engines[0].pid(), "-CONT");
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    stage.wait_ready().await;
    stage.assert_exact().await;
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn what_was_not_acknowledged_is_sent_after_a_kill() {
    let mut stage = Stage::set(scenario::engagement("unanswered")).await;
    stage.start_engines(1).await;
    stage.write_all(LOAD).await;
    stage.assert_exact().await;
    // GIVEN a receiver that takes requests and answers none, and an engine that has read what comes
    signal(stage.receiver.pid(), "-STOP");
    stage.write_all(Load { seed: 35, ..LOAD }).await;
    stage.assert_ranking().await;
    // WHEN the engine is killed, and both go on
    stage.engines[0].kill();
    signal(stage.receiver.pid(), "-CONT");
    stage.engines[0].restart();
    // THEN nothing is missing
    stage.wait_ready().await;
    stage.assert_exact().await;
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn what_one_engine_noticed_of_a_database_no_other_overwrites() {
    let (stack, topic) = (Stack::running(), format!("noticed-{}.public.t", std::process::id()));
    kafka::create_topic(&stack.kafka, &topic).await;
    let open = || async { Kept::open(&stack.kafka, "noticed", &topic).await.unwrap() };
    let (mut one, mut other) = (open().await, open().await);
    let fine = Origin { cluster: Some(7), went_back: None };
    assert_eq!(one.keep(&fine).await.unwrap(), fine);
    assert_eq!(other.keep(&fine).await.unwrap(), fine);
    // WHEN one has found that the database went back, and the other, which has not, keeps what it knows
    let found = Origin { went_back: Some("the WAL ends at 0/1".to_owned()), ..fine.clone() };
    assert_eq!(one.keep(&found).await.unwrap(), found);
    // THEN the other learns it, and so do later ones; not those of a topic made anew
    assert_eq!(other.keep(&fine).await.unwrap(), found);
    assert_eq!(open().await.read().await.unwrap(), found);
    kafka::delete_topic(&stack.kafka, &topic).await;
    kafka::create_topic(&stack.kafka, &topic).await;
    assert_eq!(open().await.read().await.unwrap(), Origin::default());
}

/// `highwater verify`: its exit code and what it says.
fn verify(stage: &Stage) -> (Option<i32>, String) {
    let command = || Command::new(program("highwater")).arg("verify").arg(&stage.pipeline).output().unwrap();
    let output = tokio::task::block_in_place(command);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn verify_says_equal_under_load_and_finds_one_wrong_unit() {
    let mut stage = Stage::set(scenario::engagement("verify")).await;
    assert_eq!(verify(&stage).0, Some(2), "there is no ranking yet");
    stage.start_engines(2).await;
    let (mut writers, written) = stage.write(LOAD);
    stage.reached(&written, LOAD.changes / 2).await;
    // WHEN rows go on
    let (code, said) = verify(&stage);
    assert!(code == Some(0) && said.contains("equal"), "{said}");
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    stage.write_all(Load { changes: 100, seed: 36, ..LOAD }).await;
    stage.assert_ranking().await;

    // WHEN one bucket of one member is one unit too much
    let mut redis = redis::Client::open(stage.stack.redis.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let key = &stage.scenario.ranking.as_ref().unwrap().key;
    let letter: String = redis::cmd("HGET").arg(format!("{{{key}}}:state")).arg("served").query_async(&mut redis).await.unwrap();
    let buckets = format!("{{{key}}}:{letter}:buckets");
    let all: std::collections::BTreeMap<String, String> = redis::cmd("HGETALL").arg(&buckets).query_async(&mut redis).await.unwrap();
    // Not of the oldest ones, which expire while this goes on, nor of those ahead.
    let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let bucket = |field: &str| field.split(':').next().unwrap().parse::<i64>().unwrap();
    let (field, sum) = all.iter().rev().find(|(field, _)| bucket(field) < now_ms - 2_000).unwrap();
    let (amount, rows) = sum.split_once(' ').unwrap();
    let wrong = format!("{} {rows}", amount.parse::<i64>().unwrap() + 1);
    let _: i64 = redis::cmd("HSET").arg(&buckets).arg(field).arg(wrong).query_async(&mut redis).await.unwrap();
    // THEN it names that member and no other
    let (code, said) = verify(&stage);
    let member = field.split_once(':').unwrap().1;
    assert!(code == Some(1) && said.contains(": 1 of ") && said.contains(member) && said.contains(" +0.001 "), "{member}: {said}");
    // AND what readers see is compared too
    let right = format!("{amount} {rows}");
    let _: i64 = redis::cmd("HSET").arg(&buckets).arg(field).arg(right).query_async(&mut redis).await.unwrap();
    let _: i64 = redis::cmd("ZADD").arg(key).arg(5).arg("nobody").query_async(&mut redis).await.unwrap();
    let (code, said) = verify(&stage);
    assert!(code == Some(1) && said.contains("nobody: readers get 5.000, its rows come to nothing"), "{said}");
    let _: i64 = redis::cmd("ZREM").arg(key).arg("nobody").query_async(&mut redis).await.unwrap();
    let (code, said) = verify(&stage);
    assert!(code == Some(0) && said.contains("equal"), "{said}");
    stage.strike().await;
}
