//! All faults, one after the other at random, for as long as asked (`--minutes M`, 3 without it).
//!
//! Each minute the writers rest and everything is compared; then they go on. One engine is never killed: how its memory grows is reported.

use std::time::{Duration, Instant};

use rand::seq::IndexedRandom;

use super::{Trial, replay, seeds, signal};
use crate::support::{scenario, seconds};

/// How often everything is compared.
const COMPARE_EVERY: Duration = Duration::from_secs(60);
/// Lines of one text at warn and error that a fault may add to an engine's log.
const LINES_OF_A_FAULT: usize = 4;

/// One fault, with its recovery.
#[derive(Clone, Copy, Debug)]
enum Fault {
    EngineKilled,
    EngineEnded,
    EngineStopped,
    EpochBegun,
    RedisKilled,
    RedisEmptied,
    ConnectKilled,
    KafkaKilled,
    ReceiverKilled,
}

/// With weights: what takes long comes less often.
const FAULTS: &[(Fault, u32)] = &[
    (Fault::EngineKilled, 6),
    (Fault::EngineEnded, 4),
    (Fault::EngineStopped, 2),
    (Fault::EpochBegun, 3),
    (Fault::RedisKilled, 4),
    (Fault::RedisEmptied, 3),
    (Fault::ConnectKilled, 2),
    (Fault::KafkaKilled, 1),
    (Fault::ReceiverKilled, 4),
];

async fn strike(trial: &mut Trial, fault: Fault) {
    // The first engine lives through everything.
    let engine = 1;
    match fault {
        Fault::EngineKilled => trial.kill_engine(engine),
        Fault::EngineEnded => {
            trial.remember_peak(engine);
            let (status, _) = trial.stage.engines[engine].terminate(seconds(20)).await;
            assert!(status.success(), "{status}");
            trial.stage.engines[engine].restart();
        }
        Fault::EngineStopped => {
            let engine = trial.between(0, 1) as usize;
            let pid = trial.stage.engines[engine].pid();
            signal(pid, "-STOP");
            trial.pause(500, 12_000).await;
            signal(pid, "-CONT");
        }
        Fault::EpochBegun => replay(trial),
        Fault::RedisKilled => {
            trial.redis.kill();
            trial.redis.restart().await;
        }
        Fault::RedisEmptied => drop(trial.redis.run::<String>(&["FLUSHALL"]).await),
        Fault::ConnectKilled => {
            trial.stage.stack.kill("connect").await;
            trial.stage.stack.start("connect");
            trial.stage.connector.wait_running().await;
        }
        Fault::KafkaKilled => {
            trial.stage.stack.kill("kafka").await;
            trial.stage.stack.start("kafka");
            trial.stage.connector.wait_running().await;
        }
        Fault::ReceiverKilled => {
            trial.stage.receiver.kill();
            trial.pause(0, 3_000).await;
            trial.stage.receiver.restart().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults soak --minutes 30"]
async fn everything_at_random() {
    let minutes = std::env::var("HIGHWATER_SOAK_MINUTES").ok().and_then(|minutes| minutes.parse().ok()).unwrap_or(3);
    for seed in seeds() {
        let mut trial = Trial::begin("soak", seed, scenario::engagement(&format!("soak{seed}")), 2).await;
        let (began, mut compared, mut resident) = (Instant::now(), Instant::now(), Vec::new());
        while began.elapsed() < seconds(60 * minutes) {
            trial.pause(300, 4_000).await;
            let fault = FAULTS.choose_weighted(&mut trial.random, |(_, weight)| *weight).unwrap().0;
            trial.note(&format!("{fault:?}"));
            strike(&mut trial, fault).await;
            trial.lines_max += LINES_OF_A_FAULT;
            resident.push((began.elapsed().as_secs_f64() / 3600.0, trial.stage.engines[0].resident_kib() as f64 / 1024.0));
            if compared.elapsed() > COMPARE_EVERY {
                trial.compare_and_go_on().await;
                compared = Instant::now();
            }
        }
        trial.note(&format!("resident memory of the engine that was never killed: {}", growth(&resident)));
        trial.finish().await;
    }
}

/// First and last value, and the slope of the least squares. `samples` are (hours, MiB).
fn growth(samples: &[(f64, f64)]) -> String {
    let (Some((_, first)), Some((_, last))) = (samples.first(), samples.last()) else { return "no sample".to_owned() };
    let count = samples.len() as f64;
    let (mean_x, mean_y) = (samples.iter().map(|s| s.0).sum::<f64>() / count, samples.iter().map(|s| s.1).sum::<f64>() / count);
    let spread: f64 = samples.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let slope = samples.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>() / spread.max(f64::MIN_POSITIVE);
    format!("{first:.1} MiB at first, {last:.1} MiB at last, {slope:+.1} MiB an hour over {} samples", samples.len())
}

#[test]
fn a_slope_is_that_of_the_line() {
    assert_eq!(growth(&[(0.0, 10.0), (1.0, 12.0), (2.0, 14.0)]), "10.0 MiB at first, 14.0 MiB at last, +2.0 MiB an hour over 3 samples");
}
