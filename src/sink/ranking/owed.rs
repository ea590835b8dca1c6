//! Dead letters of a ranking, replayed: what a record that was parked is owed counts once, whoever replays it, however often, beside engines
//! that run, and with replies that are lost.
//!
//! The list of what is owed lives and dies with the epoch ([`Owed`](crate::sink::Owed) reaches it in the call that moves progress past the
//! record). A rebuild reads the log again and parks again what still fails, so nothing is carried over.

use highwater_sql::{RowError, Value};

use super::config::Layout;
use super::epoch::{self, Decision};
use super::function::{Owing, Reply, State};
use super::{ADOPT_TRIES_MAX, Payload, Ranking, connected, settle, state_epoch, unanswered};
use crate::sink::{Error, Failed, Sides};
use crate::source::Log;

/// How a ranking stands to a record that was parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// These rows of it are not in the ranking.
    Owed(Sides),
    /// It was parked before it could be judged, so that nobody knows whether it is a change that was sent twice.
    Unjudged,
    /// Nothing of it is missing: it was replayed, or counted by a rebuild, or the window and the boundary have passed it.
    Settled,
    /// The epoch has not read it yet.
    Unread,
    /// Nobody knows: the epoch could not keep all of its dead letters, or was begun by a version that kept none.
    Unknown,
}

/// What a replay of one record counts.
#[derive(Debug)]
pub struct Due {
    /// The rows that are owed and can be computed now.
    pub payload: Payload,
    /// The sides that stay owed.
    pub left: Sides,
    /// Why they do.
    pub reason: Option<RowError>,
}

impl Due {
    /// Of a record of which `owed` is owed: its rows after the SELECT, and what failed there.
    pub(super) fn new(layout: &Layout, owed: Sides, rows: (Option<&[Value]>, Option<&[Value]>), failed: Option<Failed>) -> Self {
        let mut payload = Payload::default();
        let broken = failed.as_ref().map_or(Sides::NONE, |failed| failed.sides);
        let before = rows.0.filter(|_| owed.before && !broken.before);
        let added = payload.add(layout, before, rows.1.filter(|_| owed.after && !broken.after));
        let failed = Failed::either(failed.filter(|failed| !failed.sides.within(owed).is_empty()), added.err());
        let left = failed.as_ref().map_or(Sides::NONE, |failed| failed.sides.within(owed));
        Self { payload, left, reason: failed.map(|failed| failed.error) }
    }
}

impl<L: Log> Ranking<L> {
    /// What is due of a record of which `owed` is owed.
    pub fn due(&self, owed: Sides, rows: (Option<&[Value]>, Option<&[Value]>), failed: Option<Failed>) -> Due {
        Due::new(&self.layout, owed, rows, failed)
    }

    /// The id of the current epoch, and how it stands to each of these records. A stop where the epoch is not this pipeline's.
    pub async fn standing(&self, records: &[(i32, i64)]) -> Result<(String, Vec<Standing>), Error> {
        let mut held = self.held.lock().await;
        let result = async {
            let session = connected(&mut held.session, &self.url, self.is_starting()).await?;
            for _ in 0..ADOPT_TRIES_MAX {
                let state: State = session.call(&self.functions.state()).await?;
                let topic = self.log.id().await.map_err(unanswered)?;
                let mine = self.identity(session, topic);
                let (Decision::Adopt, Some(current)) = (epoch::decide(state_epoch(&state), &mine, false), &state.current) else {
                    return Err(not_ours());
                };
                let owing: Owing = session.call(&self.functions.owed(records)).await?;
                if owing.epoch != current.id {
                    continue;
                }
                let standing = |(record, owed): (&(i32, i64), Option<Sides>)| match current.progress.get(&record.0) {
                    _ if owed == Some(Sides::NONE) => Standing::Unjudged,
                    _ if owed.is_some() => Standing::Owed(owed.unwrap_or_default()),
                    Some(progress) if progress.next > record.1 => match current.unkept {
                        Some(0) => Standing::Settled,
                        _ => Standing::Unknown,
                    },
                    _ => Standing::Unread,
                };
                let standings = records.iter().zip(owing.owed).map(standing).collect();
                return Ok((owing.epoch, standings));
            }
            Err(Error::Retry("other engines keep beginning epochs of this ranking".to_owned()))
        }
        .await;
        settle(&mut held, result)
    }

    /// Counts what is due of a record, if this epoch still owes exactly `owed` of it: `Moved` if not, and nothing changed.
    pub async fn count(&self, epoch: &str, record: (i32, i64), owed: Sides, due: &Due) -> Result<(), Error> {
        let mut held = self.held.lock().await;
        let result = async {
            let session = connected(&mut held.session, &self.url, self.is_starting()).await?;
            let call = self.functions.replay(epoch, record, owed, due.left, due.payload.entries());
            match session.call(&call).await? {
                Reply::Done(_) => Ok(()),
                Reply::Moved => Err(Error::Moved),
            }
        }
        .await;
        settle(&mut held, result)
    }
}

fn not_ours() -> Error {
    Error::Stop {
        message: "redis does not hold this ranking as the pipeline file, the topic and this redis process make it".to_owned(),
        remedy: "start an engine, which rebuilds it, and replay what is parked then".to_owned(),
    }
}
