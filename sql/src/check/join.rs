//! The ON of a lookup: the equalities that are its key, and the conditions that remain.

use super::call::equality;
use super::expression::Checker;
use super::scope::{WithHint, refusal};
use super::typed::{Typed, shown};
use crate::catalog::{Column, Table};
use crate::error::SelectError;
use crate::eval::Node;
use crate::function::Base;
use crate::parse::{Expr, JoinClause, Kind};
use crate::plan::{Join, KeyPart, Lookup, LookupProgram};
use crate::value::Type;

/// A checked join, before the slots of its table are complete.
pub(super) struct Checked {
    join: Join,
    key_columns: Vec<Column>,
    program: LookupProgram,
}

impl Checked {
    pub fn finish(self, table: Table, columns: Vec<Column>) -> Lookup {
        Lookup::new(table, self.join, self.key_columns, columns, self.program)
    }
}

/// One `column = expression` of an ON, the column being of the lookup table.
struct Equality<'e> {
    column: usize,
    expr: &'e Expr,
    /// The whole condition, which is kept when the column is not part of the key.
    condition: &'e Expr,
}

pub(super) fn check(checker: &mut Checker<'_>, index: usize, clause: &JoinClause) -> Result<Checked, SelectError> {
    let own = index + 1;
    let mut conditions = Vec::new();
    flatten(&clause.on, &mut conditions);
    let mut pairs = Vec::new();
    for condition in &conditions {
        pairs.extend(equalities(checker, own, condition)?);
    }
    let table = checker.tables.all[own].table;
    let named = |c: &Equality<'_>| table.columns[c.column].name.as_str();
    let covers = |key: &&Vec<String>| !key.is_empty() && key.iter().all(|name| pairs.iter().any(|pair| named(pair) == name));
    let Some(key) = table.unique_keys.iter().find(covers) else {
        let columns: Vec<&str> = pairs.iter().map(named).collect();
        return Err(not_unique(clause, table, &columns));
    };
    let mut parts = Vec::with_capacity(key.len());
    let mut key_columns = Vec::with_capacity(key.len());
    let mut used: Vec<*const Expr> = Vec::new();
    for name in key {
        let Some(pair) = pairs.iter().find(|pair| named(pair) == name) else { continue };
        let column = &table.columns[pair.column];
        parts.push(part(checker, column, pair.expr, pair.condition)?);
        key_columns.push(column.clone());
        used.push(pair.condition);
    }
    // A condition that is part of the key holds for the row that the key finds; the others are tested.
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for condition in &conditions {
        let part_of_key = used.iter().filter(|key| std::ptr::eq(**key, *condition)).count();
        if part_of_key > 0 && part_of_key == equalities(checker, own, condition)?.len() {
            continue;
        }
        let node = checker.condition(condition, "JOIN/ON")?;
        let reads_own = node.any(&|node| matches!(node, Node::Lookup(table, _) if *table == index));
        if reads_own { after.push(node) } else { before.push(node) }
    }
    let join = if clause.inner { Join::Inner } else { Join::Left };
    Ok(Checked { join, key_columns, program: LookupProgram { key: parts, before: all_of(before), after: all_of(after) } })
}

fn all_of(list: Vec<Node>) -> Option<Node> {
    if list.is_empty() { None } else { Some(Node::And(list).folded()) }
}

/// The conditions that AND joins.
fn flatten<'e>(expr: &'e Expr, out: &mut Vec<&'e Expr>) {
    match &expr.kind {
        Kind::And(list) => list.iter().for_each(|part| flatten(part, out)),
        _ => out.push(expr),
    }
}

/// `column = expression`, either side, also of rows `(a, b) = (c, d)`; nothing when the condition is something else.
fn equalities<'e>(checker: &mut Checker<'_>, own: usize, condition: &'e Expr) -> Result<Vec<Equality<'e>>, SelectError> {
    let Kind::Binary { operator, left, right } = &condition.kind else { return Ok(Vec::new()) };
    if operator != "=" {
        return Ok(Vec::new());
    }
    let sides: Vec<(&Expr, &Expr)> = match (&left.kind, &right.kind) {
        (Kind::Row(left), Kind::Row(right)) if left.len() == right.len() => left.iter().zip(right).collect(),
        _ => vec![(left, right)],
    };
    let mut found = Vec::new();
    for (left, right) in sides {
        for (column, other) in [(left, right), (right, left)] {
            let Some(index) = own_column(checker, own, column)? else { continue };
            if !reads(checker, own, other)? {
                found.push(Equality { column: index, expr: other, condition });
                break;
            }
        }
    }
    Ok(found)
}

/// The index of the column when the expression is a plain column of the joined table.
fn own_column(checker: &mut Checker<'_>, own: usize, expr: &Expr) -> Result<Option<usize>, SelectError> {
    let Kind::Column(names) = &expr.kind else { return Ok(None) };
    let mark = checker.tables.slots();
    let found = checker.tables.column(expr.at, names);
    let index = found.map(|f| (f.table == own).then(|| f.column.name.clone()));
    checker.tables.restore(mark);
    let name = index?;
    Ok(name.and_then(|name| checker.tables.all[own].table.columns.iter().position(|c| c.name == name)))
}

/// Whether the expression reads the joined table. Slots that only this question made are given back.
fn reads(checker: &mut Checker<'_>, own: usize, expr: &Expr) -> Result<bool, SelectError> {
    let mark = checker.tables.slots();
    let typed = checker.expression(expr);
    checker.tables.restore(mark);
    Ok(typed?.node.any(&|node| matches!(node, Node::Lookup(table, _) if *table + 1 == own)))
}

/// The program of one part of the key: the value that the column must have, in the column's own type.
fn part(checker: &mut Checker<'_>, column: &Column, expr: &Expr, condition: &Expr) -> Result<KeyPart, SelectError> {
    let typed = checker.expression(expr)?;
    let mismatch = |typed: &Typed| {
        refusal(
            "0A000",
            condition.at,
            format!("a lookup key of type {} cannot be compared with type {}", shown(&column.ty), shown(&typed.ty)),
        )
        .hint(format!("cast the other side: ({} = (...)::{})", column.name, shown(&column.ty)))
    };
    let Some(function) = equality(&column.ty, &typed.ty) else { return Err(mismatch(&typed)) };
    let (at_column, at_value) = (function.arguments[0], function.arguments[1]);
    let base = Base::of(&column.ty);
    let comparable = match base {
        // Integers have operators across sizes; a value that does not fit the column matches nothing.
        Base::Int2 | Base::Int4 | Base::Int8 => at_column.category() == 'N' && at_value != Base::Float8 && at_value != Base::Float4,
        Base::Text | Base::Varchar => at_column == Base::Text,
        Base::Timestamp | Base::Timestamptz => matches!(at_value, Base::Timestamp | Base::Timestamptz),
        Base::Enum => at_column == Base::AnyEnum,
        Base::Bool | Base::Numeric | Base::Uuid | Base::Date | Base::Bpchar | Base::Bytea | Base::Inet | Base::Time => {
            at_column == base || at_column == Base::Text
        }
        _ => false,
    };
    if !comparable {
        return Err(mismatch(&typed));
    }
    // Compared as text, trailing blanks of the value count although the column has none.
    let blanks_count = at_column == Base::Text;
    let wanted = match at_value {
        Base::AnyEnum => column.ty.clone(),
        base => base.plain().unwrap_or(Type::Unknown),
    };
    let typed = match typed.clone().implicitly(&wanted)? {
        Some(typed) => typed,
        None => return Err(mismatch(&typed)),
    };
    Ok(KeyPart { ty: column.ty.clone(), node: typed.node, blanks_count })
}

fn not_unique(clause: &JoinClause, table: &Table, columns: &[&str]) -> SelectError {
    let message = match columns {
        [] => format!("ON does not compare a column of \"{}\" with = to columns of the tables before it", table.name),
        _ => format!("the join columns ({}) of \"{}\" are not a unique key of it", columns.join(", "), table.name),
    };
    let keys: Vec<String> = table.unique_keys.iter().map(|key| format!("({})", key.join(", "))).collect();
    let hint = if keys.is_empty() {
        "give the lookup table a primary key or a unique constraint, and join on it".to_owned()
    } else {
        format!("each row must find at most one: join on {}", keys.join(" or "))
    };
    refusal("0A000", clause.on.at, message).hint(hint)
}
