//! The tables, the settings of a connection, and the counters as they are found at start.
//!
//! `events` has one row per id in order of arrival (`seq`); `counters`, `minutes` and `content` repeat what can be counted in
//! it and change in the same transaction.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use axum::body::Bytes;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::Error;
use crate::cloudevent::Event;
use crate::tally::{Arrival, Dimension, LATENCIES_MAX, LATEST_MAX, Latest, MINUTES, SECONDS, Tally, TopContent};
use crate::timestamp;

/// "HwRc": marks the file as this program's.
const APPLICATION_ID: i32 = 0x4877_5263;
const VERSION: i32 = 1;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const CACHE_KIB: i64 = 64 * 1024;
/// The log is cut back to this after a burst.
const LOG_BYTES_MAX: i64 = 64 * 1024 * 1024;
/// Rows that are read again at start for the rate of the last minutes.
const RECENT_ROWS_MAX: i64 = 100_000;
/// Items in the list of top content.
const TOP_MAX: i64 = 10;

/// Name of the counter group of rejected requests.
pub const REJECTED: &str = "rejected";
/// Name of the counter group of deliveries.
pub const DELIVERY: &str = "delivery";

const TABLES: &str = "
CREATE TABLE events (
    seq            INTEGER PRIMARY KEY,
    id             TEXT NOT NULL UNIQUE,
    time_us        INTEGER,
    received_at_us INTEGER NOT NULL,
    content_id     TEXT,
    event_type     TEXT,
    body           TEXT NOT NULL
);
CREATE INDEX events_by_content ON events (content_id);
CREATE INDEX events_by_type ON events (event_type);
CREATE INDEX events_by_content_and_type ON events (content_id, event_type);
CREATE TABLE counters (kind TEXT, name TEXT, count INTEGER NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID;
CREATE TABLE minutes (minute INTEGER PRIMARY KEY, events INTEGER NOT NULL);
CREATE TABLE content (content_id TEXT PRIMARY KEY, content_type TEXT, events INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX content_by_events ON content (events);
";

/// What a new process goes on from.
pub struct Loaded {
    /// The counters and recent measurements.
    pub tally: Tally,
    /// Rejected requests by reason.
    pub rejected: BTreeMap<String, u64>,
}

/// Opens the connection that writes, and creates the tables in a new file.
pub fn open(path: &Path, file_bytes_max: u64) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let foreign = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => Error::Foreign(path.to_owned()),
        _ => Error::Sqlite(error),
    };
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(foreign)?;
    let found = (pragma(&connection, "application_id")?, pragma(&connection, "user_version")?);
    let is_new = tables == 0 && found == (0, 0);
    if !is_new && found != (APPLICATION_ID.into(), VERSION.into()) {
        return Err(Error::Foreign(path.to_owned()));
    }
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(Error::Wal(path.to_owned()));
    }
    // FULL syncs the log at every commit; NORMAL, common with WAL, would lose acknowledged events in a power failure.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES_MAX)?;
    if is_new {
        let transaction = connection.transaction()?;
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()?;
    }
    if file_bytes_max > 0 {
        let page_bytes = pragma(&connection, "page_size")?.max(1);
        let pages_max = i64::try_from(file_bytes_max).unwrap_or(i64::MAX) / page_bytes;
        connection.pragma_update(None, "max_page_count", pages_max.max(1))?;
    }
    Ok(connection)
}

/// Opens a connection that only reads.
pub fn open_reader(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// Reads the counters, and as many recent rows as the measurements cover.
pub fn load(connection: &Connection) -> Result<Loaded, Error> {
    let mut tally = Tally::default();
    let mut rejected = BTreeMap::new();
    let mut counters = connection.prepare("SELECT kind, name, count FROM counters")?;
    let mut rows = counters.query([])?;
    while let Some(row) = rows.next()? {
        let (kind, name, count): (String, String, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let dimension = Dimension::ALL.into_iter().find(|dimension| dimension.name() == kind);
        match (kind.as_str(), name.as_str(), dimension) {
            (_, _, Some(dimension)) => drop(tally.labels.insert((dimension, name), count)),
            (DELIVERY, "unique", _) => tally.unique = count,
            (DELIVERY, "duplicates", _) => tally.duplicates = count,
            (DELIVERY, "conflicts", _) => tally.conflicts = count,
            (REJECTED, _, _) => drop(rejected.insert(name, count)),
            _ => {}
        }
    }
    let mut minutes = connection.prepare("SELECT minute, events FROM minutes ORDER BY minute")?;
    let mut rows = minutes.query([])?;
    while let Some(row) = rows.next()? {
        tally.minutes.add(row.get::<_, i64>(0)? * 60_000_000, row.get(1)?);
    }
    tally.top_content = top_content(connection)?;
    tally.first = arrival(connection, "SELECT id, received_at_us FROM events ORDER BY seq LIMIT 1")?;
    tally.last = arrival(connection, "SELECT id, received_at_us FROM events ORDER BY seq DESC LIMIT 1")?;
    load_recent(connection, &mut tally)?;
    Ok(Loaded { tally, rejected })
}

/// Only the columns before `body` are read here, so the size of the events does not matter.
fn load_recent(connection: &Connection, tally: &mut Tally) -> Result<(), Error> {
    let oldest_us = timestamp::now_us() - i64::from(SECONDS) * 1_000_000;
    let mut recent = Vec::new();
    let mut statement = connection.prepare("SELECT received_at_us, time_us FROM events ORDER BY seq DESC LIMIT ?1")?;
    let mut rows = statement.query([RECENT_ROWS_MAX])?;
    while let Some(row) = rows.next()? {
        let (received_at_us, time_us): (i64, Option<i64>) = (row.get(0)?, row.get(1)?);
        if recent.len() >= LATENCIES_MAX && received_at_us < oldest_us {
            break;
        }
        recent.push((received_at_us, time_us.map(|time_us| received_at_us - time_us)));
    }
    for (received_at_us, latency_us) in recent.into_iter().rev() {
        tally.measure(received_at_us, latency_us);
    }
    let mut statement = connection.prepare("SELECT seq, received_at_us, body FROM events ORDER BY seq DESC LIMIT ?1")?;
    let mut rows = statement.query([i64::try_from(LATEST_MAX).unwrap_or(0)])?;
    let mut latest = Vec::new();
    while let Some(row) = rows.next()? {
        let body: String = row.get(2)?;
        if let Ok(event) = Event::parse(Bytes::from(body)) {
            latest.push(Latest::of(row.get(0)?, &event, row.get(1)?));
        }
    }
    latest.into_iter().rev().for_each(|line| tally.list(line));
    Ok(())
}

/// The items with the most inserts; reads as many index entries as it returns.
pub fn top_content(connection: &Connection) -> Result<Vec<TopContent>, rusqlite::Error> {
    let mut statement = connection.prepare_cached("SELECT content_id, content_type, events FROM content ORDER BY events DESC LIMIT ?1")?;
    let rows =
        statement.query_map([TOP_MAX], |row| Ok(TopContent { content_id: row.get(0)?, content_type: row.get(1)?, events: row.get(2)? }))?;
    rows.collect()
}

/// Forgets minutes that no series shows any more.
pub fn forget_minutes(connection: &Connection, newest: i64) -> Result<(), rusqlite::Error> {
    let mut statement = connection.prepare_cached("DELETE FROM minutes WHERE minute <= ?1")?;
    statement.execute(params![newest - i64::from(MINUTES)])?;
    Ok(())
}

fn arrival(connection: &Connection, sql: &str) -> Result<Option<Arrival>, rusqlite::Error> {
    let read = |row: &rusqlite::Row<'_>| Ok(Arrival { id: row.get(0)?, received_at: timestamp::format(row.get(1)?) });
    connection.query_row(sql, [], read).optional()
}

fn pragma(connection: &Connection, name: &str) -> Result<i64, rusqlite::Error> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_writer_syncs_every_commit() {
        let directory = crate::testing::TempDir::new("schema-pragmas");
        let connection = open(&directory.path().join("r.sqlite"), 0).unwrap();
        let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
        assert_eq!((mode.as_str(), pragma(&connection, "synchronous").unwrap()), ("wal", 2));
    }

    #[test]
    fn a_foreign_file_is_refused_and_left_alone() {
        let directory = crate::testing::TempDir::new("schema-foreign");
        let database = directory.path().join("other.sqlite");
        Connection::open(&database).unwrap().execute_batch("CREATE TABLE mine (x)").unwrap();
        assert!(matches!(open(&database, 0), Err(Error::Foreign(_))));
        let text = directory.path().join("notes.txt");
        let notes = "not a database, but long enough to be read as the header of one: ".repeat(20);
        std::fs::write(&text, &notes).unwrap();
        assert!(matches!(open(&text, 0), Err(Error::Foreign(_))));
        assert_eq!(std::fs::read_to_string(&text).unwrap(), notes);
    }

    #[test]
    fn filters_and_top_content_use_an_index_and_do_not_sort() {
        let directory = crate::testing::TempDir::new("schema-plans");
        let connection = open(&directory.path().join("r.sqlite"), 0).unwrap();
        for sql in [
            "SELECT body FROM events WHERE content_id = 'x' ORDER BY seq DESC",
            "SELECT body FROM events WHERE event_type = 'x' ORDER BY seq DESC",
            "SELECT body FROM events WHERE content_id = 'x' AND event_type = 'y' ORDER BY seq DESC",
            "SELECT content_id FROM content ORDER BY events DESC",
        ] {
            let explain = format!("EXPLAIN QUERY PLAN {sql}");
            let plan: String = connection.query_row(&explain, [], |row| row.get(3)).unwrap();
            let steps: i64 =
                connection.prepare(&explain).unwrap().query_map([], |_| Ok(1)).unwrap().map(|n: Result<i64, _>| n.unwrap()).sum();
            assert!(plan.contains("INDEX"), "{sql}: {plan}");
            assert_eq!(steps, 1, "{sql} sorts");
        }
    }
}
