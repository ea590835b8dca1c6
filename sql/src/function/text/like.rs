//! LIKE and ILIKE (`like_match.c`): `%` any text, `_` one character, `\` takes the next character as it is.

use super::super::Base::*;
use super::super::argument::{bytes, text};
use super::super::{Function, Outcome, Run, row};
use crate::error::RowError;
use crate::value::Value;

/// Nested searches for a `%`.
const DEPTH_MAX: u32 = 1_000;

enum Matched {
    Yes,
    No,
    /// The text ended: no later start can match either.
    Never,
}

struct Matcher {
    /// Whether `_` is a character of UTF-8 or one byte.
    characters: bool,
    depth: u32,
}

impl Matcher {
    /// The text after its first character.
    fn after<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        let mut rest = text.get(1..).unwrap_or(&[]);
        while self.characters && rest.first().is_some_and(|b| b & 0xc0 == 0x80) {
            rest = &rest[1..];
        }
        rest
    }

    fn matches(&mut self, mut text: &[u8], mut pattern: &[u8]) -> Result<Matched, RowError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(RowError::new("54001", format!("a LIKE pattern has more than {DEPTH_MAX} searches")));
        }
        while let (Some(t), Some(p)) = (text.first(), pattern.first()) {
            match p {
                b'\\' => {
                    pattern = &pattern[1..];
                    if *pattern.first().ok_or_else(open_escape)? != *t {
                        return Ok(Matched::No);
                    }
                }
                b'%' => return self.search(text, &pattern[1..]),
                b'_' => {
                    text = self.after(text);
                    pattern = &pattern[1..];
                    continue;
                }
                p if p != t => return Ok(Matched::No),
                _ => {}
            }
            (text, pattern) = (&text[1..], &pattern[1..]);
        }
        if !text.is_empty() {
            return Ok(Matched::No);
        }
        Ok(if pattern.iter().all(|p| *p == b'%') { Matched::Yes } else { Matched::Never })
    }

    /// The first place where the rest of the text matches what follows a `%`.
    fn search(&mut self, mut text: &[u8], mut pattern: &[u8]) -> Result<Matched, RowError> {
        // Any run of % and _ is as many _ and one %.
        while let Some(wildcard @ (b'%' | b'_')) = pattern.first() {
            if *wildcard == b'_' {
                if text.is_empty() {
                    return Ok(Matched::Never);
                }
                text = self.after(text);
            }
            pattern = &pattern[1..];
        }
        let first = match pattern {
            [] => return Ok(Matched::Yes),
            [b'\\'] => return Err(open_escape()),
            [b'\\', escaped, ..] => *escaped,
            [first, ..] => *first,
        };
        while let Some(t) = text.first() {
            if *t == first {
                let depth = self.depth;
                match self.matches(text, pattern)? {
                    Matched::No => self.depth = depth,
                    decided => return Ok(decided),
                }
            }
            text = self.after(text);
        }
        Ok(Matched::Never)
    }
}

fn open_escape() -> RowError {
    RowError::new("22025", "LIKE pattern must not end with escape character")
}

fn like(text: &[u8], pattern: &[u8], characters: bool, wanted: bool) -> Outcome {
    let matched = Matcher { characters, depth: 0 }.matches(text, pattern)?;
    Ok(Value::Bool(matches!(matched, Matched::Yes) == wanted))
}

fn like_text(a: &Value, b: &Value, wanted: bool) -> Outcome {
    like(text(a)?.as_bytes(), text(b)?.as_bytes(), true, wanted)
}

/// Both sides in lower case, by collation C.
fn ilike_text(a: &Value, b: &Value, wanted: bool) -> Outcome {
    like(text(a)?.to_ascii_lowercase().as_bytes(), text(b)?.to_ascii_lowercase().as_bytes(), true, wanted)
}

fn like_bytes(a: &Value, b: &Value, wanted: bool) -> Outcome {
    like(bytes(a)?, bytes(b)?, false, wanted)
}

/// The pattern with another escape character, as one with `\` (`like_match.c`, `do_like_escape`).
fn like_escape(pattern: &Value, escape: &Value) -> Outcome {
    let (pattern_text, escape) = (text(pattern)?, text(escape)?);
    let mut characters = escape.chars();
    let (first, more) = (characters.next(), characters.next());
    if more.is_some() {
        return Err(RowError::new("22025", "invalid escape string"));
    }
    let Some(escape) = first else { return super::built(pattern_text.replace('\\', "\\\\")) };
    if escape == '\\' {
        return Ok(pattern.clone());
    }
    let mut rewritten = String::with_capacity(pattern_text.len());
    let mut escaped = false;
    for c in pattern_text.chars() {
        if c == escape && !escaped {
            rewritten.push('\\');
            escaped = true;
            continue;
        }
        if c == '\\' {
            rewritten.push_str(if escaped { "\\" } else { "\\\\" });
        } else {
            rewritten.push(c);
        }
        escaped = false;
    }
    super::built(rewritten)
}

pub(super) const OPERATORS: &[Function] = &[
    row("~~", &[Text, Text], Bool, Run::Two(|a, b| like_text(a, b, true))),
    row("~~", &[Bpchar, Text], Bool, Run::Two(|a, b| like_text(a, b, true))),
    row("~~", &[Bytea, Bytea], Bool, Run::Two(|a, b| like_bytes(a, b, true))),
    row("!~~", &[Text, Text], Bool, Run::Two(|a, b| like_text(a, b, false))),
    row("!~~", &[Bpchar, Text], Bool, Run::Two(|a, b| like_text(a, b, false))),
    row("!~~", &[Bytea, Bytea], Bool, Run::Two(|a, b| like_bytes(a, b, false))),
    row("~~*", &[Text, Text], Bool, Run::Two(|a, b| ilike_text(a, b, true))).in_c(),
    row("~~*", &[Bpchar, Text], Bool, Run::Two(|a, b| ilike_text(a, b, true))).in_c(),
    row("!~~*", &[Text, Text], Bool, Run::Two(|a, b| ilike_text(a, b, false))).in_c(),
    row("!~~*", &[Bpchar, Text], Bool, Run::Two(|a, b| ilike_text(a, b, false))).in_c(),
    row("^@", &[Text, Text], Bool, Run::Two(|a, b| Ok(Value::Bool(text(a)?.starts_with(text(b)?))))),
];

pub(super) const FUNCTIONS: &[Function] = &[row("like_escape", &[Text, Text], Text, Run::Two(like_escape))];
