//! A type name as a type.

use super::scope::{WithHint, refusal};
use crate::catalog::Catalog;
use crate::error::SelectError;
use crate::parse::TypeName;
use crate::value::Type;

/// Digits a numeric may declare (`NUMERIC_MAX_PRECISION`).
const NUMERIC_PRECISION_MAX: i64 = 1000;
/// `MaxAttrSize`
const CHARACTERS_MAX: i64 = 10_485_760;

/// Types of Postgres that Highwater does not have.
const UNSUPPORTED: &[&str] = &[
    "bit",
    "box",
    "char",
    "cidr",
    "circle",
    "daterange",
    "hstore",
    "int4range",
    "int8range",
    "jsonpath",
    "line",
    "lseg",
    "macaddr",
    "macaddr8",
    "money",
    "name",
    "numrange",
    "oid",
    "path",
    "pg_lsn",
    "point",
    "polygon",
    "regclass",
    "regproc",
    "regtype",
    "tsquery",
    "tsrange",
    "tstzrange",
    "tsvector",
    "varbit",
    "xml",
];

const SUPPORTED: &str = "supported are boolean, smallint, integer, bigint, real, double precision, numeric, text, varchar, char, uuid, \
                         date, time, timetz, timestamp, timestamptz, interval, json, jsonb, bytea, inet, their arrays, and the \
                         enumerations of the tables' columns";

pub(crate) fn resolve(name: &TypeName, catalog: &Catalog) -> Result<Type, SelectError> {
    let element = base(name, catalog)?;
    Ok(if name.array { Type::Array(Box::new(element)) } else { element })
}

fn base(name: &TypeName, catalog: &Catalog) -> Result<Type, SelectError> {
    let schema = name.schema.as_deref();
    let system = matches!(schema, None | Some("pg_catalog"));
    let ty = match name.name.as_str() {
        _ if !system => return user_type(name, catalog),
        "bool" => Type::Bool,
        "int2" => Type::Int2,
        "int4" => Type::Int4,
        "int8" => Type::Int8,
        "float4" => Type::Float4,
        "float8" => Type::Float8,
        "text" => Type::Text,
        "uuid" => Type::Uuid,
        "date" => Type::Date,
        "interval" => Type::Interval,
        "json" => Type::Json,
        "jsonb" => Type::Jsonb,
        "bytea" => Type::Bytea,
        "inet" => Type::Inet,
        "numeric" => return numeric(name),
        "varchar" => return length(name, "varchar").map(Type::Varchar),
        "bpchar" => return length(name, "char").map(Type::Bpchar),
        "time" => return precision(name, "TIME").map(Type::Time),
        "timetz" => return precision(name, "TIME WITH TIME ZONE").map(Type::Timetz),
        "timestamp" => return precision(name, "TIMESTAMP").map(Type::Timestamp),
        "timestamptz" => return precision(name, "TIMESTAMP WITH TIME ZONE").map(Type::Timestamptz),
        _ => return user_type(name, catalog),
    };
    if name.modifiers.is_empty() {
        return Ok(ty);
    }
    Err(refusal("42601", name.at, format!("type modifier is not allowed for type \"{}\"", name.name)))
}

/// An enumeration: known when a column of the tables has it.
fn user_type(name: &TypeName, catalog: &Catalog) -> Result<Type, SelectError> {
    let wanted = (name.schema.as_deref().unwrap_or("public").to_owned(), name.name.clone());
    let columns = catalog.tables.iter().flat_map(|table| &table.columns);
    for column in columns {
        let ty = if let Type::Array(element) = &column.ty { element } else { &column.ty };
        if matches!(ty, Type::Enum(e) if place(&e.name) == wanted) {
            return Ok(ty.clone());
        }
    }
    let shown = name.schema.as_ref().map_or_else(|| name.name.clone(), |schema| format!("{schema}.{}", name.name));
    if UNSUPPORTED.contains(&name.name.as_str()) && matches!(name.schema.as_deref(), None | Some("pg_catalog")) {
        return Err(refusal("0A000", name.at, format!("type \"{shown}\" is not supported")).hint(SUPPORTED));
    }
    Err(refusal("42704", name.at, format!("type \"{shown}\" does not exist or is not supported")).hint(SUPPORTED))
}

/// Schema and name of a type as `format_type()` writes it: `mood`, `"Mood"`, `other."Size"`.
fn place(written: &str) -> (String, String) {
    let (mut schema, mut own) = ("public".to_owned(), String::new());
    let mut quoted = false;
    let mut characters = written.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' if quoted && characters.next_if_eq(&'"').is_some() => own.push('"'),
            '"' => quoted = !quoted,
            '.' if !quoted => schema = std::mem::take(&mut own),
            c => own.push(c),
        }
    }
    (schema, own)
}

fn numeric(name: &TypeName) -> Result<Type, SelectError> {
    let invalid = |message: String| Err(refusal("22023", name.at, message));
    let (precision, scale) = match name.modifiers.as_slice() {
        [] => return Ok(Type::Numeric(None)),
        [precision] => (*precision, 0),
        [precision, scale] => (*precision, *scale),
        _ => return invalid("invalid NUMERIC type modifier".to_owned()),
    };
    if !(1..=NUMERIC_PRECISION_MAX).contains(&precision) {
        return invalid(format!("NUMERIC precision {precision} must be between 1 and {NUMERIC_PRECISION_MAX}"));
    }
    match (u16::try_from(precision), i16::try_from(scale)) {
        (Ok(precision), Ok(scale)) if (-1000..=1000).contains(&scale) => Ok(Type::Numeric(Some((precision, scale)))),
        _ => invalid(format!("NUMERIC scale {scale} must be between -1000 and 1000")),
    }
}

fn length(name: &TypeName, called: &str) -> Result<Option<u32>, SelectError> {
    let invalid = |message: String| Err(refusal("22023", name.at, message));
    match name.modifiers.as_slice() {
        [] => Ok(None),
        [..=0] => invalid(format!("length for type {called} must be at least 1")),
        [n] if *n > CHARACTERS_MAX => invalid(format!("length for type {called} cannot exceed {CHARACTERS_MAX}")),
        [n] => Ok(u32::try_from(*n).ok()),
        _ => invalid("invalid type modifier".to_owned()),
    }
}

/// Decimals of a second; more than six are six (with a warning in Postgres).
fn precision(name: &TypeName, called: &str) -> Result<Option<u8>, SelectError> {
    match name.modifiers.as_slice() {
        [] => Ok(None),
        [n] if *n < 0 => Err(refusal("22023", name.at, format!("{called}({n}) precision must not be negative"))),
        [n] => Ok(Some(u8::try_from(*n).unwrap_or(6).min(6))),
        _ => Err(refusal("22023", name.at, "invalid type modifier")),
    }
}
