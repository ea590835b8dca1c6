//! What records mean: the lane's decoder, verdicts and SELECT, without a sink's progress.
//!
//! A stretch begins with an empty mark, so that what Debezium sent again within it counts once. A record whose first copy lies before the stretch counts as new: its
//! event has the id it always had.

use std::collections::BTreeMap;

use highwater_sql::RowError;

use super::Error;
use crate::change::Change;
use crate::decode::{self, Decoded, RecordDecoder};
use crate::lane::Select;
use crate::progress::{Boundary, Mark, Verdict, decide};
use crate::sink::{Policy, ResultRow};
use crate::source::Record;

/// The state that records are judged on.
pub struct Judge {
    /// Bytes to change.
    pub decoder: RecordDecoder,
    /// Change to result rows.
    pub select: Select,
    /// The table only gets inserts.
    pub append_only: bool,
    /// What lies before it counts no more; rankings only.
    pub boundary: Option<Boundary>,
    /// By partition; none where nothing was read.
    pub marks: BTreeMap<i32, Mark>,
}

/// A record, judged.
pub struct Judged {
    /// The record.
    pub record: Record,
    /// The mark of its partition after it.
    pub mark: Mark,
    /// What it means.
    pub meaning: Meaning,
}

/// What a record means.
pub enum Meaning {
    /// Nothing.
    Nothing,
    /// Result rows taken away and added; of a ranking's, a side that fails is left out.
    Rows(Box<Change>, Option<ResultRow>, Option<ResultRow>),
    /// It can never be delivered, with the error class.
    Dead(&'static str, RowError),
    /// A ranking begins anew here; nothing after it was judged.
    Begin(Boundary),
}

impl Judge {
    /// Judges records in order. Those that are not `wanted` move the mark and mean nothing.
    pub async fn judge(&mut self, records: Vec<Record>, wanted: impl Fn(&Record) -> bool) -> Result<Vec<Judged>, Error> {
        let mut judged = Vec::with_capacity(records.len());
        for record in records {
            let mut meaning = self.verdict(&record)?;
            if !wanted(&record) {
                meaning = Meaning::Nothing;
            }
            let begins = matches!(meaning, Meaning::Begin(_));
            let mark = self.marks.get(&record.partition).cloned().unwrap_or_default();
            judged.push(Judged { record, mark, meaning });
            if begins {
                break;
            }
        }
        let changes = judged.iter_mut().filter_map(|judged| match &mut judged.meaning {
            Meaning::Rows(change, ..) => Some(&mut **change),
            _ => None,
        });
        let mut computed = self.select.compute(changes).await.into_iter();
        for judged in &mut judged {
            let Meaning::Rows(_, before, after) = &mut judged.meaning else { continue };
            let found = computed.next().unwrap_or_default();
            (*before, *after) = (found.before, found.after);
            let alone = self.select.policy == Policy::Boundaries;
            let failed = found.failed.filter(|_| !alone).map(|failed| failed.error);
            if let Some(error) = found.unreadable.or(failed) {
                judged.meaning = Meaning::Dead("row", error);
            }
        }
        Ok(judged)
    }

    /// Before the SELECT: a record that counts has no rows yet.
    fn verdict(&mut self, record: &Record) -> Result<Meaning, Error> {
        let place = || format!("partition {} offset {}", record.partition, record.offset);
        let change = match self.decoder.decode(record) {
            Ok(Decoded::Change(change)) => change,
            Ok(Decoded::Tombstone) => return Ok(Meaning::Nothing),
            Ok(Decoded::Foreign(name)) => {
                return Err(Error::Refused(format!(
                    "{}: the change is of source {name:?}: another connector writes to this topic; give each its own topic.prefix",
                    place()
                )));
            }
            Err(error) => return Ok(Meaning::Dead(error.class(), RowError::new("22P02", error.to_string()))),
        };
        let mark = self.marks.entry(record.partition).or_default();
        let incomplete = decode::complete(&change, self.append_only);
        Ok(match (decide(&change, record.timestamp_ms, self.select.policy, self.boundary.as_ref(), mark), incomplete) {
            (Verdict::Begin(boundary), _) => Meaning::Begin(boundary),
            (Verdict::WentBack, _) => {
                return Err(Error::Refused(format!(
                    "{}: LSNs went back: the database was restored or is another one; replay up to the moment before, with --to",
                    place()
                )));
            }
            (Verdict::Count | Verdict::BeganAnew, Err((class, error))) => Meaning::Dead(class, error),
            (Verdict::Count | Verdict::BeganAnew, Ok(())) => Meaning::Rows(change, None, None),
            (Verdict::Ignored | Verdict::Duplicate, _) => Meaning::Nothing,
        })
    }
}
