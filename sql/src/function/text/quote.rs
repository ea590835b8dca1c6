//! Texts as SQL: `quote_ident`, `quote_literal`, `quote_nullable` (`ruleutils.c`, `quote.c`).

use std::borrow::Cow;

use super::super::Base::*;
use super::super::argument::text;
use super::super::{Argument, Function, Outcome, Run, row, text_of};
use super::built;
use crate::value::Value;

/// The keywords of Postgres 15 that are no plain identifiers (`pg_get_keywords()`, without the unreserved).
const KEYWORDS: &str = "all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean both case cast \
    char character check coalesce collate collation column concurrently constraint create cross current_catalog \
    current_date current_role current_schema current_time current_timestamp current_user dec decimal default deferrable \
    desc distinct do else end except exists extract false fetch float for foreign freeze from full grant greatest group \
    grouping having ilike in initially inner inout int integer intersect interval into is isnull join lateral leading \
    least left like limit localtime localtimestamp national natural nchar none normalize not notnull null nullif numeric \
    offset on only or order out outer overlaps overlay placing position precision primary real references returning right \
    row select session_user setof similar smallint some substring symmetric table tablesample then time timestamp to \
    trailing treat trim true union unique user using values varchar variadic verbose when where window with xmlattributes \
    xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable";

pub(super) fn identifier(name: &str) -> Cow<'_, str> {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && KEYWORDS.split(' ').all(|keyword| keyword != name);
    if plain { Cow::Borrowed(name) } else { Cow::Owned(format!("\"{}\"", name.replace('"', "\"\""))) }
}

pub(super) fn literal(text: &str) -> String {
    let escapes = if text.contains('\\') { "E" } else { "" };
    format!("{escapes}'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// Any value, cast to text.
fn literal_of(arguments: &[Argument<'_>], null: Option<&str>) -> Outcome {
    match (arguments, null) {
        ([(_, value)], Some(null)) if value.is_null() => built(null.to_owned()),
        ([(ty, value)], _) if !value.is_null() => built(literal(&text_of(ty, value))),
        _ => Ok(Value::Null),
    }
}

pub(super) const FUNCTIONS: &[Function] = &[
    row("quote_ident", &[Text], Text, Run::One(|a| built(identifier(text(a)?).into_owned()))),
    row("quote_literal", &[Text], Text, Run::One(|a| built(literal(text(a)?)))),
    row("quote_literal", &[AnyElement], Text, Run::Typed(|all| literal_of(all, None))).stable(),
    row("quote_nullable", &[Text], Text, Run::Typed(|all| literal_of(all, Some("NULL")))),
    row("quote_nullable", &[AnyElement], Text, Run::Typed(|all| literal_of(all, Some("NULL")))).stable(),
];
