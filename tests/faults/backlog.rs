//! Two million events behind: they are caught up with, exactly, in bounded memory.

use std::time::Instant;

use super::{PEAK_KIB_MAX, REPEATS_MAX, assert_quiet_log, caught_up_within, seeds};
use crate::support::stage::Stage;
use crate::support::{eventually, kafka, scenario, seconds};

/// Events written while no engine runs.
const EVENTS: u64 = 2_000_000;
/// In one transaction.
const EVENTS_OF_A_TRANSACTION: u64 = 100_000;

/// GIVEN two million inserted rows that no engine has seen, in a window that holds them all
/// WHEN one engine starts
/// THEN the ranking equals SQL, the receiver holds as many events as there are rows, and the engine's memory stayed bounded.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults two_million"]
async fn two_million_events_are_caught_up_with() {
    for seed in seeds() {
        let scenario = scenario::engagement(&format!("backlog{seed}"));
        let (events, topic) = (scenario.source.clone(), scenario.topic());
        let mut stage = Stage::set(scenario).await;
        let text = std::fs::read_to_string(&stage.pipeline).unwrap().replace("window = \"30s\"", "window = \"3h\"");
        std::fs::write(&stage.pipeline, text).unwrap();
        stage.start_engines(1).await;
        stage.engines[0].terminate(seconds(20)).await;
        // Every event is an insert: the table says what was owed, and the ledger would only make it slow.
        stage.scenario.close_ledger(&stage.database).await;
        let before: i64 = kafka::ends(&stage.stack.kafka, &topic).values().sum();
        for n in 0..EVENTS / EVENTS_OF_A_TRANSACTION {
            let content = &stage.scenario.lookups[0];
            stage
                .database
                .run(&format!(
                    "INSERT INTO {events} (content_id, event_type, event_ts, duration_ms)
                     SELECT (SELECT id FROM {content} ORDER BY id LIMIT 1 OFFSET n % (SELECT count(*) FROM {content})), 'play',
                            now() - make_interval(secs => n % 600), (n * 7919 + {n}) % 60000
                     FROM generate_series(1, {EVENTS_OF_A_TRANSACTION}) n"
                ))
                .await;
        }
        stage.note(&format!("{EVENTS} rows are written"));
        let wanted = before + i64::try_from(EVENTS).unwrap();
        eventually("Debezium has sent them", seconds(900), async || {
            let records: i64 = kafka::ends(&stage.stack.kafka, &topic).values().sum();
            if records >= wanted { Ok(()) } else { Err(format!("{records} of {wanted}")) }
        })
        .await;
        stage.note("all are in the topic");

        let began = Instant::now();
        stage.engines[0].restart();
        caught_up_within(&stage, seconds(900)).await;
        stage.note(&format!("the ranking has read them after {:.1} s", began.elapsed().as_secs_f64()));
        stage.assert_ranking().await;
        let owed: u64 = stage.database.value(&format!("SELECT count(*) FROM {events}")).await.parse().unwrap();
        stage.receiver.wait_stored(EVENTS, seconds(900)).await;
        let stats = stage.receiver.stats().await;
        stage.note(&format!("the receiver holds them after {:.1} s: {stats}", began.elapsed().as_secs_f64()));
        let unique = stats["unique"].as_u64().unwrap();
        assert!(unique >= EVENTS && unique <= owed, "{unique} events of {owed} rows");
        let peak = stage.engines[0].peak_kib().unwrap();
        stage.note(&format!("peak memory {} MiB", peak / 1024));
        assert!(peak <= PEAK_KIB_MAX, "the engine held {peak} KiB");
        assert_quiet_log(&mut stage.engines[0], REPEATS_MAX);
        stage.strike().await;
    }
}
