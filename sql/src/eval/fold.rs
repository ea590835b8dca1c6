//! Folding: what reads no row is computed once, at start, where Postgres' planner does that too (`clauses.c`).
//!
//! Promises: it never fails. What would fail stays in the program and fails for the rows that reach it.

use super::{EMPTY, Node};
use crate::error::RowError;
use crate::value::Value;

impl Node {
    /// The node, or its value when all it reads is constant and it does not fail; else without what Postgres' planner drops too
    /// (`clauses.c`, eval_const_expressions), so that what never runs there never fails here.
    pub fn folded(self) -> Node {
        if matches!(self, Self::Constant(_)) {
            return self;
        }
        if self.is_closed(false)
            && let Ok(value) = self.evaluate(&EMPTY)
        {
            return Self::Constant(value.into_owned());
        }
        match self {
            // A strict function of a NULL is NULL whatever its other arguments would do.
            Self::One(..) | Self::Two(..) | Self::Three(..) | Self::List(..) | Self::Compare(..) | Self::Prepared(..)
                if self.children().any(is_null) =>
            {
                Self::Constant(Value::Null)
            }
            Self::And(list) => simplified(list, true, Self::And),
            Self::Or(list) => simplified(list, false, Self::Or),
            Self::Coalesce(list) => coalesced(list),
            Self::NullIf(pair) if is_null(&pair.0) || is_null(&pair.1) => pair.0,
            Self::With(pair) if !pair.1.reads_operand() => pair.1,
            Self::Distinct(all) if is_null(&all.1) => Self::IsNull(Box::new(all.2), true),
            Self::Distinct(all) if is_null(&all.2) => Self::IsNull(Box::new(all.1), true),
            other => other,
        }
    }

    /// Why what reads no row has no value.
    pub fn failure(&self) -> Option<RowError> {
        if self.is_closed(false) { self.evaluate(&EMPTY).err() } else { None }
    }

    /// The node as a step that is not folded, unless it is NULL already. What reads a row needs no such step.
    pub fn stable(self) -> Node {
        let strict = !matches!(self, Self::Typed(..));
        if is_null(&self) || strict && self.children().any(is_null) {
            return self;
        }
        if self.is_closed(false) { Self::Stable(Box::new(self)) } else { self }
    }

    /// Whether it reads no row; `bound`: a surrounding step that is part of it gives the operand.
    fn is_closed(&self, bound: bool) -> bool {
        match self {
            Self::Source(_) | Self::Lookup(..) | Self::Stable(_) => false,
            Self::Operand => bound,
            Self::With(pair) | Self::NullIf(pair) => pair.0.is_closed(bound) && pair.1.is_closed(true),
            other => other.children().all(|child| child.is_closed(bound)),
        }
    }

    /// Whether it reads the operand of the step around it.
    fn reads_operand(&self) -> bool {
        match self {
            Self::Operand => true,
            Self::With(pair) | Self::NullIf(pair) => pair.0.reads_operand(),
            other => other.children().any(Self::reads_operand),
        }
    }
}

fn is_null(node: &Node) -> bool {
    matches!(node, Node::Constant(Value::Null))
}

/// AND without its trues, OR without its falses; one decided operand decides (`clauses.c`, simplify_and_arguments).
fn simplified(list: Vec<Node>, neutral: bool, kind: fn(Vec<Node>) -> Node) -> Node {
    let is = |node: &Node, wanted: bool| matches!(node, Node::Constant(Value::Bool(b)) if *b == wanted);
    if list.iter().any(|node| is(node, !neutral)) {
        return Node::Constant(Value::Bool(!neutral));
    }
    let mut rest: Vec<Node> = list.into_iter().filter(|node| !is(node, neutral)).collect();
    if rest.len() > 1 {
        return kind(rest);
    }
    rest.pop().unwrap_or(Node::Constant(Value::Bool(neutral)))
}

/// COALESCE without its NULLs and without what follows a value.
fn coalesced(list: Vec<Node>) -> Node {
    let mut kept = Vec::with_capacity(list.len());
    for node in list.into_iter().filter(|node| !is_null(node)) {
        let decides = matches!(node, Node::Constant(_));
        kept.push(node);
        if decides {
            break;
        }
    }
    match kept.len() {
        0 => Node::Constant(Value::Null),
        1 => kept.swap_remove(0),
        _ => Node::Coalesce(kept),
    }
}
