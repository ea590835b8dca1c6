//! See `sql/tests/fuzz/envelope.rs`: the normal tests run the same.
#![no_main]
#![allow(dead_code, missing_docs, clippy::unwrap_used)]

#[path = "../../sql/tests/fuzz/tables.rs"]
mod tables;

#[path = "../../sql/tests/fuzz/value.rs"]
mod value;

#[path = "../../sql/tests/fuzz/envelope.rs"]
mod envelope;

libfuzzer_sys::fuzz_target!(|data: &[u8]| envelope::run(data));
