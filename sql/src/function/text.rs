//! Text and bytes.
//!
//! Lengths and positions count characters. Case mapping is that of collation C: ASCII letters only (`formatting.c`, `str_tolower`).

mod codes;
mod format;
mod join;
mod like;
mod pieces;
mod quote;
mod regex;

use super::Base::{self, *};
use super::argument::{bytes, text};
use super::{Function, Outcome, Run, VALUE_BYTES_MAX, row};
use crate::error::RowError;
use crate::value::Value;

/// A text that is not longer than [`VALUE_BYTES_MAX`].
pub(super) fn built(text: String) -> Outcome {
    if text.len() > VALUE_BYTES_MAX {
        return Err(too_long());
    }
    Ok(Value::Text(text.into()))
}

pub(super) fn too_long() -> RowError {
    RowError::new("54000", format!("requested length too large (more than {VALUE_BYTES_MAX} bytes)"))
}

fn count(n: usize) -> Outcome {
    i64::try_from(n).map(Value::Int).map_err(|_| too_long())
}

fn concatenate(a: &str, b: &str) -> Outcome {
    let mut joined = String::with_capacity(a.len() + b.len());
    joined.push_str(a);
    joined.push_str(b);
    built(joined)
}

fn concatenate_bytes(a: &Value, b: &Value) -> Outcome {
    let joined = [bytes(a)?, bytes(b)?].concat();
    if joined.len() > VALUE_BYTES_MAX { Err(too_long()) } else { Ok(Value::Bytea(joined.into())) }
}

/// `bpcharlen`: trailing blanks do not count.
fn padded(value: &Value) -> Result<&str, RowError> {
    Ok(text(value)?.trim_end_matches(' '))
}

const TEXT: &[Base] = &[Text];
const BPCHAR: &[Base] = &[Bpchar];
const BYTEA: &[Base] = &[Bytea];

const OPERATORS: &[Function] = &[
    row("||", &[Text, Text], Text, Run::Two(|a, b| concatenate(text(a)?, text(b)?))),
    row("||", &[Text, AnyNonArray], Text, Run::OfTexts(|a, b| concatenate(text(a)?, text(b)?))),
    row("||", &[AnyNonArray, Text], Text, Run::OfTexts(|a, b| concatenate(text(a)?, text(b)?))),
    row("||", &[Bytea, Bytea], Bytea, Run::Two(concatenate_bytes)),
];

const FUNCTIONS: &[Function] = &[
    row("lower", TEXT, Text, Run::One(|a| built(text(a)?.to_ascii_lowercase()))).in_c(),
    row("upper", TEXT, Text, Run::One(|a| built(text(a)?.to_ascii_uppercase()))).in_c(),
    row("initcap", TEXT, Text, Run::One(initcap)).in_c(),
    row("length", TEXT, Int4, Run::One(|a| count(text(a)?.chars().count()))),
    row("length", BPCHAR, Int4, Run::One(|a| count(padded(a)?.chars().count()))),
    row("length", BYTEA, Int4, Run::One(|a| count(bytes(a)?.len()))),
    row("char_length", TEXT, Int4, Run::One(|a| count(text(a)?.chars().count()))),
    row("char_length", BPCHAR, Int4, Run::One(|a| count(padded(a)?.chars().count()))),
    row("character_length", TEXT, Int4, Run::One(|a| count(text(a)?.chars().count()))),
    row("character_length", BPCHAR, Int4, Run::One(|a| count(padded(a)?.chars().count()))),
    row("octet_length", TEXT, Int4, Run::One(|a| count(text(a)?.len()))),
    row("octet_length", BPCHAR, Int4, Run::One(|a| count(text(a)?.len()))),
    row("octet_length", BYTEA, Int4, Run::One(|a| count(bytes(a)?.len()))),
    row("bit_length", TEXT, Int4, Run::One(|a| count(text(a)?.len() * 8))),
    row("bit_length", BYTEA, Int4, Run::One(|a| count(bytes(a)?.len() * 8))),
];

/// The first letter of each word in upper case, by collation C: words are runs of ASCII letters and digits.
fn initcap(value: &Value) -> Outcome {
    let mut in_word = false;
    let mapped = text(value)?.chars().map(|c| {
        let mapped = if in_word { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() };
        in_word = c.is_ascii_alphanumeric();
        mapped
    });
    built(mapped.collect())
}

pub(super) fn operators() -> Vec<Function> {
    [OPERATORS, like::OPERATORS, regex::OPERATORS].concat()
}

pub(super) fn functions() -> Vec<Function> {
    [
        FUNCTIONS,
        pieces::FUNCTIONS,
        like::FUNCTIONS,
        codes::FUNCTIONS,
        join::FUNCTIONS,
        format::FUNCTIONS,
        quote::FUNCTIONS,
        regex::FUNCTIONS,
    ]
    .concat()
}
