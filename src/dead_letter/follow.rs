//! What is parked and not replayed, as metrics: how many of each class, and since when.
//!
//! A thread of its own follows the dead-letter topics of a pipeline from their beginning, without a group; the lanes do not wait for it. Every engine
//! shows the same, whoever parked or replayed. It remembers [`RECORDS_MAX`] records of each sink; further ones are only counted,
//! and still are when they were replayed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tracing::debug;

use super::ledger::{Counts, Ledger, Said};
use crate::config::{PipelineConfig, SinkConfig};
use crate::metrics::Metrics;

/// Records of one sink that are remembered, each in a hundred bytes or so.
const RECORDS_MAX: usize = 100_000;
const POLL: Duration = Duration::from_millis(200);
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How soon the first entry of a topic, which makes it, is noticed.
const METADATA_AGE_MAX: Duration = Duration::from_secs(5);
/// How often the gauges are set.
const SHOW_EVERY: Duration = Duration::from_secs(1);

/// The thread. Dropping this tells it to end, and does not wait for it: it may be asking a broker that is away, and leaves nothing undone.
#[derive(Debug)]
pub struct Follower {
    stop: Arc<AtomicBool>,
}

/// Why it cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client library refuses its settings.
    #[error("the reader of dead letters cannot be created: {0}")]
    Client(#[from] KafkaError),
    /// No thread.
    #[error("no thread for the reader of dead letters: {0}")]
    Thread(#[from] std::io::Error),
}

/// The topic of one sink.
struct Followed {
    sink: String,
    topic: String,
    ledger: Ledger,
    /// The offset to read next, by partition.
    next: BTreeMap<i32, i64>,
    changed: bool,
}

struct Following {
    consumer: BaseConsumer,
    pipeline: String,
    followed: Vec<Followed>,
    /// Partitions were found that are not read yet.
    unassigned: bool,
    metrics: Metrics,
}

impl Follower {
    /// Starts following; returns at once, whether or not Kafka answers.
    pub fn start(config: &PipelineConfig, metrics: &Metrics) -> Result<Self, Error> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &config.source.kafka)
            .set("client.id", "highwater-dead-letters")
            // librdkafka wants one for manual assignment; it never joins and nothing is committed.
            .set("group.id", format!("highwater.{}.dead-letters", config.name))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("allow.auto.create.topics", "false")
            .set("queued.max.messages.kbytes", "1024")
            .set("socket.timeout.ms", crate::source::SOCKET_TIMEOUT_MS)
            .set("receive.message.max.bytes", (64 << 20).to_string())
            .create()?;
        let followed = config.sinks.iter().map(SinkConfig::name).map(|sink| Followed {
            sink: sink.to_owned(),
            topic: super::topic(&config.name, sink),
            ledger: Ledger::outstanding(RECORDS_MAX),
            next: BTreeMap::new(),
            changed: false,
        });
        let (pipeline, followed, metrics) = (config.name.clone(), followed.collect(), metrics.clone());
        let following = Following { consumer, pipeline, followed, unassigned: false, metrics };
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let name = format!("letters-{}", config.name);
        std::thread::Builder::new().name(name).spawn(move || following.run(&stopped))?;
        Ok(Self { stop })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Following {
    fn run(mut self, stop: &AtomicBool) {
        let (mut looked, mut shown): (Option<Instant>, Instant) = (None, Instant::now());
        while !stop.load(Ordering::Relaxed) {
            if looked.is_none_or(|at| at.elapsed() >= METADATA_AGE_MAX) {
                // The lanes say when Kafka is away; meanwhile the metrics stand still.
                if let Err(error) = self.add_partitions() {
                    debug!(pipeline = self.pipeline, %error, "the dead-letter topics cannot be read");
                }
                looked = Some(Instant::now());
            }
            self.poll();
            if shown.elapsed() >= SHOW_EVERY {
                self.show();
                shown = Instant::now();
            }
        }
    }

    /// Partitions that were not there before are read from their beginning.
    fn add_partitions(&mut self) -> Result<(), KafkaError> {
        for followed in &mut self.followed {
            let metadata = self.consumer.fetch_metadata(Some(&followed.topic), ANSWER_MAX)?;
            for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
                if !followed.next.contains_key(&partition.id()) {
                    let (low, _) = self.consumer.fetch_watermarks(&followed.topic, partition.id(), ANSWER_MAX)?;
                    followed.next.insert(partition.id(), low);
                    self.unassigned = true;
                }
            }
        }
        if self.unassigned {
            self.assign()?;
            self.unassigned = false;
        }
        Ok(())
    }

    fn assign(&self) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for Followed { topic, next, .. } in &self.followed {
            for (partition, next) in next {
                list.add_partition_offset(topic, *partition, Offset::Offset(*next))?;
            }
        }
        self.consumer.assign(&list)
    }

    fn poll(&mut self) {
        let message = match self.consumer.poll(POLL) {
            None => return,
            Some(Ok(message)) => message,
            // The client tries again by itself.
            Some(Err(_)) => return,
        };
        let Some(followed) = self.followed.iter_mut().find(|followed| followed.topic == message.topic()) else { return };
        let next = followed.next.entry(message.partition()).or_default();
        if message.offset() < *next {
            // Deleted and made anew: what it said is gone.
            for class in followed.ledger.counts().into_keys() {
                show(&self.metrics, [&self.pipeline, &followed.sink, &class], &Counts::default());
            }
            followed.ledger = Ledger::outstanding(RECORDS_MAX);
        }
        *next = message.offset() + 1;
        if let Some(said) = Said::read(&message) {
            followed.changed |= followed.ledger.take(&said);
        }
    }

    fn show(&mut self) {
        for followed in self.followed.iter_mut().filter(|followed| followed.changed) {
            for (class, counts) in followed.ledger.counts() {
                show(&self.metrics, [&self.pipeline, &followed.sink, &class], &counts);
            }
            followed.changed = false;
        }
    }
}

/// Sets the gauges of one pipeline, sink and class.
fn show(metrics: &Metrics, labels: [&str; 3], counts: &Counts) {
    metrics.dead_letters_outstanding.with_label_values(&labels).set(i64::try_from(counts.outstanding).unwrap_or(i64::MAX));
    match counts.oldest_ms {
        Some(oldest_ms) => metrics.dead_letters_oldest.with_label_values(&labels).set(oldest_ms.div_euclid(1000)),
        // An error says that there was none.
        None => drop(metrics.dead_letters_oldest.remove_label_values(&labels)),
    }
}
