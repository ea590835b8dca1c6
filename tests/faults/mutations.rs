//! The harness can fail: with a protection switched off, the scenario that needs it does. And no release can be told to switch one off.
//!
//! What needs a moment that processes seldom hit is shown where that moment is made: in the simulation (`src/sink/ranking/tests/attack.rs`), with the
//! records of a Debezium that sent again or began anew (`tests/captures.rs`), or in the lookup cache's own tests.

use std::process::Command;

use super::ENGINE_FAULTS;
use crate::support::stack::{program, root};

/// Seeds that are tried before a protection counts as one that no result needs: without the comparison about every second one goes wrong.
const TRIES_MAX: u64 = 12;
/// Seeds of the simulation; the first that goes wrong ends it.
const SIMULATED_SEEDS_MAX: &str = "3000";
/// What a scenario says when a result is wrong; other failures would prove nothing.
const WRONG: &[&str] =
    &["the window emptied in", "the ranking differs", "the totals differ", "events differ", "not within 90s: the receiver holds"];

/// Runs a test in a process of its own, built with the switches: green as it is, red with that protection off.
fn fails_in_small_without(protection: &str, target: &[&str], test: &str) {
    let run = |faults: &str| {
        let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
        command.current_dir(root()).args(["test", "--quiet", "--locked", "--package", "highwater", "--features", "faults"]).args(target);
        command.args(["--", "--exact", test]).env("HIGHWATER_FAULTS", faults).env("HIGHWATER_ATTACK_SEEDS", SIMULATED_SEEDS_MAX);
        let output = tokio::task::block_in_place(|| command.output()).unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("running 1 test"), "{test} is no test:\n{said}");
        (output.status.success(), said)
    };
    let (green, said) = run("");
    assert!(green, "{test} fails with everything on:\n{said}");
    let (green, said) = run(&format!("off={protection}"));
    assert!(!green, "{test} passes without {protection}");
    let why = said.lines().skip_while(|line| !line.contains("panicked at")).nth(1).unwrap_or_default();
    println!("  without {protection}: {}", why.chars().take(200).collect::<String>());
}

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
        #[ignore = "needs the test stack: ./test_pipeline.sh --faults without_"]
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

macro_rules! mutations_in_small {
    ($($name:ident: $protection:literal, $target:expr, $test:expr;)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
        #[ignore = "builds the tests with the switches: ./test_pipeline.sh --faults without_"]
        #[allow(clippy::unused_async)]
        async fn $name() {
            fails_in_small_without($protection, $target, $test);
        }
    )+};
}

const UNIT: &[&str] = &["--lib"];
const CAPTURES: &[&str] = &["--test", "main"];
const SIMULATION: &str = "sink::ranking::tests::attack::readers_see_the_truth_whatever_goes_wrong";

mutations_in_small! {
    without_the_mark: "mark", CAPTURES, "captures::records_sent_again_after_a_kill_count_once";
    without_null_first: "null_first", UNIT, "progress::tests::a_connector_that_began_anew_counts_from_a_new_mark";
    without_the_token_that_travels: "token", UNIT, SIMULATION;
    without_the_identity_of_a_run: "run_identity", UNIT, SIMULATION;
    without_the_run_id_of_redis: "run_id", UNIT, SIMULATION;
    without_discarding_loads_in_flight: "in_flight_loads", UNIT,
        "lookup::cache::tests::in_every_order_of_two_loads_and_two_changes_the_cache_ends_with_the_row_or_nothing";
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
