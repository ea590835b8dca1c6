//! Names of tables and columns, and the slots that they become.

use crate::catalog::{Catalog, Column, Table};
use crate::error::SelectError;
use crate::parse::{Select, TableRef};

/// Lookups that one SELECT may join.
pub const LOOKUPS_MAX: usize = 16;

/// Farthest edit distance of a suggestion (`parse_relation.c`, `MAX_FUZZY_DISTANCE`).
const SUGGESTION_DISTANCE_MAX: usize = 3;

/// System columns of every table.
const SYSTEM_COLUMNS: &[&str] = &["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// The tables of a SELECT; 0 is the source, the others are the lookups in order.
pub(super) struct Tables<'c> {
    pub all: Vec<NamedTable<'c>>,
    /// How many of them can be referenced where the checker is now.
    pub visible: usize,
}

pub(super) struct NamedTable<'c> {
    pub table: &'c Table,
    /// The alias, or the table's own name.
    pub name: String,
    aliased: bool,
    /// Columns that were referenced, by index in the table: position here is the slot.
    pub slots: Vec<usize>,
}

/// A column that a name resolved to.
pub(super) struct Found<'c> {
    pub table: usize,
    pub slot: usize,
    pub column: &'c Column,
}

pub(super) fn refusal(sqlstate: &'static str, at: usize, message: impl Into<String>) -> SelectError {
    SelectError { sqlstate, message: message.into(), position: Some(at), hint: None }
}

pub(super) trait WithHint {
    fn hint(self, hint: impl Into<String>) -> Self;
}

impl WithHint for SelectError {
    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl<'c> Tables<'c> {
    pub fn of(select: &Select, catalog: &'c Catalog) -> Result<Self, SelectError> {
        if select.joins.len() > LOOKUPS_MAX {
            let error = refusal("54000", select.joins[LOOKUPS_MAX].table.at, format!("more than {LOOKUPS_MAX} lookup tables"));
            return Err(error.hint("split the SELECT into two pipelines"));
        }
        let mut all: Vec<NamedTable<'c>> = Vec::new();
        for reference in std::iter::once(&select.from).chain(select.joins.iter().map(|join| &join.table)) {
            let named = NamedTable::of(reference, catalog)?;
            if all
                .iter()
                .any(|other| other.name == named.name && (other.aliased || named.aliased || other.table.schema == named.table.schema))
            {
                return Err(refusal("42712", reference.at, format!("table name \"{}\" specified more than once", named.name)));
            }
            all.push(named);
        }
        Ok(Self { visible: all.len(), all })
    }

    /// The tables that `t.*` or `s.t.*` means; all visible ones for `*`.
    pub fn starred(&self, at: usize, names: &[String]) -> Result<std::ops::Range<usize>, SelectError> {
        match names {
            [] => Ok(0..self.visible),
            [name] => self.table(at, None, name).map(|index| index..index + 1),
            [schema, name, ..] => self.table(at, Some(schema), name).map(|index| index..index + 1),
        }
    }

    fn table(&self, at: usize, schema: Option<&str>, name: &str) -> Result<usize, SelectError> {
        let is = |table: &NamedTable<'_>| match schema {
            None => table.name == name,
            Some(schema) => !table.aliased && table.table.schema == schema && table.table.name == name,
        };
        let mut matching = self.all.iter().enumerate().filter(|(_, table)| is(table)).map(|(index, _)| index);
        match (matching.next(), matching.next()) {
            (Some(_), Some(_)) => Err(refusal("42P09", at, format!("table reference \"{name}\" is ambiguous"))),
            (Some(index), None) if index < self.visible => Ok(index),
            (Some(_), None) => Err(refusal("42P01", at, format!("invalid reference to FROM-clause entry for table \"{name}\""))
                .hint(format!("There is an entry for table \"{name}\", but it cannot be referenced from this part of the query."))),
            (None, _) => {
                let error = refusal("42P01", at, format!("missing FROM-clause entry for table \"{name}\""));
                Err(match self.all.iter().find(|table| table.aliased && table.table.name == name) {
                    Some(table) => refusal("42P01", at, format!("invalid reference to FROM-clause entry for table \"{name}\""))
                        .hint(format!("Perhaps you meant to reference the table alias \"{}\".", table.name)),
                    None => error,
                })
            }
        }
    }

    /// The column of `a`, `t.a` or `s.t.a`.
    pub fn column(&mut self, at: usize, names: &[String]) -> Result<Found<'c>, SelectError> {
        let (tables, column) = match names {
            [column] => (0..self.visible, column),
            [table, column] => {
                let index = self.table(at, None, table)?;
                (index..index + 1, column)
            }
            [schema, table, column] => {
                let index = self.table(at, Some(schema), table)?;
                (index..index + 1, column)
            }
            _ => return Err(refusal("42601", at, "improper qualified name (too many dotted names)")),
        };
        let position = |index: usize| self.all[index].table.columns.iter().position(|c| c.name == *column);
        let mut matching = tables.clone().filter_map(|index| position(index).map(|p| (index, p)));
        match (matching.next(), matching.next()) {
            (Some((table, index)), None) => Ok(self.slot(table, index)),
            (Some(_), Some(_)) => Err(refusal("42702", at, format!("column reference \"{column}\" is ambiguous"))
                .hint("write the table's name or alias and a point before it")),
            (None, _) => Err(self.unknown(at, names, tables, column)),
        }
    }

    /// The slot of a column, new when nothing referenced it before.
    pub fn slot(&mut self, table: usize, index: usize) -> Found<'c> {
        let named = &mut self.all[table];
        let slot = named.slots.iter().position(|i| *i == index).unwrap_or_else(|| {
            named.slots.push(index);
            named.slots.len() - 1
        });
        Found { table, slot, column: &named.table.columns[index] }
    }

    /// How many slots each table has, to give back those that a question made.
    pub fn slots(&self) -> Vec<usize> {
        self.all.iter().map(|table| table.slots.len()).collect()
    }

    /// See [`Tables::slots`].
    pub fn restore(&mut self, mark: Vec<usize>) {
        for (table, len) in self.all.iter_mut().zip(mark) {
            table.slots.truncate(len);
        }
    }

    fn unknown(&self, at: usize, names: &[String], tables: std::ops::Range<usize>, column: &str) -> SelectError {
        if SYSTEM_COLUMNS.contains(&column) {
            return refusal("0A000", at, format!("system column \"{column}\" is not in change events")).hint("use a column of the table");
        }
        if names.len() == 1 && self.all[..self.visible].iter().any(|table| table.name == column) {
            return refusal("0A000", at, format!("the whole row of \"{column}\" as one value is not supported"))
                .hint(format!("write {column}.* or name the columns"));
        }
        let message = match names {
            [column] => format!("column \"{column}\" does not exist"),
            _ => format!("column {} does not exist", names[names.len().saturating_sub(2)..].join(".")),
        };
        let error = refusal("42703", at, message);
        let mut best: Vec<String> = Vec::new();
        let mut nearest = SUGGESTION_DISTANCE_MAX.min(column.chars().count() / 2);
        for index in tables {
            for candidate in &self.all[index].table.columns {
                let distance = edit_distance(column, &candidate.name);
                if distance < nearest {
                    best.clear();
                }
                if distance <= nearest {
                    nearest = distance;
                    best.push(format!("\"{}.{}\"", self.all[index].name, candidate.name));
                }
            }
        }
        match best.as_slice() {
            [one] => error.hint(format!("Perhaps you meant to reference the column {one}.")),
            [one, other] => error.hint(format!("Perhaps you meant to reference the column {one} or the column {other}.")),
            _ => error,
        }
    }
}

impl<'c> NamedTable<'c> {
    fn of(reference: &TableRef, catalog: &'c Catalog) -> Result<Self, SelectError> {
        let Some(table) = catalog.table(reference.schema.as_deref(), &reference.name) else {
            let name = match &reference.schema {
                Some(schema) => format!("{schema}.{}", reference.name),
                None => reference.name.clone(),
            };
            return Err(refusal("42P01", reference.at, format!("relation \"{name}\" does not exist")));
        };
        let name = reference.alias.clone().unwrap_or_else(|| reference.name.clone());
        Ok(Self { table, name, aliased: reference.alias.is_some(), slots: Vec::new() })
    }
}

/// Levenshtein distance in characters.
pub(super) fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replace = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
