//! A SELECT against the catalog: every name becomes a slot, every expression a typed program.
//!
//! Promises: a SELECT that passes gives, row by row, what Postgres 15 gives in the fixed session, or an error with Postgres' SQLSTATE;
//! what cannot be kept is refused here, in Postgres' words where it has them, with position and remedy. Does not connect to anything.

mod call;
mod element;
mod expression;
mod join;
mod resolve;
mod scope;
pub(crate) mod type_name;
mod typed;

pub use scope::LOOKUPS_MAX;

use crate::catalog::Catalog;
use crate::error::SelectError;
use crate::eval::Node;
use crate::function::{Accepted, Function, shown};
use crate::parse::{self, Item, Select};
use crate::plan::{Computed, Output, Plan, Program};
use crate::value::Type;
use expression::{Checker, slot};
use scope::{Tables, refusal};

/// Output columns that a SELECT may have (`MaxTupleAttributeNumber`).
pub const OUTPUTS_MAX: usize = 1664;

/// The plan of a SELECT over the tables of the catalog ([`parse::tables`] says which those are).
pub fn check(sql: &str, catalog: &Catalog) -> Result<Plan, SelectError> {
    Ok(checked(sql, catalog)?.0)
}

/// The functions and operators that a SELECT calls, for tests that each one is covered.
#[doc(hidden)]
pub fn called(sql: &str, catalog: &Catalog) -> Result<Vec<Accepted>, SelectError> {
    Ok(checked(sql, catalog)?.1.into_iter().map(shown).collect())
}

fn checked(sql: &str, catalog: &Catalog) -> Result<(Plan, Vec<&'static Function>), SelectError> {
    let select = parse::select(sql)?;
    let mut checker = Checker { tables: Tables::of(&select, catalog)?, catalog, called: Vec::new() };
    let mut lookups = Vec::with_capacity(select.joins.len());
    for (index, clause) in select.joins.iter().enumerate() {
        // ON sees the tables before it and its own.
        checker.tables.visible = index + 2;
        lookups.push(join::check(&mut checker, index, clause)?);
    }
    checker.tables.visible = checker.tables.all.len();
    let outputs = outputs(&mut checker, &select)?;
    let filter = select.filter.as_ref().map(|expr| checker.condition(expr, "WHERE")).transpose()?;
    let called = std::mem::take(&mut checker.called);
    Ok((assemble(checker, lookups, outputs, filter)?, called))
}

fn outputs(checker: &mut Checker<'_>, select: &Select) -> Result<Vec<Computed>, SelectError> {
    let mut outputs: Vec<Computed> = Vec::new();
    for item in &select.items {
        match item {
            Item::Star { at, table } => {
                for index in checker.tables.starred(*at, table)? {
                    for column in 0..checker.tables.all[index].table.columns.len() {
                        let found = checker.tables.slot(index, column);
                        let typed = slot(&found, *at);
                        outputs.push(Computed { name: found.column.name.clone(), ty: typed.ty, node: typed.node });
                    }
                }
            }
            Item::Value { expr, alias } => {
                let mut typed = checker.expression(expr)?;
                if typed.ty == Type::Unknown {
                    typed = typed
                        .implicitly(&Type::Text)?
                        .ok_or_else(|| refusal("42P18", expr.at, "could not determine the type of this expression"))?;
                }
                let name = alias.clone().unwrap_or_else(|| expr.own_name().0.to_owned());
                outputs.push(Computed { name, ty: typed.ty, node: typed.node });
            }
        }
        if outputs.len() > OUTPUTS_MAX {
            return Err(SelectError {
                sqlstate: "54011",
                message: format!("target lists can have at most {OUTPUTS_MAX} entries"),
                position: None,
                hint: Some("name the columns that the sinks need".to_owned()),
            });
        }
    }
    Ok(outputs)
}

fn assemble(
    checker: Checker<'_>,
    mut lookups: Vec<join::Checked>,
    outputs: Vec<Computed>,
    filter: Option<Node>,
) -> Result<Plan, SelectError> {
    let mut tables = checker.tables.all.into_iter().map(|named| {
        let columns = named.slots.iter().map(|index| named.table.columns[*index].clone()).collect();
        (named.table.clone(), columns)
    });
    // There is always a FROM.
    let source = tables.next().ok_or_else(|| refusal("42601", 0, "a SELECT without FROM has no changes to follow"))?;
    let finished = tables.zip(lookups.drain(..)).map(|((table, columns), checked)| checked.finish(table, columns)).collect();
    let filter_reads_lookup = filter.as_ref().is_some_and(Node::reads_lookup);
    let shown = outputs.iter().map(|o| Output { name: o.name.clone(), ty: o.ty.clone(), reads_lookup: o.node.reads_lookup() }).collect();
    Ok(Plan::new(source, finished, shown, Program { filter, outputs }, filter_reads_lookup))
}

/// Types whose values have a collation.
fn has_collation(ty: &Type) -> bool {
    match ty {
        Type::Text | Type::Varchar(_) | Type::Bpchar(_) => true,
        Type::Array(element) => has_collation(element),
        _ => false,
    }
}
