//! See `sql/tests/fuzz/schema.rs`: the normal tests run the same.
#![no_main]
#![allow(dead_code, missing_docs, clippy::unwrap_used)]

#[path = "../../sql/tests/fuzz/schema.rs"]
mod schema;

libfuzzer_sys::fuzz_target!(|data: &[u8]| schema::run(data));
