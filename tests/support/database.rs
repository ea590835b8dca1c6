//! Postgres: the source of every change, and the oracle of every expected value.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, Row};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::scenario::Scenario;

/// A pool of connections with the session of the oracle.
#[derive(Clone)]
pub struct Database {
    /// Connections.
    pub pool: PgPool,
}

/// How much is written, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Connections that write at the same time.
    pub writers: u32,
    /// Changes of rows, all writers together.
    pub changes: u64,
    /// Changes of rows a second, all writers together.
    pub per_second: u32,
    /// Of the random choices.
    pub seed: u64,
}

/// What the writers did so far.
#[derive(Debug, Default)]
pub struct Written {
    /// Changes of rows that were committed.
    pub changes: AtomicU64,
    /// Transactions that were rolled back.
    pub rollbacks: AtomicU64,
    /// The writers are to end, however much is left of their load.
    pub stop: AtomicBool,
}

impl Database {
    /// Connects lazily.
    pub fn open(url: &str) -> Self {
        let options = PgPoolOptions::new().max_connections(12).acquire_timeout(Duration::from_secs(30));
        let session = options.after_connect(|connection, _| {
            Box::pin(async move {
                connection.execute("SET TIME ZONE 'UTC'; SET IntervalStyle = postgres; SET DateStyle = ISO").await?;
                Ok(())
            })
        });
        Self { pool: session.connect_lazy(url).unwrap() }
    }

    /// Runs statements.
    pub async fn run(&self, sql: &str) {
        self.pool.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap_or_else(|error| panic!("{error}\n{sql}"));
    }

    /// All rows of one query, every value as Postgres' text.
    pub async fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&self.pool).await.unwrap_or_else(|error| panic!("{error}\n{sql}"));
        let texts = |row: &sqlx::postgres::PgRow| (0..row.len()).map(|n| row.get_unchecked(n)).collect();
        rows.iter().map(texts).collect()
    }

    /// The one value of a query.
    pub async fn value(&self, sql: &str) -> String {
        self.try_value(sql).await.unwrap_or_else(|error| panic!("{error}\n{sql}"))
    }

    /// The one value of a query that may fail.
    pub async fn try_value(&self, sql: &str) -> Result<String, String> {
        let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&self.pool).await.map_err(|error| error.to_string())?;
        row.try_get_unchecked(0).map_err(|error| error.to_string())
    }
}

/// Starts the writers of a load: transactions of a few statements, interleaved, some rolled back whole or to a savepoint.
pub fn write(database: &Database, scenario: &Arc<Scenario>, load: Load, written: &Arc<Written>) -> JoinSet<()> {
    let mut writers = JoinSet::new();
    for number in 0..load.writers {
        let (database, scenario, written) = (database.clone(), Arc::clone(scenario), Arc::clone(written));
        writers.spawn(async move { writer(&database, &scenario, load, number, &written).await });
    }
    writers
}

async fn writer(database: &Database, scenario: &Scenario, load: Load, number: u32, written: &Written) {
    let mut random = StdRng::seed_from_u64(load.seed.wrapping_mul(1000) + u64::from(number));
    let mut connection = database.pool.acquire().await.unwrap().detach();
    let mut debt = 0;
    let mut pace = interval(Duration::from_secs_f64(f64::from(load.writers) / f64::from(load.per_second)));
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while written.changes.load(Ordering::Relaxed) < load.changes && !written.stop.load(Ordering::Relaxed) {
        match transaction(&mut connection, scenario, &mut random).await {
            Ok(changes) => {
                written.changes.fetch_add(changes, Ordering::Relaxed);
                debt += changes;
            }
            Err(error) => {
                // Two writers met: deadlock, serialization, the same new key. Postgres has rolled back.
                let code = error.as_database_error().and_then(|e| e.code()).unwrap_or_default().into_owned();
                assert!(["40P01", "40001", "23505"].contains(&code.as_str()), "{error}");
                written.rollbacks.fetch_add(1, Ordering::Relaxed);
                debt += 1;
            }
        }
        for _ in 0..std::mem::take(&mut debt) {
            pace.tick().await;
        }
    }
    connection.close().await.unwrap();
}

/// One transaction of 1 to 4 statements. -> changes of rows that were committed
async fn transaction(connection: &mut PgConnection, scenario: &Scenario, random: &mut StdRng) -> Result<u64, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let mut changes = 0;
    for n in 0..random.random_range(1..=4) {
        let statement = scenario.statement(random);
        if random.random_bool(0.08) {
            run(&mut transaction, &format!("SAVEPOINT s{n}")).await?;
            run(&mut transaction, statement).await?;
            run(&mut transaction, &format!("ROLLBACK TO SAVEPOINT s{n}")).await?;
        } else {
            changes += run(&mut transaction, statement).await?;
        }
    }
    if random.random_bool(0.08) {
        transaction.rollback().await?;
        return Ok(0);
    }
    transaction.commit().await?;
    Ok(changes)
}

async fn run(connection: &mut PgConnection, sql: &str) -> Result<u64, sqlx::Error> {
    Ok(connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await?.rows_affected())
}
