//! The connection to Postgres: one statement is one transaction, and an outage is waited for.
//!
//! A change whose connection broke is not sent again: it may have been committed. The events of a demo may have gaps, and no doubles.

use crate::session::{Content, Event};
use anyhow::bail;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{ConnectOptions, Postgres, Row};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// A statement or an attempt to connect that takes longer counts as an outage.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two attempts to connect.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// What a statement came to.
pub enum Outcome<T> {
    /// Postgres did it.
    Done(T),
    /// Postgres went away; whether it did it is unknown.
    Outage,
}

/// An open connection, or the means to get another.
pub struct Database {
    options: PgConnectOptions,
    connection: PgConnection,
}

impl Database {
    /// Waits until Postgres answers, with one line if it does not at once. Fails only on what waiting does not heal.
    pub async fn connect(url: &str) -> anyhow::Result<Self> {
        let options: PgConnectOptions = url.parse().map_err(|_| anyhow::anyhow!("DATABASE_URL is no postgres:// address"))?;
        let connection = connect_patiently(&options).await?;
        Ok(Self { options, connection })
    }

    /// After an outage: the same wait, on a new connection.
    pub async fn reconnect(&mut self) -> anyhow::Result<()> {
        self.connection = connect_patiently(&self.options).await?;
        Ok(())
    }

    /// What there is to play, in an order that is always the same.
    pub async fn content(&mut self) -> anyhow::Result<Outcome<Vec<Content>>> {
        let sql = "SELECT id::text, content_type = 'newsletter' AS is_text, length_seconds FROM content ORDER BY slug COLLATE \"C\"";
        let rows = sqlx::query(sql).fetch_all(&mut self.connection);
        match outcome(timeout(ANSWER_TIMEOUT, rows).await)? {
            Outcome::Done(rows) => Ok(Outcome::Done(rows.iter().map(content).collect::<Result<_, _>>()?)),
            Outcome::Outage => Ok(Outcome::Outage),
        }
    }

    /// Inserts one event and tells its id.
    pub async fn insert(&mut self, event: &Event) -> anyhow::Result<Outcome<i64>> {
        let sql = "INSERT INTO engagement_events (content_id, user_id, event_type, duration_ms, device, raw_payload) \
                   VALUES ($1::uuid, $2::uuid, $3, $4, $5, $6::jsonb) RETURNING id";
        let id = sqlx::query_scalar(sql)
            .bind(&event.content_id)
            .bind(&event.user_id)
            .bind(event.event_type.as_str())
            .bind(event.duration_ms)
            .bind(event.device)
            .bind(&event.raw_payload)
            .fetch_one(&mut self.connection);
        outcome(timeout(ANSWER_TIMEOUT, id).await)
    }

    /// Corrects how long an event took, if it was one that took time; tells the number of rows changed.
    pub async fn update(&mut self, id: i64, duration_ms: i32) -> anyhow::Result<Outcome<u64>> {
        let sql = "UPDATE engagement_events SET duration_ms = $2 WHERE id = $1 AND duration_ms IS NOT NULL";
        self.execute(sqlx::query(sql).bind(id).bind(duration_ms)).await
    }

    /// Deletes an event, as when somebody withdraws consent; tells the number of rows deleted.
    pub async fn delete(&mut self, id: i64) -> anyhow::Result<Outcome<u64>> {
        self.execute(sqlx::query("DELETE FROM engagement_events WHERE id = $1").bind(id)).await
    }

    async fn execute(&mut self, query: Query<'_, Postgres, PgArguments>) -> anyhow::Result<Outcome<u64>> {
        let done = query.execute(&mut self.connection);
        Ok(match outcome(timeout(ANSWER_TIMEOUT, done).await)? {
            Outcome::Done(done) => Outcome::Done(done.rows_affected()),
            Outcome::Outage => Outcome::Outage,
        })
    }
}

async fn connect_patiently(options: &PgConnectOptions) -> anyhow::Result<PgConnection> {
    let mut waiting_since = None;
    loop {
        match timeout(ANSWER_TIMEOUT, options.connect()).await {
            Ok(Ok(connection)) => {
                if let Some(since) = waiting_since {
                    eprintln!("postgres is back after {:.1} s", Instant::now().duration_since(since).as_secs_f64());
                }
                return Ok(connection);
            }
            Ok(Err(error)) if !heals(&error) => {
                bail!("cannot connect to postgres: {error}; is DATABASE_URL right?");
            }
            Ok(Err(_)) | Err(_) => {
                if waiting_since.is_none() {
                    eprintln!("waiting for postgres at {}:{}", options.get_host(), options.get_port());
                    waiting_since = Some(Instant::now());
                }
            }
        }
        sleep(RETRY_PAUSE).await;
    }
}

fn content(row: &PgRow) -> anyhow::Result<Content> {
    let length_seconds: Option<i32> = row.try_get("length_seconds")?;
    Ok(Content {
        id: row.try_get("id")?,
        is_text: row.try_get("is_text")?,
        length_ms: length_seconds.map(|seconds| seconds.saturating_mul(1_000)),
    })
}

fn outcome<T>(answer: Result<Result<T, sqlx::Error>, tokio::time::error::Elapsed>) -> anyhow::Result<Outcome<T>> {
    match answer {
        Ok(Ok(value)) => Ok(Outcome::Done(value)),
        Err(_) => Ok(Outcome::Outage),
        Ok(Err(error)) if heals(&error) => Ok(Outcome::Outage),
        Ok(Err(error)) if missing_table(&error) => bail!("{error}; apply init-db/*.sql first"),
        Ok(Err(error)) => bail!("postgres refused a statement: {error}"),
    }
}

/// Whether waiting and connecting again can help: a broken connection, or a server that starts, stops, fails over or is full (SQLSTATE classes 08,
/// 53, 57, and 25006 on a standby; see appendix A of the Postgres manual).
fn heals(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| ["08", "53", "57", "25006"].iter().any(|class| code.starts_with(class)))
        }
        _ => false,
    }
}

fn missing_table(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "42P01")
}
