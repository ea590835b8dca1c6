//! A stretch of a topic, read once from its start to its end, without a group.
//!
//! Records are found by their Kafka timestamps. Those need not go up from one offset to the next: a producer's clock is set back, a send is tried again. The
//! stretch therefore begins at the first record that is dated in the range, and goes on [`DISORDER_MS`] beyond its end; whoever reads it leaves out what is dated
//! otherwise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tracing::warn;

use super::Error;
use crate::source::topic::KafkaLog;
use crate::source::{self, Log, Record, SOCKET_TIMEOUT_MS};

/// How much later than a record of the range one before it in the topic may be dated, milliseconds.
const DISORDER_MS: i64 = 600_000;
/// Records in one batch.
const BATCH_RECORDS_MAX: usize = 500;
/// Bytes of their keys and values; one record may exceed it alone.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// How long the first record of a batch is waited for.
const POLL_WAIT: Duration = Duration::from_millis(200);

/// Offsets by partition: the first, and the one after the last.
pub type Spans = BTreeMap<i32, (i64, i64)>;

/// Where the records of `[from_ms, to_ms)` are.
pub async fn spans(log: &KafkaLog, from_ms: i64, to_ms: i64) -> Result<Spans, source::Error> {
    let since = log.offsets_at(from_ms.max(0)).await?;
    let until = log.offsets_at(to_ms.saturating_add(DISORDER_MS).max(0)).await?;
    let watermarks = log.watermarks().await?;
    let span = |(partition, (low, high)): (i32, (i64, i64))| {
        let at = |offsets: &BTreeMap<i32, i64>| offsets.get(&partition).copied().unwrap_or(high).clamp(low, high);
        (partition, (at(&since), at(&until)))
    };
    Ok(watermarks.into_iter().map(span).collect())
}

/// Records of all spans.
pub fn count(spans: &Spans) -> i64 {
    spans.values().map(|(from, until)| until.saturating_sub(*from).max(0)).sum()
}

/// A consumer of some spans.
pub struct Stretch {
    consumer: Arc<BaseConsumer>,
    topic: String,
    /// What is left of each; none where everything was read.
    left: Spans,
    silent: bool,
}

/// What one round of polling brought.
#[derive(Default)]
struct Polled {
    records: Vec<Record>,
    ended: Vec<i32>,
    trouble: Option<KafkaError>,
}

impl Stretch {
    /// A consumer that joins no group.
    pub fn open(brokers: &str, topic: &str, spans: Spans) -> Result<Self, Error> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "highwater.replay")
            .set("client.id", "highwater-replay")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error")
            .set("allow.auto.create.topics", "false")
            .set("queued.max.messages.kbytes", "16384")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.timeout.ms", SOCKET_TIMEOUT_MS)
            .create()
            .map_err(Error::refused)?;
        let left: Spans = spans.into_iter().filter(|(_, (from, until))| from < until).collect();
        let stretch = Self { consumer: Arc::new(consumer), topic: topic.to_owned(), left, silent: false };
        stretch.assign()?;
        Ok(stretch)
    }

    fn assign(&self) -> Result<(), Error> {
        let mut list = TopicPartitionList::new();
        for (partition, (from, _)) in &self.left {
            list.add_partition_offset(&self.topic, *partition, Offset::Offset(*from)).map_err(Error::refused)?;
        }
        self.consumer.assign(&list).map_err(Error::refused)
    }

    /// Records that were not read yet.
    pub fn left(&self) -> i64 {
        count(&self.left)
    }

    /// The next records, in order of each partition, perhaps none yet; nothing at the end. Waits for a broker that does not answer.
    pub async fn next(&mut self) -> Result<Option<Vec<Record>>, Error> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let consumer = Arc::clone(&self.consumer);
        let polled = tokio::task::spawn_blocking(move || poll(&consumer)).await.map_err(Error::refused)?;
        match polled.trouble {
            Some(KafkaError::MessageConsumption(RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::AutoOffsetReset)) => {
                return Err(Error::refused(
                    "the topic does not hold the next record any more: its retention passed it, or it was created anew",
                ));
            }
            Some(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) => return Err(Error::refused(error)),
            Some(error) if !std::mem::replace(&mut self.silent, true) => warn!(%error, "kafka does not answer, waiting"),
            _ => {}
        }
        self.silent &= polled.records.is_empty();
        let mut records = polled.records;
        let spans = self.left.len();
        records.retain(|record| match self.left.get_mut(&record.partition) {
            Some((next, until)) if record.offset >= *next => {
                *next = record.offset + 1;
                record.offset < *until
            }
            _ => false,
        });
        self.left.retain(|partition, (next, until)| next < until && !polled.ended.contains(partition));
        if self.left.len() < spans {
            self.assign()?;
        }
        Ok(Some(records))
    }
}

fn poll(consumer: &BaseConsumer) -> Polled {
    let (mut polled, mut bytes, mut wait) = (Polled::default(), 0, POLL_WAIT);
    while polled.records.len() < BATCH_RECORDS_MAX && bytes < BATCH_BYTES_MAX {
        match consumer.poll(wait) {
            Some(Ok(message)) => {
                let record = record(&message);
                bytes += record.key.as_ref().map_or(0, Bytes::len) + record.value.as_ref().map_or(0, Bytes::len);
                polled.records.push(record);
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => polled.ended.push(partition),
            Some(Err(error)) => {
                polled.trouble = Some(error);
                break;
            }
            None => break,
        }
        wait = Duration::ZERO;
    }
    polled
}

fn record(message: &impl Message) -> Record {
    Record {
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice),
    }
}
