//! Reads topics from outside any group: a dead-letter topic from its beginning to its end, and single records by their coordinates.
//!
//! Everything blocks, and gives up when the broker is silent for [`SILENCE_MAX`].

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message, OwnedMessage};
use rdkafka::{Offset, TopicPartitionList};

/// How long the broker may say nothing.
const SILENCE_MAX: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);
/// Records that are read past rather than sought over.
const SKIP_MAX: i64 = 200;

fn consumer(brokers: &str) -> Result<BaseConsumer, KafkaError> {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "highwater-dead-letters")
        .set("client.id", "highwater-dead-letters")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true")
        .set("queued.max.messages.kbytes", "16384")
        .set("socket.timeout.ms", crate::source::SOCKET_TIMEOUT_MS)
        .set("fetch.message.max.bytes", (17 << 20).to_string())
        .set("receive.message.max.bytes", (64 << 20).to_string())
        .set("allow.auto.create.topics", "false")
        .create()
}

/// Every message from the beginning to where the topic ended when this was called; none where no topic exists yet.
pub fn each(brokers: &str, topic: &str, mut see: impl FnMut(&BorrowedMessage<'_>)) -> Result<(), KafkaError> {
    let consumer = consumer(brokers)?;
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
        match consumer.poll(POLL) {
            Some(Ok(message)) => {
                heard = Instant::now();
                if ends.get(&message.partition()).is_some_and(|end| message.offset() + 1 >= *end) {
                    ends.remove(&message.partition());
                }
                see(&message);
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ends.remove(&partition);
            }
            Some(Err(error)) if heard.elapsed() > SILENCE_MAX => return Err(error),
            None if heard.elapsed() > SILENCE_MAX => return Err(silent()),
            _ => {}
        }
    }
    Ok(())
}

fn silent() -> KafkaError {
    KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut)
}

/// Reads single records of one topic; cheap when they are asked for in the order of partition and offset.
pub struct Reader {
    consumer: BaseConsumer,
    topic: String,
    /// Lowest and next offset of each partition, when the reader was made.
    watermarks: BTreeMap<i32, (i64, i64)>,
    /// What the next poll brings.
    position: Option<(i32, i64)>,
}

impl Reader {
    /// A reader of a topic, which may not exist: it holds nothing then.
    pub fn open(brokers: &str, topic: &str) -> Result<Self, KafkaError> {
        let consumer = consumer(brokers)?;
        let metadata = consumer.fetch_metadata(Some(topic), SILENCE_MAX)?;
        let mut watermarks = BTreeMap::new();
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            watermarks.insert(partition.id(), consumer.fetch_watermarks(topic, partition.id(), SILENCE_MAX)?);
        }
        Ok(Self { consumer, topic: topic.to_owned(), watermarks, position: None })
    }

    /// The record at this offset; none when the topic does not hold it (any more).
    pub fn at(&mut self, partition: i32, offset: i64) -> Result<Option<OwnedMessage>, KafkaError> {
        if self.watermarks.get(&partition).is_none_or(|(low, high)| offset < *low || offset >= *high) {
            return Ok(None);
        }
        if !self.position.is_some_and(|(p, next)| p == partition && (0..=SKIP_MAX).contains(&(offset - next))) {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&self.topic, partition, Offset::Offset(offset))?;
            self.consumer.assign(&list)?;
        }
        self.position = None;
        let began = Instant::now();
        loop {
            match self.consumer.poll(POLL) {
                Some(Ok(message)) if message.partition() == partition && message.offset() >= offset => {
                    self.position = Some((partition, message.offset() + 1));
                    return Ok((message.offset() == offset).then(|| message.detach()));
                }
                Some(Err(KafkaError::PartitionEOF(ended))) if ended == partition => return Ok(None),
                Some(Err(error)) if lost(&error) => return Ok(None),
                Some(Err(error)) if began.elapsed() > SILENCE_MAX => return Err(error),
                None if began.elapsed() > SILENCE_MAX => return Err(silent()),
                _ => {}
            }
        }
    }
}

/// Retention was faster.
fn lost(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::NoOffset)
    )
}
