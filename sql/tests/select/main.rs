//! What a SELECT means, with Postgres as the only source of expected values.
//!
//! `cases/*.txt` hold fixed cases as Postgres answered them; every one is asked again, and a generator asks thousands more, of the Postgres that
//! `HIGHWATER_TEST_POSTGRES` names (a connection string, of a database with collation C) or of a cluster that the tests start. `HIGHWATER_TEST_SECONDS` gives the generator more
//! time, `HIGHWATER_TEST_SEED` repeats a run, `HIGHWATER_TEST_NAMES` draws only the functions and operators of these names, and
//! `HIGHWATER_TEST_WRITE=1` writes Postgres' answers into the fixed cases.
#![allow(clippy::unwrap_used)]

mod cases;
mod differential;
mod documentation;
mod documents;
mod generator;
mod joins;
mod limits;
mod lookups;
mod names;
mod oracle;
mod patterns;
#[path = "../../../tests/support/postgres.rs"]
mod postgres;
mod refusals;
mod samples;
