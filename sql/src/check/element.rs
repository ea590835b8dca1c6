//! `ARRAY[...]`, and elements by subscript: of arrays, and of jsonb.

use super::expression::Checker;
use super::scope::{WithHint, refusal};
use super::typed::{Typed, shown};
use crate::error::SelectError;
use crate::eval::Node;
use crate::parse::{Expr, Kind};
use crate::value::Type;

impl Checker<'_> {
    pub fn array(&mut self, at: usize, list: &[Expr]) -> Result<Typed, SelectError> {
        if list.is_empty() {
            return Err(refusal("42P18", at, "cannot determine type of empty array")
                .hint("Explicitly cast to the desired type, for example ARRAY[]::integer[]."));
        }
        let (nodes, ty, collation) = self.unified(list, "ARRAY")?;
        if matches!(ty, Type::Array(_)) {
            return Err(
                refusal("0A000", at, "arrays of more than one dimension are not supported").hint("keep nested lists in a jsonb column")
            );
        }
        Ok(Typed::new(Node::Array(nodes), Type::Array(Box::new(ty)), at).collated(collation))
    }

    pub fn subscript(&mut self, at: usize, operand: &Expr, index: &Expr) -> Result<Typed, SelectError> {
        let within_array = matches!(operand.kind, Kind::Subscript { .. });
        let operand = self.expression(operand)?;
        let index = self.expression(index)?;
        if operand.ty == Type::Jsonb {
            return self.jsonb_subscript(at, operand, index);
        }
        let Type::Array(element) = operand.ty.clone() else {
            if within_array {
                return Err(
                    refusal("0A000", at, "arrays of more than one dimension are not supported").hint("keep nested lists in a jsonb column")
                );
            }
            return Err(refusal(
                "42804",
                at,
                format!("cannot subscript type {} because it does not support subscripting", shown(&operand.ty)),
            )
            .hint("write -> or ->> for json"));
        };
        let (index_at, index_type) = (index.at, shown(&index.ty));
        // An assignment cast (`transformArraySubscripts`): numbers are rounded to integer.
        let number = index.ty.is_number() || index.ty == Type::Unknown;
        if !number {
            return Err(refusal("42804", index_at, format!("array subscript must have type integer, not {index_type}")));
        }
        let index = index.explicitly(&Type::Int4, index_at)?;
        let collation = operand.collation.clone();
        Ok(Typed::new(Node::Subscript(Box::new((operand.node, index.node))), *element, at).collated(collation))
    }

    /// `jsonbsubs.c`: an integer is taken as text, too, so it is a key of an object as well.
    fn jsonb_subscript(&mut self, at: usize, operand: Typed, index: Typed) -> Result<Typed, SelectError> {
        let (index_at, index_type) = (index.at, shown(&index.ty));
        let integer = matches!(index.ty, Type::Int2 | Type::Int4);
        let index = if integer { Some(index.explicitly(&Type::Text, index_at)?) } else { index.implicitly(&Type::Text)? };
        let Some(index) = index else {
            return Err(refusal("42804", index_at, format!("subscript type {index_type} is not supported"))
                .hint("jsonb subscript must be coercible to either integer or text."));
        };
        let path = Typed::new(Node::Array(vec![index.node]), Type::Array(Box::new(Type::Text)), index_at);
        self.operator(at, "#>", vec![operand, path])
    }
}
