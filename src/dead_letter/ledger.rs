//! What the messages of a dead-letter topic come to: which records are parked, and which of them were replayed since.
//!
//! A record is known by its coordinates; of several entries the last counts. The note of a replay names the entry that it is about, so that a record
//! that was parked again meanwhile, by a rebuild, stays outstanding. What is remembered is bounded: beyond it records are only counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use rdkafka::message::{BorrowedMessage, Headers as _, Message};

/// Partition and offset.
pub type Coordinates = (i32, i64);

/// One message of the topic.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// The record it is about.
    pub record: Coordinates,
    /// Where the message is.
    pub place: Coordinates,
    /// When it was written, Unix milliseconds.
    pub written_ms: i64,
    /// The error class.
    pub class: String,
    /// All headers, without the prefix `highwater-`.
    pub headers: BTreeMap<String, String>,
}

impl Said {
    /// None for something else than an entry or a note.
    pub fn read(message: &BorrowedMessage<'_>) -> Option<Self> {
        let mut headers = BTreeMap::new();
        for header in message.headers().into_iter().flat_map(|headers| headers.iter()) {
            if let Some(name) = header.key.strip_prefix("highwater-") {
                headers.insert(name.to_owned(), String::from_utf8_lossy(header.value.unwrap_or_default()).into_owned());
            }
        }
        let record = (headers.get("partition")?.parse().ok()?, headers.get("offset")?.parse().ok()?);
        let class = headers.get("error-class").cloned().unwrap_or_default();
        let written_ms = message.timestamp().to_millis().unwrap_or(0);
        Some(Self { record, place: (message.partition(), message.offset()), written_ms, class, headers })
    }

    /// The entry whose record was replayed, and when; none for an entry.
    pub fn replayed(&self) -> Option<(Coordinates, &str)> {
        let (partition, offset) = self.headers.get("entry")?.split_once(':')?;
        Some(((partition.parse().ok()?, offset.parse().ok()?), self.headers.get("replayed")?))
    }
}

/// A record that was parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The error class.
    pub class: Arc<str>,
    /// When it was parked last, Unix milliseconds.
    pub parked_ms: i64,
    /// Where its last entry is.
    pub place: Coordinates,
    /// It was replayed since.
    pub replayed: bool,
}

/// The records of one topic.
#[derive(Debug)]
pub struct Ledger {
    records: BTreeMap<Coordinates, Known>,
    records_max: usize,
    forgets_replayed: bool,
    beyond: BTreeMap<Arc<str>, usize>,
    classes: BTreeMap<Arc<str>, Counts>,
}

/// What is outstanding of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records.
    pub outstanding: usize,
    /// When the oldest was parked, Unix milliseconds; none without one.
    pub oldest_ms: Option<i64>,
}

impl Ledger {
    /// Of everything.
    pub fn whole() -> Self {
        Self::new(usize::MAX, false)
    }

    /// Of what is outstanding, and `records_max` at most. Of further ones it is not seen that they are parked twice or replayed.
    pub fn outstanding(records_max: usize) -> Self {
        Self::new(records_max, true)
    }

    fn new(records_max: usize, forgets_replayed: bool) -> Self {
        let (records, beyond, classes) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { records, records_max, forgets_replayed, beyond, classes }
    }

    /// Reads one message. True when it says something that counts: an entry, or a note about the last entry of its record.
    pub fn take(&mut self, said: &Said) -> bool {
        if let Some((entry, _)) = said.replayed() {
            return self.replay(said.record, entry);
        }
        let class = match self.classes.get_key_value(said.class.as_str()) {
            Some((class, _)) => Arc::clone(class),
            None => {
                let class: Arc<str> = said.class.as_str().into();
                self.classes.insert(Arc::clone(&class), Counts::default());
                class
            }
        };
        if self.records.len() >= self.records_max && !self.records.contains_key(&said.record) {
            *self.beyond.entry(class).or_default() += 1;
        } else {
            self.records.insert(said.record, Known { class, parked_ms: said.written_ms, place: said.place, replayed: false });
        }
        true
    }

    fn replay(&mut self, record: Coordinates, entry: Coordinates) -> bool {
        let Some(known) = self.records.get_mut(&record) else { return false };
        if known.place.0 != entry.0 || known.place.1 > entry.1 {
            return false;
        }
        known.replayed = true;
        if self.forgets_replayed {
            self.records.remove(&record);
        }
        true
    }

    /// The records it knows.
    pub fn records(&self) -> &BTreeMap<Coordinates, Known> {
        &self.records
    }

    /// What is outstanding, by every class that ever was.
    pub fn counts(&self) -> BTreeMap<Arc<str>, Counts> {
        let mut all = self.classes.clone();
        for known in self.records.values().filter(|known| !known.replayed) {
            let counts = all.entry(Arc::clone(&known.class)).or_default();
            counts.outstanding += 1;
            counts.oldest_ms = Some(counts.oldest_ms.map_or(known.parked_ms, |oldest| oldest.min(known.parked_ms)));
        }
        for (class, beyond) in &self.beyond {
            all.entry(Arc::clone(class)).or_default().outstanding += beyond;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn entry(record: Coordinates, at: i64, class: &str) -> Said {
        Said { record, place: (0, at), written_ms: at * 1000, class: class.to_owned(), headers: BTreeMap::new() }
    }

    fn note(record: Coordinates, at: i64, about: &str) -> Said {
        let headers = [("entry", about), ("replayed", "2026-11-21T00:00:00.000000Z")];
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Said { headers, ..entry(record, at, "row") }
    }

    fn counts(ledger: &Ledger) -> Vec<(String, usize, Option<i64>)> {
        ledger.counts().iter().map(|(class, counts)| (class.to_string(), counts.outstanding, counts.oldest_ms)).collect()
    }

    #[test]
    fn an_entry_is_outstanding_until_a_note_about_it_and_again_when_it_is_parked_again() {
        for mut ledger in [Ledger::whole(), Ledger::outstanding(10)] {
            assert!(
                ledger.take(&entry((1, 7), 0, "row"))
                    && ledger.take(&entry((1, 8), 1, "malformed"))
                    && ledger.take(&entry((1, 7), 2, "row"))
            );
            assert_eq!(counts(&ledger), [("malformed".to_owned(), 1, Some(1000)), ("row".to_owned(), 1, Some(2000))]);
            assert!(!ledger.take(&note((1, 7), 3, "0:0")), "it is about an entry that was written again since");
            assert!(!ledger.take(&note((1, 9), 4, "0:9")), "nobody knows it");
            assert_eq!(counts(&ledger)[1].1, 1);
            assert!(ledger.take(&note((1, 7), 5, "0:2")));
            assert_eq!(counts(&ledger), [("malformed".to_owned(), 1, Some(1000)), ("row".to_owned(), 0, None)]);
            ledger.take(&entry((1, 7), 6, "row"));
            assert_eq!(counts(&ledger)[1], ("row".to_owned(), 1, Some(6000)));
        }
    }

    #[test]
    fn beyond_its_limit_records_are_counted_only() {
        let mut ledger = Ledger::outstanding(2);
        for offset in 0..5 {
            ledger.take(&entry((0, offset), offset, "row"));
        }
        ledger.take(&entry((0, 1), 6, "row"));
        assert_eq!((ledger.records().len(), counts(&ledger)[0].1), (2, 5));
        ledger.take(&note((0, 1), 7, "0:6"));
        assert_eq!((ledger.records().len(), counts(&ledger)[0].1), (1, 4));
    }
}
