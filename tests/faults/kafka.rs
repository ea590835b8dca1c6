//! The broker dies, stands still, forgets; topics vanish, come back, grow.

use std::collections::BTreeMap;

use super::{Trial, replay, seeds};
use crate::support::{eventually, kafka, scenario, seconds};

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn the_broker_is_killed_and_restarted() {
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

/// Every session times out, and nobody closes a connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn the_broker_stands_still_for_a_minute() {
    for seed in seeds() {
        let trial = Trial::begin("broker paused", seed, scenario::engagement(&format!("still{seed}")), 2).await;
        trial.stage.stack.signal("kafka", "-STOP");
        tokio::time::sleep(seconds(60)).await;
        trial.stage.stack.signal("kafka", "-CONT");
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

/// The outage of an engine is longer than the topic's retention: both lanes stop, say what is lost and what to do, and after that are exact about
/// everything that was not removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn retention_passes_the_stored_offset() {
    for seed in seeds() {
        let mut trial = Trial::begin("retention", seed, scenario::engagement(&format!("retention{seed}")), 1).await;
        // GIVEN changes that were not delivered before they were removed
        trial.remember_peak(0);
        trial.stage.engines[0].kill();
        trial.pause(1_000, 3_000).await;
        trial.quiesce().await;
        trial.stage.wait_sent().await;
        trial.stage.begin_anew().await;
        let (topic, ends) = (trial.stage.scenario.topic(), trial.stage.compared_records.clone());
        kafka::delete_records(&trial.stage.stack.kafka, &topic, &ends).await;
        trial.write_on();
        // THEN the engine ends by itself, however often it is started
        for _ in 0..2 {
            trial.stage.engines[0].restart();
            let status = trial.stage.engines[0].ended(seconds(60)).await;
            assert_eq!(status.code(), Some(1), "{status}: {}", trial.stage.engines[0].log());
        }
        let log = trial.stage.engines[0].log();
        for said in ["is to be read from offset", "highwater replay", "before they were delivered", "--reset-offsets --to-earliest"] {
            assert!(log.contains(said), "{said:?} is not in {log}");
        }
        // AND with the remedy, once no row of the window was changed by what was removed, it is exact
        trial.wait_past_the_window().await;
        replay(&trial);
        set_start(&trial);
        trial.stage.engines[0].restart();
        trial.stage.wait_ready().await;
        trial.finish().await;
    }
}

/// The topic is deleted and created again, once while the engine is away and until it is longer than the old one was, and once under a running engine.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn a_topic_is_made_anew() {
    for seed in seeds() {
        let mut trial = Trial::begin("topic anew", seed, scenario::engagement(&format!("topic{seed}")), 1).await;
        for engine_runs in [false, true] {
            trial.quiesce().await;
            trial.stage.assert_exact().await;
            trial.stage.connector.stop().await;
            if !engine_runs {
                trial.remember_peak(0);
                trial.stage.terminate(seconds(20)).await;
            }
            trial.stage.begin_anew().await;
            let (servers, topic) = (trial.stage.stack.kafka.clone(), trial.stage.scenario.topic());
            let old = std::mem::take(&mut trial.stage.compared_records);
            kafka::delete_topic(&servers, &topic).await;
            kafka::create_topic(&servers, &topic).await;
            trial.stage.connector.resume().await;
            trial.write_on();
            if engine_runs {
                // THEN neither lane goes on as if nothing had happened
                eventually("the ranking's lane stops", seconds(60), async || {
                    let log = trial.stage.engines[0].log();
                    // Who asks for the topic's id first, or who reads behind its end.
                    let said = ["than this engine began with: the topic was created anew", "or the topic was created again"];
                    if said.iter().any(|said| log.contains(said)) { Ok(()) } else { Err(log) }
                })
                .await;
                trial.remember_peak(0);
                trial.stage.engines[0].kill();
            } else {
                eventually("the new topic is longer than the old one", seconds(120), async || {
                    let ends: BTreeMap<i32, i64> = kafka::ends(&servers, &topic);
                    if ends.iter().all(|(partition, end)| *end > old[partition] + 20) {
                        Ok(())
                    } else {
                        Err(format!("{ends:?} of {old:?}"))
                    }
                })
                .await;
            }
            // AND everything of the new topic is delivered; to one that was away by itself, the broker forgot its offsets with the old topic
            trial.wait_past_the_window().await;
            if engine_runs {
                set_start(&trial);
            }
            trial.stage.engines[0].restart();
            trial.stage.wait_ready().await;
        }
        trial.finish().await;
    }
}

/// Partitions are added as the README says: with the connector stopped in good order, and everything before them read.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn partitions_are_added() {
    for seed in seeds() {
        let trial = Trial::begin("partitions added", seed, scenario::engagement(&format!("partitions{seed}")), 2).await;
        let (servers, topic) = (trial.stage.stack.kafka.clone(), trial.stage.scenario.topic());
        for count in [6, 7] {
            trial.stage.connector.stop().await;
            trial.stage.wait_read().await;
            kafka::add_partitions(&servers, &topic, count).await;
            trial.stage.connector.resume().await;
            // Under the load that waited, and for as long as the engines need to see them.
            eventually("records are on the new partition", seconds(30), async || {
                let end = kafka::ends(&servers, &topic).get(&(i32::try_from(count).unwrap() - 1)).copied().unwrap_or(0);
                if end > 20 { Ok(()) } else { Err(format!("{end} records")) }
            })
            .await;
        }
        trial.finish().await;
    }
}

/// What the log says to a webhook that cannot go on: it begins where the topic begins.
fn set_start(trial: &Trial) {
    let (group, topic) = (format!("highwater.{}.webhook", trial.stage.scenario.name), trial.stage.scenario.topic());
    trial.stage.stack.groups(&["--group", &group, "--topic", &topic, "--reset-offsets", "--to-earliest", "--execute"]);
}
