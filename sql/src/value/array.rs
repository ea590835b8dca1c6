//! Text of one-dimensional arrays: `array_in` and `array_out`.

use super::input::is_space;
use super::{Type, Value};
use crate::error::RowError;

/// `{1,NULL,"a b"}`.
pub(super) fn push_array(out: &mut String, items: &[Value], element: &Type) {
    out.push('{');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        match item {
            Value::Null => out.push_str("NULL"),
            // The output function's letters; `true` and `false` are what the cast to text gives.
            Value::Bool(b) => out.push(if *b { 't' } else { 'f' }),
            _ => push_item(out, &item.to_text(element)),
        }
    }
    out.push('}');
}

fn push_item(out: &mut String, text: &str) {
    let special = |c: char| matches!(c, '"' | '\\' | '{' | '}' | ',') || is_space(c);
    if !text.is_empty() && !text.eq_ignore_ascii_case("null") && !text.contains(special) {
        return out.push_str(text);
    }
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

/// Reads `{1,NULL,"a b"}`. Fails with 22P02, and with 0A000 for more dimensions and for bounds that do not start at 1.
pub(super) fn parse_array(text: &str, element: &Type) -> Result<Vec<Value>, RowError> {
    let malformed = || RowError::new("22P02", format!("malformed array literal: \"{text}\""));
    let trimmed = text.trim_matches(is_space);
    if trimmed.starts_with('[') {
        return Err(RowError::new("0A000", "arrays with explicit bounds are not supported"));
    }
    let mut rest = trimmed.strip_prefix('{').ok_or_else(malformed)?.trim_start_matches(is_space);
    let mut items = Vec::new();
    if rest == "}" {
        return Ok(items);
    }
    loop {
        if rest.starts_with('{') {
            return Err(RowError::new("0A000", "multidimensional arrays are not supported"));
        }
        let (item, after) = read_item(rest).ok_or_else(malformed)?;
        items.push(item.map_or(Ok(Value::Null), |item| Value::from_text(element, &item))?);
        match after.as_bytes().first() {
            Some(b',') => rest = after[1..].trim_start_matches(is_space),
            Some(b'}') if after.len() == 1 => return Ok(items),
            _ => return Err(malformed()),
        }
    }
}

/// One element (`None` for NULL), and what follows it: a comma or a brace.
fn read_item(text: &str) -> Option<(Option<String>, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        let mut item = String::new();
        let mut chars = quoted.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => return Some((Some(item), quoted[at + 1..].trim_start_matches(is_space))),
                '\\' => item.push(chars.next()?.1),
                c => item.push(c),
            }
        }
        return None;
    }
    let mut item = String::new();
    // White space at the end is dropped, but not where a backslash protects it.
    let mut kept = 0;
    let mut escaped_any = false;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            ',' | '}' => {
                item.truncate(kept);
                if item.is_empty() {
                    return None;
                }
                let null = !escaped_any && item.eq_ignore_ascii_case("null");
                return Some(((!null).then_some(item), &text[at..]));
            }
            '"' | '{' => return None,
            '\\' => {
                item.push(chars.next()?.1);
                escaped_any = true;
                kept = item.len();
            }
            c => {
                item.push(c);
                if !is_space(c) {
                    kept = item.len();
                }
            }
        }
    }
    None
}
