//! Reading events back: the newest that fit a filter, or all of them in order of arrival.
//!
//! Events come out as they came in: rows are passed on as the text that was received, digit for digit. Every answer has a limit
//! in bytes, and no read transaction outlives one chunk, so that readers never hold the log back.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use axum::body::Bytes;
use rusqlite::{Connection, params_from_iter};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::{Error, Store, schema};
use crate::cloudevent::{Data, Envelope};
use crate::series::milliseconds;
use crate::timestamp;

/// Bytes of an answer after which no further event is added.
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of an export's chunk after which it is sent.
const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks that wait for a slow client.
const CHUNKS_WAITING_MAX: usize = 2;
/// How long a client may leave a chunk waiting.
const CLIENT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

/// Which events are asked for; all conditions must hold.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// At most so many, newest first.
    pub limit: u16,
    /// Only this `content_id`.
    pub content_id: Option<String>,
    /// Only this `event_type`.
    pub event_type: Option<String>,
}

/// One event in the answer to `GET /events`.
#[derive(Serialize)]
struct Item<'a> {
    id: &'a str,
    op: Option<&'a str>,
    #[serde(rename = "type")]
    kind: &'a str,
    source: &'a str,
    subject: Option<&'a str>,
    time: Option<&'a str>,
    received_at: String,
    latency_ms: Option<f64>,
    before: Option<&'a RawValue>,
    after: Option<&'a RawValue>,
}

/// One line of `GET /export`.
#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    subject: Option<&'a str>,
    time: Option<&'a str>,
    received_at_us: i64,
    op: Option<&'a str>,
    before: Option<&'a RawValue>,
    after: Option<&'a RawValue>,
}

impl Store {
    /// The newest events that fit, as `{"events": [...], "truncated": bool}`; `truncated` says that the limit in bytes was
    /// reached before the one in events.
    ///
    /// # Errors
    /// SQLite failed.
    pub async fn events(&self, filter: Filter) -> Result<Vec<u8>, Error> {
        let permit = Arc::clone(&self.readers).acquire_owned().await.map_err(|_| Error::Stopped)?;
        let path = Arc::clone(&self.path);
        let read = tokio::task::spawn_blocking(move || {
            let answer = page(&path, &filter);
            drop(permit);
            answer
        });
        read.await.map_err(|_| Error::Stopped)?
    }

    /// Every event that is stored at this moment, one JSON object a line, in order of arrival. The channel closes at the end; if
    /// something fails its last item is the error, so that a broken export never looks complete.
    ///
    /// # Errors
    /// The store is closing.
    pub async fn export(&self) -> Result<mpsc::Receiver<Result<Bytes, Error>>, Error> {
        let permit = Arc::clone(&self.readers).acquire_owned().await.map_err(|_| Error::Stopped)?;
        let path = Arc::clone(&self.path);
        let (chunks, received) = mpsc::channel(CHUNKS_WAITING_MAX);
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || {
            let mut send = |chunk| {
                let sent = tokio::time::timeout(CLIENT_TIMEOUT, chunks.send(chunk));
                matches!(runtime.block_on(sent), Ok(Ok(())))
            };
            if let Err(error) = export(&path, &mut send) {
                send(Err(error));
            }
            drop(permit);
        });
        Ok(received)
    }
}

fn page(path: &Path, filter: &Filter) -> Result<Vec<u8>, Error> {
    let connection = schema::open_reader(path)?;
    let (mut conditions, mut values) = (Vec::new(), Vec::new());
    for (column, value) in [("content_id", &filter.content_id), ("event_type", &filter.event_type)] {
        if let Some(value) = value {
            values.push(value.as_str());
            conditions.push(format!("{column} = ?{}", values.len()));
        }
    }
    let condition = if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") };
    let sql = format!("SELECT received_at_us, time_us, body FROM events WHERE {condition} ORDER BY seq DESC LIMIT {}", filter.limit);
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut answer = br#"{"events":["#.to_vec();
    let (mut separator, mut truncated) = ("", false);
    while let Some(row) = rows.next()? {
        let body = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
        if !separator.is_empty() && answer.len() + body.len() > PAGE_BYTES_MAX {
            truncated = true;
            break;
        }
        answer.extend_from_slice(separator.as_bytes());
        write_item(&mut answer, row.get(0)?, row.get(1)?, body);
        separator = ",";
    }
    answer.extend_from_slice(format!(r#"],"truncated":{truncated}}}"#).as_bytes());
    Ok(answer)
}

/// A body that was accepted once can be read again; should it ever not be, the event is shown as null rather than hidden.
fn write_item(answer: &mut Vec<u8>, received_at_us: i64, time_us: Option<i64>, body: &str) {
    let Ok(envelope) = Envelope::parse(body) else {
        return answer.extend_from_slice(b"null");
    };
    let Data { op, before, after } = envelope.data();
    let item = Item {
        id: &envelope.id,
        op: op.as_deref(),
        kind: &envelope.kind,
        source: &envelope.source,
        subject: envelope.subject.as_deref(),
        time: envelope.time.as_deref(),
        received_at: timestamp::format(received_at_us),
        latency_ms: time_us.map(|time_us| milliseconds(received_at_us - time_us)),
        before,
        after,
    };
    write_json(answer, &item);
}

fn export(path: &Path, send: &mut dyn FnMut(Result<Bytes, Error>) -> bool) -> Result<(), Error> {
    let connection = schema::open_reader(path)?;
    let last: i64 = connection.query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| row.get(0))?;
    let mut seq = 0;
    while seq < last {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8);
        seq = fill_chunk(&connection, seq, last, &mut chunk)?;
        if !send(Ok(Bytes::from(chunk))) {
            break;
        }
    }
    Ok(())
}

/// Writes lines until the chunk is full or `last` is reached; returns the last row that is in it.
fn fill_chunk(connection: &Connection, after: i64, last: i64, chunk: &mut Vec<u8>) -> Result<i64, Error> {
    let sql = "SELECT seq, received_at_us, body FROM events WHERE seq > ?1 AND seq <= ?2 ORDER BY seq";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([after, last])?;
    while let Some(row) = rows.next()? {
        let body = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
        write_line(chunk, row.get(1)?, body);
        if chunk.len() >= CHUNK_BYTES {
            return Ok(row.get(0)?);
        }
    }
    Ok(last)
}

fn write_line(chunk: &mut Vec<u8>, received_at_us: i64, body: &str) {
    let Ok(envelope) = Envelope::parse(body) else {
        return chunk.extend_from_slice(b"null\n");
    };
    let Data { op, before, after } = envelope.data();
    let line = Line {
        id: &envelope.id,
        kind: &envelope.kind,
        subject: envelope.subject.as_deref(),
        time: envelope.time.as_deref(),
        received_at_us,
        op: op.as_deref(),
        before,
        after,
    };
    let begin = chunk.len();
    write_json(chunk, &line);
    // Between the tokens of a row there may be line ends, inside a JSON string there are none: the line stays one line.
    chunk[begin..].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    chunk.push(b'\n');
}

/// Neither the types nor a `Vec` can fail here; whatever was written is cut off should that ever change.
fn write_json(out: &mut Vec<u8>, value: &impl Serialize) {
    let begin = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(begin);
        let _ = out.write_all(b"null");
    }
}
