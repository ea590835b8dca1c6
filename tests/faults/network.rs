//! The network between the engines and each of their neighbours: far, cut, reset, silent, slow.

use std::time::{Duration, Instant};

use rand::seq::SliceRandom;

use super::neighbours::Neighbours;
use super::proxy::{Conditions, Proxy};
use super::{Trial, caught_up, delivered, seeds};
use crate::support::{scenario, seconds};

/// How long it may take, after a trouble, until everything that was written before its end has arrived. The longest that an engine waits for an
/// answer is 16 s (Postgres), and the next thing it asks may wait as long.
const RECOVERY_MAX: Duration = seconds(45);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    /// Far away, and never equally far.
    Far,
    /// Closed, and refused for seconds.
    Cut,
    /// Reset again and again.
    Resets,
    /// Requests arrive, replies are lost with their connection.
    RepliesLost,
    /// Nothing passes for longer than any timeout; then everything that was held arrives, late.
    Stalled,
    /// The connections there are never answer again, and nobody says so.
    Forsaken,
    /// A few kilobytes a second.
    Slow,
}

/// What both ends hear of, or can wait for.
const BAD: &[Trouble] = &[Trouble::Far, Trouble::Cut, Trouble::Resets, Trouble::RepliesLost, Trouble::Slow];
/// What only a timeout can find out.
const SILENT: &[Trouble] = &[Trouble::Stalled, Trouble::Forsaken];

/// One trouble with a neighbour after the other, in an order of the seed. Each must be over soon after its end.
async fn troubles(trial: &mut Trial, proxy: fn(&Neighbours) -> &Proxy, troubles: &[Trouble]) {
    let mut order = troubles.to_vec();
    order.shuffle(&mut trial.random);
    for trouble in order {
        new_lookup_rows(trial).await;
        make(trial, proxy, trouble).await;
        proxy(&trial.network).pass();
        let (read, delivered) = tokio::join!(caught_up(&trial.stage), delivered(&trial.stage));
        trial.note(&format!("{trouble:?}: read after {:.1} s, delivered after {:.1} s", read.as_secs_f64(), delivered.as_secs_f64()));
        assert!(read.max(delivered) < RECOVERY_MAX, "{trouble:?}: not over within {RECOVERY_MAX:?}");
    }
}

async fn make(trial: &mut Trial, proxy: fn(&Neighbours) -> &Proxy, trouble: Trouble) {
    let normal = Conditions::default();
    match trouble {
        Trouble::Far => {
            let (latency, jitter) = (Duration::from_millis(trial.between(20, 150)), Duration::from_millis(trial.between(20, 200)));
            proxy(&trial.network).set(Conditions { latency, jitter, ..normal });
            trial.pause(3_000, 5_000).await;
        }
        Trouble::Cut => {
            proxy(&trial.network).cut();
            trial.pause(2_000, 6_000).await;
        }
        Trouble::Resets => {
            for _ in 0..10 {
                proxy(&trial.network).reset();
                trial.pause(0, 500).await;
            }
        }
        Trouble::RepliesLost => {
            for _ in 0..3 {
                proxy(&trial.network).set(Conditions { replies_lost: true, ..normal });
                trial.pause(100, 700).await;
                proxy(&trial.network).pass();
                trial.pause(100, 700).await;
            }
        }
        Trouble::Stalled => {
            proxy(&trial.network).set(Conditions { stalled: true, ..normal });
            trial.pause(16_000, 20_000).await;
        }
        Trouble::Forsaken => {
            // Far, so that something is under way.
            proxy(&trial.network).set(Conditions { latency: Duration::from_millis(150), ..normal });
            for _ in 0..3 {
                new_lookup_rows(trial).await;
                trial.pause(200, 600).await;
                proxy(&trial.network).forsake();
            }
        }
        Trouble::Slow => {
            let bytes_per_second = Some(u32::try_from(trial.between(4_000, 20_000)).unwrap());
            proxy(&trial.network).set(Conditions { bytes_per_second, ..normal });
            trial.pause(4_000, 6_000).await;
        }
    }
}

/// Rows that no engine has loaded yet; the writers' next rows join them.
async fn new_lookup_rows(trial: &Trial) {
    let insert = format!(
        "INSERT INTO {} (slug, title, content_type, length_seconds, publish_ts)
         SELECT gen_random_uuid(), 'new', 'video', 1 + floor(random() * 100), now() FROM generate_series(1, 20)",
        trial.stage.scenario.lookups[0]
    );
    trial.stage.database.run(&insert).await;
}

macro_rules! network {
    ($($name:ident: $neighbour:ident, $troubles:ident, $title:literal;)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
        #[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
        async fn $name() {
            for seed in seeds() {
                let tables = format!("{}_{}{seed}", stringify!($neighbour), stringify!($troubles).to_lowercase());
                let mut trial = Trial::begin($title, seed, scenario::engagement(&tables), 2).await;
                troubles(&mut trial, |network| &network.$neighbour, $troubles).await;
                trial.finish().await;
            }
        }
    )+};
}

network! {
    the_network_to_redis_is_bad: redis, BAD, "redis, bad network";
    the_network_to_redis_is_silent: redis, SILENT, "redis, silent network";
    the_network_to_kafka_is_bad: kafka, BAD, "kafka, bad network";
    the_network_to_kafka_is_silent: kafka, SILENT, "kafka, silent network";
    the_network_to_postgres_is_bad: postgres, BAD, "postgres, bad network";
    the_network_to_postgres_is_silent: postgres, SILENT, "postgres, silent network";
    the_network_to_the_receiver_is_bad: receiver, BAD, "receiver, bad network";
    the_network_to_the_receiver_is_silent: receiver, SILENT, "receiver, silent network";
}

/// The database is away for a minute, for lookups alone: rows that are cached are used, and nothing waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn lookups_are_away_and_their_rows_are_cached() {
    for seed in seeds() {
        let mut trial = Trial::begin("lookups away, cached", seed, scenario::engagement(&format!("cached{seed}")), 1).await;
        // Every row of the lookup table is in an event, and so in the cache.
        let all = format!(
            "INSERT INTO {} (content_id, event_type, duration_ms) SELECT id, 'play', 5 FROM {}",
            trial.stage.scenario.source, trial.stage.scenario.lookups[0]
        );
        trial.stage.database.run(&all).await;
        tokio::join!(caught_up(&trial.stage), delivered(&trial.stage));
        trial.network.postgres.cut();
        let until = Instant::now() + seconds(60);
        while Instant::now() < until {
            trial.pause(4_000, 8_000).await;
            let (read, delivered) = tokio::join!(caught_up(&trial.stage), delivered(&trial.stage));
            assert!(read.max(delivered) < seconds(10), "read after {read:?}, delivered after {delivered:?}");
        }
        trial.network.postgres.pass();
        trial.finish().await;
    }
}

/// The same while rows come that no engine has loaded: the lanes wait, and drop or invent nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn lookups_are_away_and_their_rows_are_not_cached() {
    for seed in seeds() {
        let mut trial = Trial::begin("lookups away", seed, scenario::engagement(&format!("uncached{seed}")), 2).await;
        trial.network.postgres.cut();
        new_lookup_rows(&trial).await;
        tokio::time::sleep(seconds(60)).await;
        assert_eq!(trial.stage.engines[0].metric("highwater_dead_letters_total", &[]).await, 0.0);
        trial.network.postgres.pass();
        trial.heal();
        trial.finish().await;
    }
}
