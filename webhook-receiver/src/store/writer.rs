//! The one thread that writes: requests in, one transaction for all that wait, answers out after its commit.
//!
//! Group commit: an fsync costs the same for one event and for a thousand, so while one transaction is being synced the next
//! requests gather and share the next one. Nothing waits to be gathered: a request that comes alone is committed alone.
//! A transaction is stored whole or not at all; if it fails, every request in it is told so and the counters stay as they were.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, params};
use tokio::sync::{mpsc, oneshot};

use super::{Receipt, Shared, Unavailable, schema};
use crate::cloudevent::Event;
use crate::tally::Delta;
use crate::timestamp;

/// Requests in one transaction.
const GROUP_REQUESTS_MAX: usize = 256;
/// Bytes of events after which a transaction takes no further request.
const GROUP_BYTES_MAX: usize = 32 * 1024 * 1024;

type Reply = oneshot::Sender<Result<Receipt, Unavailable>>;

/// What the writer is asked to do, in order.
pub enum Command {
    /// Store the events of one request.
    Insert {
        /// All of them, or none.
        events: Vec<Event>,
        /// Answered after the commit.
        reply: Reply,
    },
    /// Write the counters of rejected requests, if they changed.
    SaveRejections,
    /// Write what came before, then end.
    Close,
}

/// The thread's state.
pub struct Writer {
    connection: Connection,
    shared: Arc<Shared>,
    saved_rejections: BTreeMap<&'static str, u64>,
    _lock: File,
}

#[derive(Default)]
struct Group {
    requests: Vec<(Vec<Event>, Reply)>,
    bytes: usize,
    close: bool,
}

impl Group {
    fn is_full(&self) -> bool {
        self.close || self.requests.len() >= GROUP_REQUESTS_MAX || self.bytes >= GROUP_BYTES_MAX
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Insert { events, reply } => {
                self.bytes += events.iter().map(|event| event.body.len()).sum::<usize>();
                self.requests.push((events, reply));
            }
            // Rejections are saved with every group.
            Command::SaveRejections => {}
            Command::Close => self.close = true,
        }
    }
}

impl Writer {
    /// A writer that owns the connection, and the lock on the file as long as it lives.
    pub fn new(connection: Connection, shared: Arc<Shared>, lock: File) -> Self {
        let saved_rejections = shared.rejections.by_reason();
        Self { connection, shared, saved_rejections, _lock: lock }
    }

    /// Serves commands until it is told to close or nobody can send any more.
    pub fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        while let Some(command) = commands.blocking_recv() {
            let mut group = Group::default();
            group.take(command);
            while !group.is_full() {
                let Ok(command) = commands.try_recv() else {
                    break;
                };
                group.take(command);
            }
            self.commit(group.requests);
            if group.close {
                break;
            }
        }
        // Leaves one tidy file behind; if it fails, the log beside it holds the same.
        if let Err(error) = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
            tracing::warn!(%error, "the log stays beside the database");
        }
        // Only then does `Store::close` return, and may another process take the file.
        drop(self);
        drop(commands);
    }

    fn commit(&mut self, requests: Vec<(Vec<Event>, Reply)>) {
        let (groups, replies): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
        let stored = self.store(&groups);
        self.report_outage(stored.as_ref().err());
        match stored {
            Ok(receipts) => {
                self.shared.changed.notify_one();
                for (reply, receipt) in replies.into_iter().zip(receipts) {
                    // A sender that went away will send again and be told that it is a duplicate.
                    let _ = reply.send(Ok(receipt));
                }
            }
            Err(_) => {
                for reply in replies {
                    let _ = reply.send(Err(Unavailable));
                }
            }
        }
    }

    /// One transaction: the events of every request, and all counters that they change.
    fn store(&mut self, groups: &[Vec<Event>]) -> Result<Vec<Receipt>, rusqlite::Error> {
        let rejections = self.shared.rejections.by_reason();
        if groups.is_empty() && rejections == self.saved_rejections {
            return Ok(Vec::new());
        }
        let transaction = self.connection.transaction()?;
        let (mut delta, mut receipts) = (Delta::default(), Vec::with_capacity(groups.len()));
        for events in groups {
            receipts.push(insert(&transaction, events, &mut delta)?);
        }
        self.shared.tally().admit_labels(&mut delta);
        save_counters(&transaction, &delta)?;
        for (name, count) in &rejections {
            if self.saved_rejections.get(name) != Some(count) {
                set_counter(&transaction, schema::REJECTED, name, *count)?;
            }
        }
        let top_content = schema::top_content(&transaction)?;
        let commit = timed_commit(transaction)?;
        self.saved_rejections = rejections;
        let mut tally = self.shared.tally();
        tally.top_content = top_content;
        tally.apply(delta, commit);
        Ok(receipts)
    }

    /// One line when storing begins to fail and one when it works again, however many requests fail in between.
    fn report_outage(&self, error: Option<&rusqlite::Error>) {
        let was_failing = self.shared.failing.swap(error.is_some(), Ordering::Relaxed);
        match error {
            Some(error) if !was_failing => {
                tracing::error!(%error, "cannot store events: requests are answered 503 until the disk has room and works");
            }
            None if was_failing => tracing::info!("events are stored again"),
            _ => {}
        }
    }
}

fn insert(transaction: &Transaction<'_>, events: &[Event], delta: &mut Delta) -> Result<Receipt, rusqlite::Error> {
    let mut add = transaction.prepare_cached(
        "INSERT INTO events (id, time_us, received_at_us, content_id, event_type, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO NOTHING",
    )?;
    let mut is_same = transaction.prepare_cached("SELECT body = ?2 FROM events WHERE id = ?1")?;
    let received_at_us = timestamp::now_us();
    let mut receipt = Receipt::default();
    for event in events {
        let columns = &event.columns;
        // The body was read as JSON, so it is UTF-8; lossy conversion copies nothing then.
        let body = String::from_utf8_lossy(&event.body);
        let added = add.execute(params![event.id, event.time_us, received_at_us, columns.content_id, columns.event_type, body])?;
        if added == 1 {
            receipt.stored += 1;
            delta.stored(transaction.last_insert_rowid(), event, received_at_us);
        } else {
            let same: bool = is_same.query_row(params![event.id, body], |row| row.get(0))?;
            receipt.duplicates += 1;
            receipt.conflicts += u64::from(!same);
            delta.repeated(same);
        }
    }
    Ok(receipt)
}

fn save_counters(transaction: &Transaction<'_>, delta: &Delta) -> Result<(), rusqlite::Error> {
    let mut add = transaction.prepare_cached(
        "INSERT INTO counters (kind, name, count) VALUES (?1, ?2, ?3)
         ON CONFLICT (kind, name) DO UPDATE SET count = count + excluded.count",
    )?;
    for (name, count) in [("unique", delta.unique), ("duplicates", delta.duplicates), ("conflicts", delta.conflicts)] {
        if count > 0 {
            add.execute(params![schema::DELIVERY, name, count])?;
        }
    }
    for ((dimension, label), count) in &delta.labels {
        add.execute(params![dimension.name(), label, count])?;
    }
    let mut add_minute = transaction.prepare_cached(
        "INSERT INTO minutes (minute, events) VALUES (?1, ?2)
         ON CONFLICT (minute) DO UPDATE SET events = events + excluded.events",
    )?;
    for (minute, count) in &delta.minutes {
        add_minute.execute(params![minute, count])?;
        schema::forget_minutes(transaction, *minute)?;
    }
    let mut add_content = transaction.prepare_cached(
        "INSERT INTO content (content_id, content_type, events) VALUES (?1, ?2, ?3)
         ON CONFLICT (content_id) DO UPDATE SET
             events = events + excluded.events, content_type = coalesce(excluded.content_type, content_type)",
    )?;
    for (content_id, content) in &delta.content {
        add_content.execute(params![content_id, content.content_type, content.events])?;
    }
    Ok(())
}

fn set_counter(transaction: &Transaction<'_>, kind: &str, name: &str, count: u64) -> Result<(), rusqlite::Error> {
    let sql = "INSERT INTO counters (kind, name, count) VALUES (?1, ?2, ?3)
               ON CONFLICT (kind, name) DO UPDATE SET count = excluded.count";
    transaction.prepare_cached(sql)?.execute(params![kind, name, count])?;
    Ok(())
}

fn timed_commit(transaction: Transaction<'_>) -> Result<Duration, rusqlite::Error> {
    let began = Instant::now();
    transaction.commit()?;
    Ok(began.elapsed())
}
