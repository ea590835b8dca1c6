//! What the integration tests stand on: the running stack, the programs under test, and Postgres as the oracle.
//!
//! Every test makes its own tables, topics, connector, Redis key, receiver and engines, named after itself, so that tests neither need nor
//! disturb one another. Nothing here sleeps for a fixed time: [`eventually`] polls with a deadline.

#![allow(dead_code, reason = "the latency program uses a part of it")]

pub mod connector;
pub mod database;
pub mod engine;
pub mod hops;
pub mod http;
pub mod kafka;
pub mod oracle;
pub mod postgres;
pub mod process;
pub mod ranking;
pub mod receiver;
pub mod redis_server;
pub mod scenario;
pub mod stack;
pub mod stage;

use std::time::{Duration, Instant};

/// How often [`eventually`] looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Looks until it is so, and returns what was seen.
///
/// # Panics
/// When it is still not so after `limit`, with what was seen last.
pub async fn eventually<T>(what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        match look().await {
            Ok(seen) => return seen,
            Err(seen) => assert!(Instant::now() < deadline, "not within {limit:?}: {what}; seen last: {seen}"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// That many seconds.
pub const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
