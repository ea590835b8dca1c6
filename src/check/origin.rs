//! Which database the changes of a topic come from, beyond the life of an engine.
//!
//! An engine that found that LSNs went back ends; the next one may start when the WAL has grown past what was read, and nothing would show any more. So what
//! was found is kept in Kafka, with the cluster's identity: as metadata of a commit on partition 0 of the source's topic, by the group
//! `highwater.<pipeline>.source.origin`, which nobody joins and no sink can have: names hold no dots. It is about one topic (its id is part of it) and gone
//! with that topic, as the remedy wants. The offset is the partition's end, so that nobody who watches groups sees a lag. The broker forgets it when no
//! engine has run for its `offsets.retention.minutes`, seven days by default.
//!
//! What one engine has found, those that run beside it read within ten seconds, and do not overwrite.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::source::topic::KafkaLog;
use crate::source::{Error, Log as _};

const PARTITION: i32 = 0;
/// How often it is written although nothing is new.
const WRITE_EVERY: Duration = Duration::from_secs(3600);
/// Bytes of what was found; the broker takes 4096 with the rest.
const FOUND_BYTES_MAX: usize = 1_000;

/// What is known of one topic's database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The cluster's system identifier; none before Postgres told it.
    pub cluster: Option<i64>,
    /// Why its changes cannot be followed any more, as an earlier engine found.
    pub went_back: Option<String>,
}

/// Where it is kept.
pub struct Kept {
    log: KafkaLog,
    topic_id: String,
    written: Option<Instant>,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("topic_id", &self.topic_id).finish_non_exhaustive()
    }
}

impl Kept {
    /// Where it is kept for a pipeline and its source's topic.
    pub async fn open(brokers: &str, pipeline: &str, topic: &str) -> Result<Self, Error> {
        let log = KafkaLog::open(brokers, &group(pipeline), topic)?;
        let topic_id = log.id().await?;
        Ok(Self { log, topic_id, written: None })
    }

    /// What is kept.
    pub async fn read(&self) -> Result<Origin, Error> {
        let committed = self.log.committed(&[PARTITION]).await?;
        Ok(committed.get(&PARTITION).and_then(|(_, metadata)| decode(metadata, &self.topic_id)).unwrap_or_default())
    }

    /// Keeps it, beside what other engines have kept meanwhile; returns both together. It is written when it is news, and now and then lest the broker
    /// forgets it.
    pub async fn keep(&mut self, origin: &Origin) -> Result<Origin, Error> {
        let kept = self.read().await?;
        let both =
            Origin { cluster: origin.cluster.or(kept.cluster), went_back: kept.went_back.clone().or_else(|| origin.went_back.clone()) };
        if both != kept || self.written.is_none_or(|at| at.elapsed() >= WRITE_EVERY) {
            let end = self.log.watermarks().await?.get(&PARTITION).map_or(0, |(_, end)| *end);
            self.log.commit(vec![(PARTITION, end, encode(&both, &self.topic_id))]).await?;
            self.written = Some(Instant::now());
        }
        Ok(both)
    }
}

/// The group whose commit keeps it.
pub fn group(pipeline: &str) -> String {
    format!("highwater.{pipeline}.source.origin")
}

/// `origin|<topic id>|<cluster>|<what was found>`
fn encode(origin: &Origin, topic_id: &str) -> String {
    let cluster = origin.cluster.map(|cluster| cluster.to_string()).unwrap_or_default();
    let found = origin.went_back.as_deref().unwrap_or_default();
    let end = (0..=found.len().min(FOUND_BYTES_MAX)).rev().find(|end| found.is_char_boundary(*end)).unwrap_or(0);
    format!("origin|{topic_id}|{cluster}|{}", &found[..end])
}

/// The inverse; nothing for other metadata, or of another topic.
fn decode(metadata: &str, topic_id: &str) -> Option<Origin> {
    let mut parts = metadata.strip_prefix("origin|")?.splitn(3, '|');
    if parts.next()? != topic_id {
        return None;
    }
    let cluster = parts.next()?.parse().ok();
    let went_back = parts.next().filter(|found| !found.is_empty()).map(str::to_owned);
    Some(Origin { cluster, went_back })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_as_it_was_and_only_for_its_topic() {
        for (cluster, went_back) in
            [(None, None), (Some(-7), None), (Some(7_300_000_000_000_000_000), Some("the WAL ends at 0/1 | before".to_owned()))]
        {
            let origin = Origin { cluster, went_back };
            assert_eq!(decode(&encode(&origin, "id"), "id"), Some(origin.clone()));
            assert_eq!(decode(&encode(&origin, "id"), "other"), None);
        }
        let long = Origin { cluster: None, went_back: Some("ü".repeat(FOUND_BYTES_MAX)) };
        assert!(encode(&long, "id").len() < 2 * FOUND_BYTES_MAX);
        for text in ["", "origin", "origin|id", "range|id|7|"] {
            assert_eq!(decode(text, "id"), None, "{text}");
        }
    }
}
