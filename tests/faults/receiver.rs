//! The receiver dies, answers errors, is slow; a poison event ends alone in the dead letters; a dead endpoint delays nobody else.

use std::time::Duration;

use tokio::time::Instant;

use super::front::{Answer, Front};
use super::neighbours::loopback;
use super::proxy::{Conditions, Proxy};
use super::small_disk::SmallDisk;
use super::{Trial, caught_up, seeds, spare};
use crate::support::receiver::Receiver;
use crate::support::stage::SECRET;
use crate::support::{eventually, scenario, seconds};

/// A server for other answers, between the proxy and the receiver.
async fn front(trial: &Trial) -> Front {
    let front = Front::start(&trial.stage.receiver.url()).await;
    trial.network.receiver.lead_to(front.address());
    front
}

/// Waits until that was answered as often, under load.
async fn answered(front: &Front, status: u16, times: usize) {
    eventually(&format!("{times} times {status}"), seconds(60), async || match front.count(status) {
        count if count >= times => Ok(()),
        count => Err(format!("{count} times")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn the_receiver_is_killed_and_away() {
    for seed in seeds() {
        let mut trial = Trial::begin("receiver killed", seed, scenario::engagement(&format!("receiver{seed}")), 2).await;
        for _ in 0..6 {
            trial.pause(100, 1_200).await;
            trial.stage.receiver.kill();
            trial.stage.receiver.restart().await;
        }
        trial.stage.receiver.kill();
        tokio::time::sleep(seconds(60)).await;
        trial.stage.receiver.restart().await;
        trial.finish().await;
    }
}

/// The request has arrived whole and is stored, and the engine never hears of it: it sends the same ids again.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn the_receiver_dies_between_its_commit_and_its_reply() {
    for seed in seeds() {
        let mut trial = Trial::begin("receiver's reply lost", seed, scenario::engagement(&format!("reply{seed}")), 2).await;
        let lost = Conditions { replies_lost: true, ..Conditions::default() };
        for round in 0..6 {
            trial.network.receiver.set(lost);
            let before = trial.stage.receiver.stats().await["duplicates"].as_u64().unwrap();
            // The first one that was stored comes again.
            eventually("a request is sent again", seconds(30), async || {
                match trial.stage.receiver.stats().await["duplicates"].as_u64().unwrap() {
                    duplicates if duplicates > before => Ok(()),
                    _ => Err("none is".to_owned()),
                }
            })
            .await;
            if round % 2 == 0 {
                trial.stage.receiver.kill();
                trial.network.receiver.pass();
                trial.stage.receiver.restart().await;
            }
            trial.network.receiver.pass();
            trial.pause(200, 1_000).await;
        }
        trial.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn the_receiver_answers_500_for_a_while() {
    for seed in seeds() {
        let mut trial = Trial::begin("receiver answers 500", seed, scenario::engagement(&format!("fails{seed}")), 2).await;
        let front = front(&trial).await;
        for status in [500, 503, 404, 301] {
            front.set(Answer::Status(status));
            answered(&front, status, 3).await;
            front.set(Answer::Receivers);
            trial.pause(500, 2_000).await;
        }
        front.set(Answer::Status(500));
        trial.pause(8_000, 12_000).await;
        front.set(Answer::Receivers);
        trial.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn retry_after_is_waited_for() {
    const WAIT_SECONDS: u64 = 4;
    for seed in seeds() {
        // One engine: each waits by itself.
        let mut trial = Trial::begin("receiver answers 429", seed, scenario::engagement(&format!("later{seed}")), 1).await;
        let front = front(&trial).await;
        for _ in 0..3 {
            let so_far = front.count(429);
            front.set(Answer::Later(WAIT_SECONDS));
            answered(&front, 429, so_far + 1).await;
            front.set(Answer::Receivers);
            trial.pause(5_000, 6_000).await;
        }
        // A request that was under way when the answer came does not count.
        let answered = front.answered();
        let under_way = Duration::from_millis(500);
        for (refused, _) in answered.iter().filter(|(_, status)| *status == 429) {
            let early = answered.iter().find(|(at, _)| *at > *refused + under_way && *at < *refused + seconds(WAIT_SECONDS));
            assert!(early.is_none(), "a request came {:?} after 429", early.unwrap().0 - *refused);
        }
        trial.finish().await;
    }
}

/// An answer whose body takes a second is an answer; one that takes longer than the engine waits is none, and is asked for again.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn the_receivers_answers_are_slow() {
    for seed in seeds() {
        let mut trial = Trial::begin("receiver's answers slow", seed, scenario::engagement(&format!("slowly{seed}")), 2).await;
        let front = front(&trial).await;
        front.set(Answer::Slowly(Duration::from_millis(trial.between(500, 1_500))));
        trial.pause(4_000, 6_000).await;
        front.set(Answer::Slowly(seconds(30)));
        trial.pause(11_000, 14_000).await;
        front.set(Answer::Receivers);
        trial.finish().await;
    }
}

/// 410 stops the webhook and says what to do; the ranking goes on, and a restart goes on where it stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn the_endpoint_is_gone() {
    for seed in seeds() {
        let mut trial = Trial::begin("receiver answers 410", seed, scenario::engagement(&format!("gone{seed}")), 1).await;
        let front = front(&trial).await;
        front.set(Answer::Status(410));
        answered(&front, 410, 1).await;
        eventually("the lane stops", seconds(10), async || {
            let said: Vec<_> =
                trial.stage.engines[0].log().lines().filter(|line| line.contains("the lane stops")).map(str::to_owned).collect();
            if said.iter().any(|line| line.contains("410") && line.contains("new url")) { Ok(()) } else { Err(said.join("\n")) }
        })
        .await;
        // No request follows, and the ranking does not mind.
        let (gone, stored) = (front.count(410), trial.stage.receiver.stored().await);
        trial.pause(3_000, 6_000).await;
        assert_eq!((front.count(410), trial.stage.receiver.stored().await), (gone, stored));
        let read = caught_up(&trial.stage).await;
        assert!(read < seconds(10), "the ranking waits for the webhook: {read:?}");
        front.set(Answer::Receivers);
        trial.kill_engine(0);
        trial.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn a_poison_event_ends_alone_in_the_dead_letters() {
    const POISON: &str = "poison-for-the-receiver";
    const EVENTS: usize = 3;
    for seed in seeds() {
        let scenario = spare(scenario::engagement(&format!("poison{seed}")), POISON);
        let mut trial = Trial::begin("poison event", seed, scenario, 2).await;
        let front = front(&trial).await;
        front.set(Answer::Refuse(POISON.to_owned()));
        let (source, database) = (trial.stage.scenario.source.clone(), trial.stage.database.clone());
        for n in 0..EVENTS {
            trial.pause(300, 2_000).await;
            let insert = format!("INSERT INTO {source} (event_type, duration_ms, device) VALUES ('play', {n}, '{POISON}')");
            database.run(&insert).await;
        }
        let letters = trial.stage.dead_letters("webhook", EVENTS).await;
        for letter in letters.values() {
            let reason = &letter.headers["highwater-error-message"];
            assert_eq!(letter.headers["highwater-error-class"], "rejected", "{:?}", letter.headers);
            assert!(reason.contains("422") && reason.contains("not this one"), "{reason}");
            assert!(String::from_utf8_lossy(letter.value.as_ref().unwrap()).contains(POISON));
        }
        // Everything but these is owed.
        database.run(&format!("DELETE FROM ledger_{source} WHERE (later).device = '{POISON}'")).await;
        trial.quiesce().await;
        trial.stage.assert_exact().await;
        assert_eq!(trial.stage.dead_letters("webhook", EVENTS).await.len(), EVENTS, "another event was refused with a poison one");
        trial.finish().await;
    }
}

/// How long after a commit its row is in the ranking, milliseconds, in order.
async fn ranking_latency(trial: &Trial, probes: u32) -> Vec<f64> {
    let (scenario, database) = (&trial.stage.scenario, &trial.stage.database);
    let key = &scenario.ranking.as_ref().unwrap().key;
    let mut redis = trial.redis.connection().await;
    let mut waits = Vec::new();
    for _ in 0..probes {
        // A member that nobody else has.
        let content = format!(
            "INSERT INTO {} (slug, title, content_type, publish_ts) VALUES (gen_random_uuid(), 'probe', 'video', now()) RETURNING id::text",
            scenario.lookups[0]
        );
        let member = database.value(&content).await;
        let event = format!("INSERT INTO {} (content_id, event_type, duration_ms) VALUES ('{member}', 'play', 1000)", scenario.source);
        database.run(&event).await;
        let committed = Instant::now();
        let deadline = committed + seconds(20);
        loop {
            let score: Option<f64> = ::redis::cmd("ZSCORE").arg(key).arg(&member).query_async(&mut redis).await.unwrap();
            if score.is_some() {
                break;
            }
            assert!(Instant::now() < deadline, "a row is not in the ranking");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        waits.push(committed.elapsed().as_secs_f64() * 1000.0);
    }
    waits.sort_unstable_by(f64::total_cmp);
    waits
}

fn percentile(sorted: &[f64], part: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * part).round() as usize]
}

/// A pipeline with two webhooks: while one of them is dead, the ranking is as fast as before.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn a_dead_webhook_does_not_delay_the_ranking() {
    const PROBES: u32 = 200;
    /// More than any scheduling of a busy machine, and much less than any of the webhook's waits (10 s, 60 s).
    const SLOWER_MAX_MS: f64 = 1_000.0;
    for seed in seeds() {
        let mut trial = Trial::begin("one webhook dead", seed, scenario::engagement(&format!("dead{seed}")), 1).await;
        // GIVEN a second webhook
        let second = Front::start(&trial.stage.receiver.url()).await;
        second.set(Answer::Status(200));
        let way = Proxy::start(second.address());
        let sink = format!(
            "[[sink]]\ntype = \"webhook\"\nname = \"second\"\nurl = \"http://{}/webhook\"\nsecret = \"{}\"\n",
            way.address(),
            SECRET
        );
        let pipeline = std::fs::read_to_string(&trial.stage.pipeline).unwrap();
        std::fs::write(&trial.stage.pipeline, pipeline + &sink).unwrap();
        trial.kill_engine(0);
        trial.stage.wait_ready().await;
        answered(&second, 200, 3).await;
        caught_up(&trial.stage).await;
        let before = ranking_latency(&trial, PROBES).await;
        // WHEN it takes connections and never answers, and then refuses them
        way.set(Conditions { stalled: true, ..Conditions::default() });
        let mut during = ranking_latency(&trial, PROBES / 2).await;
        way.cut();
        during.extend(ranking_latency(&trial, PROBES / 2).await);
        during.sort_unstable_by(f64::total_cmp);
        let figures = |part| (percentile(&before, part), percentile(&during, part));
        let ((p50, p50_during), (p99, p99_during)) = (figures(0.5), figures(0.99));
        trial.note(&format!(
            "commit to ranking, ms: p50 {p50:.1} before, {p50_during:.1} during ({:.2}); p99 {p99:.1} before, {p99_during:.1} during ({:.2})",
            p50_during / p50,
            p99_during / p99
        ));
        // THEN the ranking is as it was
        assert!(p99_during < p99 + SLOWER_MAX_MS && p50_during < p50 + SLOWER_MAX_MS / 4.0, "{before:?}\n{during:?}");
        way.pass();
        trial.finish().await;
        drop(second);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn the_receivers_disk_is_full() {
    for seed in seeds() {
        let Some(disk) = SmallDisk::mount(&format!("receiver-disk{seed}"), 16) else { continue };
        let mut trial = Trial::begin("receiver's disk full", seed, scenario::engagement(&format!("hookdisk{seed}")), 2).await;
        // GIVEN the receiver, on a disk of its own
        trial.stage.receiver.kill();
        disk.copy(&trial.stage.directory().join("events.sqlite"));
        disk.copy(&trial.stage.directory().join("events.sqlite-wal"));
        let database = disk.path().join("events.sqlite");
        trial.stage.receiver = Receiver::start_on(trial.stage.directory(), &database, SECRET).await;
        trial.network.receiver.lead_to(loopback(trial.stage.receiver.port()));
        trial.pause(1_000, 2_000).await;
        // WHEN nothing more fits on it
        disk.fill();
        let full = trial.stage.receiver.stored().await;
        trial.pause(5_000, 8_000).await;
        // THEN what it has said to have stored survives its death, and the rest comes when there is room
        let stored = trial.stage.receiver.stored().await;
        trial.note(&format!("{} events stored on a full disk", stored - full));
        trial.stage.receiver.kill();
        disk.free();
        trial.stage.receiver.restart().await;
        assert!(trial.stage.receiver.stored().await >= stored, "an event that was stored is not there");
        trial.finish().await;
    }
}
