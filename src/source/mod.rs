//! Where changes come from: a Debezium topic, read partition by partition from where the sink says.

pub mod kafka;

pub mod topic;

mod topic_id;

use std::collections::BTreeMap;
use std::future::Future;

use bytes::Bytes;

/// How long a broker may leave a request unanswered before its connection is given up, in the client's words. Its own default is a minute, for each
/// connection after the other.
pub(crate) const SOCKET_TIMEOUT_MS: &str = "10000";

/// One Kafka record, as it was.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its Kafka timestamp, Unix milliseconds.
    pub timestamp_ms: i64,
    /// The key's bytes.
    pub key: Option<Bytes>,
    /// The value's bytes; none for a tombstone.
    pub value: Option<Bytes>,
}

impl Record {
    /// The same with bytes of its own: those of a record that was read are part of the buffer of its whole batch, which they would keep.
    #[must_use]
    pub fn detached(&self) -> Self {
        let own = |bytes: &Option<Bytes>| bytes.as_deref().map(Bytes::copy_from_slice);
        Self { key: own(&self.key), value: own(&self.value), ..*self }
    }
}

/// The topic as seen from outside the consumer group: what an epoch needs to know before it begins.
///
/// Every method asks the broker; an error means that it did not answer and the caller tries again.
pub trait Log: Send + Sync + 'static {
    /// Identifies the topic across deletion and creation (KIP-516).
    fn id(&self) -> impl Future<Output = Result<String, Error>> + Send;
    /// The lowest and the next offset of every partition.
    fn watermarks(&self) -> impl Future<Output = Result<BTreeMap<i32, (i64, i64)>, Error>> + Send;
    /// For every partition the first offset whose timestamp is at or after that moment; the next offset where there is none.
    fn offsets_at(&self, unix_ms: i64) -> impl Future<Output = Result<BTreeMap<i32, i64>, Error>> + Send;
    /// What the group committed for these partitions, with the metadata beside it; partitions without a commit are left out.
    fn committed(&self, partitions: &[i32]) -> impl Future<Output = Result<BTreeMap<i32, (i64, String)>, Error>> + Send;
}

/// Kafka did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The topic is not there (yet).
    #[error("topic {0} does not exist")]
    NoTopic(String),
    /// The broker did not answer or refused.
    #[error("kafka: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
}
