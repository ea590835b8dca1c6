//! The third step: outcomes fill a batch, cut at a record.

use std::collections::VecDeque;

use crate::dead_letter::DeadLetter;
use crate::lane::select::{Effect, Outcome};
use crate::progress::Boundary;
use crate::sink::{Batch, Failed, Owed, Selected, Sink, Slice};

/// Records in one call; what they come to in the sink has a limit of its own.
const BATCH_RECORDS_MAX: usize = 20_000;
/// Selected records that wait for the batch.
const READY_RECORDS_MAX: usize = 10_000;
/// Bytes of their records.
const READY_BYTES_MAX: usize = 8 << 20;
/// Dead letters in one call.
const BATCH_DEAD_LETTERS_MAX: usize = 500;

/// Selected records that wait for the batch, bounded in number and bytes.
#[derive(Debug, Default)]
pub struct Ready {
    outcomes: VecDeque<Outcome>,
    bytes: usize,
}

impl Ready {
    /// Another batch of records may be selected: what it brings is bounded by what the source hands out at once.
    pub fn has_room(&self) -> bool {
        self.outcomes.len() < READY_RECORDS_MAX && self.bytes < READY_BYTES_MAX
    }

    /// In order, behind what is there.
    pub fn extend(&mut self, outcomes: Vec<Outcome>) {
        self.bytes += outcomes.iter().map(Outcome::bytes).sum::<usize>();
        self.outcomes.extend(outcomes);
    }

    fn pop(&mut self) -> Option<Outcome> {
        let outcome = self.outcomes.pop_front()?;
        self.bytes = self.bytes.saturating_sub(outcome.bytes());
        Some(outcome)
    }
}

/// A batch being filled, with what is parked before it is written.
#[derive(Debug, Default)]
pub struct Filled<P> {
    /// What the sink gets.
    pub batch: Batch<P>,
    /// What is parked first.
    pub dead: Vec<DeadLetter>,
    /// Commit times of the records in it that count, Unix microseconds.
    pub commits_us: Vec<i64>,
    /// Records in it.
    pub records: usize,
    /// No more fits.
    pub full: bool,
}

impl<P: Default> Filled<P> {
    /// Nothing is to be written, not even progress.
    pub fn is_empty(&self) -> bool {
        self.batch.slices.is_empty()
    }

    fn park(&mut self, letter: DeadLetter) {
        let DeadLetter { record, owed, .. } = &letter;
        self.batch.owed.push(Owed { partition: record.partition, offset: record.offset, sides: *owed });
        self.dead.push(letter);
    }

    /// Takes what is ready until the batch is full or an epoch is to begin.
    pub fn fill<S: Sink<Payload = P>>(&mut self, ready: &mut Ready, sink: &S) {
        while !self.full && !matches!(ready.outcomes.front(), None | Some(Outcome { effect: Effect::Begin(_), .. })) {
            let Some(outcome) = ready.pop() else { break };
            match outcome.effect {
                Effect::Nothing | Effect::Begin(_) => {}
                Effect::Park(letter) => self.park(letter),
                Effect::Rows(record, change, before, after, failed) => {
                    self.commits_us.push(change.commit_us);
                    let selected = Selected { record: &record, change: &change, before, after };
                    let added = sink.add(&mut self.batch.payload, selected);
                    if let Some(Failed { sides, error }) = Failed::either(failed, added.err()) {
                        self.park(DeadLetter::of_row(record, "row", error).owing(sides));
                    }
                }
            }
            let slice = self.batch.slices.entry(outcome.partition);
            slice.or_insert(Slice { token: outcome.from, progress: Default::default() }).progress = outcome.progress;
            self.batch.run_ended |= outcome.run_ended;
            self.records += 1;
            self.full = self.records >= BATCH_RECORDS_MAX || self.dead.len() >= BATCH_DEAD_LETTERS_MAX || sink.is_full(&self.batch.payload);
        }
    }
}

/// The boundary to begin with, when everything before it is written.
pub fn next_begin(ready: &mut Ready) -> Option<Boundary> {
    let Some(Outcome { effect: Effect::Begin(_), .. }) = ready.outcomes.front() else { return None };
    match ready.pop()?.effect {
        Effect::Begin(boundary) => Some(boundary),
        _ => None,
    }
}
