//! What is parked, for people: `highwater dead-letters list` and `show`.
//!
//! It reads the topic from its beginning to where it ended when it was asked, and changes nothing. Entries are known by the coordinates of their
//! record: written twice they are one, the later one. Of a long list the newest are shown, and all are counted.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message};
use rdkafka::{Offset, TopicPartitionList};

use crate::sink::webhook::time::rfc3339;

/// How long the broker may say nothing.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Columns of a message in a list.
const MESSAGE_CHARS_SHOWN: usize = 100;
/// Entries of a list at most.
pub const LISTED_MAX: usize = 10_000;

/// One entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parked {
    /// When it was parked, Unix milliseconds.
    pub parked_ms: i64,
    /// The error class.
    pub class: String,
    /// The SQLSTATE of a row error.
    pub sqlstate: String,
    /// Why, for people.
    pub message: String,
    /// The column of a row error.
    pub column: String,
    /// The record's topic.
    pub topic: String,
    /// The record's timestamp, RFC 3339.
    pub time: String,
    /// The record's key.
    pub key: Option<Vec<u8>>,
    /// The record's value, or its SHA-256 when it did not fit.
    pub value: Option<Vec<u8>>,
}

/// Which entries are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Of this class only.
    pub class: Option<String>,
    /// Parked at this Unix time in milliseconds, or later.
    pub since_ms: Option<i64>,
    /// The one of this record only.
    pub record: Option<(i32, i64)>,
}

/// Entries by the partition and offset of their records.
pub type Entries = BTreeMap<(i32, i64), Parked>;

/// What a topic holds.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The newest [`LISTED_MAX`] of what was wanted.
    pub entries: Entries,
    /// How many were wanted, by class.
    pub counts: BTreeMap<String, usize>,
}

/// Reads what is wanted; nothing where no topic exists yet. Blocks.
pub fn read(brokers: &str, topic: &str, wanted: &Wanted) -> Result<Listing, KafkaError> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "highwater-dead-letters")
        .set("client.id", "highwater-dead-letters")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("fetch.message.max.bytes", (17 << 20).to_string())
        .set("receive.message.max.bytes", (64 << 20).to_string())
        .set("allow.auto.create.topics", "false")
        .create()?;
    let mut listing = Listing::default();
    let mut assignment = TopicPartitionList::new();
    let mut ends = BTreeMap::new();
    let metadata = consumer.fetch_metadata(Some(topic), SILENCE_MAX)?;
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), SILENCE_MAX)?;
        if low < high {
            assignment.add_partition_offset(topic, partition.id(), Offset::Offset(low))?;
            ends.insert(partition.id(), high);
        }
    }
    consumer.assign(&assignment)?;
    let mut heard = Instant::now();
    while !ends.is_empty() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                heard = Instant::now();
                if ends.get(&message.partition()).is_some_and(|end| message.offset() + 1 >= *end) {
                    ends.remove(&message.partition());
                }
                listing.take(&message, wanted);
            }
            Some(Err(error)) if heard.elapsed() > SILENCE_MAX => return Err(error),
            None if heard.elapsed() > SILENCE_MAX => {
                return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut));
            }
            _ => {}
        }
    }
    Ok(listing)
}

impl Listing {
    fn take(&mut self, message: &BorrowedMessage<'_>, wanted: &Wanted) {
        let mut headers: BTreeMap<&str, String> = BTreeMap::new();
        for header in message.headers().into_iter().flat_map(|headers| headers.iter()) {
            headers.insert(header.key, String::from_utf8_lossy(header.value.unwrap_or_default()).into_owned());
        }
        let mut header = |name: &str| headers.remove(name).unwrap_or_default();
        let at = (header("highwater-partition").parse(), header("highwater-offset").parse());
        // Something else than an entry.
        let (Ok(partition), Ok(offset)) = at else { return };
        let parked_ms = message.timestamp().to_millis().unwrap_or(0);
        let class = header("highwater-error-class");
        let is_wanted = wanted.class.as_ref().is_none_or(|wanted| *wanted == class)
            && wanted.since_ms.is_none_or(|since_ms| parked_ms >= since_ms)
            && wanted.record.is_none_or(|record| record == (partition, offset));
        if !is_wanted {
            return;
        }
        // A body is kept for the one that is shown.
        let body = |bytes: Option<&[u8]>| bytes.filter(|_| wanted.record.is_some()).map(<[u8]>::to_vec);
        let entry = Parked {
            parked_ms,
            sqlstate: header("highwater-error-sqlstate"),
            message: header("highwater-error-message"),
            column: header("highwater-column"),
            topic: header("highwater-topic"),
            time: header("highwater-time"),
            key: body(message.key()),
            value: body(message.payload()),
            class,
        };
        let class = entry.class.clone();
        if self.entries.insert((partition, offset), entry).is_none() {
            *self.counts.entry(class).or_default() += 1;
        }
        if self.entries.len() > LISTED_MAX {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.parked_ms).map(|(at, _)| *at);
            oldest.map(|at| self.entries.remove(&at));
        }
    }

    /// A table, the newest last, and the counts by class.
    pub fn render(&self, limit: usize) -> String {
        let mut rows: Vec<_> = self.entries.iter().collect();
        rows.sort_by_key(|(at, entry)| (entry.parked_ms, **at));
        let cells = rows[rows.len().saturating_sub(limit)..].iter().map(|((partition, offset), entry)| {
            let parked = rfc3339(entry.parked_ms.saturating_mul(1000)).unwrap_or_default();
            let message: String = entry.message.replace('\n', " ").chars().take(MESSAGE_CHARS_SHOWN).collect();
            let at = format!("{partition}:{offset}");
            [parked.get(..19).unwrap_or(&parked).to_owned(), at, entry.class.clone(), entry.sqlstate.clone(), entry.column.clone(), message]
        });
        let heads = ["PARKED (UTC)", "RECORD", "CLASS", "STATE", "COLUMN", "WHY"].map(str::to_owned);
        let table: Vec<[String; 6]> = std::iter::once(heads).chain(cells).collect();
        let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 6] = std::array::from_fn(width);
        let mut out = String::new();
        if table.len() > 1 {
            for row in &table {
                let padded: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
                let _ = writeln!(out, "{}", padded.join("  ").trim_end());
            }
            out.push('\n');
        }
        let counts: Vec<_> = self.counts.iter().map(|(class, count)| format!("{class} {count}")).collect();
        let total: usize = self.counts.values().sum();
        let _ = match total {
            0 => writeln!(out, "nothing is parked"),
            _ => writeln!(out, "{total} parked: {}", counts.join(", ")),
        };
        out
    }
}

impl Parked {
    /// Everything about one entry; a value that is no text in hexadecimal.
    pub fn render(&self, (partition, offset): (i32, i64)) -> String {
        let mut out = String::new();
        let parked = rfc3339(self.parked_ms.saturating_mul(1000)).unwrap_or_default();
        for (name, value) in [
            ("record", &format!("{} {partition}:{offset}", self.topic)),
            ("written", &self.time),
            ("parked", &parked),
            ("class", &self.class),
            ("sqlstate", &self.sqlstate),
            ("column", &self.column),
            ("why", &self.message),
            ("key", &shown(self.key.as_deref())),
        ] {
            if !value.is_empty() {
                let _ = writeln!(out, "{name:<9} {value}");
            }
        }
        let _ = writeln!(out, "\n{}", shown(self.value.as_deref()));
        out
    }
}

fn shown(bytes: Option<&[u8]>) -> String {
    match bytes.map(|bytes| (std::str::from_utf8(bytes), bytes)) {
        None => "(none)".to_owned(),
        Some((Ok(text), _)) => text.to_owned(),
        Some((Err(_), bytes)) => bytes.iter().fold("0x".to_owned(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parked(parked_ms: i64, class: &str, message: &str) -> Parked {
        Parked { parked_ms, class: class.into(), message: message.into(), ..Parked::default() }
    }

    #[test]
    fn the_newest_are_shown_last_and_all_are_counted() {
        let entries = BTreeMap::from([
            ((0, 7), parked(3_000, "row", "division by zero")),
            ((1, 12), parked(1_000, "malformed", "EOF\nat column 3")),
            ((0, 8), parked(2_000, "row", "no")),
        ]);
        let counts = BTreeMap::from([("row".to_owned(), 2), ("malformed".to_owned(), 1)]);
        let listing = Listing { entries, counts };
        let expected = "\
PARKED (UTC)         RECORD  CLASS  STATE  COLUMN  WHY
1970-01-01T00:00:02  0:8     row                   no
1970-01-01T00:00:03  0:7     row                   division by zero

3 parked: malformed 1, row 2
";
        assert_eq!(listing.render(2), expected);
        assert_eq!(Listing::default().render(2), "nothing is parked\n");
    }

    #[test]
    fn an_entry_is_shown_whole() {
        let entry = Parked {
            topic: "s.public.t".into(),
            sqlstate: "22012".into(),
            key: Some(b"{\"id\":1}".to_vec()),
            value: Some(vec![0xff, 0]),
            ..parked(0, "row", "division by zero")
        };
        let expected = "\
record    s.public.t 2:9
parked    1970-01-01T00:00:00.000000Z
class     row
sqlstate  22012
why       division by zero
key       {\"id\":1}

0xff00
";
        assert_eq!(entry.render((2, 9)), expected);
    }
}
