//! The rows of the table as they are now, to a webhook, as snapshot events: for what the topic does not hold any more.
//!
//! Rows are read in the order of the primary key, [`CHUNK_ROWS`] in one statement, which sees one snapshot; the next statement sees a later one. A row that changes
//! meanwhile is therefore sent as it was at some moment of the run, or not at all where its key moved behind what was read: such changes are events of their own,
//! which engines that run deliver. Values go through the readers that lookup rows go through, which give what a record would. Ids are those of [`Template::row_event`].
//!
//! [`Template::row_event`]: crate::sink::webhook::event::Template::row_event

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use highwater_sql::catalog::Column;
use highwater_sql::{Op, Plan, RowError, Type};
use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row as _};
use tokio::time::Instant;
use tracing::{info, warn};

use super::deliver::{Delivery, until_interrupted};
use super::progress::{Commits, DONE, decode_key, encode_key};
use super::{Arguments, Error, group};
use crate::backoff::Backoff;
use crate::catalog::{self, Database};
use crate::change::{Change, Position, Snapshot};
use crate::config::PipelineConfig;
use crate::lane::Select;
use crate::lookup::postgres::{key_type, quoted, text_of, value};
use crate::pipeline::checked::Checked;
use crate::sink::Policy;
use crate::sink::webhook::WebhookConfig;
use crate::source::topic::KafkaLog;
use crate::source::{Log as _, Record};

/// Rows of one statement.
const CHUNK_ROWS: i64 = 500;
/// How often progress is committed.
const COMMIT_EVERY: Duration = Duration::from_millis(500);

/// One row: key, content, and its values or why they cannot be read.
struct TableRow {
    key: Vec<String>,
    content: String,
    values: Result<Box<[highwater_sql::Value]>, RowError>,
}

/// How rows are read.
struct Table {
    key: Vec<Column>,
    columns: Vec<Column>,
    name: String,
}

/// A replay under way.
struct Run {
    table: Table,
    database: Database,
    select: Select,
    delivery: Delivery,
    /// Of the last row that was delivered.
    last: Option<Vec<String>>,
    /// Of the last row that waits to be sent.
    unsent: Option<Vec<String>>,
    rows: i64,
    total: Option<i64>,
    commits: Option<Commits>,
    /// The partition that the commits are of.
    partition: i32,
    committed: Instant,
}

/// Replays the table.
pub async fn replay(config: &PipelineConfig, section: &WebhookConfig, arguments: &Arguments) -> Result<(), Error> {
    if arguments.from.is_some() {
        return Err(Error::refused(
            "--from and --to are about records, and a row of the table has no time of its own: leave them out to send every row that the SELECT lets through",
        ));
    }
    let checked = Checked::new(config).await.map_err(Error::Refused)?;
    let name = format!("{}/{}", config.name, arguments.sink);
    let table = Table::new(&checked.plan)?;
    let database = Database::new(&config.source.postgres).map_err(Error::refused)?;
    let group = group(&config.name, &arguments.sink);
    let log = KafkaLog::open(&config.source.kafka, &group, &checked.topic).map_err(Error::refused)?;
    let partitions: Vec<i32> = log.watermarks().await.map_err(Error::refused)?.into_keys().collect();
    let committed = log.committed(&partitions).await.map_err(Error::refused)?;
    let found = committed.values().find_map(|(_, metadata)| decode_key(metadata)).filter(|key| key.len() == table.key.len());
    let last = found.filter(|_| !arguments.dry_run && !arguments.restart);
    let total = database.within(async { Ok::<_, catalog::Error>(table.estimate(&database).await) }).await.unwrap_or_default();
    match (&last, total) {
        (Some(key), _) => println!("{name}: continues where it stopped, after the row with the key {}", table.key_json(key)),
        (None, Some(total)) => println!("{name}: about {total} rows of {}", table.name),
        (None, None) => println!("{name}: the rows of {}", table.name),
    }
    let commits = (!arguments.dry_run).then(|| Commits(log.clone()));
    let mut run = Run {
        select: checked.select(Policy::Events { snapshot: true }, &arguments.sink),
        delivery: Delivery::new(&checked, section, arguments)?,
        total: total.filter(|_| last.is_none()),
        table,
        database,
        last,
        unsent: None,
        rows: 0,
        commits,
        partition: partitions.first().copied().unwrap_or(0),
        committed: Instant::now(),
    };
    if run.last.is_none() {
        // What another replay left is over.
        let begin = partitions.iter().map(|partition| (*partition, 0, DONE.to_owned())).collect();
        if let Some(commits) = &run.commits
            && !commits.commit(begin).await
        {
            return Err(Error::refused("kafka does not take commits; nothing was sent"));
        }
    }
    let ended = Box::pin(until_interrupted(run.run())).await;
    match &ended {
        Ok(()) => run.commit(Some(DONE.to_owned())).await,
        Err(_) => run.commit(None).await,
    }
    run.database.close().await;
    println!("{name}: {} rows, {}", run.rows, run.delivery.summary());
    ended
}

impl Run {
    async fn run(&mut self) -> Result<(), Error> {
        while let Some(rows) = self.read().await? {
            self.deliver(rows).await?;
        }
        Ok(())
    }

    /// The next rows; nothing at the end. Waits while Postgres does not answer.
    async fn read(&mut self) -> Result<Option<Vec<TableRow>>, Error> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        loop {
            match self.database.within(self.table.read(&self.database, self.last.as_deref())).await {
                Ok(rows) => {
                    if backoff.tries() > 0 {
                        info!(tries = backoff.tries(), "postgres answers again");
                    }
                    return Ok((!rows.is_empty()).then_some(rows));
                }
                Err(error @ catalog::Error::Refused(_)) => return Err(Error::refused(error)),
                Err(error) => {
                    if backoff.tries() == 0 {
                        warn!(%error, "rows cannot be read, waiting");
                    }
                    tokio::time::sleep(backoff.wait()).await;
                }
            }
        }
    }

    /// Computes and sends; what was sent is noted row by row as it is delivered.
    async fn deliver(&mut self, rows: Vec<TableRow>) -> Result<(), Error> {
        let mut rest = Vec::with_capacity(rows.len());
        let mut changes = Vec::with_capacity(rows.len());
        for row in rows {
            let key = Bytes::from(self.table.key_json(&row.key));
            changes.push(change(key, row.values));
            rest.push((row.key, row.content));
        }
        let computed = self.select.compute(changes.iter_mut()).await;
        for (((key, content), change), computed) in rest.into_iter().zip(changes).zip(computed) {
            // It came in no record.
            let record = Record { partition: -1, offset: -1, timestamp_ms: 0, key: change.key, value: None };
            let failed = match (computed.unreadable.or(computed.failed.map(|failed| failed.error)), computed.after) {
                (Some(error), _) => Err(error),
                (None, Some(row)) => self.delivery.add_row(&record, &content, row),
                (None, None) => Ok(()),
            };
            if let Err(error) = failed {
                self.delivery.refuse_row(&record, "row", &error);
            }
            self.rows += 1;
            self.unsent = Some(key);
            if self.delivery.is_due() {
                self.flush().await?;
            }
        }
        self.flush().await
    }

    /// Delivers what waits, then takes note of it.
    async fn flush(&mut self) -> Result<(), Error> {
        self.delivery.flush().await?;
        self.last = self.unsent.take().or(self.last.take());
        if self.committed.elapsed() >= COMMIT_EVERY {
            self.commit(None).await;
        }
        self.delivery.pace.show(self.rows, self.total);
        Ok(())
    }

    /// Stores the last key that was delivered, or this.
    async fn commit(&mut self, metadata: Option<String>) {
        let Some(commits) = &self.commits else { return };
        let metadata = metadata.or_else(|| encode_key(self.last.as_ref()?));
        if let Some(metadata) = metadata {
            commits.commit(vec![(self.partition, 0, metadata)]).await;
        }
        self.committed = Instant::now();
    }
}

/// A row as a snapshot would bring it.
fn change(key: Bytes, values: Result<Box<[highwater_sql::Value]>, RowError>) -> Change {
    Change {
        op: Op::Read,
        position: Position { first: None, own: 0 },
        commit_us: 0,
        snapshot: Snapshot::Row,
        run: (0, 0),
        key: Some(key),
        before: None,
        after: Some(values),
    }
}

impl Table {
    fn new(plan: &Plan) -> Result<Self, Error> {
        let source = &plan.source;
        let name = format!("{}.{}", source.schema, source.name);
        let mut key = Vec::new();
        for column in &source.primary_key {
            let found = source.columns.iter().find(|known| known.name == *column);
            match found.filter(|column| writes_plainly(&column.ty)) {
                Some(column) => key.push(column.clone()),
                None => {
                    return Err(Error::Refused(format!(
                        "column {column} is in the primary key of {name}, and how the connector writes keys of its type depends on its settings: \
                         rows cannot be sent under the keys of their changes; replay from the topic, or let the connector take a snapshot into it"
                    )));
                }
            }
        }
        if key.is_empty() {
            return Err(Error::Refused(format!("{name} has no primary key")));
        }
        Ok(Self { key, columns: plan.source_columns.clone(), name: format!("{}.{}", quoted(&source.schema), quoted(&source.name)) })
    }

    fn statement(&self, after: bool) -> String {
        let names: Vec<_> = self.key.iter().map(|column| format!("t.{}", quoted(&column.name))).collect();
        let texts: Vec<_> = self.key.iter().chain(&self.columns).map(text_of).collect();
        let mut sql = format!("SELECT {} FROM ONLY {} AS t", texts.join(", "), self.name);
        if after {
            let values: Vec<_> = self.key.iter().enumerate().map(|(n, c)| format!("${}::text::{}", n + 1, key_type(&c.ty))).collect();
            let _ = write!(sql, " WHERE ({}) > ({})", names.join(", "), values.join(", "));
        }
        let _ = write!(sql, " ORDER BY {} LIMIT {CHUNK_ROWS}", names.join(", "));
        sql
    }

    async fn read(&self, database: &Database, after: Option<&[String]>) -> Result<Vec<TableRow>, catalog::Error> {
        let mut connection = database.connection().await?;
        let mut query = sqlx::query(AssertSqlSafe(self.statement(after.is_some())));
        for part in after.unwrap_or_default() {
            query = query.bind(part);
        }
        let rows = query.fetch_all(&mut *connection).await?;
        rows.iter().map(|row| self.row(row)).collect()
    }

    fn row(&self, row: &PgRow) -> Result<TableRow, catalog::Error> {
        let mut key = Vec::with_capacity(self.key.len());
        for n in 0..self.key.len() {
            key.push(row.try_get::<String, _>(n)?);
        }
        let mut texts: Vec<Option<&str>> = Vec::with_capacity(self.columns.len());
        for n in 0..self.columns.len() {
            texts.push(row.try_get(self.key.len() + n)?);
        }
        let values = self.columns.iter().zip(&texts).map(|(column, text)| value(column, *text)).collect();
        Ok(TableRow { key, content: content(&self.columns, &texts), values })
    }

    /// The key as Debezium writes it and [`key_payload`] keeps it.
    ///
    /// [`key_payload`]: highwater_sql::decode::key_payload
    fn key_json(&self, key: &[String]) -> String {
        let mut json = String::from("{");
        for (n, (column, text)) in self.key.iter().zip(key).enumerate() {
            if n > 0 {
                json.push(',');
            }
            write_string(&column.name, &mut json);
            json.push(':');
            match column.ty {
                Type::Bool | Type::Int2 | Type::Int4 | Type::Int8 => json.push_str(text),
                _ => write_string(text, &mut json),
            }
        }
        json.push('}');
        json
    }

    /// How many rows the planner believes in.
    async fn estimate(&self, database: &Database) -> Option<i64> {
        let mut connection = database.connection().await.ok()?;
        let sql = "SELECT reltuples::int8 FROM pg_catalog.pg_class WHERE oid = $1::text::regclass";
        let rows: i64 = sqlx::query_scalar(sql).bind(&self.name).fetch_one(&mut *connection).await.ok()?;
        (rows > 0).then_some(rows)
    }
}

/// Whether a key of this type looks the same under every setting of the connector.
const fn writes_plainly(ty: &Type) -> bool {
    matches!(
        ty,
        Type::Bool | Type::Int2 | Type::Int4 | Type::Int8 | Type::Text | Type::Varchar(_) | Type::Bpchar(_) | Type::Uuid | Type::Enum(_)
    )
}

/// What identifies what the SELECT reads of a row: see [`crate::sink::webhook::event`].
fn content(columns: &[Column], texts: &[Option<&str>]) -> String {
    let mut parts: Vec<_> = columns.iter().map(|column| column.name.as_str()).zip(texts).collect();
    parts.sort_unstable();
    let mut hash = Sha256::new();
    for (name, text) in parts {
        hash.update(format!("{}:{name},", name.len()));
        hash.update(text.map_or_else(|| "n".to_owned(), |text| format!("{}:{text},", text.len())));
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A JSON string as Jackson writes it: what must be escaped, digits of `\u` in upper case.
fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, ty: Type) -> Column {
        Column { name: name.to_owned(), ty, not_null: false, has_default: false, collation_is_c: true }
    }

    fn table() -> Table {
        let key = vec![column("shop", Type::Int8), column("re\"ceipt", Type::Varchar(Some(9)))];
        Table { key, columns: vec![column("b", Type::Text), column("a", Type::Inet)], name: "\"public\".\"sales\"".to_owned() }
    }

    #[test]
    fn rows_are_read_after_the_last_key_by_its_index() {
        let columns =
            r#"SELECT t."shop"::text, t."re""ceipt"::text, t."b"::text, CASE WHEN t."a" IS NOT NULL THEN pg_catalog.concat(t."a") END"#;
        let from = format!("{columns} FROM ONLY \"public\".\"sales\" AS t");
        let order = r#"ORDER BY t."shop", t."re""ceipt" LIMIT 500"#;
        assert_eq!(table().statement(false), format!("{from} {order}"));
        let after = r#"WHERE (t."shop", t."re""ceipt") > ($1::text::bigint, $2::text::text)"#;
        assert_eq!(table().statement(true), format!("{from} {after} {order}"));
    }

    #[test]
    fn keys_are_written_as_records_have_them() {
        let key = ["9000000001".to_owned(), "Ä \"x\" \\ \t\u{1f}/".to_owned()];
        assert_eq!(table().key_json(&key), r#"{"shop":9000000001,"re\"ceipt":"Ä \"x\" \\ \t\u001F/"}"#);
    }

    /// Expected: `printf '1:a,n1:b,3:x,y,' | sha256sum`.
    #[test]
    fn content_is_known_by_names_and_texts() {
        let columns = [column("b", Type::Text), column("a", Type::Text)];
        let of = |b, a| content(&columns, &[b, a]);
        assert_eq!(of(Some("x,y"), None), "01a0a09e4342c5e911cdf993bd37ea5a2542145454ae72dac10d41a032679586");
        let others = [of(Some("x,y"), Some("")), of(None, Some("x,y")), of(Some("x,y"), Some("n")), of(Some("x"), None)];
        for (n, other) in others.iter().enumerate() {
            assert!(*other != of(Some("x,y"), None) && !others[..n].contains(other), "{n}");
        }
    }
}
