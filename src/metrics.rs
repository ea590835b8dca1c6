//! Every metric, declared once: names, labels, units. `/metrics` shows what is here and nothing else.
//!
//! Labels: `pipeline` and `sink` (the sink's name) on everything a lane does; `partition`, `class`, `table` where the name says so.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::clock;
use crate::sink::Written;

/// A counter with its labels.
pub type Counter = prometheus::IntCounter;

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
    /// Records that are parked and were not replayed since, by error class, as every engine reads it from the dead-letter topic.
    dead_letters_outstanding: IntGaugeVec("highwater_dead_letters_outstanding", ["pipeline", "sink", "class"]);
    /// When the oldest of them was parked, Unix seconds; absent without one.
    dead_letters_oldest: IntGaugeVec("highwater_dead_letters_oldest_timestamp_seconds", ["pipeline", "sink", "class"]);
    /// Records in one call to the sink.
    batch_records: HistogramVec("highwater_batch_records", ["pipeline", "sink"], vec![1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0, 5000.0, 20000.0, 100_000.0]);
    /// Duration of one call to the sink, seconds.
    write_seconds: HistogramVec("highwater_sink_write_seconds", ["pipeline", "sink"], vec![0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]);
    /// From commit in Postgres to durable at the sink, seconds, by the clocks of both.
    commit_to_sink_seconds: HistogramVec("highwater_commit_to_sink_seconds", ["pipeline", "sink"], vec![0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0]);
    /// Records between what was read and the end of the partition, as the Kafka client sees it.
    lag: IntGaugeVec("highwater_lag_records", ["pipeline", "sink", "partition"]);
    /// Tries that failed, by what did not answer: kafka, sink (and its dead-letter topic), lookup.
    retries: IntCounterVec("highwater_retries_total", ["pipeline", "sink", "neighbour"]);
    /// 1 while the sink does not answer.
    outage: IntGaugeVec("highwater_sink_outage", ["pipeline", "sink"]);
    /// Batches that the sink refused because its progress had moved (zombies and redeliveries).
    moved: IntCounterVec("highwater_progress_moved_total", ["pipeline", "sink"]);
    /// Epochs begun by this process, by reason.
    epochs: IntCounterVec("highwater_epochs_total", ["pipeline", "sink", "reason"]);
    /// 1 while a ranking is being rebuilt beside the served one.
    rebuilding: IntGaugeVec("highwater_rebuilding", ["pipeline", "sink"]);
    /// Members of a ranking that were compared with SQL, when last.
    verify_members: IntGaugeVec("highwater_verify_members", ["pipeline", "sink"]);
    /// Members that differed from SQL, when last compared.
    verify_differing: IntGaugeVec("highwater_verify_members_differing", ["pipeline", "sink"]);
    /// The largest difference of a member from SQL, as a score, when last compared.
    verify_largest: GaugeVec("highwater_verify_largest_difference", ["pipeline", "sink"]);
    /// When a comparison with SQL last came to an end, Unix seconds.
    verify_finished: GaugeVec("highwater_verify_finished_timestamp_seconds", ["pipeline", "sink"]);
    /// Comparisons with SQL that could not be made.
    verify_failures: IntCounterVec("highwater_verify_failures_total", ["pipeline", "sink"]);
    /// Requests to a webhook endpoint, by status class: 2xx, 3xx, 4xx, 5xx, transport.
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

/// The metrics of one lane, and whether it is ready.
#[derive(Debug)]
pub struct LaneMetrics {
    metrics: Metrics,
    /// The pipeline's name.
    pub pipeline: String,
    /// The sink's name.
    pub sink: String,
    ready: AtomicBool,
}

impl LaneMetrics {
    /// Labels for one lane.
    pub fn new(metrics: Metrics, pipeline: &str, sink: &str) -> Self {
        let lane = Self { metrics, pipeline: pipeline.to_owned(), sink: sink.to_owned(), ready: AtomicBool::new(false) };
        lane.set_ready(false);
        lane.set_outage(false);
        lane
    }

    fn labels(&self) -> [&str; 2] {
        [&self.pipeline, &self.sink]
    }

    fn labels_and<'a>(&'a self, label: &'a str) -> [&'a str; 3] {
        [&self.pipeline, &self.sink, label]
    }

    /// A record was judged.
    pub fn event(&self, verdict: &str) {
        self.metrics.events.with_label_values(&self.labels_and(verdict)).inc();
    }

    /// A neighbour did not answer.
    pub fn retry(&self, neighbour: &str) {
        self.metrics.retries.with_label_values(&self.labels_and(neighbour)).inc();
    }

    /// This process began an epoch of a ranking.
    pub fn epoch_begun(&self, reason: &str) {
        self.metrics.epochs.with_label_values(&self.labels_and(reason)).inc();
    }

    /// Whether a ranking is being rebuilt beside the served one.
    pub fn set_rebuilding(&self, rebuilding: bool) {
        self.metrics.rebuilding.with_label_values(&self.labels()).set(i64::from(rebuilding));
    }

    /// A ranking was compared with SQL.
    pub fn verified(&self, members: usize, differing: usize, largest: f64) {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics.verify_members.with_label_values(&self.labels()).set(count(members));
        self.metrics.verify_differing.with_label_values(&self.labels()).set(count(differing));
        self.metrics.verify_largest.with_label_values(&self.labels()).set(largest);
        let now_ms = u64::try_from(clock::unix_us() / 1000).unwrap_or(0);
        self.metrics.verify_finished.with_label_values(&self.labels()).set(Duration::from_millis(now_ms).as_secs_f64());
    }

    /// A ranking could not be compared with SQL.
    pub fn verify_failed(&self) {
        self.metrics.verify_failures.with_label_values(&self.labels()).inc();
    }

    /// The sink refused a batch because its progress had moved.
    pub fn moved(&self) {
        self.metrics.moved.with_label_values(&self.labels()).inc();
    }

    /// A call to the sink begins with that many records.
    pub fn batch_records(&self, records: usize) {
        let records = u32::try_from(records).unwrap_or(u32::MAX);
        self.metrics.batch_records.with_label_values(&self.labels()).observe(f64::from(records));
    }

    /// A call to the sink made these commits durable.
    pub fn written(&self, took: Duration, written: &Written, commits_us: &[i64]) {
        self.metrics.write_seconds.with_label_values(&self.labels()).observe(took.as_secs_f64());
        self.metrics.late.with_label_values(&self.labels()).inc_by(written.late);
        let now_us = clock::unix_us();
        let latency = self.metrics.commit_to_sink_seconds.with_label_values(&self.labels());
        for commit_us in commits_us {
            let micros = u64::try_from(now_us.saturating_sub(*commit_us)).unwrap_or(0);
            latency.observe(Duration::from_micros(micros).as_secs_f64());
        }
    }

    /// The sink answers, or not.
    pub fn set_outage(&self, outage: bool) {
        self.metrics.outage.with_label_values(&self.labels()).set(i64::from(outage));
    }

    /// The lane has its partitions and reads.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
        self.metrics.ready.with_label_values(&self.labels()).set(i64::from(ready));
    }

    /// The lane has its partitions, reads, and is within `lag_max` records of their end.
    pub fn is_ready(&self, lag_max: i64) -> bool {
        self.ready.load(Ordering::Relaxed) && self.lag() <= lag_max
    }

    /// Records between what was handed to the lane and the end, over its partitions, as of the last second.
    fn lag(&self) -> i64 {
        let families = self.metrics.lag.collect();
        let samples = families.iter().flat_map(|f| f.get_metric());
        let mine = |m: &&prometheus::proto::Metric| {
            let has = |name: &str, value: &str| m.get_label().iter().any(|l| l.name() == name && l.value() == value);
            has("pipeline", &self.pipeline) && has("sink", &self.sink)
        };
        #[allow(clippy::cast_possible_truncation, reason = "a count of records, as Prometheus keeps it")]
        samples.filter(mine).map(|m| m.get_gauge().get_value() as i64).sum()
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
