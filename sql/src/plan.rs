//! What a checked SELECT needs and does: the columns to decode, the rows to look up, the program that makes a result row.
//!
//! ```text
//! source row --lookup_key(0)--> key --(cache)--> row 0 --lookup_key(1)--> ... --evaluate--> result row, or none
//! ```

use std::sync::Arc;

use smallvec::SmallVec;

use crate::catalog::{Column, Table};
use crate::check::LOOKUPS_MAX;
use crate::error::RowError;
use crate::eval::{NULL, Node, Scope};
use crate::function::VALUE_BYTES_MAX;
use crate::numeric::Numeric;
use crate::value::{Type, Value};

/// A SELECT, ready to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The table whose changes are followed.
    pub source: Table,
    /// The slots of a source row: its referenced columns, each once.
    pub source_columns: Vec<Column>,
    /// The joined tables, in the order in which they are looked up.
    pub lookups: Vec<Lookup>,
    /// The columns of a result row.
    pub outputs: Vec<Output>,
    /// Whether a lookup row decides if there is a result row: WHERE reads one, or a join is INNER.
    pub filter_reads_lookup: bool,
    program: Arc<Program>,
}

/// One column of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The alias, or the name Postgres gives.
    pub name: String,
    /// The type Postgres gives.
    pub ty: Type,
    /// Whether its value depends on a lookup row.
    pub reads_lookup: bool,
}

/// What happens to a source row without a lookup row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// The lookup's columns are NULL.
    Left,
    /// There is no result row.
    Inner,
}

/// A joined table.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// The table.
    pub table: Table,
    /// LEFT or INNER.
    pub join: Join,
    /// The columns of the table that the key's parts are compared with, in the order of the parts: one of its unique keys.
    pub key_columns: Vec<Column>,
    /// The slots of a [`LookupRow`]: referenced columns, each once.
    pub columns: Vec<Column>,
    program: Arc<LookupProgram>,
}

/// The values of one lookup row, in the order of [`Lookup::columns`].
pub type LookupRow = Arc<[Value]>;

/// The values that identify a lookup row, as text that the key columns' input functions read, one spelling for equal values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LookupKey {
    parts: SmallVec<[Box<str>; 1]>,
}

/// The programs of a SELECT.
#[derive(Debug)]
pub(crate) struct Program {
    pub filter: Option<Node>,
    pub outputs: Vec<Computed>,
}

/// One output and how it is computed.
#[derive(Debug)]
pub(crate) struct Computed {
    pub name: String,
    pub ty: Type,
    pub node: Node,
}

/// The programs of one ON.
#[derive(Debug)]
pub(crate) struct LookupProgram {
    pub key: Vec<KeyPart>,
    /// Conditions that do not read the lookup row: when they do not hold, none is looked up.
    pub before: Option<Node>,
    /// Conditions that do: a row that does not meet them counts as not found.
    pub after: Option<Node>,
}

/// One part of a key.
#[derive(Debug)]
pub(crate) struct KeyPart {
    /// The column's type.
    pub ty: Type,
    pub node: Node,
    /// Whether a value with trailing blanks differs from the same without.
    pub blanks_count: bool,
}

type FoundRows<'r> = [Option<&'r [Value]>; LOOKUPS_MAX];

impl Plan {
    pub(crate) fn new(
        source: (Table, Vec<Column>),
        lookups: Vec<Lookup>,
        outputs: Vec<Output>,
        program: Program,
        filter_reads_lookup: bool,
    ) -> Self {
        let inner = lookups.iter().any(|lookup| lookup.join == Join::Inner);
        let (source, source_columns) = source;
        Self { source, source_columns, lookups, outputs, filter_reads_lookup: filter_reads_lookup || inner, program: Arc::new(program) }
    }

    /// The key of the row to look up in table `lookup`, given the source row and the rows that the lookups before it found.
    /// `None`: nothing can match (a part is NULL or outside of the column's range, or a condition of ON does not hold).
    pub fn lookup_key(&self, lookup: usize, source: &[Value], found: &[Option<LookupRow>]) -> Result<Option<LookupKey>, RowError> {
        let Some(wanted) = self.lookups.get(lookup) else { return Ok(None) };
        let before = &found[..lookup.min(found.len())];
        let rows = self.matching(source, before)?;
        let scope = Scope { source, found: &rows[..lookup], operand: &NULL };
        wanted.key(&scope).map_err(|error| error.in_column(wanted.key_columns.first().map_or("", |c| c.name.as_str())))
    }

    /// The result row, its values in the order of [`Plan::outputs`]; `None` when WHERE or an INNER JOIN removes it.
    /// An error names the output column whose expression failed.
    pub fn evaluate(&self, source: &[Value], found: &[Option<LookupRow>]) -> Result<Option<Vec<Value>>, RowError> {
        let rows = self.matching(source, found)?;
        let removed = |(lookup, row): (&Lookup, &Option<&[Value]>)| lookup.join == Join::Inner && row.is_none();
        if self.lookups.iter().zip(&rows).any(removed) {
            return Ok(None);
        }
        let scope = Scope { source, found: &rows[..self.lookups.len()], operand: &NULL };
        if let Some(filter) = &self.program.filter
            && !filter.holds(&scope)?
        {
            return Ok(None);
        }
        let mut values = Vec::with_capacity(self.program.outputs.len());
        for output in &self.program.outputs {
            let value = output.node.evaluate(&scope).map_err(|error| error.in_column(&output.name))?;
            values.push(value.into_owned());
        }
        Ok(Some(values))
    }

    /// The position of the output of that name; the first one when several have it.
    pub fn output(&self, name: &str) -> Option<usize> {
        self.outputs.iter().position(|output| output.name == name)
    }

    /// The found rows that meet the conditions of their ON.
    fn matching<'r>(&self, source: &'r [Value], found: &'r [Option<LookupRow>]) -> Result<FoundRows<'r>, RowError> {
        let mut rows: FoundRows<'r> = [None; LOOKUPS_MAX];
        for (index, (lookup, row)) in self.lookups.iter().zip(found).enumerate().take(LOOKUPS_MAX) {
            rows[index] = row.as_deref();
            let scope = Scope { source, found: &rows[..=index], operand: &NULL };
            let kept = match &lookup.program.after {
                Some(condition) if row.is_some() => condition.holds(&scope)?,
                _ => true,
            };
            if !kept {
                rows[index] = None;
            }
        }
        Ok(rows)
    }
}

impl Lookup {
    pub(crate) fn new(table: Table, join: Join, key_columns: Vec<Column>, columns: Vec<Column>, program: LookupProgram) -> Self {
        Self { table, join, key_columns, columns, program: Arc::new(program) }
    }

    /// The key of a row of the lookup table, from the values of its [`Lookup::key_columns`]. `None` when one is NULL: such a row
    /// matches nothing.
    pub fn key_of(&self, key_values: &[Value]) -> Option<LookupKey> {
        if key_values.len() != self.key_columns.len() {
            return None;
        }
        let parts = self.key_columns.iter().zip(key_values).map(|(column, value)| spelling(&column.ty, value));
        Some(LookupKey { parts: parts.collect::<Option<_>>()? })
    }

    fn key(&self, scope: &Scope<'_>) -> Result<Option<LookupKey>, RowError> {
        if let Some(condition) = &self.program.before
            && !condition.holds(scope)?
        {
            return Ok(None);
        }
        let mut parts = SmallVec::with_capacity(self.program.key.len());
        for part in &self.program.key {
            let value = part.node.evaluate(scope)?;
            let Some(text) = part.text(&value) else { return Ok(None) };
            parts.push(text);
        }
        Ok(Some(LookupKey { parts }))
    }
}

impl KeyPart {
    /// The text of the column's value that equals this one; `None` when there is none.
    fn text(&self, value: &Value) -> Option<Box<str>> {
        match (&self.ty, value) {
            (Type::Int2 | Type::Int4 | Type::Int8, Value::Numeric(number)) => whole(&self.ty, number),
            (Type::Int2, Value::Int(v)) => i16::try_from(*v).ok().map(|v| v.to_string().into()),
            (Type::Int4, Value::Int(v)) => i32::try_from(*v).ok().map(|v| v.to_string().into()),
            (Type::Bpchar(_), Value::Text(text)) if self.blanks_count && text.ends_with(' ') => None,
            (ty, value) => spelling(ty, value),
        }
    }
}

fn whole(ty: &Type, number: &Numeric) -> Option<Box<str>> {
    let integer = number.to_i64_rounded().ok()?;
    if Numeric::from_i64(integer) != *number {
        return None;
    }
    let fits = match ty {
        Type::Int2 => i16::try_from(integer).is_ok(),
        Type::Int4 => i32::try_from(integer).is_ok(),
        _ => true,
    };
    fits.then(|| integer.to_string().into())
}

/// One text for all values that are equal by the type's `=`; `None` for NULL and for texts too long to be a key.
fn spelling(ty: &Type, value: &Value) -> Option<Box<str>> {
    match (ty, value) {
        (_, Value::Null) => None,
        (_, Value::Numeric(number)) => Some(number.without_trailing_zeros().to_string().into()),
        (Type::Bpchar(_), Value::Text(text)) => Some(text.trim_end_matches(' ').into()),
        (_, Value::Text(text)) if text.len() > VALUE_BYTES_MAX => None,
        (ty, value) => Some(value.to_text(ty).into()),
    }
}

impl LookupKey {
    /// The parts, in the order of [`Lookup::key_columns`].
    pub fn parts(&self) -> &[Box<str>] {
        &self.parts
    }
}
