//! Engines that die, stand still, come and go, disagree about the time, or are of two versions.

use super::{Trial, caught_up, replay, seeds, signal};
use crate::support::{eventually, scenario, seconds};

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn an_engine_is_killed_at_random_moments() {
    for seed in seeds() {
        let mut trial = Trial::begin("engine killed", seed, scenario::engagement(&format!("killed{seed}")), 2).await;
        for _ in 0..8 {
            trial.pause(50, 900).await;
            let engine = trial.between(0, 1) as usize;
            trial.kill_engine(engine);
        }
        trial.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn an_engine_dies_at_each_point_of_a_call() {
    for seed in seeds() {
        let mut trial = Trial::begin("engine dies at points", seed, scenario::engagement(&format!("points{seed}")), 1).await;
        for point in ["before_call", "before_reply", "after_reply", "before_reply", "rebuild", "drain"] {
            let count = match point {
                "drain" => 1,
                "rebuild" => trial.between(1, 4),
                _ => trial.between(1, 30),
            };
            trial.remember_peak(0);
            trial.stage.engines[0].kill();
            trial.stage.engines[0].faults = format!("kill={point}:{count}");
            trial.stage.engines[0].restart();
            match point {
                "rebuild" => replay(&trial),
                "drain" => {
                    trial.stage.wait_ready().await;
                    signal(trial.stage.engines[0].pid(), "-TERM");
                }
                _ => {}
            }
            let status = trial.stage.engines[0].ended(seconds(60)).await;
            assert!(!status.success(), "{point}: the engine ended with {status}");
            trial.note(&format!("died at {point}, the {count}. time"));
            trial.stage.engines[0].faults.clear();
            trial.stage.engines[0].restart();
        }
        trial.finish().await;
    }
}

/// It stands still just before a call, longer than the group waits for it, and then makes that call: refused, and counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn a_zombie_comes_back() {
    for seed in seeds() {
        let mut trial = Trial::begin("zombie", seed, scenario::engagement(&format!("zombie{seed}")), 2).await;
        for _ in 0..2 {
            trial.remember_peak(0);
            trial.stage.engines[0].kill();
            let of_all = trial.stage.faults.clone();
            trial.stage.engines[0].faults = format!("{of_all} stop=before_apply:{}", trial.between(5, 40));
            trial.stage.engines[0].restart();
            let pid = trial.stage.engines[0].pid();
            eventually("the engine stands still", seconds(60), async || {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                if stat.contains(") T ") { Ok(()) } else { Err(stat) }
            })
            .await;
            // The other one goes on with what it had: past the session's end, and every record read that there is by then.
            tokio::time::sleep(seconds(8)).await;
            caught_up(&trial.stage).await;
            signal(pid, "-CONT");
            eventually("the zombie's call is refused", seconds(20), async || {
                let refused = trial.stage.engines[0].metric("highwater_progress_moved_total", &[]).await;
                if refused > 0.0 { Ok(()) } else { Err(format!("{refused} calls were refused")) }
            })
            .await;
        }
        trial.finish().await;
    }
}

/// Ten seconds each: 1, 2, 3, 2, 1 engines, the second time killed instead of asked to end, and so on for two minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn engines_come_and_go() {
    for seed in seeds() {
        let mut trial = Trial::begin("1 to 3 to 1 engines", seed, scenario::engagement(&format!("scale{seed}")), 1).await;
        for round in 0..3 {
            for _ in 0..2 {
                trial.stage.start_engine();
                trial.pause(8_000, 12_000).await;
            }
            for _ in 0..2 {
                trial.remember_peak(1);
                if round == 0 {
                    let status = trial.stage.engines[1].terminate(seconds(20)).await.0;
                    assert!(status.success(), "{status}");
                } else {
                    trial.stage.engines[1].kill();
                }
                drop(trial.stage.engines.remove(1));
                trial.pause(8_000, 12_000).await;
            }
        }
        trial.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn a_rebuild_goes_on_while_engines_die_and_events_flow() {
    for seed in seeds() {
        let mut trial = Trial::begin("rebuild", seed, scenario::engagement(&format!("rebuild{seed}")), 2).await;
        for _ in 0..3 {
            // Two at once: one of them begins the epoch.
            replay(&trial);
            replay(&trial);
            trial.pause(0, 400).await;
            let engine = trial.between(0, 1) as usize;
            trial.kill_engine(engine);
            trial.pause(500, 2_000).await;
        }
        trial.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn an_edited_pipeline_replaces_the_one_that_runs() {
    for seed in seeds() {
        let mut trial = Trial::begin("edited pipeline", seed, scenario::engagement(&format!("edited{seed}")), 1).await;
        // WHEN one with another scale and bucket starts beside it
        let text = std::fs::read_to_string(&trial.stage.pipeline).unwrap();
        let edited = text.replace("scale = 3", "scale = 2").replace("bucket = \"1s\"", "bucket = \"2s\"");
        assert_ne!(text, edited);
        std::fs::write(&trial.stage.pipeline, edited).unwrap();
        trial.stage.start_engine();
        // THEN the old one stops its ranking and says so, and the new one is exact
        eventually("the old one stops", seconds(40), async || {
            let log = trial.stage.engines[0].log();
            if log.contains("has taken over the ranking's key") { Ok(()) } else { Err("it has not".to_owned()) }
        })
        .await;
        // AND leaves the key alone when a change of the tables starts its other lane again
        let events = trial.stage.scenario.source.clone();
        trial.stage.database.run(&format!("ALTER TABLE {events} ALTER COLUMN duration_ms SET DEFAULT 1")).await;
        for engine in &trial.stage.engines {
            eventually("its lanes start again", seconds(60), async || {
                if engine.log().contains("the lanes start again") { Ok(()) } else { Err(engine.log()) }
            })
            .await;
        }
        trial.pause(2_000, 4_000).await;
        let log = trial.stage.engines[1].log();
        assert!(!log.contains("has taken over the ranking's key"), "{log}");
        trial.remember_peak(0);
        trial.stage.engines[0].kill();
        drop(trial.stage.engines.remove(0));
        let scenario = std::sync::Arc::make_mut(&mut trial.stage.scenario);
        scenario.ranking.as_mut().unwrap().scale = 2;
        trial.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn the_clocks_of_engines_decide_nothing() {
    for seed in seeds() {
        let mut trial = Trial::begin("engine clocks", seed, scenario::engagement(&format!("clocks{seed}")), 1).await;
        // As far as a receiver takes signatures.
        for clock in ["clock=-290", "clock=290"] {
            let of_all = trial.stage.faults.clone();
            trial.stage.faults = format!("{of_all} {clock}");
            trial.stage.start_engine();
            trial.stage.faults = of_all;
            trial.pause(1_000, 3_000).await;
        }
        // The one with the right time leaves.
        trial.remember_peak(0);
        trial.stage.engines[0].kill();
        drop(trial.stage.engines.remove(0));
        trial.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn sigterm_under_load_fifty_times() {
    for seed in seeds() {
        let mut trial = Trial::begin("SIGTERM", seed, scenario::engagement(&format!("term{seed}")), 1).await;
        for _ in 0..50 {
            trial.pause(0, 1_200).await;
            trial.remember_peak(0);
            let (status, took) = trial.stage.engines[0].terminate(seconds(15)).await;
            assert_eq!(status.code(), Some(0), "after {took:?}:\n{}", trial.stage.engines[0].log());
            trial.stage.engines[0].restart();
            trial.stage.wait_ready().await;
        }
        let stats = trial.stage.receiver.stats().await;
        assert_eq!(stats["duplicates"].as_u64(), Some(0), "an engine that ended in good order had something sent again: {stats}");
        trial.finish().await;
    }
}
