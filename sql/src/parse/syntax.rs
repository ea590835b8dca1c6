//! The syntax tree of a SELECT: what was written, before any name or type is known.

use crate::error::SelectError;

/// Deepest nesting of an expression; every later stage recurses at most this deep.
pub const EXPRESSION_DEPTH_MAX: u16 = 100;

/// One SELECT.
#[derive(Clone, Debug)]
pub(crate) struct Select {
    pub items: Vec<Item>,
    pub from: TableRef,
    pub joins: Vec<JoinClause>,
    pub filter: Option<Expr>,
}

/// One entry of the SELECT list.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// `*`, `t.*` or `s.t.*`
    Star { at: usize, table: Vec<String> },
    /// An expression; without an alias Postgres finds a name.
    Value { expr: Expr, alias: Option<String> },
}

/// A table and the name it goes by.
#[derive(Clone, Debug)]
pub(crate) struct TableRef {
    pub at: usize,
    pub schema: Option<String>,
    pub name: String,
    pub alias: Option<String>,
}

/// `[LEFT] JOIN table ON condition`.
#[derive(Clone, Debug)]
pub(crate) struct JoinClause {
    pub inner: bool,
    pub table: TableRef,
    pub on: Expr,
}

/// A type as written, with the names Postgres' grammar gives to its keywords (`int` is `pg_catalog.int4`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TypeName {
    pub at: usize,
    pub schema: Option<String>,
    pub name: String,
    pub modifiers: Vec<i64>,
    pub array: bool,
}

/// An expression with the position Postgres would report for it.
#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub at: usize,
    pub height: u16,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Test {
    Null,
    True,
    False,
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    Like,
    ILike,
    Similar,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    String(String),
    /// Digits: int4, int8 or numeric by size.
    Integer(String),
    /// numeric
    Decimal(String),
    /// `a`, `t.a`, `s.t.a`
    Column(Vec<String>),
    /// Prefix operator (other than NOT).
    Unary {
        operator: String,
        operand: Box<Expr>,
    },
    /// Infix operator (other than AND, OR).
    Binary {
        operator: String,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Is {
        operand: Box<Expr>,
        test: Test,
        negated: bool,
    },
    Distinct {
        left: Box<Expr>,
        right: Box<Expr>,
        negated: bool,
    },
    Between {
        operand: Box<Expr>,
        low: Box<Expr>,
        high: Box<Expr>,
        symmetric: bool,
        negated: bool,
    },
    In {
        operand: Box<Expr>,
        list: Vec<Expr>,
        negated: bool,
    },
    /// `left operator ANY (array)` or ALL.
    Quantified {
        left: Box<Expr>,
        operator: String,
        all: bool,
        array: Box<Expr>,
    },
    Like {
        pattern: Pattern,
        operand: Box<Expr>,
        against: Box<Expr>,
        escape: Option<Box<Expr>>,
        negated: bool,
    },
    Case {
        operand: Option<Box<Expr>>,
        arms: Vec<(Expr, Expr)>,
        otherwise: Option<Box<Expr>>,
    },
    Cast {
        operand: Box<Expr>,
        ty: TypeName,
    },
    Collate {
        operand: Box<Expr>,
        collation: String,
    },
    Call {
        schema: Option<String>,
        name: String,
        arguments: Vec<Expr>,
    },
    Coalesce(Vec<Expr>),
    NullIf(Box<Expr>, Box<Expr>),
    /// GREATEST, LEAST
    Extreme {
        greatest: bool,
        list: Vec<Expr>,
    },
    Array(Vec<Expr>),
    Row(Vec<Expr>),
    Subscript {
        operand: Box<Expr>,
        index: Box<Expr>,
    },
}

impl Expr {
    /// A node over its children; refused when the tree would become too deep.
    pub fn new(at: usize, kind: Kind) -> Result<Self, SelectError> {
        let height = 1 + kind.tallest();
        if height > EXPRESSION_DEPTH_MAX {
            return Err(too_deep(at));
        }
        Ok(Self { at, height, kind })
    }

    /// The name Postgres gives to an output without alias, with its strength (`parse_target.c`, `FigureColnameInternal`).
    pub fn own_name(&self) -> (&str, u8) {
        match &self.kind {
            Kind::Column(names) => (names.last().map_or("?column?", String::as_str), 2),
            Kind::Call { name, .. } => (name, 2),
            Kind::NullIf(..) => ("nullif", 2),
            Kind::Coalesce(_) => ("coalesce", 2),
            Kind::Extreme { greatest: true, .. } => ("greatest", 2),
            Kind::Extreme { greatest: false, .. } => ("least", 2),
            Kind::Array(_) => ("array", 2),
            Kind::Row(_) => ("row", 2),
            Kind::Collate { operand, .. } | Kind::Subscript { operand, .. } => operand.own_name(),
            Kind::Cast { operand, ty } => match operand.own_name() {
                (_, 0 | 1) => (&ty.name, 1),
                strong => strong,
            },
            Kind::Case { otherwise, .. } => match otherwise.as_ref().map_or(("?column?", 0), |e| e.own_name()) {
                (_, 0 | 1) => ("case", 1),
                strong => strong,
            },
            _ => ("?column?", 0),
        }
    }
}

pub(super) fn too_deep(at: usize) -> SelectError {
    SelectError {
        sqlstate: "54001",
        message: format!("the expression is nested deeper than {EXPRESSION_DEPTH_MAX} levels"),
        position: Some(at),
        hint: Some("use IN for long lists of alternatives and concat() for long chains of ||".to_owned()),
    }
}

impl Kind {
    fn tallest(&self) -> u16 {
        let of = |list: &[Expr]| list.iter().map(|e| e.height).max().unwrap_or(0);
        match self {
            Self::Null | Self::Bool(_) | Self::String(_) | Self::Integer(_) | Self::Decimal(_) | Self::Column(_) => 0,
            Self::Unary { operand, .. }
            | Self::Not(operand)
            | Self::Is { operand, .. }
            | Self::Cast { operand, .. }
            | Self::Collate { operand, .. } => operand.height,
            Self::Binary { left, right, .. } | Self::Distinct { left, right, .. } | Self::NullIf(left, right) => {
                left.height.max(right.height)
            }
            Self::Quantified { left, array, .. } => left.height.max(array.height),
            Self::Subscript { operand, index } => operand.height.max(index.height),
            Self::Between { operand, low, high, .. } => operand.height.max(low.height).max(high.height),
            Self::In { operand, list, .. } => operand.height.max(of(list)),
            Self::Like { operand, against, escape, .. } => operand.height.max(against.height).max(escape.as_ref().map_or(0, |e| e.height)),
            Self::Case { operand, arms, otherwise } => {
                let arms = arms.iter().map(|(when, then)| when.height.max(then.height)).max().unwrap_or(0);
                let ends = [operand, otherwise].into_iter().flatten().map(|e| e.height).max().unwrap_or(0);
                arms.max(ends)
            }
            Self::And(list) | Self::Or(list) | Self::Coalesce(list) | Self::Array(list) | Self::Row(list) => of(list),
            Self::Extreme { list, .. } | Self::Call { arguments: list, .. } => of(list),
        }
    }
}
