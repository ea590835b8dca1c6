//! The `source` block: where in the WAL, and of which table.

use std::fmt;
use std::sync::{Arc, OnceLock};

use serde::de::{self, DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::column::unquote;

/// Which records of a snapshot this is (`source.snapshot`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Snapshot {
    /// Streamed from the WAL.
    No,
    /// A row of an initial snapshot (`true`, `first`, `first_in_data_collection`).
    Row,
    /// The last row of a table (`last_in_data_collection`).
    LastInTable,
    /// The last row of the snapshot (`last`).
    Last,
    /// A row of an incremental snapshot.
    Incremental,
}

/// Where a record comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The connector's `topic.prefix`.
    pub name: Arc<str>,
    /// Schema of the table; empty for logical messages.
    pub schema: Arc<str>,
    /// The table; empty for logical messages.
    pub table: Arc<str>,
    /// `source.sequence`: LSN of the last commit before (`None` for null) and of the event itself.
    pub sequence: (Option<u64>, u64),
    /// `source.lsn`
    pub lsn: Option<u64>,
    /// `source.txId`
    pub tx_id: Option<u64>,
    /// Time of the commit, or of the snapshot, in microseconds since 1970.
    pub ts_us: i64,
    /// Snapshot or stream.
    pub snapshot: Snapshot,
}

/// The three names, shared between records.
#[derive(Clone, Debug)]
pub(super) struct Names {
    name: Arc<str>,
    schema: Arc<str>,
    table: Arc<str>,
}

/// What was read so far. Every part is optional until the whole record is there, so that the error can name what is missing.
#[derive(Default)]
pub(super) struct Parts {
    name: Option<Arc<str>>,
    schema: Option<Arc<str>>,
    table: Option<Arc<str>>,
    sequence: Option<(Option<u64>, u64)>,
    lsn: Option<u64>,
    tx_id: Option<u64>,
    ts_us: Option<i64>,
    ts_ms: Option<i64>,
    snapshot: Option<Snapshot>,
}

impl Parts {
    /// The finished source, or what is missing. The first one leaves its names for the records after it.
    pub(super) fn finish(self, names: &OnceLock<Names>) -> Result<Source, String> {
        // `lsn` is no substitute: it goes down between transactions, so a mark made of it would drop what follows.
        let sequence = self.sequence.ok_or("no sequence")?;
        let ts_us = self.ts_us.or_else(|| self.ts_ms.and_then(|ms| ms.checked_mul(1000))).ok_or("no ts_us")?;
        let source = Source {
            name: self.name.ok_or("no name")?,
            schema: self.schema.ok_or("no schema")?,
            table: self.table.ok_or("no table")?,
            sequence,
            lsn: self.lsn,
            tx_id: self.tx_id,
            ts_us,
            snapshot: self.snapshot.unwrap_or(Snapshot::No),
        };
        names.get_or_init(|| Names {
            name: Arc::clone(&source.name),
            schema: Arc::clone(&source.schema),
            table: Arc::clone(&source.table),
        });
        Ok(source)
    }
}

/// Reads the block; null leaves the parts empty.
pub(super) struct SourceSeed<'n> {
    pub(super) names: Option<&'n Names>,
}

impl<'de> DeserializeSeed<'de> for SourceSeed<'_> {
    type Value = Parts;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Parts, D::Error> {
        deserializer.deserialize_map(self)
    }
}

#[derive(Clone, Copy)]
enum Field {
    Name,
    Schema,
    Table,
    Sequence,
    Lsn,
    TxId,
    TsUs,
    TsMs,
    Snapshot,
    Other,
}

impl<'de> Visitor<'de> for SourceSeed<'_> {
    type Value = Parts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a source block")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parts, A::Error> {
        let mut parts = Parts::default();
        let shared = self.names;
        while let Some(field) = map.next_key_seed(Text(|key: &str| {
            Ok(match key {
                "name" => Field::Name,
                "schema" => Field::Schema,
                "table" => Field::Table,
                "sequence" => Field::Sequence,
                "lsn" => Field::Lsn,
                "txId" => Field::TxId,
                "ts_us" => Field::TsUs,
                "ts_ms" => Field::TsMs,
                "snapshot" => Field::Snapshot,
                _ => Field::Other,
            })
        }))? {
            match field {
                Field::Name => parts.name = Some(map.next_value_seed(Text(|t: &str| Ok(share(t, shared.map(|n| &n.name)))))?),
                Field::Schema => {
                    parts.schema = Some(map.next_value_seed(Text(|t: &str| Ok(share(t, shared.map(|n| &n.schema)))))?);
                }
                Field::Table => {
                    parts.table = Some(map.next_value_seed(Text(|t: &str| Ok(share(t, shared.map(|n| &n.table)))))?);
                }
                Field::Sequence => parts.sequence = raw_sequence(map.next_value()?).map_err(A::Error::custom)?,
                Field::Lsn => parts.lsn = map.next_value()?,
                Field::TxId => parts.tx_id = map.next_value()?,
                Field::TsUs => parts.ts_us = map.next_value()?,
                Field::TsMs => parts.ts_ms = map.next_value()?,
                Field::Snapshot => parts.snapshot = map.next_value_seed(OptionalText(parse_snapshot))?,
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(parts)
    }
}

fn share(text: &str, known: Option<&Arc<str>>) -> Arc<str> {
    known.filter(|k| ***k == *text).map_or_else(|| Arc::from(text), Arc::clone)
}

/// The JSON string as it stands in the record. Its escapes are all before quotes; taking them out here costs nothing, while the JSON
/// parser would allocate.
fn raw_sequence(json: &RawValue) -> Result<Option<(Option<u64>, u64)>, String> {
    match json.get() {
        "null" => Ok(None),
        json => match escaped_sequence(json) {
            Some(sequence) => Ok(Some(sequence)),
            None => parse_sequence(&unquote(json).map_err(|error| error.to_string())?).map(Some),
        },
    }
}

/// `"[\"51287936\",\"51288304\"]"` or `"[null,\"51288304\"]"`.
fn escaped_sequence(json: &str) -> Option<(Option<u64>, u64)> {
    let (first, second) = json.strip_prefix("\"[")?.strip_suffix("]\"")?.split_once(',')?;
    let number = |text: &str| {
        let digits = text.strip_prefix("\\\"")?.strip_suffix("\\\"")?;
        if digits.starts_with('+') { None } else { digits.parse().ok() }
    };
    Some((if first == "null" { None } else { Some(number(first)?) }, number(second)?))
}

/// `["last commit LSN","event LSN"]`, a JSON array inside a string; the first may be null.
fn parse_sequence(text: &str) -> Result<(Option<u64>, u64), String> {
    let read = || {
        let (first, second) = text.strip_prefix('[')?.strip_suffix(']')?.split_once(',')?;
        let first = match first.trim() {
            "null" => None,
            quoted => Some(parse_quoted(quoted)?),
        };
        Some((first, parse_quoted(second.trim())?))
    };
    read().ok_or_else(|| format!("unreadable source.sequence {text}"))
}

fn parse_quoted(text: &str) -> Option<u64> {
    let digits = text.strip_prefix('"')?.strip_suffix('"')?;
    if digits.starts_with('+') { None } else { digits.parse().ok() }
}

fn parse_snapshot(text: &str) -> Result<Snapshot, String> {
    Ok(match text {
        "false" => Snapshot::No,
        "true" | "first" | "first_in_data_collection" => Snapshot::Row,
        "last_in_data_collection" => Snapshot::LastInTable,
        "last" => Snapshot::Last,
        "incremental" => Snapshot::Incremental,
        other => return Err(format!("unknown source.snapshot \"{other}\"")),
    })
}

/// A string, handed to a function without being allocated.
pub(super) struct Text<F>(pub(super) F);

impl<'de, T, F: FnOnce(&str) -> Result<T, String>> DeserializeSeed<'de> for Text<F> {
    type Value = T;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<T, F: FnOnce(&str) -> Result<T, String>> Visitor<'_> for Text<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(E::custom)
    }
}

/// As [`Text`], with `None` for null.
struct OptionalText<F>(F);

impl<'de, T, F: FnOnce(&str) -> Result<T, String>> DeserializeSeed<'de> for OptionalText<F> {
    type Value = Option<T>;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, T, F: FnOnce(&str) -> Result<T, String>> Visitor<'de> for OptionalText<F> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or null")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_none<E: de::Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_some<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        Text(self.0).deserialize(deserializer).map(Some)
    }
}
