//! This machine's clock, read here and nowhere else. It dates signatures and measures; it decides nothing about a ranking, which has Redis'.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::faults::clock_off_by;

/// What time it is.
pub fn now() -> SystemTime {
    let (ahead, behind) = clock_off_by();
    SystemTime::now() + ahead - behind
}

/// Unix microseconds.
pub fn unix_us() -> i64 {
    now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
