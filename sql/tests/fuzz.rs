//! The fuzz targets of `fuzz/`, run over a fixed number of mutated inputs: no panic, no runaway time, promises kept.
//!
//! The inputs come from the recorded captures, the tables of values and the cases of the SELECT, mutated by a generator with a fixed seed
//! (`HIGHWATER_FUZZ_SEED` sets another). What a long run (`./test_pipeline.sh --fuzz`) finds becomes a line of `found.txt`.

#![allow(clippy::unwrap_used, unsafe_code, missing_docs)]

#[path = "fuzz/tables.rs"]
mod tables;

#[path = "fuzz/envelope.rs"]
mod envelope;

#[path = "fuzz/value.rs"]
mod value;

#[path = "fuzz/select.rs"]
mod select;

#[path = "fuzz/schema.rs"]
mod schema;

#[path = "fuzz/corpus.rs"]
mod corpus;

#[path = "fuzz/memory.rs"]
mod memory;

use std::time::{Duration, Instant};

use corpus::Random;

/// One input may take so long, also in a debug build on a busy machine. Ordinary ones take far less than a millisecond.
const INPUT_TIME_MAX: Duration = Duration::from_secs(10);

type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

const TARGETS: [Target; 4] = [
    ("envelope", envelope::run, corpus::envelopes),
    ("value", value::run, corpus::values),
    ("select", select::run, corpus::selects),
    ("schema", schema::run, corpus::schemas),
];

/// And take so much memory.
const INPUT_BYTES_MAX: usize = 256 << 20;

/// Runs one input and shows it when that goes wrong.
fn run(target: &str, entry: fn(&[u8]), input: &[u8]) {
    let begun = Instant::now();
    let held = memory::held_from_here();
    let shown = || String::from_utf8_lossy(input).into_owned();
    if let Err(panic) = std::panic::catch_unwind(|| entry(input)) {
        eprintln!("target {target}, input {:?}", shown());
        std::panic::resume_unwind(panic);
    }
    let bytes = memory::most_held() - held.min(memory::most_held());
    assert!(bytes < INPUT_BYTES_MAX, "target {target} took {bytes} bytes for {:?}", shown());
    assert!(begun.elapsed() < INPUT_TIME_MAX, "target {target} took {:?} for {:?}", begun.elapsed(), shown());
}

/// One at a time, so that memory is that of one input.
static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn mutated(name: &str, mutations: usize) {
    let (_, entry, seeds) = TARGETS.into_iter().find(|(target, ..)| *target == name).unwrap();
    let _one = ONE.lock();
    let seeds = seeds();
    assert!(seeds.len() > 3);
    seeds.iter().for_each(|seed| run(name, entry, seed));
    let seed = std::env::var("HIGHWATER_FUZZ_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("seed {seed}");
    let mut random = Random::new(seed);
    for _ in 0..mutations {
        run(name, entry, &random.mutated(&seeds));
    }
}

#[test]
fn envelopes() {
    mutated("envelope", 1_500);
}

#[test]
fn values() {
    mutated("value", 30_000);
}

#[test]
fn selects() {
    mutated("select", 8_000);
}

#[test]
fn schemas() {
    mutated("schema", 8_000);
}

/// Target, a tab, the input with Rust's escapes: what was found once.
#[test]
fn what_was_found_stays_fixed() {
    let _one = ONE.lock();
    for line in include_str!("fuzz/found.txt").lines().filter(|line| !line.starts_with('#')) {
        let (target, input) = line.split_once('\t').unwrap();
        let (_, entry, _) = TARGETS.into_iter().find(|(name, ..)| *name == target).unwrap();
        run(target, entry, &corpus::unescaped(input));
    }
}

/// Deep and long inputs end in an error, soon and without a deep stack.
#[test]
fn depth_and_size_are_limited() {
    let _one = ONE.lock();
    let deep = |open: &str, close: &str, levels: usize| format!("{}1{}", open.repeat(levels), close.repeat(levels));
    for levels in [100, 1_000, 50_000] {
        for (open, close) in
            [("(", ")"), ("CASE WHEN true THEN ", " END"), ("-", ""), ("abs(", ")"), ("ARRAY[", "]"), ("NOT ", ""), ("1+", "")]
        {
            run("select", select::run, deep(open, close, levels).as_bytes());
        }
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            for choice in 0..u8::try_from(tables::COLUMNS.len()).unwrap() {
                run("value", value::run, &[&[choice], deep(open, close, levels).as_bytes()].concat());
            }
            let record = format!("{{\"op\":\"c\",\"after\":{{\"ia\":{}}}}}", deep(open, close, levels));
            run("envelope", envelope::run, record.as_bytes());
        }
        run("schema", schema::run, format!("CREATE TABLE t (a int DEFAULT {})", deep("(", ")", levels)).as_bytes());
    }
    for choice in 0..u8::try_from(tables::COLUMNS.len()).unwrap() {
        for piece in ["9", "1,", " ", "\\", "é", "1 day ", "-", ":1", "\"a\","] {
            run("value", value::run, &[&[choice], piece.repeat(200_000 / piece.len()).as_bytes()].concat());
        }
    }
}

/// Writes the seeds for `cargo fuzz`: `fuzz/corpus/<target>/`.
#[test]
#[ignore = "writes files; ./test_pipeline.sh --fuzz runs it"]
fn write_the_corpus() {
    for (name, _, seeds) in TARGETS {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
        std::fs::create_dir_all(&directory).unwrap();
        for (n, seed) in seeds().into_iter().enumerate() {
            std::fs::write(directory.join(format!("seed-{n}")), seed).unwrap();
        }
    }
}
