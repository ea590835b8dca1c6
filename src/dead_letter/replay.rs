//! `highwater dead-letters replay`: parked records go once more through the lane's own steps (decode, judge, SELECT, sink), and what succeeds is said
//! in the topic.
//!
//! What it promises: a record that is replayed twice, by two at once, beside engines that run, or whose replay was cut off anywhere, changes
//! nothing the second time: a ranking counts what it still owes of it and takes it off its list in one call; a webhook's event has the id that it
//! always had. What it does not keep is the order of a webhook's events against newer ones of their key.
//!
//! The record is read from its topic; from its own entry when the topic does not hold it any more, or was created anew. An entry that keeps a SHA-256
//! alone cannot be replayed then.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message, OwnedMessage};
use tokio::task::block_in_place;
use tokio::time::timeout;

use super::ledger::{Coordinates, Known, Ledger, Said};
use super::read::{self, Reader};
use super::{DeadLetters, Note, sha256_hex};
use crate::backoff::Backoff;
use crate::change::Change;
use crate::clock;
use crate::decode::{self, Decoded, RecordDecoder};
use crate::lane::{Computed, Select};
use crate::progress::{Mark, Verdict, decide};
use crate::sink::ranking::Ranking;
use crate::sink::ranking::owed::Standing;
use crate::sink::webhook::Webhook;
use crate::sink::webhook::time::{rfc3339, unix_us};
use crate::sink::{self, Batch, Selected, Sink};
use crate::source::{Log, Record};

/// Records that are read before they are given to the sink.
const CHUNK_RECORDS_MAX: usize = 200;
/// Bytes of them.
const CHUNK_BYTES_MAX: usize = 8 << 20;
/// How long lookup rows may take.
const SELECT_WAIT: Duration = Duration::from_secs(60);
/// How often a neighbour that does not answer, or an epoch that changed, is tried.
const TRIES_MAX: u32 = 8;
/// Reasons that are reported.
const REASONS_MAX: usize = 50;

/// Where replayed records go.
pub enum To<L> {
    /// A ranking, which knows what it owes.
    Ranking(Box<Ranking<L>>),
    /// A webhook, whose receiver knows ids.
    Webhook(Box<Webhook<L>>),
}

/// What a replay is made of.
pub struct Parts<L> {
    /// Kafka's bootstrap servers.
    pub brokers: String,
    /// The topic of the records.
    pub topic: String,
    /// Bytes to change.
    pub decoder: RecordDecoder,
    /// The table only gets inserts.
    pub append_only: bool,
    /// Change to result rows.
    pub select: Select,
    /// Where they go.
    pub to: To<L>,
    /// Where it is said.
    pub letters: DeadLetters,
}

/// Which records are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// These only; all without one.
    pub records: Vec<Coordinates>,
    /// Parked under this class only.
    pub class: Option<String>,
    /// Parked at this Unix time in milliseconds, or later.
    pub since_ms: Option<i64>,
}

/// What came of the records of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// They count, or are delivered, now.
    pub replayed: usize,
    /// They cannot be.
    pub failing: usize,
    /// Nothing of them is missing: replayed before, or counted by a rebuild.
    pub settled: usize,
}

/// What came of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// By the class under which they were parked.
    pub classes: BTreeMap<String, Counts>,
    /// Why the first of those that fail do.
    pub reasons: Vec<(Coordinates, String)>,
    /// Records that were named, and are not parked.
    pub unknown: Vec<Coordinates>,
    /// How many are outstanding, but were not wanted.
    pub others: usize,
}

/// It could not be done; what was done before stays done, and is not done again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Kafka does not answer.
    #[error("kafka: {0}")]
    Kafka(#[from] KafkaError),
    /// The sink does not answer, or going on would be wrong.
    #[error("{0}")]
    Sink(#[from] sink::Error),
    /// Postgres does not answer.
    #[error("lookup rows could not be loaded within {SELECT_WAIT:?}")]
    Lookups,
}

/// What came of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Replayed,
    Settled,
    Failing(String),
}

/// A record on its way.
struct Letter {
    at: Coordinates,
    class: String,
    place: Coordinates,
    key: Option<Vec<u8>>,
    /// The record, or why it cannot be had.
    record: Result<Record, String>,
    judged: Judged,
    outcome: Option<Outcome>,
}

/// What the lane's steps make of it.
enum Judged {
    /// Nothing that the sink would get.
    Nothing,
    /// Rows, taken out of the change.
    Rows(Box<Change>, Computed),
    /// It cannot be computed.
    Failing(String),
}

impl Report {
    /// Nothing is left that fails.
    pub fn is_clean(&self) -> bool {
        self.unknown.is_empty() && self.classes.values().all(|counts| counts.failing == 0)
    }

    /// Why records fail, then a line for each class.
    pub fn render(&self) -> String {
        let mut lines: Vec<String> =
            self.reasons.iter().map(|((p, o), reason)| format!("  {p}:{o}  {}", reason.replace('\n', " "))).collect();
        let failing: usize = self.classes.values().map(|counts| counts.failing).sum();
        if failing > self.reasons.len() {
            lines.push(format!("  and {} more", failing - self.reasons.len()));
        }
        lines.extend(self.unknown.iter().map(|(partition, offset)| format!("  {partition}:{offset}  is not parked")));
        for (class, Counts { replayed, failing, settled }) in &self.classes {
            lines.push(format!("{class}: {replayed} replayed, {failing} still failing, {settled} no longer outstanding"));
        }
        if lines.is_empty() {
            lines.push(match self.others {
                0 => "nothing is outstanding".to_owned(),
                others => format!("nothing of what was asked for is outstanding; {others} others are"),
            });
        }
        lines.join("\n") + "\n"
    }

    fn add(&mut self, at: Coordinates, class: &str, outcome: Outcome) {
        let counts = self.classes.entry(class.to_owned()).or_default();
        match outcome {
            Outcome::Replayed => counts.replayed += 1,
            Outcome::Settled => counts.settled += 1,
            Outcome::Failing(reason) => {
                counts.failing += 1;
                if self.reasons.len() < REASONS_MAX {
                    self.reasons.push((at, reason));
                }
            }
        }
    }
}

/// Replays what is wanted, in the order of partition and offset. `progress` is told how many of how many are done.
pub async fn replay<L: Log>(parts: Parts<L>, wanted: &Wanted, mut progress: impl FnMut(usize, usize)) -> Result<Report, Error> {
    let topic = parts.letters.topic().to_owned();
    let mut ledger = Ledger::whole();
    let take = |message: &BorrowedMessage<'_>| {
        if let Some(said) = Said::read(message) {
            ledger.take(&said);
        }
    };
    block_in_place(|| read::each(&parts.brokers, &topic, take))?;
    let mut report = Report::default();
    let todo = choose(&ledger, wanted, &mut report);
    if todo.is_empty() {
        return Ok(report);
    }
    let entries = block_in_place(|| Reader::open(&parts.brokers, &topic))?;
    let records = block_in_place(|| Reader::open(&parts.brokers, &parts.topic))?;
    let mut replay = Replay { parts, entries, records };
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    for (n, (at, known)) in todo.iter().enumerate() {
        let letter = block_in_place(|| replay.read(*at, known))?;
        bytes += letter.record.as_ref().map_or(0, |record| record.value.as_ref().map_or(0, Bytes::len));
        chunk.push(letter);
        if chunk.len() >= CHUNK_RECORDS_MAX || bytes >= CHUNK_BYTES_MAX || n + 1 == todo.len() {
            bytes = 0;
            replay.chunk(std::mem::take(&mut chunk), &mut report).await?;
            progress(n + 1, todo.len());
        }
    }
    Ok(report)
}

/// What is outstanding of what is wanted. Records that are named are looked up whatever became of them.
fn choose(ledger: &Ledger, wanted: &Wanted, report: &mut Report) -> Vec<(Coordinates, Known)> {
    let takes = |known: &Known| {
        wanted.class.as_ref().is_none_or(|class| **class == *known.class)
            && wanted.since_ms.is_none_or(|since_ms| known.parked_ms >= since_ms)
    };
    let mut todo = Vec::new();
    for (at, known) in ledger.records() {
        let named = wanted.records.contains(at);
        let is_wanted = takes(known) && (named || wanted.records.is_empty());
        match (is_wanted, known.replayed) {
            (true, false) => todo.push((*at, known.clone())),
            (true, true) if named => report.add(*at, &known.class, Outcome::Settled),
            (false, false) => report.others += 1,
            _ => {}
        }
    }
    report.unknown = wanted.records.iter().filter(|at| !ledger.records().contains_key(at)).copied().collect();
    todo
}

struct Replay<L> {
    parts: Parts<L>,
    entries: Reader,
    records: Reader,
}

impl<L: Log> Replay<L> {
    /// Reads the entry, and the record that it is about.
    fn read(&mut self, at: Coordinates, known: &Known) -> Result<Letter, KafkaError> {
        let entry = self.entries.at(known.place.0, known.place.1)?;
        let held = self.records.at(at.0, at.1)?;
        let key = entry.as_ref().and_then(|entry| entry.key().map(<[u8]>::to_vec));
        let record = match &entry {
            Some(entry) => record_of(at, entry, held.as_ref()),
            None => Err("its entry is gone from the dead-letter topic".to_owned()),
        };
        Ok(Letter { at, class: known.class.to_string(), place: known.place, key, record, judged: Judged::Nothing, outcome: None })
    }

    /// Computes the records, gives them to the sink, says in the topic what succeeded.
    async fn chunk(&self, mut letters: Vec<Letter>, report: &mut Report) -> Result<(), Error> {
        self.compute(&mut letters).await?;
        match &self.parts.to {
            To::Ranking(ranking) => count(ranking, &mut letters).await?,
            To::Webhook(webhook) => deliver(webhook, &mut letters).await?,
        }
        let done = letters.iter().filter(|letter| matches!(letter.outcome, Some(Outcome::Replayed | Outcome::Settled)));
        let note = |letter: &Letter| Note {
            record: letter.at,
            key: letter.key.clone(),
            class: letter.class.clone(),
            entry: letter.place,
            replayed_us: clock::unix_us(),
        };
        self.parts.letters.note(&done.map(note).collect::<Vec<_>>()).await?;
        for Letter { at, class, outcome, .. } in letters {
            report.add(at, &class, outcome.unwrap_or(Outcome::Settled));
        }
        Ok(())
    }

    /// The lane's steps before the sink.
    async fn compute(&self, letters: &mut [Letter]) -> Result<(), Error> {
        let mut changes = Vec::new();
        for (n, letter) in letters.iter_mut().enumerate() {
            match self.judge(letter) {
                Ok(Some(change)) => changes.push((n, change)),
                Ok(None) => {}
                Err(reason) => letter.judged = Judged::Failing(reason),
            }
        }
        let computed = self.parts.select.compute(changes.iter_mut().map(|(_, change)| &mut **change));
        let computed = timeout(SELECT_WAIT, computed).await.map_err(|_| Error::Lookups)?;
        for ((n, change), computed) in changes.into_iter().zip(computed) {
            letters[n].judged = match computed.unreadable {
                Some(error) => Judged::Failing(error.message),
                None => Judged::Rows(change, computed),
            };
        }
        Ok(())
    }

    /// Nothing where the record means nothing to the sink. Whether a ranking still wants it is said by what it owes.
    fn judge(&self, letter: &Letter) -> Result<Option<Box<Change>>, String> {
        let record = letter.record.as_ref().map_err(Clone::clone)?;
        let change = match self.parts.decoder.decode(record) {
            Ok(Decoded::Change(change)) => change,
            Ok(Decoded::Tombstone) => return Ok(None),
            Ok(Decoded::Foreign(name)) => return Err(format!("the change is of source {name:?}")),
            Err(error) => return Err(error.to_string()),
        };
        if let To::Webhook(webhook) = &self.parts.to {
            let verdict = decide(&change, record.timestamp_ms, webhook.policy(), None, &mut Mark::default());
            if !matches!(verdict, Verdict::Count | Verdict::BeganAnew) {
                return Ok(None);
            }
        }
        decode::complete(&change, self.parts.append_only).map_err(|(_, error)| error.message)?;
        Ok(Some(change))
    }
}

/// The record of an entry: what the topic holds at its coordinates, if it is the one that was parked; else what the entry keeps.
fn record_of((partition, offset): Coordinates, entry: &OwnedMessage, held: Option<&OwnedMessage>) -> Result<Record, String> {
    let header = |name: &str| {
        let headers = entry.headers().into_iter().flat_map(|headers| rdkafka::message::Headers::iter(headers));
        let mut values = headers.filter(|header| header.key == name).filter_map(|header| std::str::from_utf8(header.value?).ok());
        values.next()
    };
    let bytes = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice);
    let of = |message: &OwnedMessage, timestamp_ms| Record {
        partition,
        offset,
        timestamp_ms,
        key: bytes(message.key()),
        value: bytes(message.payload()),
    };
    let time = header("highwater-time");
    let hashed = header("highwater-value") == Some("sha256");
    let same = |held: &&OwnedMessage| {
        let written = held.timestamp().to_millis().and_then(|ms| rfc3339(ms.saturating_mul(1000)));
        let body = if hashed {
            let kept: Option<serde_json::Value> = entry.payload().and_then(|payload| serde_json::from_slice(payload).ok());
            kept.is_some_and(|kept| kept["value_sha256"].as_str() == held.payload().map(sha256_hex).as_deref())
        } else {
            held.payload() == entry.payload() && held.key() == entry.key()
        };
        body && written.as_deref() == time
    };
    match held.filter(same) {
        Some(held) => Ok(of(held, held.timestamp().to_millis().unwrap_or(0))),
        None if hashed => Err("the topic does not hold it any more, and its entry keeps a SHA-256 alone".to_owned()),
        None => Ok(of(entry, time.and_then(unix_us).map_or(0, |us| us.div_euclid(1000)))),
    }
}

/// Gives them to a ranking, one call for each that it owes.
async fn count<L: Log>(ranking: &Ranking<L>, letters: &mut [Letter]) -> Result<(), Error> {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    loop {
        // Who knows whether a call happened whose reply was lost? The list of what is owed.
        let again = match count_once(ranking, letters).await {
            Ok(()) => return Ok(()),
            Err(again @ (sink::Error::Moved | sink::Error::Retry(_))) => again,
            Err(stop) => return Err(stop.into()),
        };
        if backoff.tries() >= TRIES_MAX {
            return Err(again.into());
        }
        tokio::time::sleep(backoff.wait()).await;
    }
}

async fn count_once<L: Log>(ranking: &Ranking<L>, letters: &mut [Letter]) -> Result<(), sink::Error> {
    let open: Vec<usize> = (0..letters.len()).filter(|n| letters[*n].outcome.is_none()).collect();
    let records: Vec<Coordinates> = open.iter().map(|n| letters[*n].at).collect();
    let (epoch, standings) = ranking.standing(&records).await?;
    for (n, standing) in open.into_iter().zip(standings) {
        let letter = &mut letters[n];
        let failing = |reason: &str| Outcome::Failing(reason.to_owned());
        letter.outcome = Some(match (standing, &letter.judged) {
            (Standing::Settled, _) => Outcome::Settled,
            (_, Judged::Failing(reason)) => failing(reason),
            (Standing::Unread, _) => failing("the ranking has not read it yet: it is being rebuilt, or no engine runs; try again"),
            (Standing::Unknown, _) => failing("the ranking could not keep all of its dead letters; rebuild it with `highwater replay`"),
            (Standing::Unjudged, _) => {
                failing("it was parked before it could be judged; a rebuild reads it in its place, `highwater replay`")
            }
            (Standing::Owed(owed), judged) => {
                let (rows, failed) = match judged {
                    Judged::Rows(_, computed) => ((computed.before.as_deref(), computed.after.as_deref()), computed.failed.clone()),
                    _ => ((None, None), None),
                };
                let due = ranking.due(owed, rows, failed);
                let reason = due.reason.as_ref().map_or_else(String::new, |error| error.message.clone());
                if due.left == owed {
                    Outcome::Failing(reason)
                } else {
                    match ranking.count(&epoch, letter.at, owed, &due).await {
                        Ok(()) if due.left.is_empty() => Outcome::Replayed,
                        Ok(()) => Outcome::Failing(reason),
                        // A sum that would leave its range is this record's.
                        Err(sink::Error::Stop { message, .. }) => Outcome::Failing(message),
                        Err(again) => return Err(again),
                    }
                }
            }
        });
    }
    Ok(())
}

/// Gives them to a webhook, which tries for as long as its endpoint does not answer.
async fn deliver<L: Log>(webhook: &Webhook<L>, letters: &mut [Letter]) -> Result<(), Error> {
    let mut batch = Batch::default();
    for letter in letters.iter_mut() {
        let judged = std::mem::replace(&mut letter.judged, Judged::Nothing);
        letter.outcome = Some(match (judged, &letter.record) {
            (Judged::Failing(reason), _) => Outcome::Failing(reason),
            (Judged::Rows(change, computed), Ok(record)) => match computed.failed {
                Some(failed) => Outcome::Failing(failed.error.message),
                None => {
                    let selected = Selected { record, change: &change, before: computed.before, after: computed.after };
                    match webhook.add(&mut batch.payload, selected) {
                        Ok(()) => Outcome::Replayed,
                        Err(failed) => Outcome::Failing(failed.error.message),
                    }
                }
            },
            _ => Outcome::Settled,
        });
    }
    let refused = webhook.write(batch).await?.rejected;
    for rejected in refused {
        let at = (rejected.record.partition, rejected.record.offset);
        if let Some(letter) = letters.iter_mut().find(|letter| letter.at == at) {
            letter.outcome = Some(Outcome::Failing(rejected.reason));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
