//! Loads lookup rows: many keys, one statement.
//!
//! Keys go in and rows come out as text, each type's own, so that a row that was loaded and a row that came in a change event go through
//! the same reader.

use std::collections::HashMap;

use highwater_sql::catalog::Column;
use highwater_sql::{Lookup, LookupKey, LookupRow, RowError, Type, Value};
use sqlx::{AssertSqlSafe, Row as _};

use super::Error;
use crate::catalog::{self, Database};

/// The statement of one lookup.
pub(super) struct Loader {
    sql: String,
    key_parts: usize,
    columns: Vec<Column>,
}

impl Loader {
    pub(super) fn new(lookup: &Lookup) -> Self {
        Self { sql: statement(lookup), key_parts: lookup.key_columns.len(), columns: lookup.columns.clone() }
    }

    /// The rows that are there, by key; read at one moment after the call began.
    pub(super) async fn load(
        &self,
        database: &Database,
        keys: &[LookupKey],
    ) -> Result<HashMap<LookupKey, Result<LookupRow, RowError>>, Error> {
        let mut connection = database.connection().await?;
        let mut query = sqlx::query(AssertSqlSafe(self.sql.as_str()));
        for part in 0..self.key_parts {
            let texts: Vec<&str> = keys.iter().map(|key| key.parts().get(part).map_or("", |text| text)).collect();
            query = query.bind(texts);
        }
        let rows = query.fetch_all(&mut *connection).await.map_err(catalog::Error::from)?;
        let mut loaded = HashMap::with_capacity(rows.len());
        for row in &rows {
            let number: i64 = row.try_get(0).map_err(catalog::Error::from)?;
            let key = usize::try_from(number - 1).ok().and_then(|n| keys.get(n));
            let Some(key) = key else { return Err(Error::Retry("postgres: a row without a key came back".to_owned())) };
            loaded.insert(key.clone(), self.read(row)?);
        }
        Ok(loaded)
    }

    fn read(&self, row: &sqlx::postgres::PgRow) -> Result<Result<LookupRow, RowError>, Error> {
        let mut values = Vec::with_capacity(self.columns.len());
        for (n, column) in self.columns.iter().enumerate() {
            let text: Option<&str> = row.try_get(n + 1).map_err(catalog::Error::from)?;
            match value(column, text) {
                Ok(value) => values.push(value),
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(values.into()))
    }
}

/// Reads what [`text_of`] wrote.
pub(crate) fn value(column: &Column, text: Option<&str>) -> Result<Value, RowError> {
    let Some(text) = text else { return Ok(Value::Null) };
    match Value::from_text(&column.ty, text) {
        // What a type's own output function wrote comes back as it was: otherwise the column has become another type's.
        Ok(value) if value.to_text(&column.ty) == text => Ok(value),
        Ok(_) => {
            let message = format!("the value is not as type {} writes it", column.ty.name());
            Err(RowError::new("22P02", message).in_column(&column.name))
        }
        Err(error) => Err(error.in_column(&column.name)),
    }
}

/// While it runs every failure may pass: a table renamed by a migration comes back or the pipeline is corrected, and nothing may be
/// invented meanwhile.
impl From<catalog::Error> for Error {
    fn from(error: catalog::Error) -> Self {
        Self::Retry(error.to_string())
    }
}

/// `k.n` counts the keys from 1. `ONLY`: rows of inheriting tables have topics of their own.
fn statement(lookup: &Lookup) -> String {
    let count = lookup.key_columns.len();
    let list = |item: &dyn Fn(usize) -> String, separator: &str| (1..=count).map(item).collect::<Vec<_>>().join(separator);
    let arrays = list(&|n| format!("${n}::text[]"), ", ");
    let names = list(&|n| format!("k{n}"), ", ");
    let equal = list(
        &|n| {
            let column = &lookup.key_columns[n - 1];
            format!("t.{} = k.k{n}::{}", quoted(&column.name), key_type(&column.ty))
        },
        " AND ",
    );
    let columns: String = lookup.columns.iter().map(|column| format!(", {}", text_of(column))).collect();
    let table = format!("{}.{}", quoted(&lookup.table.schema), quoted(&lookup.table.name));
    format!("SELECT k.n{columns} FROM unnest({arrays}) WITH ORDINALITY AS k({names}, n) JOIN ONLY {table} AS t ON {equal}")
}

/// An identifier in SQL (`quote_ident`).
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What to cast a key's text to. Without modifiers: a cast to `varchar(3)` cuts silently and would match what is not equal.
pub(crate) fn key_type(ty: &Type) -> String {
    match ty {
        Type::Varchar(_) => "text".to_owned(),
        Type::Bpchar(_) => "pg_catalog.bpchar".to_owned(),
        Type::Array(element) => format!("{}[]", key_type(element)),
        other => without_modifiers(other).name(),
    }
}

fn without_modifiers(ty: &Type) -> Type {
    match ty {
        Type::Numeric(_) => Type::Numeric(None),
        Type::Time(_) => Type::Time(None),
        Type::Timetz(_) => Type::Timetz(None),
        Type::Timestamp(_) => Type::Timestamp(None),
        Type::Timestamptz(_) => Type::Timestamptz(None),
        other => other.clone(),
    }
}

/// The output of a column of the table `t` as text. `::text` is that, except where a cast of its own says otherwise: it strips the blanks of `char(n)` and adds
/// the mask to `inet`; `concat` calls the output function.
pub(crate) fn text_of(column: &Column) -> String {
    let name = format!("t.{}", quoted(&column.name));
    if cast_differs(&column.ty) {
        return format!("CASE WHEN {name} IS NOT NULL THEN pg_catalog.concat({name}) END");
    }
    format!("{name}::text")
}

/// Whether `::text` gives another text than the output function.
pub(crate) const fn cast_differs(ty: &Type) -> bool {
    matches!(ty, Type::Bpchar(_) | Type::Inet)
}
