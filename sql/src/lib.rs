//! A SELECT over Debezium change events, with the meaning Postgres 15 gives it.
//!
//! This crate is pure: no I/O, no clock, no randomness, so that unit tests, fuzzing and differential tests build without a
//! server. What it promises: a value, an error or a refusal is the one Postgres would give in a session with TimeZone UTC,
//! DateStyle ISO, IntervalStyle postgres and collation C; where that cannot be kept, the SELECT is refused before the first row.
//!
//! ```text
//! catalog + text --parse--> syntax --check--> Plan {source columns, lookups, program}
//! record bytes --decode--> Envelope {op, before, after, source} --Plan::evaluate--> row
//! ```

pub mod error;

pub mod value;

pub mod numeric;

pub mod time;

pub mod json;

pub mod decode;

pub mod catalog;

pub mod parse;

pub mod ddl;

pub mod check;

pub mod plan;

pub mod eval;

pub mod function;

pub use catalog::{Catalog, Column, ReplicaIdentity, Table};
pub use decode::{Decoder, Envelope, Op};
pub use error::{RowError, SelectError};
pub use plan::{Join, Lookup, LookupKey, LookupRow, Output, Plan};
pub use value::{Type, Value};
