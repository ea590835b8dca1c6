//! Kafka, from outside: topics are made, ends are read, records are put in and taken out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::util::Timeout;
use tokio::task::block_in_place;

use super::{eventually, seconds};

const WAIT: Duration = Duration::from_secs(20);

/// A record as it stands in a topic.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value.
    pub value: Option<Vec<u8>>,
    /// Headers, as text.
    pub headers: BTreeMap<String, String>,
}

fn config(servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers).set("message.max.bytes", (17 << 20).to_string());
    config
}

fn consumer(servers: &str) -> BaseConsumer {
    let mut config = config(servers);
    config.set("group.id", "highwater-tests").set("enable.auto.commit", "false").set("auto.offset.reset", "error");
    config.set("fetch.message.max.bytes", (18 << 20).to_string()).set("receive.message.max.bytes", (64 << 20).to_string());
    config.set("enable.partition.eof", "true");
    config.create().unwrap()
}

/// Makes a topic of four partitions.
pub async fn create_topic(servers: &str, topic: &str) {
    let admin: AdminClient<DefaultClientContext> = config(servers).create().unwrap();
    let topic = NewTopic::new(topic, 4, TopicReplication::Fixed(1)).set("cleanup.policy", "delete");
    for result in admin.create_topics([&topic], &AdminOptions::new().operation_timeout(Some(WAIT))).await.unwrap() {
        result.unwrap();
    }
}

/// Deletes a topic.
pub async fn delete_topic(servers: &str, topic: &str) {
    let admin: AdminClient<DefaultClientContext> = config(servers).create().unwrap();
    for result in admin.delete_topics(&[topic], &AdminOptions::new().operation_timeout(Some(WAIT))).await.unwrap() {
        result.unwrap();
    }
}

/// Gives a topic that many partitions.
pub async fn add_partitions(servers: &str, topic: &str, count: usize) {
    let admin: AdminClient<DefaultClientContext> = config(servers).create().unwrap();
    let wanted = NewPartitions::new(topic, count);
    for result in admin.create_partitions([&wanted], &AdminOptions::new().operation_timeout(Some(WAIT))).await.unwrap() {
        result.unwrap();
    }
}

/// Removes every record before these offsets, as retention does.
pub async fn delete_records(servers: &str, topic: &str, before: &BTreeMap<i32, i64>) {
    let admin: AdminClient<DefaultClientContext> = config(servers).create().unwrap();
    let mut offsets = TopicPartitionList::new();
    for (partition, offset) in before {
        offsets.add_partition_offset(topic, *partition, Offset::Offset(*offset)).unwrap();
    }
    let deleted = admin.delete_records(&offsets, &AdminOptions::new().operation_timeout(Some(WAIT))).await.unwrap();
    for element in deleted.elements() {
        element.error().unwrap();
    }
}

/// The next offset of every partition; none while the topic does not exist.
pub fn ends(servers: &str, topic: &str) -> BTreeMap<i32, i64> {
    block_in_place(|| {
        let consumer = consumer(servers);
        let metadata = consumer.fetch_metadata(Some(topic), WAIT).unwrap();
        let partitions = metadata.topics()[0].partitions().iter().map(|partition| partition.id());
        partitions.map(|p| (p, watermarks(&consumer, topic, p).1)).collect()
    })
}

/// The first offset and the next one; a broker that has just started is no leader yet.
fn watermarks(consumer: &BaseConsumer, topic: &str, partition: i32) -> (i64, i64) {
    let deadline = Instant::now() + WAIT;
    loop {
        match consumer.fetch_watermarks(topic, partition, WAIT) {
            Ok(found) => return found,
            Err(error) => assert!(Instant::now() < deadline, "{topic} {partition}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The offsets that a group has committed; partitions without one are left out.
pub fn committed(servers: &str, group: &str, topic: &str) -> BTreeMap<i32, i64> {
    let partitions = ends(servers, topic);
    block_in_place(|| {
        let consumer: BaseConsumer = config(servers).set("group.id", group).create().unwrap();
        let mut asked = TopicPartitionList::new();
        for partition in partitions.keys() {
            asked.add_partition(topic, *partition);
        }
        let Ok(found) = consumer.committed_offsets(asked, WAIT) else { return BTreeMap::new() };
        let offset = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match element.offset() {
            Offset::Offset(offset) => Some((element.partition(), offset)),
            _ => None,
        };
        found.elements().iter().filter_map(offset).collect()
    })
}

/// Waits until the topic holds that many records.
pub async fn wait_records(servers: &str, topic: &str, count: i64) {
    let holds = async || match ends(servers, topic).values().sum::<i64>() {
        sum if sum >= count => Ok(()),
        sum => Err(format!("{sum} records")),
    };
    eventually(&format!("{topic} holds {count} records"), seconds(180), holds).await;
}

/// Puts one record in; where it landed.
pub async fn produce(servers: &str, topic: &str, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>) -> (i32, i64) {
    let producer: FutureProducer = config(servers).set("acks", "all").create().unwrap();
    let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(topic).partition(partition);
    record.key = key;
    record.payload = value;
    let delivery = producer.send(record, Timeout::After(WAIT)).await.map_err(|(error, _)| error).unwrap();
    (delivery.partition, delivery.offset)
}

/// Puts copies of a record in, within a transaction that is aborted.
pub async fn produce_aborted(servers: &str, topic: &str, record: &Stored, count: usize) {
    let producer: FutureProducer = config(servers).set("transactional.id", format!("aborted-{}", std::process::id())).create().unwrap();
    block_in_place(|| producer.init_transactions(WAIT)).unwrap();
    producer.begin_transaction().unwrap();
    for _ in 0..count {
        let mut copy: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(topic).partition(record.partition);
        copy.key = record.key.as_deref();
        copy.payload = record.value.as_deref();
        producer.send(copy, Timeout::After(WAIT)).await.unwrap();
    }
    block_in_place(|| producer.abort_transaction(WAIT)).unwrap();
}

/// Every record that is in the topic now, in offset order of each partition; none when it does not exist.
pub fn records(servers: &str, topic: &str) -> Vec<Stored> {
    let ends = ends(servers, topic);
    block_in_place(|| {
        let consumer = consumer(servers);
        let mut assignment = TopicPartitionList::new();
        let mut unread: BTreeSet<i32> = ends.into_keys().collect();
        for partition in &unread {
            assignment.add_partition_offset(topic, *partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&assignment).unwrap();
        let (mut found, mut moved) = (Vec::new(), Instant::now());
        // Not every offset has a record: those of aborted transactions are never seen.
        while !unread.is_empty() {
            assert!(moved.elapsed() < WAIT, "partitions {unread:?} of {topic} were not read");
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => found.push(stored(&message)),
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(unread.remove(&partition)),
                Some(Err(error)) => panic!("{error}"),
                None => continue,
            }
            moved = Instant::now();
        }
        found
    })
}

fn stored(message: &impl Message) -> Stored {
    let mut headers = BTreeMap::new();
    for header in message.headers().into_iter().flat_map(Headers::iter) {
        headers.insert(header.key.to_owned(), String::from_utf8_lossy(header.value.unwrap_or_default()).into_owned());
    }
    let bytes = |part: Option<&[u8]>| part.map(<[u8]>::to_vec);
    let (partition, offset) = (message.partition(), message.offset());
    Stored { partition, offset, key: bytes(message.key()), value: bytes(message.payload()), headers }
}
