//! The columns of a table with their types: domains resolved, modifiers decoded, collations judged.

use std::sync::Arc;

use highwater_sql::catalog::Column;
use highwater_sql::value::{EnumType, Type};
use sqlx::postgres::PgRow;
use sqlx::postgres::types::Oid;
use sqlx::{PgConnection, Row as _};

use super::Error;

/// Where atttypmod stores a length or numeric's precision and scale, they are offset by the size of a varlena header (`VARHDRSZ`).
const HEADER_BYTES: i32 = 4;

/// One column as the query below returns it.
#[derive(Debug)]
struct Found {
    name: String,
    not_null: bool,
    has_default: bool,
    /// As declared, for messages.
    declared: String,
    /// Of the type, or of the elements of an array.
    type_name: String,
    is_array: bool,
    is_builtin: bool,
    is_enum: bool,
    labels: Vec<String>,
    typmod: i32,
    collation_is_c: bool,
}

/// C.UTF-8 is no C: it maps the case of letters beyond ASCII. `typtypmod` of a domain is the modifier of its base type (`getBaseTypeAndTypmod` in Postgres' lsyscache.c). Builtin locales came with
/// Postgres 17, whose columns for them 15 does not have: `to_jsonb` reads them where they exist.
const COLUMNS: &str = "
WITH RECURSIVE base AS (
    SELECT a.attnum, a.attname, a.atttypid AS type, a.atttypmod AS typmod, a.attnotnull AS not_null, a.atthasdef AS has_default, a.attcollation,
           pg_catalog.format_type(a.atttypid, a.atttypmod) AS declared
    FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
    SELECT b.attnum, b.attname, t.typbasetype, t.typtypmod, b.not_null OR t.typnotnull, b.has_default, b.attcollation, b.declared
    FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.type AND t.typtype = 'd'
), locale AS (
    SELECT d.datlocprovider AS provider, d.datcollate AS collate, d.datctype AS ctype, to_jsonb(d) ->> 'datlocale' AS builtin
    FROM pg_catalog.pg_database d WHERE d.datname = current_database()
)
SELECT b.attname::text AS name, b.not_null, b.has_default, b.declared,
       CASE WHEN e.typtype = 'e' THEN pg_catalog.format_type(e.oid, NULL) ELSE e.typname::text END AS type_name,
       e.oid <> t.oid AS is_array,
       e.typtype = 'b' AND n.nspname = 'pg_catalog' AS is_builtin,
       e.typtype = 'e' AS is_enum,
       ARRAY(SELECT l.enumlabel::text FROM pg_catalog.pg_enum l WHERE l.enumtypid = e.oid ORDER BY l.enumsortorder) AS labels,
       b.typmod,
       b.attcollation = 0 OR coalesce((
           SELECT bool_and(lower(part) IN ('c', 'posix'))
           FROM pg_catalog.pg_collation c CROSS JOIN locale
           CROSS JOIN LATERAL unnest(
               CASE WHEN c.collprovider = 'c' THEN ARRAY[c.collcollate, c.collctype]
                    WHEN c.collprovider = 'b' THEN ARRAY[to_jsonb(c) ->> 'colllocale']
                    WHEN c.collprovider = 'd' AND locale.provider = 'c' THEN ARRAY[locale.collate, locale.ctype]
                    WHEN c.collprovider = 'd' AND locale.provider = 'b' THEN ARRAY[locale.builtin]
                    ELSE ARRAY['icu'] END) AS part
           WHERE c.oid = b.attcollation), false) AS collation_is_c
FROM base b
JOIN pg_catalog.pg_type t ON t.oid = b.type AND t.typtype <> 'd'
JOIN pg_catalog.pg_type e ON e.oid = coalesce((SELECT i.oid FROM pg_catalog.pg_type i WHERE i.oid = t.typelem AND i.typarray = t.oid), t.oid)
JOIN pg_catalog.pg_namespace n ON n.oid = e.typnamespace
ORDER BY b.attnum";

/// Columns that can be used, and name and type of those that cannot.
pub(super) async fn read(connection: &mut PgConnection, table: Oid) -> Result<(Vec<Column>, Vec<(String, String)>), Error> {
    let rows = sqlx::query(COLUMNS).bind(table).fetch_all(connection).await?;
    let (mut columns, mut unsupported) = (Vec::new(), Vec::new());
    for row in &rows {
        let found = Found::from_row(row)?;
        match found.column_type() {
            Some(ty) => columns.push(Column {
                name: found.name,
                ty,
                not_null: found.not_null,
                has_default: found.has_default,
                collation_is_c: found.collation_is_c,
            }),
            None => unsupported.push((found.name, found.declared)),
        }
    }
    Ok((columns, unsupported))
}

impl Found {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            name: row.try_get("name")?,
            not_null: row.try_get("not_null")?,
            has_default: row.try_get("has_default")?,
            declared: row.try_get("declared")?,
            type_name: row.try_get("type_name")?,
            is_array: row.try_get("is_array")?,
            is_builtin: row.try_get("is_builtin")?,
            is_enum: row.try_get("is_enum")?,
            labels: row.try_get("labels")?,
            typmod: row.try_get("typmod")?,
            collation_is_c: row.try_get("collation_is_c")?,
        })
    }

    fn column_type(&self) -> Option<Type> {
        let ty = if self.is_enum {
            Type::Enum(Arc::new(EnumType { name: self.type_name.clone(), labels: self.labels.clone() }))
        } else if self.is_builtin {
            builtin(&self.type_name, self.typmod)?
        } else {
            return None;
        };
        Some(if self.is_array { Type::Array(Box::new(ty)) } else { ty })
    }
}

/// A type of `pg_catalog`, by `typname` and `atttypmod`.
fn builtin(name: &str, typmod: i32) -> Option<Type> {
    let length = || u32::try_from(typmod - HEADER_BYTES).ok();
    let precision = || u8::try_from(typmod).ok();
    Some(match name {
        "bool" => Type::Bool,
        "int2" => Type::Int2,
        "int4" => Type::Int4,
        "int8" => Type::Int8,
        "float4" => Type::Float4,
        "float8" => Type::Float8,
        "numeric" => Type::Numeric(precision_and_scale(typmod)),
        "text" => Type::Text,
        "varchar" => Type::Varchar(length()),
        "bpchar" => Type::Bpchar(length()),
        "uuid" => Type::Uuid,
        "date" => Type::Date,
        "time" => Type::Time(precision()),
        "timetz" => Type::Timetz(precision()),
        "timestamp" => Type::Timestamp(precision()),
        "timestamptz" => Type::Timestamptz(precision()),
        "interval" => Type::Interval,
        "json" => Type::Json,
        "jsonb" => Type::Jsonb,
        "bytea" => Type::Bytea,
        "inet" => Type::Inet,
        _ => return None,
    })
}

/// `numeric(p, s)` in `atttypmod`: the scale is an 11-bit two's complement number (`numeric_typmod_scale` in Postgres' numeric.c).
fn precision_and_scale(typmod: i32) -> Option<(u16, i16)> {
    let packed = typmod - HEADER_BYTES;
    if packed < 0 {
        return None;
    }
    let precision = u16::try_from((packed >> 16) & 0xffff).ok()?;
    let scale = i16::try_from(((packed & 0x7ff) ^ 1024) - 1024).ok()?;
    Some((precision, scale))
}
