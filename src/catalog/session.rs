//! Connections to Postgres, all with the session that gives text and SQL one meaning.
//!
//! Whatever the role or the database set as defaults: TimeZone UTC, DateStyle ISO, IntervalStyle postgres, `search_path` public. Every
//! statement and every wait has a limit. Messages name no password: Postgres' and the driver's contain none, and the URL is not repeated.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgPoolOptions};
use sqlx::{ConnectOptions, Connection as _, PgPool, Postgres};

use crate::config::SecretUrl;

const CONNECTIONS_MAX: u32 = 4;
const CONNECT_SECONDS_MAX: u64 = 5;
const STATEMENT_MS_MAX: u64 = 10_000;
const IDLE_SECONDS_MAX: u64 = 300;
/// Beyond connecting and the limit of a statement, at which the server ends it by itself: then nobody is there any more.
const ANSWER_MORE: Duration = Duration::from_secs(1);

/// A few connections to one database, opened when needed.
#[derive(Clone, Debug)]
pub struct Database {
    pool: PgPool,
    /// Who has not answered by then is gone.
    answer_max: Duration,
}

/// Postgres did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not answer, or not now: waiting heals it.
    #[error("postgres: {0}")]
    Unavailable(String),
    /// It answered no: a wrong URL, role, database or privilege, or a statement it refuses.
    #[error("postgres: {0}")]
    Refused(String),
}

impl Database {
    /// Prepares for connecting; does not connect yet.
    ///
    /// # Errors
    /// `Refused` when the URL cannot be read.
    pub fn new(url: &SecretUrl) -> Result<Self, Error> {
        Self::with_timeout(url, Duration::from_millis(STATEMENT_MS_MAX))
    }

    /// The same, with another limit for a statement.
    ///
    /// # Errors
    /// `Refused` when the URL cannot be read.
    pub fn with_timeout(url: &SecretUrl, statement_max: Duration) -> Result<Self, Error> {
        let unreadable = |_| Error::Refused("the URL cannot be read; write postgres://user:password@host:port/database".to_owned());
        let timeout = statement_max.as_millis().to_string();
        let options: PgConnectOptions = url.expose().parse().map_err(unreadable)?;
        let options = options
            .application_name("highwater")
            .extra_float_digits(1)
            .options([("IntervalStyle", "postgres"), ("search_path", "public"), ("statement_timeout", timeout.as_str())])
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(Duration::from_secs(CONNECT_SECONDS_MAX))
            .idle_timeout(Duration::from_secs(IDLE_SECONDS_MAX))
            // Without a limit, one that never answers again would keep its place in the pool.
            .after_release(|connection, _| {
                let answers = tokio::time::timeout(Duration::from_secs(CONNECT_SECONDS_MAX), connection.ping());
                Box::pin(async { Ok(matches!(answers.await, Ok(Ok(())))) })
            })
            .connect_lazy_with(options);
        let answer_max = Duration::from_secs(CONNECT_SECONDS_MAX) + statement_max + ANSWER_MORE;
        Ok(Self { pool, answer_max })
    }

    /// A connection, a new one or one that still answers.
    ///
    /// # Errors
    /// `Unavailable` within five seconds when the server does not answer; `Refused` when it does not let us in.
    pub async fn connection(&self) -> Result<PoolConnection<Postgres>, Error> {
        self.pool.acquire().await.map_err(Error::from)
    }

    /// Waits for what was asked, but not for ever: a server that is gone without a word never answers, and ends no connection.
    ///
    /// # Errors
    /// `Unavailable` when connecting and a statement would have ended, 16 seconds if no other limit was given.
    pub async fn within<T, E: From<Error>>(&self, asked: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let silent = |_| Err(E::from(Error::Unavailable(format!("no answer within {:?}", self.answer_max))));
        tokio::time::timeout(self.answer_max, asked).await.unwrap_or_else(silent)
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

impl From<sqlx::Error> for Error {
    /// Postgres' classes 08 (connection), 53 (resources), 55 (not in the state), 57 (operator intervention) and 58 (system) pass, as
    /// does 40 (rollback); the others are answers.
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) => {
                let code = database.code().unwrap_or_default();
                let message = format!("{} (SQLSTATE {code})", database.message());
                let passing = ["08", "40", "53", "55", "57", "58"].iter().any(|class| code.starts_with(class));
                if passing { Self::Unavailable(message) } else { Self::Refused(message) }
            }
            sqlx::Error::PoolTimedOut => Self::Unavailable(format!("no connection within {CONNECT_SECONDS_MAX} s")),
            sqlx::Error::Io(io) => Self::Unavailable(io.to_string()),
            sqlx::Error::Configuration(_) | sqlx::Error::Tls(_) => Self::Refused(error.to_string()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

/// What Postgres said about a statement, with its position as a character number from 1.
pub(super) fn answer(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    match error {
        sqlx::Error::Database(database) => database.try_downcast_ref::<PgDatabaseError>(),
        _ => None,
    }
}
