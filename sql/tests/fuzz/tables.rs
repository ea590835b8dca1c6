//! The tables that the targets work on: one with a column of every type, and one to join.

use std::sync::LazyLock;

use highwater_sql::{Catalog, Type, ddl};

/// Names as in the cases of the SELECT's tests, with the types; the position is what the first byte of a value's input chooses.
pub const COLUMNS: &[(&str, &str)] = &[
    ("b", "boolean"),
    ("i2", "smallint"),
    ("i4", "integer"),
    ("i8", "bigint"),
    ("f4", "real"),
    ("f8", "double precision"),
    ("n", "numeric"),
    ("n3", "numeric(12,3)"),
    ("nn", "numeric(3,-2)"),
    ("t", "text"),
    ("v", "varchar(10)"),
    ("c", "char(5)"),
    ("u", "uuid"),
    ("d", "date"),
    ("ti", "time"),
    ("tm", "time(2)"),
    ("ttz", "timetz"),
    ("ts", "timestamp"),
    ("ts0", "timestamp(0)"),
    ("tstz", "timestamptz"),
    ("tz", "timestamptz(3)"),
    ("iv", "interval"),
    ("j", "json"),
    ("jb", "jsonb"),
    ("ba", "bytea"),
    ("ip", "inet"),
    ("m", "mood"),
    ("ia", "integer[]"),
    ("ta", "text[]"),
    ("na", "numeric(5,2)[]"),
    ("ja", "jsonb[]"),
    ("tza", "timestamptz[]"),
    ("ma", "mood[]"),
];

/// The schema file.
pub static SCHEMA: LazyLock<String> = LazyLock::new(|| {
    let columns: Vec<_> = COLUMNS.iter().map(|(name, ty)| format!("{name} {ty}")).collect();
    let samples = format!("CREATE TABLE samples ({}, id bigint, PRIMARY KEY (id));", columns.join(", "));
    format!("CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy'); {samples} CREATE TABLE l (id int PRIMARY KEY, name text, t uuid UNIQUE);")
});

/// The catalog of it.
pub static CATALOG: LazyLock<Catalog> = LazyLock::new(|| ddl::read(&SCHEMA).unwrap().catalog);

/// The types, in the order of [`COLUMNS`].
pub fn types() -> impl Iterator<Item = &'static Type> {
    CATALOG.tables[0].columns.iter().take(COLUMNS.len()).map(|column| &column.ty)
}
