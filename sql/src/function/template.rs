//! `to_char`: values by a template (`formatting.c`), with the names of locale C.
//!
//! A template is a constant and is read once, when the SELECT is checked; what is not computed exactly as in Postgres is refused then.

mod interval;
mod number;
mod time;

use super::Base::*;
use super::{Function, Run, Unsupported, row};

/// Longest template, in bytes.
const TEMPLATE_BYTES_MAX: usize = 1_000;

/// One part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(char),
    Field(Field),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    keyword: &'static str,
    /// `FM`: no padding.
    bare: bool,
    /// `TH` or `th` behind it.
    ordinal: Option<&'static str>,
}

fn refused(what: &str) -> Unsupported {
    Unsupported {
        why: format!("this template of to_char is not supported: {what}"),
        instead: "docs/select.md lists the fields; text in double quotes is printed as it is",
    }
}

/// What a family of templates consists of.
struct Language {
    /// The longest that fits wins.
    keywords: &'static [&'static str],
    /// Before and behind a keyword.
    prefixes: &'static [&'static str],
    suffixes: &'static [&'static str],
}

fn longest(words: &'static [&'static str], text: &str) -> Option<&'static str> {
    words.iter().copied().filter(|word| text.starts_with(word)).max_by_key(|word| word.len())
}

impl Language {
    /// The parts of a template (`parse_format`).
    fn parts(&self, template: &str) -> Result<Vec<Part>, Unsupported> {
        if template.len() > TEMPLATE_BYTES_MAX {
            return Err(refused(&format!("it has more than {TEMPLATE_BYTES_MAX} bytes")));
        }
        let mut parts = Vec::new();
        let mut rest = template;
        while !rest.is_empty() {
            let prefix = longest(self.prefixes, rest);
            if let Some("TM" | "tm") = prefix {
                return Err(refused("TM"));
            }
            rest = &rest[prefix.map_or(0, str::len)..];
            if let Some(keyword) = longest(self.keywords, rest) {
                rest = &rest[keyword.len()..];
                let ordinal = longest(self.suffixes, rest);
                if let Some("SP") = ordinal {
                    return Err(refused("SP"));
                }
                rest = &rest[ordinal.map_or(0, str::len)..];
                parts.push(Part::Field(Field { keyword, bare: prefix.is_some(), ordinal }));
            } else if let Some(quoted) = rest.strip_prefix('"') {
                rest = quoted_text(quoted, &mut parts);
            } else {
                // Outside of quotes a backslash only means something before a quote.
                let text = if rest.starts_with("\\\"") { &rest[1..] } else { rest };
                let mut characters = text.chars();
                parts.extend(characters.next().map(Part::Text));
                rest = characters.as_str();
            }
        }
        Ok(parts)
    }
}

/// The text up to the closing quote, and what follows.
fn quoted_text<'t>(text: &'t str, parts: &mut Vec<Part>) -> &'t str {
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '"' => break,
            '\\' => parts.push(Part::Text(characters.next().unwrap_or('\\'))),
            c => parts.push(Part::Text(c)),
        }
    }
    characters.as_str()
}

const TO_DATE: &str = "cast the text: x::date";
const TO_NUMBER: &str = "cast the text: x::numeric";

const ROWS: &[Function] = &[
    row("to_char", &[Timestamp, Text], Text, Run::Prepared(time::prepared)).stable(),
    row("to_char", &[Timestamptz, Text], Text, Run::Prepared(time::prepared_with_zone)).stable(),
    row("to_char", &[Interval, Text], Text, Run::Prepared(interval::prepared)).stable(),
    row("to_char", &[Int4, Text], Text, Run::Prepared(number::prepared)).stable(),
    row("to_char", &[Int8, Text], Text, Run::Prepared(number::prepared)).stable(),
    row("to_char", &[Float4, Text], Text, Run::Prepared(number::prepared)).stable(),
    row("to_char", &[Float8, Text], Text, Run::Prepared(number::prepared)).stable(),
    row("to_char", &[Numeric, Text], Text, Run::Prepared(number::prepared)).stable(),
    row("to_date", &[Text, Text], Date, Run::Refused(TO_DATE)),
    row("to_number", &[Text, Text], Numeric, Run::Refused(TO_NUMBER)),
];

pub(super) fn functions() -> Vec<Function> {
    ROWS.to_vec()
}
