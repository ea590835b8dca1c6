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
use crate::faults::{Protection, holds};
use crate::sink::Policy;

/// What an operator does when LSNs went back.
pub const WENT_BACK_REMEDY: &str = "the database was restored from a backup or is another cluster: stop the engines, delete the connector \
                                    with its stored offsets, its slot and its topics, create them again, start the engines";

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
        (self.lsn, self.run_tx.filter(|_| holds(Protection::RunIdentity)).unwrap_or(0))
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

    /// How far it read the WAL; 0 when it read nothing.
    pub fn read_lsn(&self) -> u64 {
        self.pair.map_or(0, |(first, own)| first.max(own))
    }

    /// Judges a streamed record and moves past it.
    fn pass(&mut self, change: &Change) -> Verdict {
        if !holds(Protection::Mark) {
            return Verdict::Count;
        }
        let (pair, name) = (change.position.pair(), name_of(change));
        let null_first = change.position.first.is_none() && holds(Protection::NullFirst);
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
    let boundary = boundary.filter(|_| holds(Protection::Boundary));
    match (change.op, policy) {
        (Op::Read, Policy::Boundaries) if !holds(Protection::Boundary) => Verdict::Count,
        (Op::Truncate, Policy::Boundaries) if !holds(Protection::Boundary) => Verdict::Ignored,
        (Op::Message, _) => Verdict::Ignored,
        (Op::Read, Policy::Events { snapshot }) => {
            if snapshot {
                Verdict::Count
            } else {
                Verdict::Ignored
            }
        }
        (Op::Truncate, Policy::Events { .. }) => Verdict::Count,
        (Op::Read, Policy::Boundaries) if change.snapshot == Snapshot::Incremental => Verdict::Ignored,
        (Op::Read, Policy::Boundaries) => {
            let found = found_at(change, arrived_ms, Some(change.run.1), change.run.0);
            match boundary {
                Some(b) if found.rank() == b.rank() && b.run_tx.is_some() => Verdict::Count,
                // Runs are begun by one clock, so a later one with a smaller LSN is of a restored database.
                Some(b) if !found.exceeds(boundary) => {
                    if b.run_tx.is_some() && found.commit_us > b.commit_us && found.lsn < b.lsn {
                        Verdict::WentBack
                    } else {
                        Verdict::Ignored
                    }
                }
                _ => Verdict::Begin(found),
            }
        }
        (Op::Truncate, Policy::Boundaries) => {
            let found = Boundary { ended: true, ..found_at(change, arrived_ms, None, change.position.own) };
            if found.exceeds(boundary) { Verdict::Begin(found) } else { Verdict::Ignored }
        }
        (Op::Create | Op::Update | Op::Delete, _) => match boundary {
            Some(b) if !b.admits(change, arrived_ms) => {
                if mark.went_back(change) {
                    Verdict::WentBack
                } else {
                    Verdict::Ignored
                }
            }
            _ => mark.pass(change),
        },
    }
}

fn found_at(change: &Change, arrived_ms: i64, run_tx: Option<u64>, lsn: u64) -> Boundary {
    Boundary { lsn, run_tx, arrived_ms, commit_us: change.commit_us, ended: false }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::change::Position;

    const EVENTS: Policy = Policy::Events { snapshot: false };
    const RANKING: Policy = Policy::Boundaries;

    fn change(op: Op, first: Option<u64>, own: u64, key: &str, commit_us: i64) -> Change {
        let key = (op != Op::Truncate).then(|| Bytes::copy_from_slice(key.as_bytes()));
        let position = Position { first, own };
        Change { op, position, commit_us, snapshot: Snapshot::No, run: (own, 7), key, before: None, after: None }
    }

    fn row(lsn: u64, tx: u64, commit_us: i64) -> Change {
        let snapshot = Snapshot::Row;
        Change { run: (lsn, tx), snapshot, ..change(Op::Read, None, lsn, "k", commit_us) }
    }

    fn run(lsn: u64, tx: u64, arrived_ms: i64) -> Boundary {
        Boundary { lsn, run_tx: Some(tx), arrived_ms, commit_us: 1_000, ended: false }
    }

    fn truncate(lsn: u64) -> Boundary {
        Boundary { lsn, run_tx: None, arrived_ms: 50, commit_us: 1_000, ended: true }
    }

    /// Judges in order on one mark.
    fn verdicts(changes: &[Change], boundary: Option<&Boundary>) -> Vec<Verdict> {
        let mut mark = Mark::default();
        changes.iter().map(|c| decide(c, 100, RANKING, boundary, &mut mark)).collect()
    }

    #[test]
    fn what_is_sent_again_is_a_duplicate_and_what_follows_counts() {
        let life = || {
            [change(Op::Create, Some(10), 11, "a", 1), change(Op::Update, Some(10), 12, "a", 1), change(Op::Create, Some(20), 21, "b", 2)]
        };
        let again: Vec<_> = life().into_iter().chain(life()).chain([change(Op::Delete, Some(30), 31, "b", 3)]).collect();
        let (count, duplicate) = (Verdict::Count, Verdict::Duplicate);
        let expected = [&count, &count, &count, &duplicate, &duplicate, &duplicate, &count];
        assert_eq!(verdicts(&again, None).iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn records_at_one_position_are_told_apart_by_key_and_operation() {
        let moved_key = [
            change(Op::Delete, Some(10), 11, "a", 1),
            change(Op::Create, Some(10), 11, "b", 1),
            change(Op::Create, Some(10), 11, "a", 1),
            change(Op::Create, Some(10), 11, "b", 1),
        ];
        assert_eq!(verdicts(&moved_key, None), [Verdict::Count, Verdict::Count, Verdict::Count, Verdict::Duplicate]);
    }

    #[test]
    fn a_null_first_element_reads_as_the_events_own_position() {
        // Until the first commit after a connector's first start; then the same transaction is sent again with the same nulls.
        let first_transaction =
            [change(Op::Create, None, 50, "a", 5), change(Op::Create, None, 52, "b", 5), change(Op::Create, None, 50, "a", 5)];
        assert_eq!(verdicts(&first_transaction, None), [Verdict::Count, Verdict::Count, Verdict::Duplicate]);
    }

    #[test]
    fn a_connector_that_began_anew_counts_from_a_new_mark() {
        let lives = [
            change(Op::Create, Some(900), 901, "a", 5),
            change(Op::Create, None, 700, "b", 6),
            change(Op::Create, Some(700), 710, "c", 7),
            change(Op::Create, None, 700, "b", 6),
        ];
        assert_eq!(verdicts(&lives, None), [Verdict::Count, Verdict::BeganAnew, Verdict::Count, Verdict::Duplicate]);
    }

    #[test]
    fn positions_that_went_back_under_later_commits_stop_the_lane() {
        let restored = [change(Op::Create, Some(900), 901, "a", 5), change(Op::Create, Some(300), 301, "b", 6)];
        assert_eq!(verdicts(&restored, None)[1], Verdict::WentBack);
        // Also below the boundary, once something counted.
        let restored = [change(Op::Create, Some(900), 901, "a", 5), change(Op::Create, Some(300), 301, "b", 6)];
        assert_eq!(verdicts(&restored, Some(&run(800, 7, 90)))[1], Verdict::WentBack);
    }

    #[test]
    fn a_greater_boundary_begins_and_a_smaller_or_equal_one_does_not() {
        fn judge(change: &Change, boundary: Option<&Boundary>) -> Verdict {
            decide(change, 100, RANKING, boundary, &mut Mark::default())
        }
        let begun = |verdict| matches!(verdict, Verdict::Begin(_));
        assert!(begun(judge(&row(100, 7, 1), None)));
        assert!(begun(judge(&row(100, 8, 1), Some(&run(100, 7, 0)))), "started again: same LSN, later transaction");
        assert_eq!(judge(&row(100, 7, 1), Some(&run(100, 7, 0))), Verdict::Count);
        assert_eq!(judge(&row(100, 6, 1), Some(&run(100, 7, 0))), Verdict::Ignored);
        assert_eq!(judge(&row(90, 9, 1), Some(&run(100, 7, 0))), Verdict::Ignored);
        assert_eq!(judge(&row(90, 9, 2_000), Some(&run(100, 7, 0))), Verdict::WentBack, "a later run with a smaller LSN");
        assert_eq!(judge(&row(100, 9, 1), Some(&truncate(200))), Verdict::Ignored);
        let truncated = |own| change(Op::Truncate, Some(1), own, "", 1);
        assert!(begun(judge(&truncated(100), Some(&run(90, 7, 0)))));
        assert_eq!(judge(&truncated(100), Some(&truncate(100))), Verdict::Ignored, "sent again on another partition");
        let incremental = Change { snapshot: Snapshot::Incremental, ..row(500, 9, 1) };
        assert_eq!(judge(&incremental, Some(&run(100, 7, 0))), Verdict::Ignored);
    }

    #[test]
    fn a_streamed_record_counts_only_after_the_boundary() {
        let at = |first, own, arrived, boundary: &Boundary| {
            decide(&change(Op::Create, first, own, "a", 1), arrived, RANKING, Some(boundary), &mut Mark::default())
        };
        let snapshot = run(100, 7, 50);
        assert_eq!(at(Some(100), 90, 0, &snapshot), Verdict::Count, "its rows are below S, its commit is not");
        assert_eq!(at(Some(99), 150, 60, &snapshot), Verdict::Ignored, "only commits are ordered across transactions");
        assert_eq!(at(None, 100, 0, &snapshot), Verdict::Count);
        assert_eq!(at(None, 99, 50, &snapshot), Verdict::Count, "open while the slot was created, arrived after the run began");
        assert_eq!(at(None, 99, 49, &snapshot), Verdict::Ignored);
        assert_eq!(at(Some(1), 101, 0, &truncate(100)), Verdict::Count);
        assert_eq!(at(Some(1), 100, 0, &truncate(100)), Verdict::Ignored);
    }

    #[test]
    fn ignored_records_do_not_move_the_mark() {
        let snapshot = run(100, 7, 50);
        let records = [change(Op::Create, Some(99), 150, "a", 1), change(Op::Create, Some(100), 90, "b", 1)];
        assert_eq!(verdicts(&records, Some(&snapshot)), [Verdict::Ignored, Verdict::Count]);
    }

    #[test]
    fn events_know_no_boundaries() {
        let judge = |change: &Change, policy| decide(change, 100, policy, None, &mut Mark::default());
        assert_eq!(judge(&row(100, 7, 1), EVENTS), Verdict::Ignored);
        assert_eq!(judge(&row(100, 7, 1), Policy::Events { snapshot: true }), Verdict::Count);
        assert_eq!(judge(&change(Op::Truncate, None, 5, "", 1), EVENTS), Verdict::Count);
        assert_eq!(judge(&change(Op::Message, None, 5, "", 1), EVENTS), Verdict::Ignored);
    }

    #[test]
    fn a_mark_cut_to_a_limit_keeps_its_newest_records() {
        let mut mark = Mark::default();
        let keys: Vec<String> = (0..300).map(|n| format!("k{n}")).collect();
        for key in &keys {
            mark.pass(&change(Op::Create, Some(1), 2, key, 3));
        }
        let text = mark.encode(4_000);
        assert!(text.len() <= 4_000);
        let mut cut = Mark::decode(&text).unwrap();
        assert_eq!(cut.pass(&change(Op::Create, Some(1), 2, "k299", 3)), Verdict::Duplicate);
        assert_eq!(cut.pass(&change(Op::Create, Some(1), 2, "k0", 3)), Verdict::Count);
    }

    proptest! {
        #[test]
        fn marks_and_boundaries_survive_their_text(
            records in prop::collection::vec((any::<Option<u64>>(), any::<u64>(), "[a-c]", any::<i64>()), 0..20),
            boundary in (any::<u64>(), any::<Option<u64>>(), any::<i64>(), any::<i64>(), any::<bool>()),
        ) {
            let mut mark = Mark::default();
            for (first, own, key, commit_us) in &records {
                mark.pass(&change(Op::Create, *first, *own, key, *commit_us));
                prop_assert_eq!(Mark::decode(&mark.encode(usize::MAX)), Some(mark.clone()));
            }
            let (lsn, run_tx, arrived_ms, commit_us, ended) = boundary;
            let boundary = Boundary { lsn, run_tx, arrived_ms, commit_us, ended };
            prop_assert_eq!(Boundary::decode(&boundary.encode()), Some(boundary));
        }

        #[test]
        fn no_text_is_a_panic(text in "[0-9;,a-f]{0,60}") {
            let _ = (Mark::decode(&text), Boundary::decode(&text));
        }

        /// Whatever part of a log Debezium sends again, and however often, every record counts exactly once.
        #[test]
        fn every_record_counts_once_however_often_its_tail_is_sent_again(
            steps in prop::collection::vec((0..3u64, 0..3u64, 0..3usize), 1..40),
            resumes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..6),
        ) {
            let (mut first, mut own, mut log) = (10, 10, Vec::new());
            for (commit, lsn, key) in steps {
                first += commit;
                own = if commit > 0 { first + 1 } else { own + lsn };
                let name = (first, own, key);
                if !log.contains(&name) {
                    log.push(name);
                }
            }
            let mut sent = log.clone();
            for (upto, from) in resumes {
                let upto = upto.index(sent.len());
                let from = from.index(upto + 1);
                let again = sent[from..].to_vec();
                sent.truncate(upto + 1);
                sent.extend(again);
            }
            let mut mark = Mark::default();
            let mut counted = Vec::new();
            for (first, own, key) in sent {
                let record = change(Op::Create, Some(first), own, ["a", "b", "c"][key], i64::try_from(first).unwrap());
                if decide(&record, 0, RANKING, None, &mut mark) == Verdict::Count {
                    counted.push((first, own, key));
                }
            }
            prop_assert_eq!(counted, log);
        }
    }
}
