//! Every metric, declared once: names, labels, units. `/metrics` shows what is here and nothing else.
//!
//! Labels: `pipeline` and `sink` (the sink's name) on everything a lane does; `partition`, `class`, `table` where the name says so.

use prometheus::core::{AtomicU64, GenericCounter};
use prometheus::{Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

/// A counter child.
pub type Counter = GenericCounter<AtomicU64>;

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ident($name:literal, [$($label:literal),*] $(, $buckets:expr)?);)+) => {
        /// All metrics of one process.
        #[derive(Clone, Debug)]
        pub struct Metrics {
            registry: Registry,
            $($(#[doc = $help])+ pub $field: $kind,)+
        }

        impl Metrics {
            /// A registry with all of them.
            pub fn new() -> Result<Self, prometheus::Error> {
                let registry = Registry::new();
                $(let $field = $kind::new(options!($kind, $name, concat!($($help),+) $(, $buckets)?), &[$($label),*])?;
                registry.register(Box::new($field.clone()))?;)+
                Ok(Self { registry, $($field),+ })
            }

            /// Name and labels of each, for tests of documents and dashboards.
            pub const NAMES: &'static [(&'static str, &'static [&'static str])] = &[$(($name, &[$($label),*])),+];
        }
    };
}

macro_rules! options {
    (HistogramVec, $name:expr, $help:expr, $buckets:expr) => {
        HistogramOpts::new($name, $help.trim()).buckets($buckets)
    };
    ($kind:ident, $name:expr, $help:expr) => {
        Opts::new($name, $help.trim())
    };
}

metrics! {
    /// Records read and judged, by verdict: count, ignored, duplicate, tombstone, dead_letter.
    events: IntCounterVec("highwater_events_total", ["pipeline", "sink", "verdict"]);
    /// Rows dated below the window's start, which count no more.
    late: IntCounterVec("highwater_late_rows_total", ["pipeline", "sink"]);
    /// Records parked in the dead-letter topic, by error class.
    dead_letters: IntCounterVec("highwater_dead_letters_total", ["pipeline", "sink", "class"]);
    /// Records in one call to the sink.
    batch_records: HistogramVec("highwater_batch_records", ["pipeline", "sink"], vec![1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0, 5000.0, 20000.0, 100_000.0]);
    /// Duration of one call to the sink, seconds.
    write_seconds: HistogramVec("highwater_sink_write_seconds", ["pipeline", "sink"], vec![0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]);
    /// From commit in Postgres to durable at the sink, seconds, by the clocks of both.
    commit_to_sink_seconds: HistogramVec("highwater_commit_to_sink_seconds", ["pipeline", "sink"], vec![0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0]);
    /// Records between the sink's progress and the end of the partition.
    lag: IntGaugeVec("highwater_lag_records", ["pipeline", "sink", "partition"]);
    /// Tries that failed, by what did not answer: kafka, sink, lookup, dead_letters.
    retries: IntCounterVec("highwater_retries_total", ["pipeline", "sink", "neighbour"]);
    /// 1 while the sink does not answer.
    outage: IntGaugeVec("highwater_sink_outage", ["pipeline", "sink"]);
    /// Batches that the sink refused because its progress had moved (zombies and redeliveries).
    moved: IntCounterVec("highwater_progress_moved_total", ["pipeline", "sink"]);
    /// Epochs begun by this process, by reason.
    epochs: IntCounterVec("highwater_epochs_total", ["pipeline", "sink", "reason"]);
    /// 1 while a ranking is being rebuilt beside the served one.
    rebuilding: IntGaugeVec("highwater_rebuilding", ["pipeline", "sink"]);
    /// Requests to a webhook endpoint, by status class: 2xx, 4xx, 5xx, transport.
    webhook_requests: IntCounterVec("highwater_webhook_requests_total", ["pipeline", "sink", "status"]);
    /// Lookup keys asked for, by result: hit, miss, absent.
    lookup_keys: IntCounterVec("highwater_lookup_keys_total", ["pipeline", "table", "result"]);
    /// Cached lookup rows removed by a change.
    lookup_removed: IntCounterVec("highwater_lookup_removed_total", ["pipeline", "table"]);
    /// Lookup loads thrown away because a change for one of their keys came meanwhile.
    lookup_discarded: IntCounterVec("highwater_lookup_loads_discarded_total", ["pipeline", "table"]);
    /// Times a lookup cache was cleared, by reason: truncate, snapshot, undecodable, offsets_lost.
    lookup_cleared: IntCounterVec("highwater_lookup_cleared_total", ["pipeline", "table", "reason"]);
    /// Entries in the lookup cache.
    lookup_entries: GaugeVec("highwater_lookup_entries", ["pipeline", "table"]);
    /// 1 when the lane has its partitions and is within its lag.
    ready: IntGaugeVec("highwater_lane_ready", ["pipeline", "sink"]);
}

impl Metrics {
    /// The text format of Prometheus.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let mut buffer = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_can_be_registered_and_has_the_prefix_and_a_unit_free_name_once() {
        Metrics::new().unwrap();
        let mut names: Vec<_> = Metrics::NAMES.iter().map(|(name, _)| name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), Metrics::NAMES.len());
        assert!(names.iter().all(|name| name.starts_with("highwater_")));
    }
}
