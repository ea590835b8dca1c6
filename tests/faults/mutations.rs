//! The harness can fail: with a protection switched off, the scenario that needs it does. And no release can be told to switch one off.
//!
//! The mark has no line here: whether a killed Connect sends anything again depends on the moment, and four seeds may all miss it. Its tests are the
//! captures of a Debezium that did (`tests/captures.rs`), red without it.

use std::process::Command;

use super::ENGINE_FAULTS;
use crate::support::stack::program;

/// Seeds that are tried before a protection counts as one that no result needs.
const TRIES_MAX: u64 = 4;
/// What a scenario says when a result is wrong; other failures would prove nothing.
const WRONG: &[&str] =
    &["the window emptied in", "the ranking differs", "the totals differ", "events differ", "not within 90s: the receiver holds"];

/// Runs a scenario in a process of its own, with that protection off in every engine, until a seed shows a wrong result.
fn fails_without(protection: &str, scenario: &str) {
    for seed in 1..=TRIES_MAX {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "--nocapture", &format!("faults::{scenario}")]);
        command.env(ENGINE_FAULTS, format!("off={protection}"));
        command.env("HIGHWATER_FAULT_SEED", seed.to_string()).env("HIGHWATER_FAULT_SEEDS", "1");
        let output = tokio::task::block_in_place(|| command.output()).unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("running 1 test"), "{scenario} is no test:\n{said}");
        let wrong = WRONG.iter().find(|wrong| said.contains(**wrong));
        println!("  without {protection}, seed {seed}: {}", wrong.unwrap_or(&"as if nothing were missing"));
        match (output.status.success(), wrong) {
            (false, Some(_)) => return,
            (false, None) => panic!("without {protection} the scenario ended for another reason:\n{said}"),
            (true, _) => {}
        }
    }
    panic!("{scenario} is exact without {protection} for {TRIES_MAX} seeds");
}

macro_rules! mutations {
    ($($name:ident: $protection:literal, $scenario:literal;)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
        #[ignore = "needs the test stack: ./test_pipeline.sh --faults mutations"]
        #[allow(clippy::unused_async)]
        async fn $name() {
            fails_without($protection, $scenario);
        }
    )+};
}

mutations! {
    without_the_comparison: "compare_and_set", "redis::a_call_comes_late";
    without_the_floor_of_redis: "floor", "engines::the_clocks_of_engines_decide_nothing";
    without_boundaries: "boundary", "connect::a_connector_is_made_anew";
    without_the_order_of_a_key: "key_order", "receiver::the_receiver_is_killed_and_away";
}

#[test]
#[ignore = "needs the programs that ./test_pipeline.sh --faults builds"]
fn no_release_has_faults() {
    let names = |path| {
        let bytes = std::fs::read(path).unwrap();
        bytes.windows(b"HIGHWATER_FAULTS".len()).any(|window| window == b"HIGHWATER_FAULTS")
    };
    assert!(names(program("highwater-faults")), "what is looked for is not where it must be");
    assert!(!names(program("highwater")));
}
