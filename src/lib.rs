//! Highwater: a row changes in Postgres, and the rankings, webhooks and tables that depend on it are right, milliseconds later.
//!
//! Read the modules in this order: it is the path of one change.
//!
//! ```text
//! kafka -> decode -> lookup -> select -> sink
//! bytes    Change    + rows    Row       durable effect + progress
//! ```

pub mod cli;

pub mod config;

pub mod pipeline;

pub mod lane;

pub mod change;

pub mod progress;

pub mod source;

pub mod decode;

pub mod lookup;

pub mod sink;

pub mod dead_letter;

pub mod catalog;

pub mod check;

pub mod clock;

pub mod faults;

pub mod eval;

pub mod replay;

pub mod backoff;

pub mod metrics;

pub mod telemetry;

pub mod http;
