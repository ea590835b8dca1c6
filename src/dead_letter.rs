//! Records that can never be delivered, parked in a topic with their reason, so that they can be looked at and replayed.
//!
//! An entry has the record's key and value as they were, and headers:
//!
//! | header | |
//! |---|---|
//! | `highwater-error-class` | why, for machines: the label of the metric |
//! | `highwater-error-sqlstate` | of a row error |
//! | `highwater-error-message` | why, for people, 4 KiB at most |
//! | `highwater-column` | of a row error that knows it |
//! | `highwater-topic`, `highwater-partition`, `highwater-offset` | where the record is; they identify the entry: written twice it is one |
//! | `highwater-time` | the record's timestamp, RFC 3339; the entry's own says when it was parked |
//! | `highwater-value` | `sha256` on an entry that would not fit: its value is a JSON object with the coordinates, the length and the SHA-256 of the value (and of the key, which is then left out, where that is what is large) |
//!
//! A record that was replayed is told by a note, a message with the class and the coordinates of the record and two more headers:
//!
//! | header | |
//! |---|---|
//! | `highwater-replayed` | when, RFC 3339 |
//! | `highwater-entry` | partition and offset of the last entry of the record that the replay knew: one written later is not meant |
//!
//! It promises that an entry is durable (acks=all) when [`DeadLetters::write`] returns, which is before progress passes the record.

pub mod follow;

pub mod ledger;

pub mod list;

pub mod read;

pub mod replay;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use highwater_sql::RowError;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::metrics::Metrics;
use crate::sink::webhook::time::rfc3339;
use crate::sink::{Error, Rejected, Sides};
use crate::source::{Record, SOCKET_TIMEOUT_MS};

const ENTRY_BYTES_MAX: usize = 16 << 20;
/// What the protocol adds to key, value and headers of one entry, rounded up.
const FRAMING_BYTES_MAX: usize = 1024;
const KEY_BYTES_MAX: usize = 64 << 10;
const MESSAGE_BYTES_MAX: usize = 4 << 10;
const CREATE_TIMEOUT: Duration = Duration::from_secs(10);
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Every error class: of bytes that are no change ([`highwater_sql::decode::DecodeError::class`]), of changes that lack something, of rows that cannot
/// be computed, of events that the sink refuses.
pub const CLASSES: [&str; 10] =
    ["malformed", "not_an_envelope", "unknown_op", "no_position", "too_large", "null_key", "incomplete", "append_only", "row", "rejected"];

/// A record that can never be delivered, and why.
#[derive(Debug)]
pub struct DeadLetter {
    /// The record as it was.
    pub record: Record,
    /// The error class, for the metric and the header: one of [`CLASSES`].
    pub class: &'static str,
    /// The SQLSTATE of a row error.
    pub sqlstate: Option<&'static str>,
    /// What is wrong, without secrets.
    pub message: String,
    /// The column of a row error.
    pub column: Option<String>,
    /// The sides that a ranking lacks until it is replayed; none of a record that was parked before it could be judged.
    pub owed: Sides,
}

impl DeadLetter {
    /// A record that is wrong as a whole.
    pub fn new(record: Record, class: &'static str, message: impl Into<String>) -> Self {
        debug_assert!(CLASSES.contains(&class), "{class}");
        Self { record: record.detached(), class, sqlstate: None, message: message.into(), column: None, owed: Sides::NONE }
    }

    /// A record one of whose rows cannot be computed.
    pub fn of_row(record: Record, class: &'static str, error: RowError) -> Self {
        Self { sqlstate: Some(error.sqlstate), column: error.column, ..Self::new(record, class, error.message) }
    }

    /// A record that counts, of which these sides are left out.
    #[must_use]
    pub fn owing(self, owed: Sides) -> Self {
        Self { owed, ..self }
    }
}

impl From<Rejected> for DeadLetter {
    fn from(rejected: Rejected) -> Self {
        Self::new(rejected.record, "rejected", rejected.reason)
    }
}

/// The topic `highwater.<pipeline>.<sink>.dead-letters` of one lane.
pub struct DeadLetters {
    topic: String,
    source_topic: String,
    config: ClientConfig,
    /// There from the first entry on, after the topic was made sure of; thrown away with the first error.
    producer: Mutex<Option<FutureProducer>>,
    metrics: Metrics,
    labels: [String; 2],
}

/// The topic of one lane.
pub fn topic(pipeline: &str, sink: &str) -> String {
    format!("highwater.{pipeline}.{sink}.dead-letters")
}

/// A record that was replayed.
#[derive(Clone, Debug)]
pub struct Note {
    /// The record.
    pub record: ledger::Coordinates,
    /// Its key, so that the note lands beside the entry.
    pub key: Option<Vec<u8>>,
    /// The class that it was parked under.
    pub class: String,
    /// Where its last entry is.
    pub entry: ledger::Coordinates,
    /// When, Unix microseconds.
    pub replayed_us: i64,
}

/// What is written for one record.
struct Entry<'a> {
    key: Option<&'a [u8]>,
    value: Option<Cow<'a, [u8]>>,
    headers: OwnedHeaders,
}

impl DeadLetters {
    /// The dead letters of the sink `sink`, whose records come from `source_topic`. Does not talk to Kafka yet.
    pub fn new(kafka: &str, pipeline: &str, sink: &str, source_topic: &str, metrics: Metrics) -> Self {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", kafka)
            .set("client.id", format!("highwater.{pipeline}.{sink}"))
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("allow.auto.create.topics", "false")
            .set("message.max.bytes", ENTRY_BYTES_MAX.to_string())
            .set("queue.buffering.max.kbytes", "65536")
            .set("linger.ms", "1")
            .set("socket.timeout.ms", SOCKET_TIMEOUT_MS)
            .set("message.timeout.ms", WRITE_TIMEOUT.as_millis().to_string());
        Self {
            topic: topic(pipeline, sink),
            source_topic: source_topic.to_owned(),
            config,
            producer: Mutex::new(None),
            metrics,
            labels: [pipeline.to_owned(), sink.to_owned()],
        }
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Writes them with acks=all; returns when all are durable. Written twice they are the same entries (same coordinates), so an error,
    /// which is always `Retry`, or a future that is dropped leaves nothing to undo.
    pub async fn write(&self, letters: &[DeadLetter]) -> Result<(), Error> {
        if letters.is_empty() {
            return Ok(());
        }
        let mut held = self.producer.lock().await;
        let producer = self.opened(&mut held).await?;
        let sent = try_join_all(letters.iter().map(|letter| self.send(&producer, letter))).await;
        drop(producer);
        self.settle(&mut held, sent)?;
        for letter in letters {
            self.metrics.dead_letters.with_label_values(&[&self.labels[0], &self.labels[1], letter.class]).inc();
        }
        Ok(())
    }

    /// Says in the topic that these were replayed, durably as [`DeadLetters::write`]; said twice it is said once.
    pub async fn note(&self, notes: &[Note]) -> Result<(), Error> {
        if notes.is_empty() {
            return Ok(());
        }
        let mut held = self.producer.lock().await;
        let producer = self.opened(&mut held).await?;
        let sent = try_join_all(notes.iter().map(|note| send(&producer, &self.topic, self.note_entry(note)))).await;
        drop(producer);
        self.settle(&mut held, sent)
    }

    /// The producer, opened if there is none.
    async fn opened(&self, held: &mut Option<FutureProducer>) -> Result<FutureProducer, Error> {
        Ok(match held {
            Some(producer) => producer.clone(),
            None => held.insert(self.open().await?).clone(),
        })
    }

    /// A producer may have failed for good (KIP-360), and the topic may have been deleted: after an error begin anew.
    fn settle(&self, held: &mut Option<FutureProducer>, sent: Result<Vec<()>, KafkaError>) -> Result<(), Error> {
        sent.map(drop).map_err(|error| {
            let broken = held.take();
            // Purges its queue and joins a thread.
            spawn_blocking(move || drop(broken));
            self.retry(&error)
        })
    }

    /// Makes sure of the topic and connects.
    async fn open(&self) -> Result<FutureProducer, Error> {
        let (config, topic, runtime) = (self.config.clone(), self.topic.clone(), Handle::current());
        // Creating and dropping clients starts and joins threads.
        let opened = spawn_blocking(move || {
            runtime.block_on(create_topic(&config, &topic))?;
            config.create::<FutureProducer>()
        });
        match opened.await {
            Ok(opened) => opened.map_err(|error| self.retry(&error)),
            Err(ended) => Err(Error::Retry(format!("the topic {} was not opened: {ended}", self.topic))),
        }
    }

    async fn send(&self, producer: &FutureProducer, letter: &DeadLetter) -> Result<(), KafkaError> {
        let whole = self.entry(letter);
        let sent = match whole.fits() {
            true => send(producer, &self.topic, whole).await,
            false => Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge)),
        };
        match sent {
            // The topic may have been made with a smaller limit than ours.
            Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge)) => {
                send(producer, &self.topic, self.digest_entry(letter)).await
            }
            sent => sent,
        }
    }

    fn entry<'a>(&self, letter: &'a DeadLetter) -> Entry<'a> {
        let Record { key, value, .. } = &letter.record;
        Entry { key: key.as_deref(), value: value.as_deref().map(Cow::Borrowed), headers: self.headers(letter) }
    }

    /// The entry that says what the record was instead of repeating it.
    fn digest_entry<'a>(&self, letter: &'a DeadLetter) -> Entry<'a> {
        let Record { partition, offset, timestamp_ms, key, value } = &letter.record;
        let mut value = serde_json::json!({
            "topic": self.source_topic,
            "partition": partition,
            "offset": offset,
            "timestamp_ms": timestamp_ms,
            "value_bytes": value.as_ref().map(Bytes::len),
            "value_sha256": value.as_deref().map(sha256_hex),
        });
        let (short, long) = match key.as_deref() {
            Some(key) if key.len() > KEY_BYTES_MAX => (None, Some(key)),
            key => (key, None),
        };
        if let Some(key) = long {
            value["key_bytes"] = key.len().into();
            value["key_sha256"] = sha256_hex(key).into();
        }
        let headers = self.headers(letter).insert(Header { key: "highwater-value", value: Some("sha256") });
        Entry { key: short, value: Some(value.to_string().into_bytes().into()), headers }
    }

    fn note_entry<'a>(&self, note: &'a Note) -> Entry<'a> {
        let when = rfc3339(note.replayed_us);
        let headers = [
            ("highwater-error-class", Some(note.class.as_str())),
            ("highwater-topic", Some(&self.source_topic)),
            ("highwater-partition", Some(&note.record.0.to_string())),
            ("highwater-offset", Some(&note.record.1.to_string())),
            ("highwater-entry", Some(&format!("{}:{}", note.entry.0, note.entry.1))),
            ("highwater-replayed", when.as_deref()),
        ];
        Entry { key: note.key.as_deref(), value: None, headers: owned(&headers) }
    }

    fn headers(&self, letter: &DeadLetter) -> OwnedHeaders {
        let record = &letter.record;
        let message = &letter.message[..letter.message.floor_char_boundary(MESSAGE_BYTES_MAX)];
        let time = rfc3339(record.timestamp_ms.saturating_mul(1000));
        let headers = [
            ("highwater-error-class", Some(letter.class)),
            ("highwater-error-sqlstate", letter.sqlstate),
            ("highwater-error-message", Some(message)),
            ("highwater-column", letter.column.as_deref()),
            ("highwater-topic", Some(&self.source_topic)),
            ("highwater-partition", Some(&record.partition.to_string())),
            ("highwater-offset", Some(&record.offset.to_string())),
            ("highwater-time", time.as_deref()),
        ];
        owned(&headers)
    }

    fn retry(&self, error: &KafkaError) -> Error {
        Error::Retry(format!("the topic {} does not take dead letters: {error}", self.topic))
    }
}

impl Entry<'_> {
    fn fits(&self) -> bool {
        let headers: usize = self.headers.iter().map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len)).sum();
        let body = self.key.map_or(0, <[u8]>::len) + self.value.as_ref().map_or(0, |value| value.len());
        body + headers + FRAMING_BYTES_MAX <= ENTRY_BYTES_MAX
    }
}

/// Those that have a value.
fn owned(headers: &[(&str, Option<&str>)]) -> OwnedHeaders {
    let present = headers.iter().filter(|(_, value)| value.is_some());
    present.fold(OwnedHeaders::new_with_capacity(headers.len()), |all, &(key, value)| all.insert(Header { key, value }))
}

async fn send(producer: &FutureProducer, topic: &str, entry: Entry<'_>) -> Result<(), KafkaError> {
    let mut record = FutureRecord::<[u8], [u8]>::to(topic).headers(entry.headers);
    record.key = entry.key;
    record.payload = entry.value.as_deref();
    producer.send(record, WRITE_TIMEOUT).await.map(|_| ()).map_err(|(error, _)| error)
}

async fn create_topic(config: &ClientConfig, name: &str) -> Result<(), KafkaError> {
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let limit = ENTRY_BYTES_MAX.to_string();
    // A replication factor of -1 is the broker's default (KIP-464).
    let topic = NewTopic::new(name, 1, TopicReplication::Fixed(-1))
        .set("cleanup.policy", "delete")
        .set("retention.ms", "-1")
        .set("max.message.bytes", &limit);
    let options = AdminOptions::new().request_timeout(Some(CREATE_TIMEOUT)).operation_timeout(Some(CREATE_TIMEOUT));
    for created in admin.create_topics([&topic], &options).await? {
        match created {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            // Who may not create it may write to one that somebody else has created; if not, the write says so.
            Err((_, RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed)) => {}
            Err((_, code)) => return Err(KafkaError::AdminOp(code)),
        }
    }
    Ok(())
}

fn sha256_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;
    use std::time::Instant;

    use rdkafka::admin::ResourceSpecifier;
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    use rdkafka::message::{BorrowedMessage, Message as _};
    use rdkafka::{Offset, TopicPartitionList};

    use super::*;

    fn letters_of(kafka: &str, pipeline: &str) -> DeadLetters {
        DeadLetters::new(kafka, pipeline, "hook", "streaming.public.orders", Metrics::new().unwrap())
    }

    fn record(offset: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Record {
        let bytes = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
        Record { partition: 3, offset, timestamp_ms: 1_784_900_000_123, key: key.map(bytes), value: value.map(bytes) }
    }

    fn headers_of(headers: &impl rdkafka::message::Headers) -> BTreeMap<String, String> {
        headers.iter().map(|header| (header.key.to_owned(), String::from_utf8(header.value.unwrap().to_vec()).unwrap())).collect()
    }

    fn headers<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
        pairs.into_iter().map(|(key, value)| (format!("highwater-{key}"), value.to_owned())).collect()
    }

    const COORDINATES: [(&str, &str); 4] =
        [("topic", "streaming.public.orders"), ("partition", "3"), ("offset", "7"), ("time", "2026-07-24T13:33:20.123000Z")];

    #[test]
    fn an_entry_is_the_record_and_says_why_and_where() {
        let letters = letters_of("127.0.0.1:1", "shop");
        assert_eq!(letters.topic(), "highwater.shop.hook.dead-letters");
        let error = RowError::new("22012", "division by zero").in_column("share");
        let letter = DeadLetter::of_row(record(7, Some(b"\xff"), None), "row", error);
        let entry = letters.entry(&letter);
        assert_eq!((entry.key, entry.value.as_deref(), entry.fits()), (Some(&b"\xff"[..]), None, true));
        let why = [("error-class", "row"), ("error-sqlstate", "22012"), ("error-message", "division by zero"), ("column", "share")];
        assert_eq!(headers_of(&entry.headers), headers(COORDINATES.into_iter().chain(why)));
    }

    #[test]
    fn a_message_is_cut_between_characters() {
        let letter = DeadLetter::new(record(7, None, None), "malformed", "ü".repeat(5000));
        let entry = letters_of("127.0.0.1:1", "shop").entry(&letter).headers;
        assert_eq!(headers_of(&entry)["highwater-error-message"], "ü".repeat(2048));
    }

    /// Expected: `head -c 17825792 /dev/zero | tr '\0' a | sha256sum`, the same with 70000 and k.
    #[test]
    fn what_does_not_fit_is_told_by_its_sum() {
        let letters = letters_of("127.0.0.1:1", "shop");
        let value = vec![b'a'; 17 << 20];
        for (key_len, kept) in [(10, true), (70_000, false)] {
            let letter = DeadLetter::new(record(7, Some(&vec![b'k'; key_len]), Some(&value)), "malformed", "no JSON");
            assert!(!letters.entry(&letter).fits());
            let entry = letters.digest_entry(&letter);
            assert!(entry.fits());
            assert_eq!(entry.key.is_some(), kept);
            let mut expected = serde_json::json!({
                "topic": "streaming.public.orders", "partition": 3, "offset": 7, "timestamp_ms": 1_784_900_000_123_i64,
                "value_bytes": 17 << 20, "value_sha256": "2cabb964545c9b0810d9b0ecb9b388f2c48ba7b4b1ff08442a11fe5910bded55",
            });
            if !kept {
                expected["key_bytes"] = 70_000.into();
                expected["key_sha256"] = "c614ece319c994eec033ffa1dbb71751b72eebdd75f5146832f329a1d2367980".into();
            }
            assert_eq!(serde_json::from_slice::<serde_json::Value>(&entry.value.unwrap()).unwrap(), expected);
            let why = [("error-class", "malformed"), ("error-message", "no JSON"), ("value", "sha256")];
            assert_eq!(headers_of(&entry.headers), headers(COORDINATES.into_iter().chain(why)));
        }
    }

    #[tokio::test]
    async fn a_broker_that_does_not_answer_is_to_be_tried_again() {
        let letters = letters_of("127.0.0.1:1", "shop");
        letters.write(&[]).await.unwrap();
        let letter = DeadLetter::new(record(7, None, None), "malformed", "no JSON");
        assert!(matches!(letters.write(&[letter]).await, Err(Error::Retry(_))));
        let count = letters.metrics.dead_letters.with_label_values(&["shop", "hook", "malformed"]).get();
        assert_eq!(count, 0);
    }

    /// Everything in a topic, and the number of its partitions.
    fn read(kafka: &str, topic: &str, count: usize) -> Vec<rdkafka::message::OwnedMessage> {
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", kafka).set("group.id", "none").create().unwrap();
        let mut assigned = TopicPartitionList::new();
        assigned.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
        consumer.assign(&assigned).unwrap();
        let (begun, mut all) = (Instant::now(), Vec::new());
        while all.len() < count && begun.elapsed() < Duration::from_secs(30) {
            if let Some(message) = consumer.poll(Duration::from_millis(100)) {
                all.push(message.as_ref().map(BorrowedMessage::detach).unwrap());
            }
        }
        let watermarks = consumer.fetch_watermarks(topic, 0, Duration::from_secs(10)).unwrap();
        assert_eq!(watermarks, (0, i64::try_from(count).unwrap()));
        all
    }

    #[tokio::test]
    async fn entries_are_in_kafka_when_write_returns() {
        let Ok(kafka) = std::env::var("HIGHWATER_TEST_KAFKA") else {
            eprintln!("SKIPPED: HIGHWATER_TEST_KAFKA does not name a broker");
            return;
        };
        // GIVEN records of every shape: without key or value, of the largest size that fits, and of one that does not
        let pipeline = format!("test-{}-{}", std::process::id(), rand::random::<u32>());
        let letters = letters_of(&kafka, &pipeline);
        let largest = vec![b'a'; (16 << 20) - 2000];
        let records = [
            record(1, None, None),
            record(2, Some(b"{\"id\":1}"), Some(b"\x00\xff no JSON")),
            record(3, Some(b"k"), Some(&largest)),
            record(4, Some(b"k"), Some(&vec![b'a'; 17 << 20])),
        ];
        let dead: Vec<_> = records.iter().map(|record| DeadLetter::new(record.clone(), "malformed", "no JSON")).collect();

        // WHEN they are written, twice, the second time by a sink that was started again
        letters.write(&dead).await.unwrap();
        letters_of(&kafka, &pipeline).write(&dead).await.unwrap();

        // THEN each is there, twice, as it was or as its sum
        let topic = letters.topic().to_owned();
        let (broker, name) = (kafka.clone(), topic.clone());
        let entries = spawn_blocking(move || read(&broker, &name, 8)).await.unwrap();
        for record in &records {
            let offset = record.offset.to_string();
            let same: Vec<_> = entries.iter().filter(|entry| headers_of(entry.headers().unwrap())["highwater-offset"] == offset).collect();
            assert_eq!(same.len(), 2, "{offset}");
            for entry in same {
                assert_eq!(entry.key(), record.key.as_deref());
                if record.offset == 4 {
                    assert!(
                        String::from_utf8_lossy(entry.payload().unwrap())
                            .contains("2cabb964545c9b0810d9b0ecb9b388f2c48ba7b4b1ff08442a11fe5910bded55")
                    );
                } else {
                    assert!(entry.payload() == record.value.as_deref(), "{offset}");
                }
            }
        }
        assert_eq!(letters.metrics.dead_letters.with_label_values(&[&pipeline, "hook", "malformed"]).get(), 4);

        // AND the topic keeps them
        let admin: AdminClient<DefaultClientContext> = letters.config.create().unwrap();
        let described = admin.describe_configs([&ResourceSpecifier::Topic(&topic)], &AdminOptions::new()).await.unwrap();
        let setting = |key: &str| described[0].as_ref().unwrap().get(key).unwrap().value.clone().unwrap();
        assert_eq!(["cleanup.policy", "retention.ms", "max.message.bytes"].map(setting), ["delete", "-1", "16777216"]);
    }

    /// Expected: `head -c 2000 /dev/zero | tr '\0' b | sha256sum`.
    #[tokio::test]
    async fn a_topic_with_a_smaller_limit_gets_the_sum() {
        let Ok(kafka) = std::env::var("HIGHWATER_TEST_KAFKA") else {
            eprintln!("SKIPPED: HIGHWATER_TEST_KAFKA does not name a broker");
            return;
        };
        let pipeline = format!("test-{}-{}", std::process::id(), rand::random::<u32>());
        let letters = letters_of(&kafka, &pipeline);
        let admin: AdminClient<DefaultClientContext> = letters.config.create().unwrap();
        let small = NewTopic::new(letters.topic(), 1, TopicReplication::Fixed(1)).set("max.message.bytes", "1500");
        admin.create_topics([&small], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
        let dead = [record(1, None, Some(b"fits")), record(2, None, Some(&[b'b'; 2000])), record(3, None, Some(b"fits"))]
            .map(|record| DeadLetter::new(record, "malformed", "no JSON"));

        letters.write(&dead).await.unwrap();

        let topic = letters.topic().to_owned();
        let entries = spawn_blocking(move || read(&kafka, &topic, 3)).await.unwrap();
        let of = |offset: &str| entries.iter().find(|entry| headers_of(entry.headers().unwrap())["highwater-offset"] == offset).unwrap();
        assert!(
            String::from_utf8_lossy(of("2").payload().unwrap())
                .contains("d4c6e5ac27e3c25dd200c9efbb07e9018132f434883fa5b700ce00f41363be5b")
        );
    }
}
