//! `concat` and `concat_ws`: any types, by their output functions; NULLs are left out.

use std::borrow::Cow;

use super::super::Base::*;
use super::super::{Argument, Function, Outcome, Run, row};
use super::built;
use crate::value::{Type, Value};

/// The type's output function, which is not always the cast to text: a boolean is `t` or `f`.
pub(super) fn output<'a>(ty: &Type, value: &'a Value) -> Cow<'a, str> {
    match value {
        Value::Bool(b) => Cow::Borrowed(if *b { "t" } else { "f" }),
        value => value.to_text(ty),
    }
}

fn joined(separator: &str, values: &[Argument<'_>]) -> Outcome {
    let mut text = String::new();
    for (index, (ty, value)) in values.iter().filter(|(_, value)| !value.is_null()).enumerate() {
        if index > 0 {
            text.push_str(separator);
        }
        text.push_str(&output(ty, value));
    }
    built(text)
}

fn concat_ws(arguments: &[Argument<'_>]) -> Outcome {
    match arguments {
        [(ty, separator), values @ ..] if !separator.is_null() => joined(&separator.to_text(ty), values),
        _ => Ok(Value::Null),
    }
}

pub(super) const FUNCTIONS: &[Function] = &[
    row("concat", &[Any], Text, Run::Typed(|arguments| joined("", arguments))).stable(),
    row("concat_ws", &[Text, Any], Text, Run::Typed(concat_ws)).stable(),
];
