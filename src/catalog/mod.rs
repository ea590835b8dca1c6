//! What Postgres knows: the tables of a SELECT and the types of its result, read at start.
//!
//! One transaction reads everything, so that the answer is of one moment. A column whose type the engine does not know is left out and
//! named beside the catalog: it is an error only when the SELECT uses it.

pub mod session;

mod column;

use highwater_sql::catalog::{Catalog, ReplicaIdentity, Table};
use highwater_sql::error::SelectError;
use highwater_sql::parse::TableName;
use sqlx::postgres::PgErrorPosition;
use sqlx::{AssertSqlSafe, Column as _, Connection as _, Executor as _, PgConnection, Row as _, Statement as _};

pub use session::{Database, Error};

/// What was found for the names in a SELECT.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The tables that can be used.
    pub catalog: Catalog,
    /// Names that stand for no table that can be used: name, reason and remedy.
    pub refused: Vec<Refused>,
    /// Columns left out because of their type.
    pub unsupported: Vec<Unsupported>,
    /// What reading rows of a table needs, in the order of `catalog.tables`.
    pub access: Vec<Access>,
}

/// A name in FROM or JOIN that is no table that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The name, with its schema.
    pub name: String,
    /// Why.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// A column whose type the engine does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// `schema.table`
    pub table: String,
    /// Its name.
    pub column: String,
    /// Its type as Postgres writes it.
    pub ty: String,
}

/// Whether this role sees the rows of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// SELECT is granted.
    pub readable: bool,
    /// Row security would hide rows.
    pub row_security: bool,
}

/// One column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultColumn {
    /// Its name.
    pub name: String,
    /// Its type without modifiers as Postgres writes it, `numeric` for `numeric(20,6)`.
    pub ty: String,
}

/// What the server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `server_version`
    pub version: String,
    /// `server_version_num`, 150000 and up.
    pub version_number: i32,
    /// `wal_level`
    pub wal_level: String,
    /// It is a standby: what it shows may be older than a change that was already read.
    pub standby: bool,
}

/// Asks the server what it is.
pub async fn server(database: &Database) -> Result<Server, Error> {
    let mut connection = database.connection().await?;
    let row = sqlx::query(
        "SELECT current_setting('server_version'), current_setting('server_version_num')::int4, current_setting('wal_level'),
                pg_catalog.pg_is_in_recovery()",
    )
    .fetch_one(&mut *connection)
    .await?;
    Ok(Server { version: row.try_get(0)?, version_number: row.try_get(1)?, wal_level: row.try_get(2)?, standby: row.try_get(3)? })
}

/// Which cluster it is, and how far it has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wal {
    /// The end of what is flushed; none on a standby.
    pub end_lsn: Option<u64>,
    /// `system_identifier`
    pub cluster: i64,
}

/// Asks the server where its WAL ends.
pub async fn wal(database: &Database) -> Result<Wal, Error> {
    let mut connection = database.connection().await?;
    let row = sqlx::query(
        "SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN (pg_catalog.pg_current_wal_flush_lsn() - '0/0')::text END, system_identifier
         FROM pg_catalog.pg_control_system()",
    )
    .fetch_one(&mut *connection)
    .await?;
    let end: Option<String> = row.try_get(0)?;
    Ok(Wal { end_lsn: end.and_then(|end| end.parse().ok()), cluster: row.try_get(1)? })
}

/// What Postgres tells of the tables of a SELECT.
#[derive(Clone, Debug, Default)]
pub struct Definition {
    /// Everything that decides how the SELECT is planned, as one text to compare.
    pub text: String,
    /// The transaction that last defined the source table (`pg_class.xmin`): no later one wrote to it while it was defined otherwise. None when there is no such table.
    pub source_by: Option<u32>,
}

/// How some tables are defined. One cheap query that waits for no lock on the tables.
pub async fn definition(database: &Database, names: &[TableName], source: &Table) -> Result<Definition, Error> {
    let schemas: Vec<&str> = names.iter().map(|name| name.schema.as_deref().unwrap_or("public")).collect();
    let tables: Vec<&str> = names.iter().map(|name| name.name.as_str()).collect();
    let mut connection = database.connection().await?;
    let row = sqlx::query(
        "SELECT coalesce(string_agg(t.told, ' ' ORDER BY t.told), ''), min(t.by) FILTER (WHERE t.nspname = $3 AND t.relname = $4) FROM (
           SELECT n.nspname, c.relname, c.xmin::text::bigint AS by, ROW(c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relreplident, c.relrowsecurity, c.relforcerowsecurity, c.relacl,
             (SELECT array_agg(ROW(a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.atthasdef, a.attcollation,
                  (SELECT array_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_catalog.pg_enum e WHERE e.enumtypid = a.atttypid))::text ORDER BY a.attnum)
              FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
             (SELECT array_agg(ROW(i.indexrelid, i.indkey, i.indisunique, i.indisprimary, i.indimmediate, i.indisvalid)::text ORDER BY i.indexrelid)
              FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid))::text AS told
           FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
           JOIN unnest($1::text[], $2::text[]) AS named (schema, name) ON n.nspname = named.schema AND c.relname = named.name) t",
    )
    .bind(schemas)
    .bind(tables)
    .bind(&source.schema)
    .bind(&source.name)
    .fetch_one(&mut *connection)
    .await?;
    let source_by: Option<i64> = row.try_get(1)?;
    Ok(Definition { text: row.try_get(0)?, source_by: source_by.and_then(|by| by.try_into().ok()) })
}

/// Reads the tables that a SELECT names.
pub async fn read(database: &Database, names: &[TableName]) -> Result<Reading, Error> {
    let mut connection = database.connection().await?;
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    let mut reading = Reading::default();
    reading.catalog.default_collation_is_c = sqlx::query_scalar(
        "SELECT datlocprovider = 'c' AND lower(datcollate) IN ('c', 'posix') AND lower(datctype) IN ('c', 'posix')
                OR datlocprovider = 'b' AND to_jsonb(d) ->> 'datlocale' = 'C'
         FROM pg_catalog.pg_database d WHERE datname = current_database()",
    )
    .fetch_one(&mut *transaction)
    .await?;
    for name in names {
        let schema = name.schema.as_deref().unwrap_or("public");
        let seen = reading.catalog.table(Some(schema), &name.name).is_some();
        if !seen {
            read_table(&mut transaction, schema, &name.name, &mut reading).await?;
        }
    }
    transaction.rollback().await?;
    Ok(reading)
}

async fn read_table(connection: &mut PgConnection, schema: &str, name: &str, reading: &mut Reading) -> Result<(), Error> {
    let found = sqlx::query(
        "SELECT c.oid, c.relkind::text, c.relpersistence::text, c.relreplident::text,
                EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid),
                pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT'),
                pg_catalog.row_security_active(c.oid)
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')",
    )
    .bind(schema)
    .bind(name)
    .fetch_optional(&mut *connection)
    .await?;
    let mut refuse = |message: &str, remedy: String| {
        reading.refused.push(Refused { name: format!("{schema}.{name}"), message: message.to_owned(), remedy });
    };
    let Some(found) = found else {
        refuse("there is no such table", "create it, or correct the name in the SELECT or the database in source.postgres".to_owned());
        return Ok(());
    };
    let (oid, kind, persistence): (sqlx::postgres::types::Oid, String, String) = (found.try_get(0)?, found.try_get(1)?, found.try_get(2)?);
    if let Some((message, remedy)) = unusable(&kind, &persistence, found.try_get(4)?) {
        refuse(message, remedy.to_owned());
        return Ok(());
    }
    let replica_identity = match found.try_get::<&str, _>(3)? {
        "f" => ReplicaIdentity::Full,
        "i" => ReplicaIdentity::Index,
        "n" => ReplicaIdentity::Nothing,
        _ => ReplicaIdentity::Default,
    };
    let (columns, unsupported) = column::read(connection, oid).await?;
    let unsupported = unsupported.into_iter().map(|(column, ty)| Unsupported { table: format!("{schema}.{name}"), column, ty });
    reading.unsupported.extend(unsupported);
    let (primary_key, unique_keys) = read_keys(connection, oid).await?;
    let (schema, name) = (schema.to_owned(), name.to_owned());
    reading.catalog.tables.push(Table { schema, name, columns, primary_key, unique_keys, replica_identity });
    reading.access.push(Access { readable: found.try_get(5)?, row_security: found.try_get(6)? });
    Ok(())
}

/// Why a relation's changes are not those of one plain table.
fn unusable(kind: &str, persistence: &str, has_children: bool) -> Option<(&'static str, &'static str)> {
    match (kind, persistence) {
        ("v", _) => Some(("is a view", "name the tables behind it: views have no change events")),
        ("m", _) => Some(("is a materialized view", "name the tables behind it: materialized views have no change events")),
        ("f", _) => Some(("is a foreign table", "use the table in its own database: foreign tables have no change events")),
        ("p", _) => Some(("is a partitioned table", "name one partition: the changes of each partition are in a topic of its own")),
        (_, "u") => Some(("is an unlogged table", "run ALTER TABLE ... SET LOGGED: changes of unlogged tables are not in the WAL")),
        (_, "t") => Some(("is a temporary table", "use a permanent table")),
        _ if has_children => {
            Some(("has tables that inherit from it", "name a table without children: their changes are in topics of their own"))
        }
        _ => None,
    }
}

/// The primary key and every set of columns that is unique.
async fn read_keys(connection: &mut PgConnection, table: sqlx::postgres::types::Oid) -> Result<(Vec<String>, Vec<Vec<String>>), Error> {
    let rows = sqlx::query(
        "SELECT i.indisprimary, i.indimmediate AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL,
                ARRAY(SELECT a.attname::text
                      FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, position)
                      JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
                      WHERE k.position <= i.indnkeyatts ORDER BY k.position)
         FROM pg_catalog.pg_index i WHERE i.indrelid = $1 AND i.indisunique
         ORDER BY i.indisprimary DESC, i.indexrelid",
    )
    .bind(table)
    .fetch_all(connection)
    .await?;
    let (mut primary_key, mut unique_keys) = (Vec::new(), Vec::new());
    for row in rows {
        let columns: Vec<String> = row.try_get(2)?;
        if row.try_get(0)? {
            primary_key.clone_from(&columns);
        }
        if row.try_get(1)? {
            unique_keys.push(columns);
        }
    }
    Ok((primary_key, unique_keys))
}

/// Lets Postgres prepare the SELECT: the names and types of its result, or its refusal.
pub async fn describe(database: &Database, sql: &str) -> Result<Result<Vec<ResultColumn>, SelectError>, Error> {
    let mut connection = database.connection().await?;
    let statement = match connection.prepare(sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(sql.to_owned()))).await {
        Ok(statement) => statement,
        Err(error) => {
            return match session::answer(&error).map(|answer| refusal(answer, sql)) {
                Some(refusal) if matches!(Error::from(error), Error::Refused(_)) => Ok(Err(refusal)),
                _ => Err(Error::Unavailable("the connection broke while the SELECT was prepared".to_owned())),
            };
        }
    };
    let mut columns = Vec::new();
    for column in statement.columns() {
        let oid = column.type_info().oid();
        let ty = sqlx::query_scalar("SELECT pg_catalog.format_type($1, NULL)").bind(oid).fetch_one(&mut *connection).await?;
        columns.push(ResultColumn { name: column.name().to_owned(), ty });
    }
    Ok(Ok(columns))
}

fn refusal(answer: &sqlx::postgres::PgDatabaseError, sql: &str) -> SelectError {
    let position = match answer.position() {
        Some(PgErrorPosition::Original(character)) => {
            sql.char_indices().map(|(byte, _)| byte).chain([sql.len()]).nth(character.saturating_sub(1))
        }
        _ => None,
    };
    // The code only says that it is Postgres that refused: codes of SelectError are known at compile time.
    SelectError { sqlstate: "42000", message: answer.message().to_owned(), position, hint: answer.hint().map(str::to_owned) }
}

/// Shared with the tests of other modules and with `tests/`.
#[cfg(test)]
#[path = "../../tests/support/postgres.rs"]
pub(crate) mod test_server;

#[cfg(test)]
mod tests;
