//! A Postgres that answers what an expression is.

use sqlx::{Connection, PgConnection, Row as _, ValueRef as _};
use tokio::runtime::Runtime;

use crate::postgres::Postgres;
use crate::samples::{Answer, Row, SAMPLES};

/// The connection string of the Postgres to compare with: the one that `HIGHWATER_TEST_POSTGRES` names, or a cluster of the test's own.
pub fn url() -> String {
    let named = std::env::var("HIGHWATER_TEST_POSTGRES").ok().filter(|url| !url.is_empty());
    named.unwrap_or_else(|| Postgres::shared().database("LC_COLLATE 'C' LC_CTYPE 'C'", ""))
}

pub struct Oracle {
    runtime: Runtime,
    connection: PgConnection,
    rows: Vec<Row>,
}

/// The fixed session of the design, and helpers that turn errors into answers.
const SESSION: &[&str] = &[
    "SET TimeZone = 'UTC'",
    "SET DateStyle = 'ISO, MDY'",
    "SET IntervalStyle = 'postgres'",
    "SET extra_float_digits = 1",
    "SET bytea_output = 'hex'",
    "SET jit = off",
    "DO $$ BEGIN CREATE TYPE public.hw_mood AS ENUM ('sad', 'ok', 'Happy'); EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
    "CREATE FUNCTION pg_temp.type_of(expression text) RETURNS text LANGUAGE plpgsql AS $f$
     DECLARE answer text;
     BEGIN
       EXECUTE 'SELECT pg_typeof((SELECT ' || expression || ' FROM samples LIMIT 0))::text' INTO answer;
       RETURN answer;
     EXCEPTION WHEN OTHERS THEN RETURN '!' || SQLSTATE || ' ' || SQLERRM;
     END $f$",
    "CREATE FUNCTION pg_temp.value_of(expression text, wanted int) RETURNS text LANGUAGE plpgsql AS $f$
     DECLARE answer text;
     BEGIN
       EXECUTE 'SELECT (' || expression || ')::text FROM samples WHERE row_number = $1' INTO answer USING wanted;
       RETURN coalesce('=' || answer, 'NULL');
     EXCEPTION WHEN OTHERS THEN RETURN '!' || SQLSTATE;
     END $f$",
    "CREATE FUNCTION pg_temp.json_of(expression text, wanted int) RETURNS text LANGUAGE plpgsql AS $f$
     DECLARE answer text;
     BEGIN
       EXECUTE 'SELECT to_jsonb(x)::text FROM (SELECT ' || expression || ' AS x FROM samples WHERE row_number = $1) s' INTO answer USING wanted;
       RETURN '=' || coalesce(answer, 'null');
     EXCEPTION WHEN OTHERS THEN RETURN '!' || SQLSTATE;
     END $f$",
];

impl Oracle {
    pub fn connect(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let connection = runtime.block_on(PgConnection::connect(url)).expect("HIGHWATER_TEST_POSTGRES");
        let mut oracle = Self { runtime, connection, rows: Vec::new() };
        for statement in SESSION {
            oracle.execute(statement);
        }
        let columns: Vec<String> = SAMPLES.iter().map(|s| format!("{} {}{}", s.name, s.sql_type, collation(s.sql_type))).collect();
        oracle.execute(&format!("CREATE TEMP TABLE samples (row_number int, {})", columns.join(", ")));
        oracle
    }

    pub fn execute(&mut self, sql: &str) {
        let Self { runtime, connection, .. } = self;
        runtime
            .block_on(sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut *connection))
            .unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    /// The rows that answers are about from now on.
    pub fn set_rows(&mut self, rows: &[Row]) {
        if self.rows == rows {
            return;
        }
        let mut sql = "TRUNCATE samples;".to_owned();
        for (number, row) in rows.iter().enumerate() {
            let columns: String = row.keys().map(|name| format!(", {name}")).collect();
            let values: String = row.values().map(|text| format!(", '{}'", text.replace('\'', "''"))).collect();
            sql += &format!("INSERT INTO samples (row_number{columns}) VALUES ({number}{values});");
        }
        self.execute(&sql);
        self.rows = rows.to_vec();
    }

    fn strings(&mut self, sql: &str, expression: &str) -> Vec<String> {
        let Self { runtime, connection, .. } = self;
        let query = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).bind(expression.to_owned());
        let rows = runtime.block_on(query.fetch_all(&mut *connection)).unwrap_or_else(|e| panic!("{expression}: {e}"));
        rows.iter().map(|row| row.get::<String, _>(0)).collect()
    }

    /// `pg_typeof(expression)`, or `!SQLSTATE message`.
    pub fn type_of(&mut self, expression: &str) -> String {
        self.strings("SELECT pg_temp.type_of($1)", expression).remove(0)
    }

    /// `(expression)::text` for each row.
    pub fn answers(&mut self, expression: &str) -> Vec<Answer> {
        let answers = self.strings("SELECT pg_temp.value_of($1, row_number) FROM samples ORDER BY row_number", expression);
        answers.iter().map(|answer| parse(answer)).collect()
    }

    /// `to_jsonb(expression)::text` for each row.
    pub fn json(&mut self, expression: &str) -> Vec<Answer> {
        let answers = self.strings("SELECT pg_temp.json_of($1, row_number) FROM samples ORDER BY row_number", expression);
        answers.iter().map(|answer| parse(answer)).collect()
    }

    /// The rows of a SELECT, each value as its output function prints it.
    pub fn rows(&mut self, sql: &str) -> Vec<Vec<Option<String>>> {
        let Self { runtime, connection, .. } = self;
        let rows = runtime
            .block_on(sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).fetch_all(&mut *connection))
            .unwrap_or_else(|e| panic!("{sql}: {e}"));
        let text = |row: &sqlx::postgres::PgRow, at| {
            let value = row.try_get_raw(at).unwrap();
            if value.is_null() { None } else { Some(value.as_str().unwrap().to_owned()) }
        };
        rows.iter().map(|row| (0..row.len()).map(|at| text(row, at)).collect()).collect()
    }

    /// Whether Postgres accepts a statement.
    pub fn prepare(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        use sqlx::{Executor as _, SqlSafeStr as _};
        let Self { runtime, connection, .. } = self;
        runtime.block_on((&mut *connection).prepare(sqlx::AssertSqlSafe(sql.to_owned()).into_sql_str())).map(|_| ())
    }

    /// Names and types of the result columns of a SELECT.
    pub fn columns(&mut self, sql: &str) -> Vec<(String, String)> {
        use sqlx::{Column as _, Executor as _, SqlSafeStr as _, Statement as _, TypeInfo as _};
        let Self { runtime, connection, .. } = self;
        let statement = runtime
            .block_on((&mut *connection).prepare(sqlx::AssertSqlSafe(sql.to_owned()).into_sql_str()))
            .unwrap_or_else(|e| panic!("{sql}: {e}"));
        statement.columns().iter().map(|c| (c.name().to_owned(), c.type_info().name().to_owned())).collect()
    }
}

fn collation(sql_type: &str) -> &'static str {
    if matches!(sql_type, "text" | "varchar(10)" | "char(5)" | "text[]") { " COLLATE \"C\"" } else { "" }
}

fn parse(answer: &str) -> Answer {
    match answer.as_bytes().first() {
        Some(b'=') => Answer::Text(answer[1..].to_owned()),
        Some(b'!') => Answer::Error(answer[1..].to_owned()),
        _ => Answer::Null,
    }
}
