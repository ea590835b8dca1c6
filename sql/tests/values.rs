//! Values, numerics, times and the decoder, against what a real Postgres and a real Debezium said.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "values/support.rs"]
mod support;

#[path = "values/types.rs"]
mod types;

#[path = "values/numeric.rs"]
mod numeric;

#[path = "values/fixtures.rs"]
mod fixtures;

#[path = "values/encodings.rs"]
mod encodings;

#[path = "values/hostile.rs"]
mod hostile;
