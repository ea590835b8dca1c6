//! `format`: texts by a template of `%s`, `%I`, `%L` (`varlena.c`, `text_format`).

use std::str::Chars;

use super::super::Base::*;
use super::super::argument::text;
use super::super::{Argument, Function, Outcome, Run, VALUE_BYTES_MAX, row};
use super::join::output;
use super::{built, quote, too_long};
use crate::error::RowError;
use crate::value::{Type, Value};

fn wrong(message: impl Into<String>) -> RowError {
    RowError::new("22023", message)
}

/// Where a width or an argument comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Next,
    /// `n$`
    At(usize),
}

enum Width {
    Fixed(i64),
    Argument(From),
}

/// What stands between `%` and the letter.
struct Specifier {
    argument: From,
    left: bool,
    width: Width,
}

fn peek(rest: &Chars<'_>) -> Result<char, RowError> {
    rest.clone().next().ok_or_else(|| wrong("unterminated format() type specifier"))
}

/// Digits, if there are any. Something must follow.
fn number(rest: &mut Chars<'_>) -> Result<Option<i64>, RowError> {
    let mut number = None;
    while let Some(digit) = peek(rest)?.to_digit(10) {
        rest.next();
        let next = number.unwrap_or(0) * 10 + i64::from(digit);
        if next > i64::from(i32::MAX) {
            return Err(RowError::new("22003", "number is out of range"));
        }
        number = Some(next);
    }
    Ok(number)
}

fn position(number: i64) -> Result<From, RowError> {
    match usize::try_from(number) {
        Ok(position @ 1..) => Ok(From::At(position)),
        _ => Err(wrong("format specifies argument 0, but arguments are numbered from 1")),
    }
}

fn specifier(rest: &mut Chars<'_>) -> Result<Specifier, RowError> {
    let mut specifier = Specifier { argument: From::Next, left: false, width: Width::Fixed(0) };
    if let Some(n) = number(rest)? {
        if peek(rest)? != '$' {
            specifier.width = Width::Fixed(n);
            return Ok(specifier);
        }
        specifier.argument = position(n)?;
        rest.next();
        peek(rest)?;
    }
    while peek(rest)? == '-' {
        specifier.left = true;
        rest.next();
    }
    if peek(rest)? == '*' {
        rest.next();
        specifier.width = Width::Argument(match number(rest)? {
            None => From::Next,
            Some(n) => {
                if peek(rest)? != '$' {
                    return Err(wrong("width argument position must be ended by \"$\""));
                }
                rest.next();
                position(n)?
            }
        });
    } else if let Some(n) = number(rest)? {
        specifier.width = Width::Fixed(n);
    }
    peek(rest)?;
    Ok(specifier)
}

/// The arguments behind the template, and which is the next.
struct Arguments<'a> {
    all: &'a [Argument<'a>],
    next: usize,
}

impl<'a> Arguments<'a> {
    fn take(&mut self, from: From) -> Result<&'a Argument<'a>, RowError> {
        if let From::At(position) = from {
            self.next = position;
        }
        let argument = self.all.get(self.next).ok_or_else(|| wrong("too few arguments for format()"))?;
        self.next += 1;
        Ok(argument)
    }

    fn width(&mut self, width: &Width) -> Result<i64, RowError> {
        let from = match width {
            Width::Fixed(width) => return Ok(*width),
            Width::Argument(from) => *from,
        };
        match self.take(from)? {
            (_, value) if value.is_null() => Ok(0),
            (Type::Int2 | Type::Int4, value) => super::super::argument::int(value),
            (ty, value) => match Value::from_text(&Type::Int4, &output(ty, value))? {
                Value::Int(width) => Ok(width),
                other => Err(super::super::argument::mismatch(&other, "an integer")),
            },
        }
    }
}

fn converted(letter: char, (ty, value): &Argument<'_>) -> Result<String, RowError> {
    if value.is_null() {
        return match letter {
            'I' => Err(RowError::new("22004", "null values cannot be formatted as an SQL identifier")),
            'L' => Ok("NULL".to_owned()),
            _ => Ok(String::new()),
        };
    }
    let shown = output(ty, value);
    Ok(match letter {
        'I' => quote::identifier(&shown).into_owned(),
        'L' => quote::literal(&shown),
        _ => shown.into_owned(),
    })
}

fn push_padded(out: &mut String, shown: &str, width: i64, left: bool) -> Result<(), RowError> {
    if width == i64::from(i32::MIN) {
        return Err(RowError::new("22003", "number is out of range"));
    }
    let left = left || width < 0;
    let width = usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX);
    let missing = width.saturating_sub(shown.chars().count());
    if missing + shown.len() + out.len() > VALUE_BYTES_MAX {
        return Err(too_long());
    }
    let padding = " ".repeat(missing);
    let (before, after) = if left { ("", padding.as_str()) } else { (padding.as_str(), "") };
    out.extend([before, shown, after]);
    Ok(())
}

fn format(arguments: &[Argument<'_>]) -> Outcome {
    let template = match arguments.first() {
        Some((_, template)) if !template.is_null() => text(template)?,
        _ => return Ok(Value::Null),
    };
    let mut arguments = Arguments { all: arguments, next: 1 };
    let mut out = String::new();
    let mut rest = template.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if peek(&rest)? == '%' {
            rest.next();
            out.push('%');
            continue;
        }
        let specifier = specifier(&mut rest)?;
        let letter = peek(&rest)?;
        rest.next();
        if !matches!(letter, 's' | 'I' | 'L') {
            return Err(wrong(format!("unrecognized format() type specifier \"{letter}\"")));
        }
        let width = arguments.width(&specifier.width)?;
        let shown = converted(letter, arguments.take(specifier.argument)?)?;
        push_padded(&mut out, &shown, width, specifier.left)?;
    }
    built(out)
}

pub(super) const FUNCTIONS: &[Function] =
    &[row("format", &[Text], Text, Run::Typed(format)).stable(), row("format", &[Text, Any], Text, Run::Typed(format)).stable()];
