//! The first step: bytes become a change, and the change is judged on the mark that travels with the reading.

use crate::change::{Change, Op, Snapshot};
use crate::decode::{self, Decoded};
use crate::lane::{Lane, Reading};
use crate::progress::{Boundary, Verdict, WENT_BACK_REMEDY, decide};
use crate::sink::{Error, Policy, Progress, Sides, Sink};
use crate::source::Record;
use crate::source::kafka::Fetched;
use highwater_sql::RowError;
use tracing::warn;

/// A record, and what is to be done with it.
#[derive(Debug)]
pub struct Judged {
    /// The partition that moves.
    pub partition: i32,
    /// Where the partition was before.
    pub from: i64,
    /// Where it is after.
    pub progress: Progress,
    /// A streamed record that counts, or the last row of a snapshot run.
    pub run_ended: bool,
    /// What is to be done.
    pub work: Work,
}

/// What is to be done with a record.
#[derive(Debug)]
pub enum Work {
    /// Nothing but moving on.
    Nothing,
    /// Select from it.
    Select(Record, Box<Change>),
    /// Park it; of a record that counts its sides are owed.
    Park(Record, &'static str, RowError, Sides),
    /// Begin an epoch; nothing after it is looked at.
    Begin(Boundary),
}

impl<S: Sink> Lane<S> {
    /// Judges what came, in order. An error stops the lane.
    pub(super) fn judge(&mut self, fetched: Fetched) -> Result<Vec<Judged>, Error> {
        let mut judged = Vec::with_capacity(fetched.records.len());
        for record in fetched.records {
            let Some(at) = self.reading.partitions.get(&record.partition) else { continue };
            let (partition, from, next) = (record.partition, at.next, record.offset + 1);
            let (work, run_ended) = self.judge_record(record)?;
            let begins = matches!(work, Work::Begin(_));
            let Some(at) = self.reading.partitions.get_mut(&partition) else { continue };
            if !begins {
                at.next = next;
            }
            judged.push(Judged { partition, from, progress: at.clone(), run_ended, work });
            if begins {
                return Ok(judged);
            }
        }
        for (partition, position) in fetched.positions {
            if let Some(at) = self.reading.partitions.get_mut(&partition).filter(|at| at.next < position) {
                let from = std::mem::replace(&mut at.next, position);
                judged.push(Judged { partition, from, progress: at.clone(), run_ended: false, work: Work::Nothing });
            }
        }
        Ok(judged)
    }

    fn judge_record(&mut self, record: Record) -> Result<(Work, bool), Error> {
        let metrics = &self.parts.metrics;
        let change = match self.parts.decoder.decode(&record) {
            Ok(Decoded::Change(change)) => change,
            Ok(Decoded::Tombstone) => {
                metrics.event("tombstone");
                return Ok((Work::Nothing, false));
            }
            Ok(Decoded::Foreign(name)) => {
                return Err(Error::Stop {
                    message: format!("partition {} offset {}: the change is of source {name:?}", record.partition, record.offset),
                    remedy: "another connector writes to this topic: give each its own topic.prefix".into(),
                });
            }
            Err(error) => {
                metrics.event("dead_letter");
                return Ok((Work::Park(record, error.class(), RowError::new("22P02", error.to_string()), Sides::NONE), false));
            }
        };
        let Reading { boundary, partitions, .. } = &mut self.reading;
        let Some(at) = partitions.get_mut(&record.partition) else { return Ok((Work::Nothing, false)) };
        if change.op != Op::Read {
            let (first, own) = change.position.pair();
            self.parts.select.witness.read(first.max(own));
        }
        let policy = self.parts.sink.policy();
        let verdict = decide(&change, record.timestamp_ms, policy, boundary.as_ref(), &mut at.mark);
        if verdict == Verdict::BeganAnew {
            warn!(
                partition = record.partition,
                offset = record.offset,
                "the connector began anew on an old slot or an empty table: rows deleted meanwhile are in no event; compare the sink with SQL"
            );
        }
        let incomplete = decode::complete(&change, self.parts.append_only);
        let last = change.op != Op::Read || matches!(change.snapshot, Snapshot::Last | Snapshot::LastInTable);
        let run_ended = last && policy == Policy::Boundaries && verdict != Verdict::Duplicate;
        Ok(match (verdict, incomplete) {
            // Without a key nothing tells a duplicate from another row: parking it twice is harmless.
            (Verdict::Count | Verdict::BeganAnew, Err((class, error))) | (Verdict::Duplicate, Err((class @ decode::NULL_KEY, error))) => {
                metrics.event("dead_letter");
                let owed = if class == decode::NULL_KEY { Sides::NONE } else { Sides::BOTH };
                (Work::Park(record, class, error, owed), run_ended)
            }
            (Verdict::Count | Verdict::BeganAnew, Ok(())) => {
                metrics.event("count");
                (Work::Select(record, change), run_ended)
            }
            (Verdict::Begin(boundary), _) => (Work::Begin(boundary), false),
            (Verdict::Ignored, _) => {
                metrics.event("ignored");
                (Work::Nothing, false)
            }
            (Verdict::Duplicate, _) => {
                metrics.event("duplicate");
                (Work::Nothing, false)
            }
            (Verdict::WentBack, _) => return Err(went_back(&record)),
        })
    }
}

fn went_back(record: &Record) -> Error {
    Error::Stop {
        message: format!(
            "partition {} offset {}: the change lies below what was applied, yet was committed later: LSNs went back",
            record.partition, record.offset
        ),
        remedy: WENT_BACK_REMEDY.into(),
    }
}
