//! How far a sink is, and what that makes of the next record: pure functions of a change, the boundary and the mark.
//!
//! The **mark** of a partition is the highest position applied, the (key, op) pairs seen at exactly that position and the highest commit
//! time. It covers every streamed record that the boundary lets through; snapshot rows and ignored records neither check nor move it.
//! Kafka offsets say what was read; the mark says what was read *before, under another offset*: after a crash Debezium sends again what it
//! sent since its last offset flush.
//!
//! | a streamed record is | and its commit time is | verdict |
//! |---|---|---|
//! | above the mark | any | counts, moves the mark |
//! | at the mark, its (key, op) not seen there | any | counts, joins the set |
//! | at the mark, seen, or below it | not later than any applied | duplicate |
//! | at the mark, seen | later | duplicate |
//! | below the mark | later | LSNs went back: stop |
//! | any of the last three with a null first element | later | the connector began anew: counts, the mark starts anew |
//!
//! The **boundary** is a snapshot run or a truncate: what lies before it counts no more. A greater one begins an epoch of a ranking.

use std::fmt::Write as _;

use smallvec::{SmallVec, smallvec};
use xxhash_rust::xxh3::Xxh3;

use crate::change::{Change, Op, Snapshot};
use crate::sink::Policy;

/// What was seen last on a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pair: Option<(u64, u64)>,
    seen: SmallVec<[u64; 2]>,
    commit_us: i64,
    null_first: bool,
}

impl Default for Mark {
    fn default() -> Self {
        Self { pair: None, seen: SmallVec::new(), commit_us: i64::MIN, null_first: true }
    }
}

/// What lies before it counts no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// The LSN of the snapshot run or truncate.
    pub lsn: u64,
    /// The transaction that identifies a snapshot run; none for a truncate.
    pub run_tx: Option<u64>,
    /// Kafka timestamp (Unix milliseconds) of the record that began the epoch.
    pub arrived_ms: i64,
    /// `source.ts_us` of that record.
    pub commit_us: i64,
    /// The end of the run was read (always true for a truncate).
    pub ended: bool,
}

/// What to do with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Count,
    /// It counts, and the connector began anew on an old slot or an empty table: warn.
    BeganAnew,
    /// It begins an epoch.
    Begin(Boundary),
    /// It is not part of the result: before the boundary, in it already, or no change of a row.
    Ignored,
    /// It was applied before.
    Duplicate,
    /// The database is not the one that was applied: stop.
    WentBack,
}

impl Boundary {
    /// Boundaries are ordered by LSN, runs of one LSN by transaction.
    fn rank(&self) -> (u64, u64) {
        (self.lsn, self.run_tx.unwrap_or(0))
    }

    /// Whether this one begins an epoch over `other`.
    pub fn exceeds(&self, other: Option<&Self>) -> bool {
        other.is_none_or(|other| self.rank() > other.rank())
    }

    /// Does a streamed record come after the boundary?
    fn admits(&self, change: &Change, arrived_ms: i64) -> bool {
        let own = change.position.own;
        match (self.run_tx, change.position.first) {
            // A truncate's lock lets nothing interleave.
            (None, _) => own > self.lsn,
            // Only commits are ordered across transactions.
            (Some(_), Some(first)) => first >= self.lsn,
            // A transaction that was open while the slot was created has rows below S and commits after it.
            (Some(_), None) => own >= self.lsn || arrived_ms >= self.arrived_ms,
        }
    }

    /// One line: `lsn;tx;arrived;commit;ended`.
    pub fn encode(&self) -> String {
        let tx = self.run_tx.map_or_else(String::new, |tx| tx.to_string());
        format!("{};{tx};{};{};{}", self.lsn, self.arrived_ms, self.commit_us, u8::from(self.ended))
    }

    /// The inverse of [`Boundary::encode`].
    pub fn decode(text: &str) -> Option<Self> {
        let mut parts = text.split(';');
        let mut next = || parts.next();
        let boundary = Self {
            lsn: next()?.parse().ok()?,
            run_tx: match next()? {
                "" => None,
                tx => Some(tx.parse().ok()?),
            },
            arrived_ms: next()?.parse().ok()?,
            commit_us: next()?.parse().ok()?,
            ended: next()? == "1",
        };
        next().is_none().then_some(boundary)
    }
}

impl Mark {
    /// One line: `first;own;commit;null;hash,hash,...`, empty for a partition where nothing was applied. The newest hashes come first, so
    /// that a limit cuts the oldest: at worst a record that was sent again counts as new at a sink that dedups by id.
    pub fn encode(&self, bytes_max: usize) -> String {
        let mut text = String::new();
        let Some((first, own)) = self.pair else { return text };
        let _ = write!(text, "{first};{own};{};{};", self.commit_us, u8::from(self.null_first));
        for (n, hash) in self.seen.iter().rev().enumerate() {
            if text.len() + 17 > bytes_max {
                break;
            }
            let _ = write!(text, "{}{hash:016x}", if n == 0 { "" } else { "," });
        }
        text
    }

    /// The inverse of [`Mark::encode`].
    pub fn decode(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::default());
        }
        let mut parts = text.split(';');
        let mut next = || parts.next();
        let pair = Some((next()?.parse().ok()?, next()?.parse().ok()?));
        let (commit_us, null_first) = (next()?.parse().ok()?, next()? == "1");
        let hashes = next()?.split(',').rev().filter(|h| !h.is_empty());
        let seen = hashes.map(|h| u64::from_str_radix(h, 16).ok()).collect::<Option<_>>()?;
        next().is_none().then_some(Self { pair, seen, commit_us, null_first })
    }

    /// Judges a streamed record and moves past it.
    fn pass(&mut self, change: &Change) -> Verdict {
        let (pair, name) = (change.position.pair(), name_of(change));
        let null_first = change.position.first.is_none();
        let at = Some(pair).cmp(&self.pair);
        let later = change.commit_us > self.commit_us;
        let mut anew = null_first && !self.null_first;
        if at.is_lt() || at.is_eq() && self.seen.contains(&name) {
            anew = null_first && later;
            if !anew {
                return if at.is_lt() && later { Verdict::WentBack } else { Verdict::Duplicate };
            }
        }
        if at.is_eq() {
            self.seen.push(name);
        } else {
            self.seen = smallvec![name];
        }
        self.pair = Some(pair);
        self.commit_us = self.commit_us.max(change.commit_us);
        self.null_first = null_first;
        if anew { Verdict::BeganAnew } else { Verdict::Count }
    }

    /// A record that does not count, yet is later than everything that did, at a lower position: its database is another one.
    fn went_back(&self, change: &Change) -> bool {
        let below = self.pair.is_some_and(|pair| change.position.pair() < pair);
        below && change.position.first.is_some() && change.commit_us > self.commit_us
    }
}

/// (key, op) as 64 bits; only compared among the records of one partition at one position.
fn name_of(change: &Change) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(change.op.as_str().as_bytes());
    hash.update(change.key.as_deref().unwrap_or_default());
    hash.digest()
}

/// Judges one change and moves the mark of its partition past it. `arrived_ms` is the record's Kafka timestamp.
pub fn decide(change: &Change, arrived_ms: i64, policy: Policy, boundary: Option<&Boundary>, mark: &mut Mark) -> Verdict {
    match (change.op, policy) {
        (Op::Message, _) => Verdict::Ignored,
        (Op::Read, Policy::Events { snapshot }) => if snapshot { Verdict::Count } else { Verdict::Ignored },
        (Op::Truncate, Policy::Events { .. }) => Verdict::Count,
        (Op::Read, Policy::Boundaries) if change.snapshot == Snapshot::Incremental => Verdict::Ignored,
        (Op::Read, Policy::Boundaries) => {
            let found = found_at(change, arrived_ms, Some(change.run.1), change.run.0);
            match boundary {
                Some(b) if found.rank() == b.rank() && b.run_tx.is_some() => Verdict::Count,
                // Runs are begun by one clock, so a later one with a smaller LSN is of a restored database.
                Some(b) if !found.exceeds(boundary) => {
                    if b.run_tx.is_some() && found.commit_us > b.commit_us && found.lsn < b.lsn { Verdict::WentBack } else { Verdict::Ignored }
                }
                _ => Verdict::Begin(found),
            }
        }
        (Op::Truncate, Policy::Boundaries) => {
            let found = Boundary { ended: true, ..found_at(change, arrived_ms, None, change.position.own) };
            if found.exceeds(boundary) { Verdict::Begin(found) } else { Verdict::Ignored }
        }
        (Op::Create | Op::Update | Op::Delete, _) => match boundary {
            Some(b) if !b.admits(change, arrived_ms) => if mark.went_back(change) { Verdict::WentBack } else { Verdict::Ignored },
            _ => mark.pass(change),
        },
    }
}

fn found_at(change: &Change, arrived_ms: i64, run_tx: Option<u64>, lsn: u64) -> Boundary {
    Boundary { lsn, run_tx, arrived_ms, commit_us: change.commit_us, ended: false }
}
