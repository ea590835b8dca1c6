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
//! It promises that an entry is durable (acks=all) when [`DeadLetters::write`] returns, which is before progress passes the record.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
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
use crate::sink::{Error, Rejected};
use crate::source::Record;

const ENTRY_BYTES_MAX: usize = 16 << 20;
/// What the protocol adds to key, value and headers of one entry, rounded up.
const FRAMING_BYTES_MAX: usize = 1024;
const KEY_BYTES_MAX: usize = 64 << 10;
const MESSAGE_BYTES_MAX: usize = 4 << 10;
const CREATE_TIMEOUT: Duration = Duration::from_secs(10);
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// A record that can never be delivered, and why.
#[derive(Debug)]
pub struct DeadLetter {
    /// The record as it was.
    pub record: Record,
    /// The error class, for the metric and the header: `decode`, `null_key`, `row`, `rejected`, ...
    pub class: &'static str,
    /// The SQLSTATE of a row error.
    pub sqlstate: Option<&'static str>,
    /// What is wrong, without secrets.
    pub message: String,
    /// The column of a row error.
    pub column: Option<String>,
}

impl DeadLetter {
    /// A record that is wrong as a whole.
    pub fn new(record: Record, class: &'static str, message: impl Into<String>) -> Self {
        Self { record, class, sqlstate: None, message: message.into(), column: None }
    }

    /// A record one of whose rows cannot be computed.
    pub fn of_row(record: Record, class: &'static str, error: RowError) -> Self {
        Self { record, class, sqlstate: Some(error.sqlstate), message: error.message, column: error.column }
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
            .set("message.timeout.ms", WRITE_TIMEOUT.as_millis().to_string());
        Self {
            topic: format!("highwater.{pipeline}.{sink}.dead-letters"),
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
        let producer = match &*held {
            Some(producer) => producer.clone(),
            None => held.insert(self.open().await?).clone(),
        };
        let sent = futures_util::future::try_join_all(letters.iter().map(|letter| self.send(&producer, letter))).await;
        drop(producer);
        if let Err(error) = sent {
            // A producer may have failed for good (KIP-360), and the topic may have been deleted: begin anew.
            let broken = held.take();
            // Purges its queue and joins a thread.
            spawn_blocking(move || drop(broken));
            return Err(self.retry(&error));
        }
        for letter in letters {
            self.metrics.dead_letters.with_label_values(&[&self.labels[0], &self.labels[1], letter.class]).inc();
        }
        Ok(())
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
        headers
            .into_iter()
            .filter(|(_, value)| value.is_some())
            .fold(OwnedHeaders::new_with_capacity(headers.len()), |all, (key, value)| all.insert(Header { key, value }))
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
