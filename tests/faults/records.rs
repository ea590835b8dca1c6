//! Records that cannot be delivered, among those that can, under load.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use sqlx::{AssertSqlSafe, Executor as _};

use super::{Trial, caught_up, seeds};
use crate::bad_input::{Bad, bad_records, last_changes};
use crate::support::{eventually, kafka, scenario, seconds};

/// What is wrong with the record itself. A row that is wrong needs a position that no later record has passed, and under load there is none to give.
const CLASSES: [&str; 5] = ["malformed", "not_an_envelope", "unknown_op", "no_position", "null_key"];
/// Good changes for each bad record.
const GOOD_FOR_BAD: u64 = 100;
const BAD: usize = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn one_record_of_a_hundred_is_bad() {
    for seed in seeds() {
        let mut trial = Trial::begin("1 % bad records", seed, scenario::engagement(&format!("onebad{seed}")), 2).await;
        let (servers, topic) = (trial.stage.stack.kafka.clone(), trial.stage.scenario.topic());
        let last = eventually("every partition has a change", seconds(30), async || {
            let last = last_changes(&servers, &topic);
            if last.len() == 4 { Ok(last) } else { Err(format!("{} have", last.len())) }
        })
        .await;
        let mut produced: BTreeMap<(i32, i64), Bad> = BTreeMap::new();
        let mut next = trial.written.changes.load(Ordering::Relaxed);
        while produced.len() < BAD {
            next += GOOD_FOR_BAD;
            trial.stage.reached(&trial.written, next).await;
            let partition = trial.between(0, 3) as i32;
            let mut bad = bad_records(&last[&partition]);
            bad.retain(|bad| CLASSES.contains(&bad.class));
            let bad = bad.swap_remove(trial.between(0, bad.len() as u64 - 1) as usize);
            let at = kafka::produce(&servers, &topic, partition, bad.key.as_deref(), Some(&bad.value)).await;
            produced.insert(at, bad);
            if produced.len() == BAD / 2 {
                trial.kill_engine(0);
            }
        }
        for sink in ["ranking", "webhook"] {
            let letters = trial.stage.dead_letters(sink, BAD).await;
            assert!(letters.keys().eq(produced.keys()), "{sink}: parked {:?}, bad {:?}", letters.keys(), produced.keys());
            for (at, bad) in &produced {
                let letter = &letters[at];
                let header = |name: &str| letter.headers.get(name).map_or("", String::as_str);
                assert_eq!((header("highwater-error-class"), &letter.key, letter.value.as_ref()), (bad.class, &bad.key, Some(&bad.value)));
                let reason = format!("{} {}", header("highwater-error-message"), header("highwater-column"));
                assert!(reason.contains(bad.reason) && reason.len() > 5, "{sink}: {:?} does not say {:?}", letter.headers, bad.reason);
            }
        }
        trial.finish().await;
    }
}

/// Updates and deletes come without their old rows for some seconds. They are held back until the table is as it was, then parked, each with its reason;
/// everything else arrives, and the ranking is exact again when what they were about has left the window.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn the_replica_identity_changes_under_load() {
    for seed in seeds() {
        let mut trial = Trial::begin("replica identity", seed, scenario::engagement(&format!("blind{seed}")), 2).await;
        let source = trial.stage.scenario.source.clone();
        let from = identity(&trial, "DEFAULT").await;
        trial.pause(2_000, 5_000).await;
        let to = identity(&trial, "FULL").await;
        trial.heal();
        let blind = format!("seq > {from} AND seq <= {to}");
        // An update of the key is a delete, which is blind, and an insert.
        let database = trial.stage.database.clone();
        let lost = format!("SELECT count(*) FROM ledger_{source} WHERE {blind} AND op <> 'INSERT'");
        let lost: usize = database.value(&lost).await.parse().unwrap();
        database
            .run(&format!(
                "UPDATE ledger_{source} SET op = 'INSERT', prior = NULL WHERE {blind} AND op = 'UPDATE' AND (prior).id <> (later).id;
                 DELETE FROM ledger_{source} WHERE {blind} AND op <> 'INSERT'"
            ))
            .await;
        assert!(lost > 20, "{lost} blind changes");
        for sink in ["ranking", "webhook"] {
            let letters = trial.stage.dead_letters(sink, lost).await;
            assert_eq!(letters.len(), lost, "{sink}");
            for letter in letters.values() {
                let header = |name: &str| letter.headers.get(name).map_or("", String::as_str);
                let told = (header("highwater-error-class"), header("highwater-error-message"));
                assert!(["incomplete", "row"].contains(&told.0) && told.1.contains("REPLICA IDENTITY"), "{sink}: {told:?}");
            }
        }
        trial.note(&format!("{lost} blind changes are parked"));
        // Rows are dated up to 5 s ahead.
        tokio::time::sleep(seconds(38)).await;
        caught_up(&trial.stage).await;
        trial.finish().await;
    }
}

/// Changes the replica identity between two commits: the last place in the ledger that was written before.
async fn identity(trial: &Trial, identity: &str) -> i64 {
    let source = &trial.stage.scenario.source;
    let alter = format!(
        "BEGIN; ALTER TABLE {source} REPLICA IDENTITY {identity};
         CREATE TABLE IF NOT EXISTS identity_{source} (seq bigint); INSERT INTO identity_{source} SELECT max(seq) FROM ledger_{source}; COMMIT"
    );
    eventually("the replica identity is another one", seconds(30), async || {
        // A deadlock with a writer may end it.
        let mut connection = trial.stage.database.pool.acquire().await.map_err(|error| error.to_string())?;
        let altered = connection.execute(sqlx::raw_sql(AssertSqlSafe(alter.as_str()))).await;
        if altered.is_err() {
            connection.execute("ROLLBACK").await.map_err(|error| error.to_string())?;
        }
        altered.map(drop).map_err(|error| error.to_string())
    })
    .await;
    trial.stage.database.value(&format!("SELECT max(seq) FROM identity_{source}")).await.parse().unwrap()
}
