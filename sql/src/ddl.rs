//! A schema file as a catalog: what CREATE TABLE statements say about tables, for running a SELECT without a database.
//!
//! Promises: the catalog is the one that Postgres would have after running the file, as far as [`crate::check`] looks at it (types with
//! domains resolved, NOT NULL, keys, replica identity). The database is taken to have the collation C. A column whose type is not
//! supported is left out and named beside the catalog, as at a real start. DEFAULT, CHECK and foreign keys say nothing about a row that is
//! there, and are skipped.

use std::collections::HashMap;
use std::sync::Arc;

use crate::catalog::{Catalog, Column, ReplicaIdentity, Table};
use crate::check::type_name::resolve;
use crate::error::SelectError;
use crate::parse::{Alteration, ColumnDefinition, Key, Name, Statement, TypeName, statements};
use crate::value::{EnumType, Type};

pub use crate::parse::SCHEMA_BYTES_MAX;

/// What a schema file says.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// The tables.
    pub catalog: Catalog,
    /// Tables that have no changes of their own: schema and name, why, what to do.
    pub unusable: Vec<(String, &'static str, &'static str)>,
    /// Columns left out because of their type: `schema.table`, column, type as written.
    pub unsupported: Vec<(String, String, String)>,
}

/// Reads the text of a schema file.
///
/// # Errors
/// What is not understood inside a statement about a table, with its place and what to write instead.
pub fn read(text: &str) -> Result<Schema, SelectError> {
    let statements = statements(text)?;
    let mut reader = Reader::default();
    // Types may be altered after the tables that use them.
    for statement in &statements {
        reader.read_enum(statement)?;
    }
    for statement in &statements {
        reader.read_domain(statement)?;
    }
    reader.schema.catalog.default_collation_is_c = true;
    for statement in statements {
        reader.read_table(statement)?;
    }
    Ok(reader.schema)
}

type Place = (String, String);

#[derive(Default)]
struct Reader {
    enums: HashMap<Place, Vec<String>>,
    domains: HashMap<Place, Domain>,
    schema: Schema,
}

/// A domain; without a type when that is not supported.
struct Domain {
    ty: Option<Type>,
    not_null: bool,
    collation_is_c: bool,
}

fn place(name: &Name) -> Place {
    (name.schema.clone().unwrap_or_else(|| "public".to_owned()), name.name.clone())
}

fn error(sqlstate: &'static str, at: usize, message: String, hint: &str) -> SelectError {
    SelectError { sqlstate, message, position: Some(at), hint: Some(hint.to_owned()) }
}

/// As [`Column::collation_is_c`]; `default` is that of the database.
fn is_c(collation: Option<&String>) -> bool {
    collation.is_none_or(|name| matches!(name.as_str(), "C" | "POSIX" | "default"))
}

impl Reader {
    fn read_enum(&mut self, statement: &Statement) -> Result<(), SelectError> {
        match statement {
            Statement::Enum { name, labels } => {
                self.enums.insert(place(name), labels.clone());
            }
            Statement::Label { name, label, beside } => {
                let unknown = |what: &str| error("42704", name.at, format!("{what} does not exist"), "write CREATE TYPE before ALTER TYPE");
                let labels = self.enums.get_mut(&place(name)).ok_or_else(|| unknown(&format!("type \"{}\"", name.name)))?;
                let at = match beside {
                    None => labels.len(),
                    Some((after, other)) => {
                        let at = labels.iter().position(|l| l == other).ok_or_else(|| unknown(&format!("label \"{other}\"")))?;
                        at + usize::from(*after)
                    }
                };
                if !labels.contains(label) {
                    labels.insert(at, label.clone());
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn read_domain(&mut self, statement: &Statement) -> Result<(), SelectError> {
        let Statement::Domain { name, ty, not_null, collation } = statement else { return Ok(()) };
        let base = self.resolve(ty.as_ref())?;
        let domain = Domain {
            not_null: *not_null || base.not_null,
            collation_is_c: if collation.is_some() { is_c(collation.as_ref()) } else { base.collation_is_c },
            ty: base.ty,
        };
        self.domains.insert(place(name), domain);
        Ok(())
    }

    /// A type with its domain's properties.
    fn resolve(&self, name: Option<&TypeName>) -> Result<Domain, SelectError> {
        let plain = |ty: Option<Type>| Domain { ty, not_null: false, collation_is_c: true };
        let Some(name) = name else { return Ok(plain(None)) };
        let array = |ty: Type| if name.array { Type::Array(Box::new(ty)) } else { ty };
        let (schema, own) = (name.schema.as_deref().unwrap_or("public"), name.name.as_str());
        let key = (schema.to_owned(), own.to_owned());
        if let Some(labels) = self.enums.get(&key) {
            return Ok(plain(Some(array(Type::Enum(Arc::new(EnumType { name: shown(schema, own), labels: labels.clone() }))))));
        }
        if let Some(domain) = self.domains.get(&key) {
            // An array of a domain is no array of its base type.
            let ty = if name.array { None } else { domain.ty.clone() };
            return Ok(Domain { ty, ..*domain });
        }
        let serial = match own {
            "smallserial" | "serial2" => Some(Type::Int2),
            "serial" | "serial4" => Some(Type::Int4),
            "bigserial" | "serial8" => Some(Type::Int8),
            _ => None,
        };
        if let (Some(ty), None, false) = (serial, &name.schema, name.array) {
            return Ok(Domain { ty: Some(ty), not_null: true, collation_is_c: true });
        }
        match resolve(name, &Catalog::default()) {
            Ok(ty) => Ok(plain(Some(ty))),
            Err(error) if matches!(error.sqlstate, "42704" | "0A000") => Ok(plain(None)),
            Err(error) => Err(error),
        }
    }

    fn read_table(&mut self, statement: Statement) -> Result<(), SelectError> {
        match statement {
            Statement::Table { name, if_not_exists, columns, keys, unusable } => {
                let (schema, own) = place(&name);
                let known = self.find(&name).is_some() || self.is_unusable(&name);
                if known && !if_not_exists {
                    let hint = "leave one of the two statements out";
                    return Err(error("42P07", name.at, format!("relation \"{own}\" already exists"), hint));
                }
                if known {
                    return Ok(());
                }
                if let Some((why, remedy)) = unusable {
                    self.schema.unusable.push((format!("{schema}.{own}"), why, remedy));
                    return Ok(());
                }
                let (primary_key, unique_keys, replica_identity) = (Vec::new(), Vec::new(), ReplicaIdentity::Default);
                let table = Table { schema, name: own, columns: Vec::new(), primary_key, unique_keys, replica_identity };
                self.schema.catalog.tables.push(table);
                let table = self.schema.catalog.tables.len() - 1;
                columns.iter().try_for_each(|column| self.add_column(table, column))?;
                keys.into_iter().try_for_each(|key| self.add_key(table, key))
            }
            Statement::Alter { name, alterations } => match self.find(&name) {
                Some(table) => alterations.into_iter().try_for_each(|alteration| self.alter(table, alteration, name.at)),
                // Sequences and views have owners, too.
                None if alterations.is_empty() => Ok(()),
                None => self.must_be_unusable(&name),
            },
            Statement::UniqueIndex { table, columns } => match self.find(&table) {
                Some(found) => self.add_key(found, Key { at: table.at, primary: false, columns, immediate: true }),
                None => self.must_be_unusable(&table),
            },
            Statement::Enum { .. } | Statement::Label { .. } | Statement::Domain { .. } => Ok(()),
        }
    }

    fn find(&self, name: &Name) -> Option<usize> {
        let (schema, own) = place(name);
        self.schema.catalog.tables.iter().position(|table| table.schema == schema && table.name == own)
    }

    fn is_unusable(&self, name: &Name) -> bool {
        let (schema, own) = place(name);
        self.schema.unusable.iter().any(|(table, ..)| *table == format!("{schema}.{own}"))
    }

    fn must_be_unusable(&self, name: &Name) -> Result<(), SelectError> {
        if self.is_unusable(name) {
            return Ok(());
        }
        let message = format!("relation \"{}\" does not exist", name.name);
        Err(error("42P01", name.at, message, "write CREATE TABLE before it, or leave it out"))
    }

    fn alter(&mut self, table: usize, alteration: Alteration, at: usize) -> Result<(), SelectError> {
        match alteration {
            Alteration::Identity(word) => {
                self.schema.catalog.tables[table].replica_identity = match word {
                    "full" => ReplicaIdentity::Full,
                    "index" => ReplicaIdentity::Index,
                    "nothing" => ReplicaIdentity::Nothing,
                    _ => ReplicaIdentity::Default,
                };
                Ok(())
            }
            Alteration::Key(key) => self.add_key(table, key),
            Alteration::Column { definition, keys, if_not_exists } => {
                let there = self.schema.catalog.tables[table].column(&definition.name).is_some();
                if there && if_not_exists {
                    return Ok(());
                }
                self.add_column(table, &definition)?;
                keys.into_iter().try_for_each(|key| self.add_key(table, key))
            }
            Alteration::NotNull(column, not_null) => self.set_not_null(table, &column, not_null, at),
        }
    }

    fn add_column(&mut self, table: usize, definition: &ColumnDefinition) -> Result<(), SelectError> {
        let resolved = self.resolve(definition.ty.as_ref())?;
        let table = &mut self.schema.catalog.tables[table];
        if table.column(&definition.name).is_some() {
            let message = format!("column \"{}\" specified more than once", definition.name);
            return Err(error("42701", definition.at, message, "leave one of the two out"));
        }
        let Some(ty) = resolved.ty else {
            let of = format!("{}.{}", table.schema, table.name);
            self.schema.unsupported.push((of, definition.name.clone(), definition.written.clone()));
            return Ok(());
        };
        let collation_is_c = if definition.collation.is_some() { is_c(definition.collation.as_ref()) } else { resolved.collation_is_c };
        let not_null = definition.not_null || resolved.not_null;
        table.columns.push(Column { name: definition.name.clone(), ty, not_null, has_default: false, collation_is_c });
        Ok(())
    }

    fn add_key(&mut self, table: usize, key: Key) -> Result<(), SelectError> {
        if key.primary {
            key.columns.iter().try_for_each(|column| self.set_not_null(table, column, true, key.at))?;
            self.schema.catalog.tables[table].primary_key.clone_from(&key.columns);
        }
        let table = &mut self.schema.catalog.tables[table];
        if key.immediate && !table.unique_keys.contains(&key.columns) {
            // The primary key is the first one, as in the catalog.
            let at = if key.primary { 0 } else { table.unique_keys.len() };
            table.unique_keys.insert(at, key.columns);
        }
        Ok(())
    }

    fn set_not_null(&mut self, table: usize, column: &str, not_null: bool, at: usize) -> Result<(), SelectError> {
        let table = &mut self.schema.catalog.tables[table];
        let of = format!("{}.{}", table.schema, table.name);
        if let Some(found) = table.columns.iter_mut().find(|c| c.name == column) {
            found.not_null = not_null;
            return Ok(());
        }
        if self.schema.unsupported.iter().any(|(table, name, _)| *table == of && name == column) {
            return Ok(());
        }
        Err(error("42703", at, format!("column \"{column}\" does not exist"), "write the column in CREATE TABLE"))
    }
}

/// `format_type`: qualified when not in `public`, quoted where that is needed.
fn shown(schema: &str, name: &str) -> String {
    let quoted = |name: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let bare = name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit());
        if bare { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
    };
    if schema == "public" { quoted(name) } else { format!("{}.{}", quoted(schema), quoted(name)) }
}

#[cfg(test)]
mod tests;
