//! The program that a checked expression becomes, and its evaluation.
//!
//! Promises: no name is looked up, a value that is only passed on is borrowed, what Postgres does not evaluate (the other arms of
//! a CASE, what follows a decided AND or OR) is not evaluated here, and recursion is bounded by the depth of the expression.

mod fold;

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::error::RowError;
use crate::function::argument::mismatch;
use crate::function::{Conversion, Outcome, Prepared, RunTyped, order};
use crate::value::{Type, Value};

/// One step of a program with its operands.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Constant(Value),
    /// A slot of the source row.
    Source(usize),
    /// A slot of a lookup row; NULL when there is no row.
    Lookup(usize, usize),
    /// The value of the surrounding [`Node::With`].
    Operand,
    /// Evaluates the first once; the second reads it as [`Node::Operand`].
    With(Box<(Node, Node)>),
    One(fn(&Value) -> Outcome, Box<Node>),
    Two(fn(&Value, &Value) -> Outcome, Box<(Node, Node)>),
    Three(fn(&Value, &Value, &Value) -> Outcome, Box<(Node, Node, Node)>),
    List(fn(&[Cow<'_, Value>]) -> Outcome, Vec<Node>),
    /// Called for NULLs too, with the types of the arguments.
    Typed(RunTyped, Vec<(Type, Node)>),
    /// What was made from a constant, of one argument.
    Prepared(Prepared, Box<Node>),
    /// The test of the order of two values; the type is that of the left one.
    Compare(fn(Ordering) -> bool, Box<(Type, Node, Node)>),
    /// Text through the input function of the type.
    Input(Box<(Type, Node)>),
    /// The value as text, by a cast from the type.
    Output(Box<(Type, Node)>),
    /// Modifiers of the type applied.
    Fit(fn(&Type, &Value) -> Outcome, Box<(Type, Node)>),
    /// Array elements converted one by one: from type, to type, how.
    Elements(Box<(Type, Type, Conversion, Node)>),
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    /// IS NULL; with true IS NOT NULL.
    IsNull(Box<Node>, bool),
    /// IS TRUE (FALSE); with true IS NOT TRUE (FALSE).
    IsBool(Box<Node>, bool, bool),
    /// Whether two values differ, NULL being a value; the third is their comparison by `=`, which reads neither when one is NULL.
    Distinct(Box<(Type, Node, Node)>),
    /// Conditions with results, the first true one wins; then the result without a condition.
    Case(Vec<(Node, Node)>, Box<Node>),
    Coalesce(Vec<Node>),
    /// The first value, or NULL when the comparison is true.
    NullIf(Box<(Node, Node)>),
    /// The greatest (or least) value that is not NULL.
    Extreme(Ordering, Type, Vec<Node>),
    /// `left operator ANY (array)`, or ALL with true; the type is that of the left one.
    Quantified(fn(Ordering) -> bool, bool, Box<(Type, Node, Node)>),
    Array(Vec<Node>),
    /// Not computed before there is a row: a function that Postgres calls stable.
    Stable(Box<Node>),
    Subscript(Box<(Node, Node)>),
}

/// What a program reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'r> {
    pub source: &'r [Value],
    pub found: &'r [Option<&'r [Value]>],
    pub operand: &'r Value,
}

pub(crate) static NULL: Value = Value::Null;

const EMPTY: Scope<'static> = Scope { source: &[], found: &[], operand: &NULL };

type Evaluated<'r> = Result<Cow<'r, Value>, RowError>;

fn boolean(value: &Value) -> Result<Option<bool>, RowError> {
    match value {
        Value::Bool(b) => Ok(Some(*b)),
        Value::Null => Ok(None),
        _ => Err(mismatch(value, "a boolean")),
    }
}

fn owned<'r>(outcome: Outcome) -> Evaluated<'r> {
    outcome.map(Cow::Owned)
}

fn truth<'r>(value: Option<bool>) -> Cow<'r, Value> {
    Cow::Owned(value.map_or(Value::Null, Value::Bool))
}

impl Node {
    /// The value for one row.
    pub fn evaluate<'r>(&'r self, row: &Scope<'r>) -> Evaluated<'r> {
        match self {
            Self::Constant(value) => Ok(Cow::Borrowed(value)),
            Self::Source(slot) => Ok(Cow::Borrowed(row.source.get(*slot).unwrap_or(&NULL))),
            Self::Lookup(table, slot) => {
                let found = row.found.get(*table).copied().flatten();
                Ok(Cow::Borrowed(found.and_then(|values| values.get(*slot)).unwrap_or(&NULL)))
            }
            Self::Operand => Ok(Cow::Borrowed(row.operand)),
            Self::With(pair) => {
                let operand = pair.0.evaluate(row)?;
                let inner = Scope { operand: &operand, ..*row };
                Ok(Cow::Owned(pair.1.evaluate(&inner)?.into_owned()))
            }
            Self::Stable(inner) => inner.evaluate(row),
            Self::And(_) | Self::Or(_) | Self::Not(_) | Self::IsNull(..) | Self::IsBool(..) => self.truth(row).map(truth),
            Self::Case(..) | Self::Coalesce(_) | Self::NullIf(_) | Self::Extreme(..) => self.choice(row),
            _ => self.call(row),
        }
    }

    /// Whether the condition is true; NULL is not.
    pub fn holds(&self, row: &Scope<'_>) -> Result<bool, RowError> {
        Ok(boolean(&*self.evaluate(row)?)? == Some(true))
    }

    /// Three-valued logic.
    fn truth(&self, row: &Scope<'_>) -> Result<Option<bool>, RowError> {
        match self {
            Self::And(all) => decide(all, row, false),
            Self::Or(all) => decide(all, row, true),
            Self::Not(operand) => Ok(boolean(&*operand.evaluate(row)?)?.map(|b| !b)),
            Self::IsNull(operand, negated) => Ok(Some(operand.evaluate(row)?.is_null() != *negated)),
            Self::IsBool(operand, wanted, negated) => {
                let is = boolean(&*operand.evaluate(row)?)? == Some(*wanted);
                Ok(Some(is != *negated))
            }
            _ => boolean(&*self.evaluate(row)?),
        }
    }

    /// One of several values.
    fn choice<'r>(&'r self, row: &Scope<'r>) -> Evaluated<'r> {
        match self {
            Self::Case(arms, otherwise) => {
                for (condition, result) in arms {
                    if condition.holds(row)? {
                        return result.evaluate(row);
                    }
                }
                otherwise.evaluate(row)
            }
            Self::Coalesce(list) => {
                for item in list {
                    let value = item.evaluate(row)?;
                    if !value.is_null() {
                        return Ok(value);
                    }
                }
                Ok(Cow::Borrowed(&NULL))
            }
            Self::NullIf(pair) => {
                let value = pair.0.evaluate(row)?;
                let equal = pair.1.holds(&Scope { operand: &value, ..*row })?;
                Ok(if equal { Cow::Borrowed(&NULL) } else { value })
            }
            Self::Extreme(wanted, ty, list) => {
                let mut best: Cow<'r, Value> = Cow::Borrowed(&NULL);
                for item in list {
                    let value = item.evaluate(row)?;
                    if !value.is_null() && (best.is_null() || order(&value, &best, ty) == *wanted) {
                        best = value;
                    }
                }
                Ok(best)
            }
            _ => self.call(row),
        }
    }

    /// Functions and operators: NULL when an argument is, unless the function sees to it.
    fn call<'r>(&'r self, row: &Scope<'r>) -> Evaluated<'r> {
        let null = Ok(Cow::Borrowed(&NULL));
        match self {
            Self::One(run, a) => {
                let a = a.evaluate(row)?;
                if a.is_null() { null } else { owned(run(&a)) }
            }
            Self::Two(run, pair) => {
                let (a, b) = (pair.0.evaluate(row)?, pair.1.evaluate(row)?);
                if a.is_null() || b.is_null() { null } else { owned(run(&a, &b)) }
            }
            Self::Three(run, all) => {
                let (a, b, c) = (all.0.evaluate(row)?, all.1.evaluate(row)?, all.2.evaluate(row)?);
                if a.is_null() || b.is_null() || c.is_null() { null } else { owned(run(&a, &b, &c)) }
            }
            Self::List(run, list) => {
                let values = list.iter().map(|item| item.evaluate(row)).collect::<Result<Vec<_>, _>>()?;
                if values.iter().any(|v| v.is_null()) { null } else { owned(run(&values)) }
            }
            Self::Typed(run, list) => {
                let values = list.iter().map(|(ty, item)| Ok((ty, item.evaluate(row)?))).collect::<Result<Vec<_>, _>>()?;
                owned(run(&values))
            }
            Self::Prepared(prepared, a) => {
                let a = a.evaluate(row)?;
                if a.is_null() { null } else { owned(prepared.run(&a)) }
            }
            Self::Compare(test, all) => {
                let (a, b) = (all.1.evaluate(row)?, all.2.evaluate(row)?);
                let either_null = a.is_null() || b.is_null();
                Ok(if either_null { Cow::Borrowed(&NULL) } else { truth(Some(test(order(&a, &b, &all.0)))) })
            }
            Self::Distinct(all) => {
                let (a, b) = (all.1.evaluate(row)?, all.2.evaluate(row)?);
                let differ = if a.is_null() || b.is_null() { a.is_null() != b.is_null() } else { order(&a, &b, &all.0).is_ne() };
                Ok(truth(Some(differ)))
            }
            Self::Quantified(test, all, sides) => quantified(*test, *all, sides, row),
            Self::Array(list) => {
                let items = list.iter().map(|item| item.evaluate(row).map(Cow::into_owned)).collect::<Result<Vec<_>, _>>()?;
                Ok(Cow::Owned(Value::Array(items.into())))
            }
            Self::Subscript(pair) => subscript(&*pair.0.evaluate(row)?, &*pair.1.evaluate(row)?),
            _ => self.convert(row),
        }
    }

    fn convert<'r>(&'r self, row: &Scope<'r>) -> Evaluated<'r> {
        let null = Ok(Cow::Borrowed(&NULL));
        match self {
            Self::Input(pair) => match &*pair.1.evaluate(row)? {
                Value::Null => null,
                Value::Text(text) | Value::Json(text) => owned(Value::from_text(&pair.0, text)),
                other => Err(mismatch(other, "a text")),
            },
            Self::Output(pair) => {
                let value = pair.1.evaluate(row)?;
                if value.is_null() || matches!(pair.0, Type::Text | Type::Enum(_)) {
                    return Ok(value);
                }
                let text = crate::function::text_of(&pair.0, &value);
                Ok(Cow::Owned(Value::Text(text.into())))
            }
            Self::Fit(fit, pair) => {
                let value = pair.1.evaluate(row)?;
                if value.is_null() { null } else { owned(fit(&pair.0, &value)) }
            }
            Self::Elements(all) => {
                let (from, to, conversion, array) = &**all;
                match &*array.evaluate(row)? {
                    Value::Array(items) => {
                        let items = items.iter().map(|item| conversion.apply(from, to, item)).collect::<Result<Vec<_>, _>>()?;
                        Ok(Cow::Owned(Value::Array(items.into())))
                    }
                    Value::Null => null,
                    other => Err(mismatch(other, "an array")),
                }
            }
            other => Err(RowError::new("XX000", format!("cannot evaluate {other:?}"))),
        }
    }

    /// The direct operands.
    pub fn children(&self) -> Box<dyn Iterator<Item = &Node> + '_> {
        match self {
            Self::Constant(_) | Self::Source(_) | Self::Lookup(..) | Self::Operand => Box::new(std::iter::empty()),
            Self::With(pair) | Self::Two(_, pair) | Self::NullIf(pair) | Self::Subscript(pair) => Box::new([&pair.0, &pair.1].into_iter()),
            Self::One(_, a) | Self::Prepared(_, a) | Self::Stable(a) | Self::Not(a) | Self::IsNull(a, _) | Self::IsBool(a, ..) => {
                Box::new(std::iter::once(&**a))
            }
            Self::Three(_, all) => Box::new([&all.0, &all.1, &all.2].into_iter()),
            Self::List(_, list) | Self::And(list) | Self::Or(list) | Self::Coalesce(list) => Box::new(list.iter()),
            Self::Typed(_, list) => Box::new(list.iter().map(|(_, item)| item)),
            Self::Extreme(_, _, list) | Self::Array(list) => Box::new(list.iter()),
            Self::Compare(_, all) | Self::Distinct(all) | Self::Quantified(_, _, all) => Box::new([&all.1, &all.2].into_iter()),
            Self::Input(pair) | Self::Output(pair) | Self::Fit(_, pair) => Box::new(std::iter::once(&pair.1)),
            Self::Elements(all) => Box::new(std::iter::once(&all.3)),
            Self::Case(arms, otherwise) => {
                Box::new(arms.iter().flat_map(|(condition, result)| [condition, result]).chain(std::iter::once(&**otherwise)))
            }
        }
    }

    /// Whether any step satisfies the test.
    pub fn any(&self, test: &dyn Fn(&Node) -> bool) -> bool {
        test(self) || self.children().any(|child| child.any(test))
    }

    /// Whether the program reads a column of a lookup row.
    pub fn reads_lookup(&self) -> bool {
        self.any(&|node| matches!(node, Self::Lookup(..)))
    }
}

/// AND is decided by false, OR by true; else NULL when an operand was NULL.
fn decide(list: &[Node], row: &Scope<'_>, decisive: bool) -> Result<Option<bool>, RowError> {
    let mut result = Some(!decisive);
    for operand in list {
        match operand.truth(row)? {
            Some(b) if b == decisive => return Ok(Some(decisive)),
            Some(_) => {}
            None => result = None,
        }
    }
    Ok(result)
}

/// `execExprInterp.c`, ExecEvalScalarArrayOp.
fn quantified<'r>(test: fn(Ordering) -> bool, all: bool, sides: &'r (Type, Node, Node), row: &Scope<'r>) -> Evaluated<'r> {
    let (left, array) = (sides.1.evaluate(row)?, sides.2.evaluate(row)?);
    let items = match &*array {
        Value::Null => return Ok(Cow::Borrowed(&NULL)),
        Value::Array(items) => items,
        other => return Err(mismatch(other, "an array")),
    };
    if items.is_empty() {
        return Ok(truth(Some(all)));
    }
    if left.is_null() {
        return Ok(Cow::Borrowed(&NULL));
    }
    let mut result = Some(all);
    for item in items.iter() {
        if item.is_null() {
            result = None;
        } else if test(order(&left, item, &sides.0)) != all {
            return Ok(truth(Some(!all)));
        }
    }
    Ok(truth(result))
}

/// Out of bounds is NULL; arrays begin at 1.
fn subscript<'r>(array: &Value, index: &Value) -> Evaluated<'r> {
    match (array, index) {
        (Value::Null, _) | (_, Value::Null) => Ok(Cow::Borrowed(&NULL)),
        (Value::Array(items), Value::Int(index)) => {
            let item = usize::try_from(*index).ok().and_then(|i| i.checked_sub(1)).and_then(|i| items.get(i));
            Ok(item.map_or(Cow::Borrowed(&NULL), |item| Cow::Owned(item.clone())))
        }
        (other, _) => Err(mismatch(other, "an array")),
    }
}

impl Conversion {
    /// Converts one value; the modifiers of `to` are not applied.
    fn apply(self, from: &Type, to: &Type, value: &Value) -> Outcome {
        if value.is_null() {
            return Ok(Value::Null);
        }
        match self {
            Self::Same => Ok(value.clone()),
            Self::With(run) => run(value),
            Self::Output => Ok(Value::Text(crate::function::text_of(from, value).into())),
            Self::Input => match value {
                Value::Text(text) | Value::Json(text) => Value::from_text(to, text),
                other => Err(mismatch(other, "a text")),
            },
            Self::Elements => Err(RowError::new("0A000", "arrays of arrays are not supported")),
        }
    }
}
