//! The numbers of `/stats`, kept up to date event by event.
//!
//! Every counter is incremental: `/stats` reads memory and costs the same with ten events or with ten million. The writer adds a
//! transaction's [`Delta`] to the counters in the database inside that transaction and to the [`Tally`] after the commit, so
//! that both always describe exactly the events that are stored.
//!
//! Labels come from events, so there is a limit: each breakdown keeps its first [`LABELS_MAX`] labels of at most
//! [`LABEL_BYTES_MAX`] bytes and counts the rest as `(other)`.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use serde::Serialize;

use crate::cloudevent::Event;
use crate::series::{Percentiles, Recent, Series, milliseconds};
use crate::timestamp;

/// Distinct labels in one breakdown.
pub const LABELS_MAX: usize = 64;
/// Bytes of a label; longer ones count as `(other)`.
pub const LABEL_BYTES_MAX: usize = 64;
/// Latencies that percentiles are taken of.
pub const LATENCIES_MAX: usize = 10_000;
/// Minutes in the rate series.
pub const MINUTES: u16 = 60;
/// Seconds in the live rate series.
pub const SECONDS: u16 = 120;
/// Events that the dashboard lists.
pub const LATEST_MAX: usize = 20;

const COMMITS_MAX: usize = 1_000;
const CELL_CHARS_MAX: usize = 64;
const OTHER_LABEL: &str = "(other)";
const SECOND_US: i64 = 1_000_000;

/// What a breakdown counts by. Apart from `Operation` they count inserts alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// `data.op`, or the CloudEvents type without one; over all events.
    Operation,
    /// `content_type`; over inserts.
    ContentType,
    /// `event_type`; over inserts.
    EventType,
    /// `device`; over inserts.
    Device,
}

impl Dimension {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Operation, Self::ContentType, Self::EventType, Self::Device];

    /// Its name in the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Operation => "operation",
            Self::ContentType => "content_type",
            Self::EventType => "event_type",
            Self::Device => "device",
        }
    }
}

/// An event's arrival, for the first and the last one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Arrival {
    /// The event's id.
    pub id: String,
    /// RFC 3339.
    pub received_at: String,
}

/// One line of the dashboard's list of the newest events; texts are cut to a cell's size.
#[derive(Debug, Clone, Serialize)]
pub struct Latest {
    seq: i64,
    op: String,
    event_type: Option<String>,
    content_id: Option<String>,
    content_type: Option<String>,
    device: Option<String>,
    engagement_seconds: Option<String>,
    received_at_ms: f64,
    latency_ms: Option<f64>,
}

/// A content item and the inserts that name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TopContent {
    /// `content_id`
    pub content_id: String,
    /// The `content_type` of its newest insert.
    pub content_type: Option<String>,
    /// Inserts with this `content_id`.
    pub events: u64,
}

/// Inserts per content item in one transaction.
#[derive(Debug, Clone, Default)]
pub struct ContentDelta {
    /// How many.
    pub events: u64,
    /// The newest `content_type`.
    pub content_type: Option<String>,
}

/// What one transaction adds.
#[derive(Debug, Default)]
pub struct Delta {
    /// Events seen for the first time.
    pub unique: u64,
    /// Events whose id was stored before.
    pub duplicates: u64,
    /// Those of the duplicates whose bytes differ from what is stored.
    pub conflicts: u64,
    /// New events per label.
    pub labels: BTreeMap<(Dimension, String), u64>,
    /// New inserts per content item.
    pub content: HashMap<String, ContentDelta>,
    /// New events per minute of their receipt.
    pub minutes: BTreeMap<i64, u64>,
    stored: Vec<Stored>,
}

#[derive(Debug)]
struct Stored {
    id: String,
    received_at_us: i64,
    latency_us: Option<i64>,
    latest: Latest,
}

/// The counters of everything that is stored.
#[derive(Debug)]
pub struct Tally {
    /// Events seen for the first time: the rows of the database.
    pub unique: u64,
    /// Events whose id was stored before.
    pub duplicates: u64,
    /// Those of the duplicates whose bytes differ from what is stored.
    pub conflicts: u64,
    /// Counts per label.
    pub labels: BTreeMap<(Dimension, String), u64>,
    /// The first event ever stored.
    pub first: Option<Arrival>,
    /// The newest stored event.
    pub last: Option<Arrival>,
    /// The items with the most inserts, most first.
    pub top_content: Vec<TopContent>,
    /// New events per minute.
    pub minutes: Series,
    seconds: Series,
    latencies: Recent,
    commits: Recent,
    latest: VecDeque<Latest>,
}

/// The answer to `GET /stats`.
#[derive(Debug, Serialize)]
pub struct Stats {
    /// Events in acknowledged requests: `unique` + `duplicates`.
    pub total: u64,
    /// Events stored, each id once.
    pub unique: u64,
    /// Events whose id was stored before; nothing is stored for them.
    pub duplicates: u64,
    /// Those of the duplicates whose bytes differ from what is stored.
    pub conflicts: u64,
    /// Requests that were not acknowledged.
    pub rejected: u64,
    /// The same by reason.
    pub rejected_reasons: BTreeMap<&'static str, u64>,
    /// All stored events by operation.
    pub per_operation: BTreeMap<String, u64>,
    /// Inserts by `content_type`.
    pub per_content_type: BTreeMap<String, u64>,
    /// Inserts by `event_type`.
    pub per_event_type: BTreeMap<String, u64>,
    /// Inserts by `device`.
    pub per_device: BTreeMap<String, u64>,
    /// Stored events over time.
    pub events_per_minute: Rate,
    /// From commit in the source database (`time`) to receipt, over the most recent [`LATENCIES_MAX`] events.
    pub latency_ms: Option<Percentiles>,
    /// What a commit to disk cost after receipt, over the most recent transactions of this process.
    pub commit_ms: Option<Percentiles>,
    /// The first event ever stored.
    pub first: Option<Arrival>,
    /// The newest stored event.
    pub last: Option<Arrival>,
    /// The items with the most inserts, most first.
    pub top_content: Vec<TopContent>,
}

/// Stored events over time, by receipt.
#[derive(Debug, Serialize)]
pub struct Rate {
    /// In the last 60 seconds.
    pub current: u64,
    /// Per minute of the clock, oldest first; the last one is the minute that is running.
    pub last_60_minutes: Vec<u64>,
}

/// What the dashboard shows: `/stats` and what only a screen needs.
#[derive(Debug, Serialize)]
pub struct Live {
    /// As `GET /stats`.
    pub stats: Stats,
    /// Stored events per second, oldest first, the last second is running.
    pub per_second: Vec<u64>,
    /// The newest events, newest first.
    pub latest: Vec<Latest>,
    /// This process' clock, in milliseconds since the epoch.
    pub now_ms: f64,
}

impl Delta {
    /// Counts an event that was stored as row `seq`.
    pub fn stored(&mut self, seq: i64, event: &Event, received_at_us: i64) {
        self.unique += 1;
        *self.minutes.entry(received_at_us.div_euclid(60 * SECOND_US)).or_default() += 1;
        self.label(Dimension::Operation, Some(event.op.as_ref().unwrap_or(&event.kind)));
        let columns = &event.columns;
        if event.is_insert() {
            self.label(Dimension::ContentType, columns.content_type.as_ref());
            self.label(Dimension::EventType, columns.event_type.as_ref());
            self.label(Dimension::Device, columns.device.as_ref());
            if let Some(content_id) = &columns.content_id {
                let content = self.content.entry(content_id.clone()).or_default();
                content.events += 1;
                content.content_type = columns.content_type.as_deref().map(cell);
            }
        }
        let latest = Latest::of(seq, event, received_at_us);
        let latency_us = event.time_us.map(|time_us| received_at_us - time_us);
        self.stored.push(Stored { id: event.id.clone(), received_at_us, latency_us, latest });
    }

    /// Counts an event whose id was stored before.
    pub fn repeated(&mut self, same_bytes: bool) {
        self.duplicates += 1;
        self.conflicts += u64::from(!same_bytes);
    }

    fn label(&mut self, dimension: Dimension, label: Option<&String>) {
        if let Some(label) = label {
            let label = if label.len() > LABEL_BYTES_MAX { OTHER_LABEL } else { label };
            *self.labels.entry((dimension, label.to_owned())).or_default() += 1;
        }
    }
}

impl Latest {
    /// The line for an event that was stored as row `seq`.
    #[must_use]
    pub fn of(seq: i64, event: &Event, received_at_us: i64) -> Self {
        let columns = &event.columns;
        let text = |value: &Option<String>| value.as_deref().map(cell);
        Self {
            seq,
            op: cell(event.op.as_ref().unwrap_or(&event.kind)),
            event_type: text(&columns.event_type),
            content_id: text(&columns.content_id),
            content_type: text(&columns.content_type),
            device: text(&columns.device),
            engagement_seconds: text(&columns.engagement_seconds),
            received_at_ms: milliseconds(received_at_us),
            latency_ms: event.time_us.map(|time_us| milliseconds(received_at_us - time_us)),
        }
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            unique: 0,
            duplicates: 0,
            conflicts: 0,
            labels: BTreeMap::new(),
            first: None,
            last: None,
            top_content: Vec::new(),
            minutes: Series::new(60 * SECOND_US, MINUTES),
            seconds: Series::new(SECOND_US, SECONDS),
            latencies: Recent::new(LATENCIES_MAX),
            commits: Recent::new(COMMITS_MAX),
            latest: VecDeque::new(),
        }
    }
}

impl Tally {
    /// Turns the labels of `delta` for which there is no room into `(other)`; to be called before the delta is stored.
    pub fn admit_labels(&self, delta: &mut Delta) {
        for dimension in Dimension::ALL {
            let of_dimension = |((d, _), _): &(&(Dimension, String), &u64)| *d == dimension;
            let mut room = LABELS_MAX.saturating_sub(self.labels.iter().filter(of_dimension).count());
            let new: Vec<_> = delta.labels.keys().filter(|key| key.0 == dimension && !self.labels.contains_key(key)).cloned().collect();
            for key in new {
                if room > 0 {
                    room -= 1;
                } else if key.1 != OTHER_LABEL {
                    let count = delta.labels.remove(&key).unwrap_or(0);
                    *delta.labels.entry((dimension, OTHER_LABEL.to_owned())).or_default() += count;
                }
            }
        }
    }

    /// Adds what was committed. `commit` is what the commit itself took.
    pub fn apply(&mut self, delta: Delta, commit: Duration) {
        self.unique += delta.unique;
        self.duplicates += delta.duplicates;
        self.conflicts += delta.conflicts;
        for (label, count) in delta.labels {
            *self.labels.entry(label).or_default() += count;
        }
        for (minute, count) in delta.minutes {
            self.minutes.add(minute * 60 * SECOND_US, count);
        }
        self.commits.push(i64::try_from(commit.as_micros()).unwrap_or(i64::MAX));
        for stored in delta.stored {
            self.measure(stored.received_at_us, stored.latency_us);
            let arrival = Arrival { id: stored.id, received_at: timestamp::format(stored.received_at_us) };
            self.first.get_or_insert_with(|| arrival.clone());
            self.last = Some(arrival);
            self.list(stored.latest);
        }
    }

    /// Takes a stored event into the measurements of recent ones, oldest first.
    pub fn measure(&mut self, received_at_us: i64, latency_us: Option<i64>) {
        self.seconds.add(received_at_us, 1);
        if let Some(latency_us) = latency_us {
            self.latencies.push(latency_us);
        }
    }

    /// Puts an event on top of the list of the newest.
    pub fn list(&mut self, latest: Latest) {
        self.latest.truncate(LATEST_MAX - 1);
        self.latest.push_front(latest);
    }

    /// The answer to `GET /stats` at `now_us`.
    #[must_use]
    pub fn stats(&self, rejected_reasons: BTreeMap<&'static str, u64>, now_us: i64) -> Stats {
        let per = |dimension| {
            let of_dimension = self.labels.iter().filter(|((d, _), _)| *d == dimension);
            of_dimension.map(|((_, label), count)| (label.clone(), *count)).collect()
        };
        let seconds = self.seconds.values(now_us);
        let current = seconds.iter().rev().take(60).sum();
        Stats {
            total: self.unique + self.duplicates,
            unique: self.unique,
            duplicates: self.duplicates,
            conflicts: self.conflicts,
            rejected: rejected_reasons.values().sum(),
            rejected_reasons,
            per_operation: per(Dimension::Operation),
            per_content_type: per(Dimension::ContentType),
            per_event_type: per(Dimension::EventType),
            per_device: per(Dimension::Device),
            events_per_minute: Rate { current, last_60_minutes: self.minutes.values(now_us) },
            latency_ms: self.latencies.percentiles(),
            commit_ms: self.commits.percentiles(),
            first: self.first.clone(),
            last: self.last.clone(),
            top_content: self.top_content.clone(),
        }
    }

    /// What the dashboard shows at `now_us`.
    #[must_use]
    pub fn live(&self, rejected_reasons: BTreeMap<&'static str, u64>, now_us: i64) -> Live {
        Live {
            stats: self.stats(rejected_reasons, now_us),
            per_second: self.seconds.values(now_us),
            latest: self.latest.iter().cloned().collect(),
            now_ms: milliseconds(now_us),
        }
    }
}

fn cell(text: impl AsRef<str>) -> String {
    text.as_ref().chars().take(CELL_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use axum::body::Bytes;

    fn event(op: &str, device: &str) -> Event {
        let json = format!(
            r#"{{"specversion":"1.0","id":"i","source":"s","type":"t","time":"1970-01-01T00:00:01Z",
                "data":{{"op":"{op}","before":null,"after":{{"device":"{device}","content_id":"c"}}}}}}"#
        );
        Event::parse(Bytes::from(json)).unwrap()
    }

    #[test]
    fn breakdowns_count_inserts_and_operations_count_everything() {
        let (mut tally, mut delta) = (Tally::default(), Delta::default());
        for (seq, op) in (1..).zip(["insert", "update", "insert", "delete"]) {
            delta.stored(seq, &event(op, "tv"), 1_500_000);
        }
        delta.repeated(true);
        delta.repeated(false);
        tally.apply(delta, Duration::from_micros(1500));
        let stats = tally.stats(BTreeMap::from([("not_json", 3)]), 2_000_000);
        assert_eq!((stats.total, stats.unique, stats.duplicates, stats.conflicts), (6, 4, 2, 1));
        assert_eq!(stats.per_device, BTreeMap::from([("tv".to_owned(), 2)]));
        let operations = [("delete", 1), ("insert", 2), ("update", 1)].map(|(op, n)| (op.to_owned(), n));
        assert_eq!(stats.per_operation, BTreeMap::from(operations));
        assert_eq!((stats.rejected, stats.events_per_minute.current), (3, 4));
        assert_eq!(stats.events_per_minute.last_60_minutes[59], 4);
        assert_eq!(stats.latency_ms.unwrap().p50, 500.0);
        assert_eq!(stats.commit_ms.unwrap().p50, 1.5);
        assert!(stats.per_content_type.is_empty());
    }

    #[test]
    fn labels_have_a_limit_and_nothing_goes_uncounted() {
        let mut tally = Tally::default();
        for round in 0_usize..3 {
            let mut delta = Delta::default();
            for label in 0..50 {
                delta.stored(1, &event("insert", &format!("device-{}", round * 50 + label)), 0);
            }
            delta.stored(1, &event("insert", &"x".repeat(LABEL_BYTES_MAX + 1)), 0);
            tally.admit_labels(&mut delta);
            tally.apply(delta, Duration::ZERO);
        }
        let devices = tally.stats(BTreeMap::new(), 0).per_device;
        assert!(devices.len() <= LABELS_MAX + 1, "{}", devices.len());
        assert_eq!(devices.values().sum::<u64>(), 153);
        assert_eq!(devices["device-0"], 1);
        assert_eq!(devices["(other)"], 153 - (u64::try_from(devices.len()).unwrap() - 1));
    }

    #[test]
    fn the_list_holds_the_newest_first() {
        let mut tally = Tally::default();
        let mut delta = Delta::default();
        for seq in 1..=30 {
            delta.stored(seq, &event("insert", "tv"), 0);
        }
        tally.apply(delta, Duration::ZERO);
        let live = tally.live(BTreeMap::new(), 0);
        let listed: Vec<i64> = live.latest.iter().map(|latest| latest.seq).collect();
        assert_eq!(listed, (11..=30).rev().collect::<Vec<_>>());
        assert_eq!(live.per_second.len(), 120);
    }
}
