//! What Postgres knows about the tables of a SELECT: read once at start, plain data here.

use crate::value::Type;

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name as stored in the catalog (case kept).
    pub name: String,
    /// The type, domains resolved to their base type.
    pub ty: Type,
    /// NOT NULL in the catalog (also through a domain).
    pub not_null: bool,
    /// It has a DEFAULT or is generated (`pg_attribute.atthasdef`). Not read from a schema file.
    pub has_default: bool,
    /// Whether comparing and case-mapping its text byte by byte is what Postgres does: the column's collation is C or POSIX, or the
    /// default of a database whose collation is one of these (not C.UTF-8: it maps the case of letters beyond ASCII). True for
    /// types without a collation.
    pub collation_is_c: bool,
}

/// `pg_class.relreplident`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// `d`: old rows carry the primary key only.
    Default,
    /// `f`: old rows are whole.
    Full,
    /// `i`: old rows carry the columns of one index.
    Index,
    /// `n`: no old rows.
    Nothing,
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Schema name.
    pub schema: String,
    /// Table name.
    pub name: String,
    /// Columns in the order of `attnum`.
    pub columns: Vec<Column>,
    /// Column names of the primary key in key order; empty without one.
    pub primary_key: Vec<String>,
    /// Sets of columns that are unique: primary key, unique constraints and full, immediate, expression-free unique indexes.
    pub unique_keys: Vec<Vec<String>>,
    /// What an old row carries.
    pub replica_identity: ReplicaIdentity,
}

/// The tables a SELECT may name.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// All tables that were found for the names in the SELECT.
    pub tables: Vec<Table>,
    /// Whether the database's own collation is C or POSIX (`pg_database.datcollate` and `datctype`): the one of text that comes
    /// from no column.
    pub default_collation_is_c: bool,
}

impl Table {
    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }
}

impl Catalog {
    /// The table, in `public` when no schema is given (search_path is fixed to `public`).
    pub fn table(&self, schema: Option<&str>, name: &str) -> Option<&Table> {
        let schema = schema.unwrap_or("public");
        self.tables.iter().find(|t| t.schema == schema && t.name == name)
    }
}
