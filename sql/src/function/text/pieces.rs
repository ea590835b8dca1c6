//! Parts of texts: substrings, padding, trimming, searching, splitting (`varlena.c`, `oracle_compat.c`).
//!
//! Positions and lengths count characters and begin at 1.

use std::borrow::Cow;

use super::super::Base::*;
use super::super::argument::{bytes, int, text};
use super::super::{Function, Outcome, Run, VALUE_BYTES_MAX, row};
use super::{built, count, too_long};
use crate::error::RowError;
use crate::value::Value;

fn size(n: i64) -> usize {
    usize::try_from(n).unwrap_or(0)
}

/// Bytes up to the character of that index, or all.
fn bytes_of(text: &str, characters: usize) -> usize {
    text.char_indices().nth(characters).map_or(text.len(), |(at, _)| at)
}

/// The characters to skip and to take for a substring; `None`: all that follow.
fn window(start: i64, length: Option<i64>) -> Result<(usize, Option<usize>), RowError> {
    let Some(length) = length else { return Ok((size(start - 1), None)) };
    if length < 0 {
        return Err(RowError::new("22011", "negative substring length not allowed"));
    }
    let end = start + length;
    if end > i64::from(i32::MAX) {
        return Ok((size(start - 1), None));
    }
    Ok((size(start - 1), Some(size(end - start.max(1)))))
}

fn substring(value: &Value, start: &Value, length: Option<&Value>) -> Outcome {
    let (skip, take) = window(int(start)?, length.map(int).transpose()?)?;
    let text = text(value)?;
    let rest = &text[bytes_of(text, skip)..];
    built(rest[..take.map_or(rest.len(), |n| bytes_of(rest, n))].to_owned())
}

fn substring_of_bytes(value: &Value, start: &Value, length: Option<&Value>) -> Outcome {
    let (skip, take) = window(int(start)?, length.map(int).transpose()?)?;
    let bytes = bytes(value)?;
    let rest = bytes.get(skip..).unwrap_or(&[]);
    Ok(Value::Bytea(rest[..take.unwrap_or(rest.len()).min(rest.len())].into()))
}

/// The first n characters, or all but the last -n.
fn left(value: &Value, n: &Value) -> Outcome {
    let (text, n) = (text(value)?, int(n)?);
    let take = if n >= 0 { size(n) } else { text.chars().count().saturating_sub(size(-n)) };
    built(text[..bytes_of(text, take)].to_owned())
}

/// The last n characters, or all but the first -n. The smallest integer has no negative there: nothing is left out.
fn right(value: &Value, n: &Value) -> Outcome {
    let (text, n) = (text(value)?, int(n)?);
    let skip = if n == i64::from(i32::MIN) {
        0
    } else if n < 0 {
        size(-n)
    } else {
        text.chars().count().saturating_sub(size(n))
    };
    built(text[bytes_of(text, skip)..].to_owned())
}

/// `lpad` and `rpad`: cut or filled to a length.
fn pad(value: &Value, length: &Value, fill: &str, before: bool) -> Outcome {
    let (text, length) = (text(value)?, size(int(length)?));
    if length > VALUE_BYTES_MAX {
        return Err(too_long());
    }
    let own = text.chars().count().min(length);
    let kept = &text[..bytes_of(text, own)];
    let padding: String = fill.chars().cycle().take(if fill.is_empty() { 0 } else { length - own }).collect();
    built(if before { padding + kept } else { format!("{kept}{padding}") })
}

#[derive(Clone, Copy)]
enum Side {
    Start,
    End,
    Both,
}

fn trim(value: &Value, set: &str, side: Side) -> Outcome {
    let mut text = text(value)?;
    let in_set = |c: char| set.contains(c);
    if !matches!(side, Side::End) {
        text = text.trim_start_matches(in_set);
    }
    if !matches!(side, Side::Start) {
        text = text.trim_end_matches(in_set);
    }
    built(text.to_owned())
}

fn trim_bytes(value: &Value, set: &Value, side: Side) -> Outcome {
    let (mut rest, set) = (bytes(value)?, bytes(set)?);
    while let Some((first, tail)) = rest.split_first()
        && !matches!(side, Side::End)
        && set.contains(first)
    {
        rest = tail;
    }
    while let Some((last, head)) = rest.split_last()
        && !matches!(side, Side::Start)
        && set.contains(last)
    {
        rest = head;
    }
    Ok(Value::Bytea(rest.into()))
}

/// The character at which the other text begins, or 0.
fn position(value: &Value, searched: &Value) -> Outcome {
    let (text, searched) = (text(value)?, text(searched)?);
    match text.find(searched) {
        Some(at) => count(text[..at].chars().count() + 1),
        None => Ok(Value::Int(0)),
    }
}

fn position_in_bytes(value: &Value, searched: &Value) -> Outcome {
    let (bytes, searched) = (bytes(value)?, bytes(searched)?);
    if searched.is_empty() {
        return Ok(Value::Int(1));
    }
    count(bytes.windows(searched.len()).position(|w| w == searched).map_or(0, |at| at + 1))
}

fn replace(value: &Value, from: &Value, to: &Value) -> Outcome {
    let (whole, from, to) = (text(value)?, text(from)?, text(to)?);
    if from.is_empty() || !whole.contains(from) {
        return Ok(value.clone());
    }
    if whole.matches(from).count().saturating_mul(to.len()) > VALUE_BYTES_MAX {
        return Err(too_long());
    }
    built(whole.replace(from, to))
}

/// Character by character; what has no counterpart is removed.
fn translate(value: &Value, from: &Value, to: &Value) -> Outcome {
    let (text, from, to) = (text(value)?, text(from)?, text(to)?);
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    let mapped = text.chars().filter_map(|c| match from.iter().position(|f| *f == c) {
        None => Some(c),
        Some(index) => to.get(index).copied(),
    });
    built(mapped.collect())
}

/// The n-th field, or the n-th from the end.
fn split_part(value: &Value, separator: &Value, n: &Value) -> Outcome {
    let (text, separator, n) = (text(value)?, text(separator)?, int(n)?);
    if n == 0 {
        return Err(RowError::new("22023", "field position must not be zero"));
    }
    if text.is_empty() || separator.is_empty() {
        return built(if n == 1 || n == -1 { text.to_owned() } else { String::new() });
    }
    let index = usize::try_from(n.unsigned_abs() - 1).unwrap_or(usize::MAX);
    let field = if n > 0 {
        text.split(separator).nth(index)
    } else {
        // Fields are counted from the left, also when separators overlap.
        let fields = text.split(separator).count();
        fields.checked_sub(index + 1).and_then(|i| text.split(separator).nth(i))
    };
    built(field.unwrap_or("").to_owned())
}

fn repeat(value: &Value, n: &Value) -> Outcome {
    let (text, n) = (text(value)?, size(int(n)?));
    if text.len().saturating_mul(n) > VALUE_BYTES_MAX {
        return Err(too_long());
    }
    built(text.repeat(n))
}

/// Characters from `start` replaced (`text_overlay`); without a length as many as the replacement has.
fn overlay(value: &Value, replacement: &Value, start: i64, length: Option<i64>) -> Outcome {
    let (whole, replacement) = (text(value)?, text(replacement)?);
    let length = length.unwrap_or_else(|| i64::try_from(replacement.chars().count()).unwrap_or(i64::MAX));
    let end = overlaid_until(start, length)?;
    let (head, tail) = (bytes_of(whole, size(start - 1)), bytes_of(whole, size(end - 1)));
    built([&whole[..head], replacement, &whole[tail..]].concat())
}

fn overlay_bytes(value: &Value, replacement: &Value, start: i64, length: Option<i64>) -> Outcome {
    let (whole, replacement) = (bytes(value)?, bytes(replacement)?);
    let length = length.unwrap_or_else(|| i64::try_from(replacement.len()).unwrap_or(i64::MAX));
    let end = overlaid_until(start, length)?;
    let (head, tail) = (whole.get(..size(start - 1)).unwrap_or(whole), whole.get(size(end - 1)..).unwrap_or(&[]));
    let joined = [head, replacement, tail].concat();
    if joined.len() > VALUE_BYTES_MAX { Err(too_long()) } else { Ok(Value::Bytea(joined.into())) }
}

fn overlaid_until(start: i64, length: i64) -> Result<i64, RowError> {
    if start <= 0 {
        return Err(RowError::new("22011", "negative substring length not allowed"));
    }
    let end = i32::try_from(start + length).map_err(|_| RowError::new("22003", "integer out of range"))?;
    Ok(end.into())
}

type Overlay = fn(&Value, &Value, i64, Option<i64>) -> Outcome;

/// `overlay` with its length.
fn overlay_of(arguments: &[Cow<'_, Value>], overlay: Overlay) -> Outcome {
    match arguments {
        [value, replacement, start, length] => overlay(value, replacement, int(start)?, Some(int(length)?)),
        _ => Err(RowError::new("XX000", "overlay takes four arguments")),
    }
}

const REGEX: &str = "use substring(text, from, length), split_part or strpos";

pub(super) const FUNCTIONS: &[Function] = &[
    row("substring", &[Text, Int4], Text, Run::Two(|a, b| substring(a, b, None))),
    row("substring", &[Text, Int4, Int4], Text, Run::Three(|a, b, c| substring(a, b, Some(c)))),
    row("substring", &[Bytea, Int4], Bytea, Run::Two(|a, b| substring_of_bytes(a, b, None))),
    row("substring", &[Bytea, Int4, Int4], Bytea, Run::Three(|a, b, c| substring_of_bytes(a, b, Some(c)))),
    row("substring", &[Text, Text], Text, Run::Refused(REGEX)),
    row("substring", &[Text, Text, Text], Text, Run::Refused(REGEX)),
    row("substr", &[Text, Int4], Text, Run::Two(|a, b| substring(a, b, None))),
    row("substr", &[Text, Int4, Int4], Text, Run::Three(|a, b, c| substring(a, b, Some(c)))),
    row("substr", &[Bytea, Int4], Bytea, Run::Two(|a, b| substring_of_bytes(a, b, None))),
    row("substr", &[Bytea, Int4, Int4], Bytea, Run::Three(|a, b, c| substring_of_bytes(a, b, Some(c)))),
    row("left", &[Text, Int4], Text, Run::Two(left)),
    row("right", &[Text, Int4], Text, Run::Two(right)),
    row("lpad", &[Text, Int4], Text, Run::Two(|a, b| pad(a, b, " ", true))),
    row("lpad", &[Text, Int4, Text], Text, Run::Three(|a, b, c| pad(a, b, text(c)?, true))),
    row("rpad", &[Text, Int4], Text, Run::Two(|a, b| pad(a, b, " ", false))),
    row("rpad", &[Text, Int4, Text], Text, Run::Three(|a, b, c| pad(a, b, text(c)?, false))),
    row("btrim", &[Text], Text, Run::One(|a| trim(a, " ", Side::Both))),
    row("btrim", &[Text, Text], Text, Run::Two(|a, b| trim(a, text(b)?, Side::Both))),
    row("btrim", &[Bytea, Bytea], Bytea, Run::Two(|a, b| trim_bytes(a, b, Side::Both))),
    row("ltrim", &[Text], Text, Run::One(|a| trim(a, " ", Side::Start))),
    row("ltrim", &[Text, Text], Text, Run::Two(|a, b| trim(a, text(b)?, Side::Start))),
    row("ltrim", &[Bytea, Bytea], Bytea, Run::Two(|a, b| trim_bytes(a, b, Side::Start))),
    row("rtrim", &[Text], Text, Run::One(|a| trim(a, " ", Side::End))),
    row("rtrim", &[Text, Text], Text, Run::Two(|a, b| trim(a, text(b)?, Side::End))),
    row("rtrim", &[Bytea, Bytea], Bytea, Run::Two(|a, b| trim_bytes(a, b, Side::End))),
    row("position", &[Text, Text], Int4, Run::Two(position)),
    row("position", &[Bytea, Bytea], Int4, Run::Two(position_in_bytes)),
    row("strpos", &[Text, Text], Int4, Run::Two(position)),
    row("replace", &[Text, Text, Text], Text, Run::Three(replace)),
    row("translate", &[Text, Text, Text], Text, Run::Three(translate)),
    row("split_part", &[Text, Text, Int4], Text, Run::Three(split_part)),
    row("overlay", &[Text, Text, Int4], Text, Run::Three(|a, b, c| overlay(a, b, int(c)?, None))),
    row("overlay", &[Text, Text, Int4, Int4], Text, Run::List(|all| overlay_of(all, overlay))),
    row("overlay", &[Bytea, Bytea, Int4], Bytea, Run::Three(|a, b, c| overlay_bytes(a, b, int(c)?, None))),
    row("overlay", &[Bytea, Bytea, Int4, Int4], Bytea, Run::List(|all| overlay_of(all, overlay_bytes))),
    row("repeat", &[Text, Int4], Text, Run::Two(repeat)),
    row("reverse", &[Text], Text, Run::One(|a| built(text(a)?.chars().rev().collect()))),
    row("starts_with", &[Text, Text], Bool, Run::Two(|a, b| Ok(Value::Bool(text(a)?.starts_with(text(b)?))))),
];
