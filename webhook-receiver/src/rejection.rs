//! Every reason for which a request to `/webhook` is not acknowledged: its name in `/stats`, its HTTP status, its counter.
//!
//! Nothing of a rejected request is stored. The counters are exact while the process runs and are saved at most once a second,
//! because a stranger who sends rubbish must not be able to buy an fsync with each request; `kill -9` can lose a second of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use axum::http::StatusCode;

/// How often one reason may be logged.
const LOG_INTERVAL_US: i64 = 60_000_000;

/// Why a request was not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// One of the three signature headers is missing or not text.
    MissingSignature,
    /// The timestamp is not a number.
    BadTimestamp,
    /// The timestamp is older than the tolerance.
    OldTimestamp,
    /// The timestamp is ahead of this clock by more than the tolerance.
    FutureTimestamp,
    /// No signature fits.
    BadSignature,
    /// The body is larger than the limit.
    BodyTooLarge,
    /// The body ended before it was complete.
    BodyIncomplete,
    /// The body did not arrive, or could not be stored, within the time limit.
    Timeout,
    /// The body is not JSON.
    NotJson,
    /// The body is JSON but not CloudEvents 1.0, or the content type names something else.
    NotCloudEvents,
    /// SQLite could not store it: the disk is full or broken. Sending it again later may succeed.
    StorageUnavailable,
}

use Reason::*;

/// Every reason with its name in `/stats` and the status it is answered with.
const REASONS: [(Reason, &str, StatusCode); 11] = [
    (MissingSignature, "missing_signature", StatusCode::UNAUTHORIZED),
    (BadTimestamp, "bad_timestamp", StatusCode::UNAUTHORIZED),
    (OldTimestamp, "old_timestamp", StatusCode::UNAUTHORIZED),
    (FutureTimestamp, "future_timestamp", StatusCode::UNAUTHORIZED),
    (BadSignature, "bad_signature", StatusCode::UNAUTHORIZED),
    (BodyTooLarge, "body_too_large", StatusCode::PAYLOAD_TOO_LARGE),
    (BodyIncomplete, "body_incomplete", StatusCode::BAD_REQUEST),
    (Timeout, "timeout", StatusCode::REQUEST_TIMEOUT),
    (NotJson, "not_json", StatusCode::BAD_REQUEST),
    (NotCloudEvents, "not_cloudevents", StatusCode::BAD_REQUEST),
    (StorageUnavailable, "storage_unavailable", StatusCode::SERVICE_UNAVAILABLE),
];

impl Reason {
    fn index(self) -> usize {
        REASONS.iter().position(|(reason, ..)| *reason == self).unwrap_or(0)
    }

    /// Its name in `/stats` and in the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        REASONS[self.index()].1
    }

    /// The status it is answered with.
    #[must_use]
    pub fn status(self) -> StatusCode {
        REASONS[self.index()].2
    }
}

/// One counter per reason.
#[derive(Debug, Default)]
pub struct Rejections {
    counts: [AtomicU64; REASONS.len()],
    logged_us: [AtomicI64; REASONS.len()],
}

impl Rejections {
    /// Counters that go on from saved ones; names that are not known any more are left out.
    #[must_use]
    pub fn load(saved: &BTreeMap<String, u64>) -> Self {
        let rejections = Self::default();
        for (counter, (_, name, _)) in rejections.counts.iter().zip(REASONS) {
            counter.store(saved.get(name).copied().unwrap_or(0), Ordering::Relaxed);
        }
        rejections
    }

    /// Counts one request; `detail` goes to the log, where each reason appears at most once a minute.
    pub fn count(&self, reason: Reason, detail: &str, now_us: i64) {
        let index = reason.index();
        let so_far = self.counts[index].fetch_add(1, Ordering::Relaxed) + 1;
        let logged_us = self.logged_us[index].load(Ordering::Relaxed);
        if logged_us == 0 || now_us - logged_us >= LOG_INTERVAL_US {
            self.logged_us[index].store(now_us, Ordering::Relaxed);
            tracing::warn!(reason = reason.name(), so_far, "rejected a request: {detail}");
        }
    }

    /// The counters that are not zero, by name.
    #[must_use]
    pub fn by_reason(&self) -> BTreeMap<&'static str, u64> {
        let counts = self.counts.iter().map(|counter| counter.load(Ordering::Relaxed));
        let named = REASONS.iter().map(|(_, name, _)| *name).zip(counts);
        named.filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_each_reason_is_what_senders_were_promised() {
        for (reason, status) in [
            (MissingSignature, 401),
            (BadTimestamp, 401),
            (OldTimestamp, 401),
            (FutureTimestamp, 401),
            (BadSignature, 401),
            (BodyTooLarge, 413),
            (NotJson, 400),
            (NotCloudEvents, 400),
            (Timeout, 408),
            (StorageUnavailable, 503),
        ] {
            assert_eq!(reason.status().as_u16(), status, "{}", reason.name());
        }
    }

    #[test]
    fn counters_go_on_from_saved_ones() {
        let saved = BTreeMap::from([("bad_signature".to_owned(), 4), ("gone".to_owned(), 9)]);
        let rejections = Rejections::load(&saved);
        rejections.count(BadSignature, "", 1);
        rejections.count(NotJson, "", 1);
        assert_eq!(rejections.by_reason(), BTreeMap::from([("bad_signature", 5), ("not_json", 1)]));
    }
}
