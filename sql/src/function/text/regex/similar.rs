//! SIMILAR TO: its patterns as regular expressions (`regexp.c`, `similar_escape_internal`).

use super::super::super::Outcome;
use super::super::super::argument::text;
use super::super::built;
use crate::error::RowError;
use crate::value::Value;

/// With the escape character of ESCAPE; an empty text: there is none.
pub(super) fn escaped(pattern: &Value, escape: &Value) -> Outcome {
    let mut characters = text(escape)?.chars();
    match (characters.next(), characters.next()) {
        (escape, None) => rewritten(pattern, escape),
        _ => Err(RowError::new("22025", "invalid escape string")),
    }
}

pub(super) fn rewritten(pattern: &Value, escape: Option<char>) -> Outcome {
    let pattern = text(pattern)?;
    let mut out = String::with_capacity(pattern.len() + 6);
    out.push_str("^(?:");
    let mut in_brackets = false;
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        if Some(c) == escape {
            match characters.next() {
                Some('"') if !in_brackets => {
                    return Err(RowError::new("0A000", "escaped double quotes in SIMILAR TO patterns are not supported"));
                }
                Some(c) => out.extend(['\\', c]),
                None => {}
            }
            continue;
        }
        match c {
            '\\' => out.push_str("\\\\"),
            _ if in_brackets => {
                out.push(c);
                in_brackets = c != ']';
            }
            '[' => {
                out.push(c);
                in_brackets = true;
            }
            '%' => out.push_str(".*"),
            '_' => out.push('.'),
            '(' => out.push_str("(?:"),
            '.' | '^' | '$' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out.push_str(")$");
    built(out)
}
