//! A checked expression: its program, its type, and what else the checker must know of it; and how it becomes another type.

use super::resolve::unmodified;
use super::scope::{WithHint, refusal};
use crate::error::SelectError;
use crate::eval::Node;
use crate::function::{Base, Conversion, explicit, fit, implicit, is_stable};
use crate::value::{Type, Value};

/// Whose order and case mapping the text of an expression follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Collation {
    /// Collation C, or a type without collation.
    C,
    /// Written: `COLLATE "C"` wins over the others.
    ExplicitC,
    /// Another one, of this column (or of the database).
    Other(String),
    /// The database's, as of text that comes from no column: it gives way to that of a column.
    Default,
}

impl Collation {
    /// The collation of what is made from both.
    pub fn with(self, other: Self) -> Self {
        match (self, other) {
            (Self::ExplicitC, _) | (_, Self::ExplicitC) => Self::ExplicitC,
            (Self::Default | Self::C, other) if other != Self::Default => other,
            (other, _) => other,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Typed {
    pub node: Node,
    pub ty: Type,
    pub at: usize,
    pub collation: Collation,
}

impl Typed {
    pub fn new(node: Node, ty: Type, at: usize) -> Self {
        let collation = if ty == Type::Unknown || super::has_collation(&ty) { Collation::Default } else { Collation::C };
        Self { node: node.folded(), ty, at, collation }
    }

    pub fn collated(mut self, collation: Collation) -> Self {
        self.collation = collation;
        self
    }

    /// The same expression with another program over it.
    fn become_type(self, ty: Type, node: impl FnOnce(Node) -> Node) -> Self {
        let collation = self.collation_as(&ty);
        Self { node: node(self.node).folded(), ty, at: self.at, collation }
    }

    /// The collation once it is of this type: text made of what has none is of the database's.
    fn collation_as(&self, ty: &Type) -> Collation {
        match (super::has_collation(ty), self.ty == Type::Unknown || super::has_collation(&self.ty)) {
            (false, _) => Collation::C,
            (true, false) => Collation::Default,
            (true, true) => self.collation.clone(),
        }
    }

    /// The text of a constant whose type is unknown; `None` within for NULL.
    fn unknown_constant(&self) -> Option<Option<&str>> {
        match (&self.ty, &self.node) {
            (Type::Unknown, Node::Constant(Value::Text(text))) => Some(Some(text)),
            (Type::Unknown, Node::Constant(Value::Null)) => Some(None),
            _ => None,
        }
    }

    /// Converted to `to` as Postgres does it without being asked; `None` when it would not.
    pub fn implicitly(self, to: &Type) -> Result<Option<Self>, SelectError> {
        self.convert(to, implicit)
    }

    /// Converted as by CAST, modifiers included.
    pub fn explicitly(self, to: &Type, at: usize) -> Result<Self, SelectError> {
        let message = format!("cannot cast type {} to {}", shown(&self.ty), shown(to));
        let had = self.ty.clone();
        let Some(mut converted) = self.convert(&unmodified(to), explicit)? else {
            return Err(refusal("42846", at, message));
        };
        converted.at = at;
        // A length coercion is skipped when the value has exactly these modifiers already.
        if had == *to {
            converted.ty = had;
            return Ok(converted);
        }
        match innermost_fit(to) {
            Some(run) => Ok(converted.become_type(to.clone(), |node| Node::Fit(run, Box::new((to.clone(), node))))),
            None => {
                converted.ty = to.clone();
                Ok(converted)
            }
        }
    }

    fn convert(self, to: &Type, rule: fn(Base, Base) -> Option<Conversion>) -> Result<Option<Self>, SelectError> {
        if let Some(constant) = self.unknown_constant() {
            let value = match constant {
                None => Value::Null,
                Some(text) => Value::from_text(to, text).map_err(|error| {
                    let refused = refusal(error.sqlstate, self.at, error.message);
                    if error.sqlstate == "0A000" { refused.hint("a row with such a value would be a dead letter, too") } else { refused }
                })?,
            };
            return Ok(Some(self.become_type(to.clone(), |_| Node::Constant(value))));
        }
        if unmodified(&self.ty) == *to {
            return Ok(Some(self));
        }
        let (from_base, to_base) = (Base::of(&self.ty), Base::of(to));
        let (Type::Array(from_element), Type::Array(to_element)) = (&self.ty, to) else {
            // One enumeration is not another.
            if from_base == Base::Enum && to_base == Base::Enum {
                return Ok(None);
            }
            let (from, collation) = (self.ty.clone(), self.collation_as(to));
            let Some(conversion) = rule(from_base, to_base) else { return Ok(None) };
            let node = match conversion {
                Conversion::Same => self.node,
                Conversion::With(run) => Node::One(run, Box::new(self.node)),
                Conversion::Output => Node::Output(Box::new((from, self.node))),
                Conversion::Input | Conversion::Elements => Node::Input(Box::new((to.clone(), self.node))),
            };
            let node = if is_stable(from_base, to_base) { node.stable() } else { node };
            return Ok(Some(Self { node: node.folded(), ty: to.clone(), at: self.at, collation }));
        };
        let Some(conversion) = rule(Base::of(from_element), Base::of(to_element)) else { return Ok(None) };
        let parts = (unmodified(from_element), unmodified(to_element));
        Ok(Some(self.become_type(to.clone(), |node| Node::Elements(Box::new((parts.0, parts.1, conversion, node))))))
    }

    /// As a condition; `place` is what Postgres calls it (`WHERE`, `AND`, `CASE/WHEN`).
    pub fn condition(self, place: &str) -> Result<Node, SelectError> {
        let (at, name) = (self.at, shown(&self.ty));
        match self.implicitly(&Type::Bool)? {
            Some(condition) => Ok(condition.node),
            None => Err(refusal("42804", at, format!("argument of {place} must be type boolean, not type {name}"))),
        }
    }

    /// As one of several expressions that share a type.
    pub fn into_common(self, common: &Type, place: &str) -> Result<Self, SelectError> {
        let (at, name) = (self.at, shown(&self.ty));
        let wanted = unmodified(common);
        match self.implicitly(&wanted)? {
            Some(mut converted) => {
                converted.ty = common.clone();
                Ok(converted)
            }
            None => Err(refusal("42846", at, format!("{place} could not convert type {name} to {}", shown(common)))),
        }
    }

    /// Refuses text whose collation is not C where the result depends on it.
    pub fn require_c(collation: &Collation, at: usize, what: &str) -> Result<(), SelectError> {
        let Collation::Other(whose) = collation else { return Ok(()) };
        Err(refusal("0A000", at, format!("{what} depends on the collation of {whose}, and Highwater only has collation \"C\""))
            .hint("write COLLATE \"C\" after the text, here and in every query that must give the same result"))
    }
}

/// Modifiers of the type itself, or of the elements of an array.
fn innermost_fit(ty: &Type) -> Option<fn(&Type, &Value) -> crate::function::Outcome> {
    fit(ty)
}

/// The type as error messages show it (`format_type_be`).
pub(super) fn shown(ty: &Type) -> String {
    match ty {
        Type::Bpchar(_) => "character".to_owned(),
        _ => unmodified(ty).name(),
    }
}
