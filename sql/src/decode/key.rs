//! The record key: what identifies the row, and its values for tables whose old rows carry only the key.

use std::borrow::Cow;

use serde::de::DeserializeSeed;
use serde_json::value::RawValue;

use super::row::RowSeed;
use super::{DecodeError, Decoder, Row};

/// The key's JSON object without a schema around it, compact, its keys in the order they came in. `None` for a null key.
pub fn key_payload(key: &[u8]) -> Result<Option<Cow<'_, [u8]>>, DecodeError> {
    let Some(payload) = payload(key)? else {
        return Ok(None);
    };
    let compact = compact(payload);
    Ok(Some(match compact {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }))
}

/// The values of the decoder's columns in a record key; `None` for a null key.
pub fn decode_key(decoder: &Decoder, key: &[u8]) -> Result<Option<Row>, DecodeError> {
    let Some(payload) = payload(key)? else {
        return Ok(None);
    };
    let mut json = serde_json::Deserializer::from_str(payload);
    Ok(RowSeed {
        columns: &decoder.columns,
        wires: None,
    }
    .deserialize(&mut json)?)
}

#[derive(serde::Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

fn payload(key: &[u8]) -> Result<Option<&str>, DecodeError> {
    let text = std::str::from_utf8(key)
        .map_err(|e| DecodeError::Malformed(e.to_string()))?
        .trim();
    let raw: &RawValue = serde_json::from_str(text)?;
    if raw.get() == "null" {
        return Ok(None);
    }
    let wrapped: Wrapped<'_> = serde_json::from_str(text)?;
    let payload = match (wrapped.schema, wrapped.payload) {
        (Some(_), Some(payload)) => payload.get(),
        _ => text,
    };
    Ok(if payload == "null" {
        None
    } else {
        Some(payload)
    })
}

/// Without white space between tokens.
fn compact(json: &str) -> Cow<'_, str> {
    let mut in_string = false;
    let mut escaped = false;
    let mut drop = |c: char| {
        if in_string {
            (in_string, escaped) = (escaped || c != '"', !escaped && c == '\\');
            return false;
        }
        in_string = c == '"';
        matches!(c, ' ' | '\t' | '\n' | '\r')
    };
    if json.chars().any(&mut drop) {
        (in_string, escaped) = (false, false);
        let mut kept = String::with_capacity(json.len());
        for c in json.chars() {
            if in_string {
                (in_string, escaped) = (escaped || c != '"', !escaped && c == '\\');
            } else {
                in_string = c == '"';
                if matches!(c, ' ' | '\t' | '\n' | '\r') {
                    continue;
                }
            }
            kept.push(c);
        }
        return Cow::Owned(kept);
    }
    Cow::Borrowed(json)
}
