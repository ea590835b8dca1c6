//! Integration tests against the real Postgres, Debezium, Kafka and Redis, with Postgres as the oracle of every expected value.
//!
//! `./test_pipeline.sh` brings up the stack, builds the programs and runs all of them, one after the other. Tests that need the stack are
//! `ignored` under a plain `cargo test`, which says so; those of captures and of the sources run anywhere.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test that fails may panic")]

mod support;

mod captures;
mod end_to_end;

mod bad_input;

mod dead_letters;

mod encodings;

mod faults;

mod outages;

mod lifecycle;

mod schema_change;

mod configuration;

mod evaluation;

mod replay;

mod tidy;
