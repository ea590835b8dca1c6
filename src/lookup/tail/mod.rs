//! Follows the change topics of the lookup tables and removes what changed from the cache.
//!
//! Every process reads all partitions of these topics, without a group, on a thread of its own: from the end offsets taken before
//! anything is cached, and partitions that come later (a topic that did not exist yet) from their beginning.
//!
//! * While Kafka does not answer, nothing is removed, and entries live on until they are [`super::AGE_MAX`] old. The lanes read from the same
//!   Kafka, so they have nothing to join meanwhile.
//! * Where changes were lost (an offset that is out of range: retention, or a topic created anew) the reading starts again at the
//!   end and all caches are cleared.
//! * A record that cannot be understood clears the cache of its table: it may have been a change of any row.

mod change;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::Lookups;
use crate::config::PipelineConfig;
use crate::source::SOCKET_TIMEOUT_MS;
use change::{Effect, Watch};
use highwater_sql::Plan;

const POLL: Duration = Duration::from_millis(100);
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How soon a new partition, or a topic that did not exist, is noticed.
const METADATA_AGE_MAX: Duration = Duration::from_secs(2);
/// A topic full of records that cannot be understood is logged once in this time; the metric counts each.
const SAY_AGAIN: Duration = Duration::from_secs(60);
const QUEUE_KBYTES_MAX: &str = "4096";

/// The thread; dropping it ends the thread.
#[derive(Debug)]
pub struct Tail {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Why the tail cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client library refuses its settings.
    #[error("the reader of lookup changes cannot be created: {0}")]
    Client(#[from] KafkaError),
    /// No thread.
    #[error("no thread for the reader of lookup changes: {0}")]
    Thread(#[from] std::io::Error),
}

impl Tail {
    /// Starts following; returns at once, whether or not Kafka answers. Without lookups there is nothing to do.
    pub fn start(config: &PipelineConfig, plan: &Plan, lookups: Arc<Lookups>) -> Result<Self, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        if lookups.len() == 0 {
            return Ok(Self { stop, thread: None });
        }
        let watches: Vec<Watch> = plan.lookups.iter().map(Watch::new).collect();
        let topics = plan.lookups.iter().map(|lookup| config.topic(&lookup.table.schema, &lookup.table.name)).collect();
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &config.source.kafka)
            .set("client.id", "highwater-lookups")
            // librdkafka wants one for manual assignment; it never joins and nothing is committed.
            .set("group.id", format!("highwater.{}.lookups", config.name))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("allow.auto.create.topics", "false")
            .set("fetch.wait.max.ms", "100")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.timeout.ms", SOCKET_TIMEOUT_MS)
            .set("fetch.queue.backoff.ms", "10")
            .set("queued.max.messages.kbytes", QUEUE_KBYTES_MAX)
            .create()?;
        let following = Following { consumer, topics, watches, next: BTreeMap::new(), started: false, lookups, outage: false, said: None };
        let stopped = Arc::clone(&stop);
        let name = format!("lookups-{}", config.name);
        let thread = std::thread::Builder::new().name(name).spawn(move || following.run(&stopped))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to end.
            let _ = thread.join();
        }
    }
}

struct Following {
    consumer: BaseConsumer,
    /// The topic of each lookup; one topic may serve several.
    topics: Vec<String>,
    watches: Vec<Watch>,
    /// The offset to read next, by topic and partition.
    next: BTreeMap<(String, i32), i64>,
    started: bool,
    lookups: Arc<Lookups>,
    outage: bool,
    /// When a cleared cache was last logged.
    said: Option<Instant>,
}

impl Following {
    fn run(mut self, stop: &AtomicBool) {
        let mut looked: Option<Instant> = None;
        while !stop.load(Ordering::Relaxed) {
            if looked.is_none_or(|at| at.elapsed() >= METADATA_AGE_MAX) {
                let result = if self.started { self.add_partitions() } else { self.start() };
                self.report(result);
                looked = Some(Instant::now());
            }
            self.poll();
        }
    }

    /// Takes the end offsets, then lets the caches keep what is loaded from now on.
    fn start(&mut self) -> Result<(), KafkaError> {
        let mut next = BTreeMap::new();
        for (topic, partition) in self.partitions()? {
            let (_, end) = self.consumer.fetch_watermarks(&topic, partition, ANSWER_MAX)?;
            next.insert((topic, partition), end);
        }
        self.next = next;
        self.assign()?;
        self.started = true;
        self.lookups.follow();
        tracing::info!(partitions = self.next.len(), "following the changes of lookup tables");
        Ok(())
    }

    /// Partitions that were not there before are read from their beginning. A topic that is gone took its changes with it.
    fn add_partitions(&mut self) -> Result<(), KafkaError> {
        let known = self.next.len();
        let partitions = self.partitions()?;
        if self.next.keys().any(|partition| !partitions.contains(partition)) {
            self.lose("a topic was deleted");
            return self.start();
        }
        for partition in partitions {
            if !self.next.contains_key(&partition) {
                let (begin, _) = self.consumer.fetch_watermarks(&partition.0, partition.1, ANSWER_MAX)?;
                self.next.insert(partition, begin);
            }
        }
        if self.next.len() > known { self.assign() } else { Ok(()) }
    }

    fn partitions(&self) -> Result<Vec<(String, i32)>, KafkaError> {
        let mut partitions = Vec::new();
        for (n, topic) in self.topics.iter().enumerate() {
            if self.topics[..n].contains(topic) {
                continue;
            }
            let metadata = self.consumer.fetch_metadata(Some(topic), ANSWER_MAX)?;
            for found in metadata.topics().iter().filter(|found| found.name() == topic) {
                partitions.extend(found.partitions().iter().map(|partition| (topic.clone(), partition.id())));
            }
        }
        Ok(partitions)
    }

    fn assign(&self) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for ((topic, partition), next) in &self.next {
            list.add_partition_offset(topic, *partition, Offset::Offset(*next))?;
        }
        self.consumer.assign(&list)
    }

    fn poll(&mut self) {
        let message = match self.consumer.poll(POLL) {
            None => return,
            Some(Ok(message)) => message,
            Some(Err(error)) => return self.failed(&error),
        };
        let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
        for (lookup, _) in self.topics.iter().enumerate().filter(|(_, of)| *of == topic) {
            match self.watches[lookup].effect(message.payload()) {
                Effect::Nothing => {}
                Effect::Remove(keys) => keys.iter().for_each(|key| self.lookups.remove(lookup, key)),
                Effect::Clear(reason) => {
                    self.lookups.clear(lookup, reason);
                    if self.said.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
                        tracing::warn!(topic, partition, offset, reason, "the cached rows of a lookup table were cleared");
                        self.said = Some(Instant::now());
                    }
                }
            }
        }
        if let Some(next) = self.next.get_mut(&(topic.to_owned(), partition)) {
            *next = offset + 1;
        }
        if self.outage {
            self.report(Ok(()));
        }
    }

    fn failed(&mut self, error: &KafkaError) {
        let lost = matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::NoOffset)
        );
        if !lost {
            return self.report(Err(error.clone()));
        }
        self.lose(&error.to_string());
        let result = self.start();
        self.report(result);
    }

    /// Nothing is kept until the end offsets are known; `start` is repeated until they are.
    fn lose(&mut self, reason: &str) {
        tracing::warn!(reason, "changes of lookup tables were lost: clearing all rows and reading on from the end");
        self.started = false;
        (0..self.lookups.len()).for_each(|lookup| self.lookups.lose(lookup));
    }

    /// One line when Kafka stops answering and one when it answers again.
    fn report(&mut self, result: Result<(), KafkaError>) {
        match result {
            Err(error) if !self.outage => {
                self.outage = true;
                tracing::warn!(%error, age_max = ?super::AGE_MAX, "the changes of lookup tables cannot be read; cached rows may be as old as age_max");
            }
            Ok(()) if self.outage => {
                self.outage = false;
                tracing::info!("the changes of lookup tables are read again");
            }
            _ => {}
        }
    }
}
