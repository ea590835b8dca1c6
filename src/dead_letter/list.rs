//! What is parked, for people: `highwater dead-letters list` and `show`.
//!
//! It reads the topic from its beginning to where it ended when it was asked, and changes nothing. Entries are known by the coordinates of their
//! record: written twice they are one, the later one. What was replayed is left out unless it is asked for. Of a long list the newest are shown,
//! and all are counted.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};

use super::ledger::{Ledger, Said};
use super::read;
use crate::sink::webhook::time::rfc3339;

/// Columns of a message in a list.
const MESSAGE_CHARS_SHOWN: usize = 100;
/// Entries of a list at most.
pub const LISTED_MAX: u16 = 10_000;

/// One entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parked {
    /// When it was parked, Unix milliseconds.
    pub parked_ms: i64,
    /// The error class.
    pub class: String,
    /// The SQLSTATE of a row error.
    pub sqlstate: String,
    /// Why, for people.
    pub message: String,
    /// The column of a row error.
    pub column: String,
    /// The record's topic.
    pub topic: String,
    /// The record's timestamp, RFC 3339.
    pub time: String,
    /// When it was replayed, RFC 3339; empty while it is outstanding.
    pub replayed: String,
    /// The record's key.
    pub key: Option<Vec<u8>>,
    /// The record's value, or its SHA-256 when it did not fit.
    pub value: Option<Vec<u8>>,
}

/// Which entries are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Of this class only.
    pub class: Option<String>,
    /// Parked at this Unix time in milliseconds, or later.
    pub since_ms: Option<i64>,
    /// The one of this record only, also when it was replayed.
    pub record: Option<(i32, i64)>,
    /// Also what was replayed.
    pub all: bool,
}

/// Entries by the partition and offset of their records.
pub type Entries = BTreeMap<(i32, i64), Parked>;

/// What a topic holds.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The newest [`LISTED_MAX`] of what was wanted.
    pub entries: Entries,
    /// How many were wanted, by class.
    pub counts: BTreeMap<String, usize>,
    /// Whether what was replayed is among them.
    pub all: bool,
    /// How many are outstanding, but were not wanted.
    pub others: usize,
}

/// Reads what is wanted; nothing where no topic exists yet. Blocks.
pub fn read(brokers: &str, topic: &str, wanted: &Wanted) -> Result<Listing, KafkaError> {
    let (mut ledger, mut entries) = (Ledger::whole(), Entries::new());
    read::each(brokers, topic, |message| {
        let Some(said) = Said::read(message) else { return };
        if ledger.take(&said) {
            take(&mut entries, said, message, wanted);
        }
    })?;
    let mut listing = Listing { all: wanted.all, ..Listing::default() };
    let all = wanted.all || wanted.record.is_some();
    for (record, known) in ledger.records().iter().filter(|(_, known)| all || !known.replayed) {
        if wanted.takes(*record, &known.class, known.parked_ms) {
            *listing.counts.entry(known.class.to_string()).or_default() += 1;
        } else {
            listing.others += usize::from(!known.replayed);
        }
    }
    entries.retain(|_, entry| all || entry.replayed.is_empty());
    keep_newest(&mut entries, LISTED_MAX.into());
    listing.entries = entries;
    Ok(listing)
}

impl Wanted {
    fn takes(&self, record: (i32, i64), class: &str, parked_ms: i64) -> bool {
        self.class.as_ref().is_none_or(|wanted| wanted == class)
            && self.since_ms.is_none_or(|since_ms| parked_ms >= since_ms)
            && self.record.is_none_or(|wanted| wanted == record)
    }
}

/// What a message that counts says to people.
fn take(entries: &mut Entries, mut said: Said, message: &BorrowedMessage<'_>, wanted: &Wanted) {
    if let Some((_, when)) = said.replayed() {
        match entries.get_mut(&said.record) {
            Some(entry) if wanted.all || wanted.record.is_some() => when.clone_into(&mut entry.replayed),
            _ => drop(entries.remove(&said.record)),
        }
        return;
    }
    if !wanted.takes(said.record, &said.class, said.written_ms) {
        entries.remove(&said.record);
        return;
    }
    let mut header = |name: &str| said.headers.remove(name).unwrap_or_default();
    // A body is kept for the one that is shown.
    let body = |bytes: Option<&[u8]>| bytes.filter(|_| wanted.record.is_some()).map(<[u8]>::to_vec);
    let entry = Parked {
        parked_ms: said.written_ms,
        sqlstate: header("error-sqlstate"),
        message: header("error-message"),
        column: header("column"),
        topic: header("topic"),
        time: header("time"),
        replayed: String::new(),
        key: body(message.key()),
        value: body(message.payload()),
        class: said.class,
    };
    entries.insert(said.record, entry);
    if entries.len() > 2 * usize::from(LISTED_MAX) {
        keep_newest(entries, LISTED_MAX.into());
    }
}

fn keep_newest(entries: &mut Entries, count: usize) {
    if entries.len() > count {
        let mut ages: Vec<_> = entries.iter().map(|(record, entry)| (entry.parked_ms, *record)).collect();
        ages.sort_unstable();
        for (_, record) in &ages[..ages.len() - count] {
            entries.remove(record);
        }
    }
}

impl Listing {
    /// A table, the newest last, and the counts by class.
    pub fn render(&self, limit: usize) -> String {
        let mut rows: Vec<_> = self.entries.iter().collect();
        rows.sort_by_key(|(at, entry)| (entry.parked_ms, **at));
        let cells = rows[rows.len().saturating_sub(limit)..].iter().map(|((partition, offset), entry)| {
            let parked = rfc3339(entry.parked_ms.saturating_mul(1000)).unwrap_or_default();
            let message: String = entry.message.replace('\n', " ").chars().take(MESSAGE_CHARS_SHOWN).collect();
            let (at, seconds) = (format!("{partition}:{offset}"), |time: &str| time.get(..19).unwrap_or(time).to_owned());
            let cells = [seconds(&parked), at, entry.class.clone(), entry.sqlstate.clone(), entry.column.clone(), message];
            self.row(cells, seconds(&entry.replayed))
        });
        let heads = self.row(["PARKED (UTC)", "RECORD", "CLASS", "STATE", "COLUMN", "WHY"].map(str::to_owned), "REPLAYED (UTC)".to_owned());
        let table: Vec<Vec<String>> = std::iter::once(heads).chain(cells).collect();
        let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..table[0].len()).map(width).collect();
        let mut out = String::new();
        if table.len() > 1 {
            for row in &table {
                let padded: Vec<_> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
                let _ = writeln!(out, "{}", padded.join("  ").trim_end());
            }
            out.push('\n');
        }
        let counts: Vec<_> = self.counts.iter().map(|(class, count)| format!("{class} {count}")).collect();
        let total: usize = self.counts.values().sum();
        let _ = match total {
            0 if self.others > 0 => writeln!(out, "nothing of what was asked for is parked; {} others are", self.others),
            0 => writeln!(out, "nothing is parked"),
            _ => writeln!(out, "{total} parked: {}", counts.join(", ")),
        };
        out
    }

    /// With when it was replayed where that is shown.
    fn row(&self, cells: [String; 6], replayed: String) -> Vec<String> {
        let mut row = Vec::from(cells);
        if self.all {
            row.insert(1, replayed);
        }
        row
    }
}

impl Parked {
    /// Everything about one entry; a value that is no text in hexadecimal.
    pub fn render(&self, (partition, offset): (i32, i64)) -> String {
        let mut out = String::new();
        let parked = rfc3339(self.parked_ms.saturating_mul(1000)).unwrap_or_default();
        for (name, value) in [
            ("record", &format!("{} {partition}:{offset}", self.topic)),
            ("written", &self.time),
            ("parked", &parked),
            ("replayed", &self.replayed),
            ("class", &self.class),
            ("sqlstate", &self.sqlstate),
            ("column", &self.column),
            ("why", &self.message),
            ("key", &shown(self.key.as_deref())),
        ] {
            if !value.is_empty() {
                let _ = writeln!(out, "{name:<9} {value}");
            }
        }
        let _ = writeln!(out, "\n{}", shown(self.value.as_deref()));
        out
    }
}

fn shown(bytes: Option<&[u8]>) -> String {
    match bytes.map(|bytes| (std::str::from_utf8(bytes), bytes)) {
        None => "(none)".to_owned(),
        Some((Ok(text), _)) => text.to_owned(),
        Some((Err(_), bytes)) => bytes.iter().fold("0x".to_owned(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parked(parked_ms: i64, class: &str, message: &str) -> Parked {
        Parked { parked_ms, class: class.into(), message: message.into(), ..Parked::default() }
    }

    #[test]
    fn the_newest_are_shown_last_and_all_are_counted() {
        let entries = BTreeMap::from([
            ((0, 7), parked(3_000, "row", "division by zero")),
            ((1, 12), parked(1_000, "malformed", "EOF\nat column 3")),
            ((0, 8), parked(2_000, "row", "no")),
        ]);
        let counts = BTreeMap::from([("row".to_owned(), 2), ("malformed".to_owned(), 1)]);
        let listing = Listing { entries, counts, ..Listing::default() };
        let expected = "\
PARKED (UTC)         RECORD  CLASS  STATE  COLUMN  WHY
1970-01-01T00:00:02  0:8     row                   no
1970-01-01T00:00:03  0:7     row                   division by zero

3 parked: malformed 1, row 2
";
        assert_eq!(listing.render(2), expected);
        assert_eq!(Listing::default().render(2), "nothing is parked\n");
        let others = Listing { others: 3, ..Listing::default() };
        assert_eq!(others.render(2), "nothing of what was asked for is parked; 3 others are\n");

        let mut all = Listing { all: true, ..listing };
        all.entries.retain(|_, entry| entry.class == "row");
        all.entries.get_mut(&(0, 8)).unwrap().replayed = "1970-01-01T00:01:00.000000Z".into();
        let expected = "\
PARKED (UTC)         REPLAYED (UTC)       RECORD  CLASS  STATE  COLUMN  WHY
1970-01-01T00:00:02  1970-01-01T00:01:00  0:8     row                   no
1970-01-01T00:00:03                       0:7     row                   division by zero
";
        assert!(all.render(9).starts_with(expected), "{}", all.render(9));
    }

    #[test]
    fn the_newest_are_kept() {
        let mut entries: Entries = (0..7).map(|n| ((0, n), parked(100 - n, "row", ""))).collect();
        keep_newest(&mut entries, 3);
        assert_eq!(entries.keys().map(|(_, offset)| *offset).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn an_entry_is_shown_whole() {
        let entry = Parked {
            topic: "s.public.t".into(),
            sqlstate: "22012".into(),
            key: Some(b"{\"id\":1}".to_vec()),
            value: Some(vec![0xff, 0]),
            ..parked(0, "row", "division by zero")
        };
        let expected = "\
record    s.public.t 2:9
parked    1970-01-01T00:00:00.000000Z
class     row
sqlstate  22012
why       division by zero
key       {\"id\":1}

0xff00
";
        assert_eq!(entry.render((2, 9)), expected);
    }
}
