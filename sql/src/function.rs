//! The functions and operators that a SELECT may use: tables of rows, one file for each family.
//!
//! A row is what `pg_proc` and `pg_operator` say (name, argument types, result type) with the code that computes it. Resolution
//! ([`crate::check`]) only reads these tables, so a function is added by adding a row. The tables are an explicit allow-list:
//! a row may exist only when its result depends on its arguments alone (not on the clock, on chance or on session settings, whatever
//! Postgres' volatility says). Rows with [`Run::Refused`] exist in Postgres but not here; they take part in the resolution so that
//! an ambiguous call cannot silently mean something else, and refuse the SELECT when chosen.

mod array;
mod base;
mod cast;
mod compare;
mod json;
mod number;
mod template;
mod text;
mod time;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

pub(crate) use base::Base;
pub(crate) use cast::{Conversion, explicit, fit, implicit, is_stable, text_of};
pub(crate) use compare::order;

use crate::error::RowError;
use crate::value::{Type, Value};

/// What one evaluation gives.
pub(crate) type Outcome = Result<Value, RowError>;

/// An argument with its type.
pub(crate) type Argument<'a> = (&'a Type, Cow<'a, Value>);

/// A computation that reads the types of its arguments.
pub(crate) type RunTyped = fn(&[Argument<'_>]) -> Outcome;

/// Longest text or bytes that an expression may build, in bytes: larger ones are a dead letter, as beyond 1 GB in Postgres.
pub const VALUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One function or operator with one list of argument types.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub name: &'static str,
    pub arguments: Cow<'static, [Base]>,
    pub result: Base,
    pub run: Run,
    /// Stable in Postgres (it would depend on the session's zone, for example), so that its planner does not call it.
    pub stable: bool,
    /// Depends on the collation of its arguments (order, case): only collation C is the same here.
    pub needs_c: bool,
}

/// How a function is computed. Those that take plain values are strict: NULL in, NULL out, without a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Run {
    One(fn(&Value) -> Outcome),
    Two(fn(&Value, &Value) -> Outcome),
    /// Takes its arguments in reverse and evaluates them so: an SQL function `$2 + $1` in Postgres.
    Swapped(fn(&Value, &Value) -> Outcome),
    Three(fn(&Value, &Value, &Value) -> Outcome),
    /// Its two arguments are cast to text first.
    OfTexts(fn(&Value, &Value) -> Outcome),
    /// Strict, any number of arguments.
    List(fn(&[Cow<'_, Value>]) -> Outcome),
    /// Called for NULLs too, with the types of its arguments.
    Typed(RunTyped),
    /// The same, but strict: NULL without a call when an argument is a constant NULL; the function sees to the others.
    StrictTyped(RunTyped),
    /// Strict in two arguments, of which the second is the array of all that follow the first.
    Variadic(fn(&Value, &Value) -> Outcome),
    /// Strict; its second argument must be a constant, from which the computation is made when the SELECT is checked.
    Prepared(fn(&Value) -> Result<Prepared, Unsupported>),
    /// A comparison: the test of the order of its arguments.
    Compare(fn(Ordering) -> bool),
    /// In Postgres, not here: what to write instead.
    Refused(&'static str),
}

/// A computation made from a constant: a regular expression, a template.
#[derive(Clone)]
pub(crate) struct Prepared(Arc<dyn Fn(&Value) -> Outcome + Send + Sync>);

impl Prepared {
    pub fn new(run: impl Fn(&Value) -> Outcome + Send + Sync + 'static) -> Self {
        Self(Arc::new(run))
    }

    pub fn run(&self, value: &Value) -> Outcome {
        (self.0)(value)
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prepared")
    }
}

/// Why nothing can be made from a constant, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unsupported {
    pub why: String,
    pub instead: &'static str,
}

/// A row of a table.
pub(crate) const fn row(name: &'static str, arguments: &'static [Base], result: Base, run: Run) -> Function {
    Function { name, arguments: Cow::Borrowed(arguments), result, run, stable: false, needs_c: false }
}

impl Function {
    /// The same row, refused for text in other collations than C.
    pub(crate) const fn in_c(mut self) -> Self {
        self.needs_c = true;
        self
    }

    /// The same row, not computed while planning.
    pub(crate) const fn stable(mut self) -> Self {
        self.stable = true;
        self
    }
}

type Index = BTreeMap<&'static str, Vec<Function>>;

fn index<const TABLES: usize>(tables: [Vec<Function>; TABLES]) -> Index {
    let mut index = Index::new();
    for function in tables.into_iter().flatten() {
        index.entry(function.name).or_default().push(function);
    }
    index
}

static OPERATORS: LazyLock<Index> = LazyLock::new(|| {
    index([array::operators(), compare::operators(), json::operators(), number::operators(), text::operators(), time::operators()])
});

static FUNCTIONS: LazyLock<Index> = LazyLock::new(|| {
    index([array::functions(), json::functions(), number::functions(), template::functions(), text::functions(), time::functions()])
});

/// All operators of that name, prefix and infix.
pub(crate) fn operators(name: &str) -> &'static [Function] {
    OPERATORS.get(name).map_or(&[], Vec::as_slice)
}

/// All functions of that name.
pub(crate) fn functions(name: &str) -> &'static [Function] {
    FUNCTIONS.get(name).map_or(&[], Vec::as_slice)
}

/// The names of all functions, in order.
pub(crate) fn function_names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.keys().copied()
}

/// Whether it is an operator.
fn is_operator(function: &Function) -> bool {
    !function.name.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// An accepted operator or function as tests see it: types by name, pseudo-types as in `pg_proc`.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub name: &'static str,
    pub operator: bool,
    pub arguments: Vec<String>,
    pub result: String,
}

/// Every accepted operator and function, for tests that each one is covered.
#[doc(hidden)]
pub fn accepted() -> Vec<Accepted> {
    let all = OPERATORS.values().chain(FUNCTIONS.values()).flatten();
    all.filter(|f| !matches!(f.run, Run::Refused(_))).map(shown).collect()
}

/// A function or operator that exists in Postgres and is refused, as tests see it.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub name: &'static str,
    pub arguments: Vec<String>,
    pub instead: &'static str,
}

impl Refused {
    /// How a SELECT calls it.
    pub fn called(&self) -> &'static str {
        if self.name == "timezone" { "AT TIME ZONE" } else { self.name }
    }
}

/// Every refused operator and function, for tests that each one is documented.
#[doc(hidden)]
pub fn refused() -> Vec<Refused> {
    let all = OPERATORS.values().chain(FUNCTIONS.values()).flatten();
    all.filter_map(|f| match f.run {
        Run::Refused(instead) => Some(Refused { name: f.name, arguments: shown(f).arguments, instead }),
        _ => None,
    })
    .collect()
}

pub(crate) fn shown(function: &Function) -> Accepted {
    let shown = |base: &Base| base.plain().map_or_else(|| format!("{base:?}").to_lowercase(), |ty| ty.name());
    Accepted {
        name: function.name,
        operator: is_operator(function),
        arguments: function.arguments.iter().map(shown).collect(),
        result: shown(&function.result),
    }
}

/// Values whose variant the checker has already established; anything else would be a defect of the checker and ends as a dead
/// letter, not as a panic.
pub(crate) mod argument {
    use super::{RowError, Value};
    use crate::numeric::Numeric;

    pub fn mismatch(value: &Value, wanted: &str) -> RowError {
        RowError::new("XX000", format!("expected {wanted} but found {value:?}"))
    }

    pub fn int(value: &Value) -> Result<i64, RowError> {
        if let Value::Int(v) = value { Ok(*v) } else { Err(mismatch(value, "an integer")) }
    }

    pub fn float8(value: &Value) -> Result<f64, RowError> {
        match value {
            Value::Float8(v) => Ok(*v),
            Value::Float4(v) => Ok(f64::from(*v)),
            _ => Err(mismatch(value, "a float")),
        }
    }

    pub fn float4(value: &Value) -> Result<f32, RowError> {
        if let Value::Float4(v) = value { Ok(*v) } else { Err(mismatch(value, "a float4")) }
    }

    pub fn numeric(value: &Value) -> Result<&Numeric, RowError> {
        if let Value::Numeric(v) = value { Ok(v) } else { Err(mismatch(value, "a numeric")) }
    }

    pub fn text(value: &Value) -> Result<&str, RowError> {
        match value {
            Value::Text(v) => Ok(v),
            _ => Err(mismatch(value, "a text")),
        }
    }

    pub fn bytes(value: &Value) -> Result<&[u8], RowError> {
        if let Value::Bytea(v) = value { Ok(v) } else { Err(mismatch(value, "bytes")) }
    }

    pub fn boolean(value: &Value) -> Result<bool, RowError> {
        if let Value::Bool(v) = value { Ok(*v) } else { Err(mismatch(value, "a boolean")) }
    }
}
