//! See `sql/tests/fuzz/select.rs`: the normal tests run the same.
#![no_main]
#![allow(dead_code, missing_docs, clippy::unwrap_used)]

#[path = "../../sql/tests/fuzz/tables.rs"]
mod tables;

#[path = "../../sql/tests/fuzz/select.rs"]
mod select;

libfuzzer_sys::fuzz_target!(|data: &[u8]| select::run(data));
