//! The topic as seen from outside the group: watermarks, offsets at a time, commits, identity.
//!
//! Every question goes to the broker on a blocking thread and is bounded by [`TIMEOUT`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use crate::source::{Error, Log};

/// How long one question may take.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// A topic on a real broker.
#[derive(Clone)]
pub struct KafkaLog {
    client: Arc<BaseConsumer>,
    topic: String,
}

impl KafkaLog {
    /// A client that never joins the group; it only asks for its commits.
    pub fn open(brokers: &str, group: &str, topic: &str) -> Result<Self, Error> {
        let client = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", group)
            .set("client.id", "highwater-questions")
            .set("enable.auto.commit", "false")
            .set("allow.auto.create.topics", "false")
            .set("reconnect.backoff.max.ms", "1000")
            // A connection that did not answer one question is not asked the next.
            .set("socket.timeout.ms", TIMEOUT.as_millis().to_string())
            .create::<BaseConsumer>()?;
        Ok(Self { client: Arc::new(client), topic: topic.to_owned() })
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&BaseConsumer, &str) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (client, topic) = (Arc::clone(&self.client), self.topic.clone());
        match tokio::task::spawn_blocking(move || question(&client, &topic)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Kafka(KafkaError::Canceled)),
        }
    }

    /// Commits next offsets with their metadata for a group that nobody joins, and waits for the broker.
    pub async fn commit(&self, offsets: Vec<(i32, i64, String)>) -> Result<(), Error> {
        self.ask(move |client, topic| {
            let mut list = TopicPartitionList::new();
            for (partition, next, metadata) in &offsets {
                let mut element = list.add_partition(topic, *partition);
                element.set_offset(Offset::Offset(*next))?;
                element.set_metadata(metadata);
            }
            Ok(client.commit(&list, CommitMode::Sync)?)
        })
        .await
    }
}

fn partitions(client: &BaseConsumer, topic: &str) -> Result<Vec<i32>, Error> {
    let metadata = client.fetch_metadata(Some(topic), TIMEOUT)?;
    let partitions: Vec<_> = metadata.topics().iter().flat_map(|t| t.partitions().iter().map(|p| p.id())).collect();
    if partitions.is_empty() { Err(Error::NoTopic(topic.to_owned())) } else { Ok(partitions) }
}

fn watermarks(client: &BaseConsumer, topic: &str) -> Result<BTreeMap<i32, (i64, i64)>, Error> {
    let ask = |p| Ok((p, client.fetch_watermarks(topic, p, TIMEOUT)?));
    partitions(client, topic)?.into_iter().map(ask).collect()
}

impl Log for KafkaLog {
    async fn id(&self) -> Result<String, Error> {
        self.ask(super::topic_id::topic_id).await
    }

    async fn watermarks(&self) -> Result<BTreeMap<i32, (i64, i64)>, Error> {
        self.ask(watermarks).await
    }

    async fn offsets_at(&self, unix_ms: i64) -> Result<BTreeMap<i32, i64>, Error> {
        self.ask(move |client, topic| {
            let marks = watermarks(client, topic)?;
            let mut list = TopicPartitionList::new();
            for partition in marks.keys() {
                list.add_partition_offset(topic, *partition, Offset::Offset(unix_ms))?;
            }
            let found = client.offsets_for_times(list, TIMEOUT)?;
            let mut offsets = BTreeMap::new();
            for (partition, (_, high)) in marks {
                let element = found.find_partition(topic, partition);
                if let Some(element) = &element {
                    element.error()?;
                }
                let offset = element.and_then(|e| if let Offset::Offset(o) = e.offset() { Some(o) } else { None });
                offsets.insert(partition, offset.unwrap_or(high));
            }
            Ok(offsets)
        })
        .await
    }

    async fn committed(&self, partitions: &[i32]) -> Result<BTreeMap<i32, (i64, String)>, Error> {
        let wanted = partitions.to_vec();
        self.ask(move |client, topic| {
            let mut list = TopicPartitionList::new();
            for partition in wanted {
                list.add_partition(topic, partition);
            }
            let committed = client.committed_offsets(list, TIMEOUT)?;
            let mut offsets = BTreeMap::new();
            for element in committed.elements() {
                if element.error() == Err(KafkaError::OffsetFetch(RDKafkaErrorCode::UnknownTopicOrPartition)) {
                    return Err(Error::NoTopic(topic.to_owned()));
                }
                element.error()?;
                if let Offset::Offset(offset) = element.offset() {
                    offsets.insert(element.partition(), (offset, element.metadata().to_owned()));
                }
            }
            Ok(offsets)
        })
        .await
    }
}
