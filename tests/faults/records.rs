//! Records that cannot be delivered, among those that can, under load.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::{Trial, seeds};
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
