//! How far a replay is: commits of a consumer group that has no members.
//!
//! A commit follows the delivery of everything before it, so that what is cut off sends a part again, under the same ids, and leaves nothing out. Its metadata says of
//! which replay it is; a finished one says so and is not continued. Two runs of one replay at the same time both send everything, and each commits only what it
//! sent itself.
//!
//! | metadata | |
//! |---|---|
//! | `range\|<as asked>\|<from>\|<to>\|<mark>` | of a partition; Unix milliseconds; the mark after the last record |
//! | `rows\|<key>` | on one partition: the last delivered key, a JSON array of texts |
//! | `done` | finished |

use tracing::warn;

use crate::progress::Mark;
use crate::source::topic::KafkaLog;

/// Bytes of metadata beside a committed offset (the broker's `offset.metadata.max.bytes` is 4096).
pub const METADATA_BYTES_MAX: usize = 4_000;
/// The metadata of a replay that was finished.
pub const DONE: &str = "done";
const MARK_BYTES_MAX: usize = 3_000;

/// A range of time, and how it was asked for: `2h` is another moment each time, and the same replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The arguments' text.
    pub asked: String,
    /// Unix milliseconds.
    pub from_ms: i64,
    /// Unix milliseconds; before it.
    pub to_ms: i64,
}

impl Range {
    /// The metadata of a partition.
    pub fn encode(&self, mark: &Mark) -> String {
        format!("range|{}|{}|{}|{}", self.asked, self.from_ms, self.to_ms, mark.encode(MARK_BYTES_MAX))
    }

    /// The inverse; nothing for other metadata.
    pub fn decode(metadata: &str) -> Option<(Self, Mark)> {
        let mut parts = metadata.strip_prefix("range|")?.splitn(4, '|');
        let asked = parts.next()?.to_owned();
        let (from_ms, to_ms) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some((Self { asked, from_ms, to_ms }, Mark::decode(parts.next()?)?))
    }
}

/// The metadata after a row with this key; nothing where it does not fit.
pub fn encode_key(key: &[String]) -> Option<String> {
    let text = format!("rows|{}", serde_json::to_string(key).ok()?);
    (text.len() <= METADATA_BYTES_MAX).then_some(text)
}

/// The inverse; nothing for other metadata.
pub fn decode_key(metadata: &str) -> Option<Vec<String>> {
    serde_json::from_str(metadata.strip_prefix("rows|")?).ok()
}

/// Commits for the group.
pub struct Commits(pub KafkaLog);

impl Commits {
    /// One that fails is told, and made up for by the next.
    pub async fn commit(&self, offsets: Vec<(i32, i64, String)>) -> bool {
        match self.0.commit(offsets).await {
            Ok(()) => true,
            Err(error) => {
                warn!(%error, "how far the replay is could not be stored");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_committed_is_read_as_it_was() {
        let range = Range { asked: "2h to 2026-02-28T10:34:56Z".into(), from_ms: -5, to_ms: 1_772_274_896_000 };
        let mark = Mark::decode("7;9;1772274896000000;0;00000000000000ff").unwrap();
        assert_eq!(Range::decode(&range.encode(&mark)), Some((range.clone(), mark)));
        assert_eq!(Range::decode(&range.encode(&Mark::default())), Some((range, Mark::default())));
        let key = vec!["7".to_owned(), "a|\"b\"\n".to_owned()];
        assert_eq!(decode_key(&encode_key(&key).unwrap()), Some(key));
    }

    #[test]
    fn what_is_no_replays_is_nothing() {
        for text in ["", DONE, "range|", "range|2h|1|x|", "range|2h|1", "rows|", "rows|7", "7;9;1;0;ff"] {
            assert!(Range::decode(text).is_none() && decode_key(text).is_none(), "{text}");
        }
        assert_eq!(encode_key(&["k".repeat(METADATA_BYTES_MAX)]), None);
    }
}
