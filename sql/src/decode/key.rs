//! The record key: what identifies the row, and its values for tables whose old rows carry only the key.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::DeserializeSeed;
use serde_json::value::RawValue;

use super::row::RowSeed;
use super::schema;
use super::{DecodeError, Decoder, Row, VALUE_BYTES_MAX};

/// The key's JSON object without the schema around it, without white space, its columns in the order they came in: the same
/// row gives the same bytes with either converter setting. `None` for a null key.
pub fn key_payload(key: &[u8]) -> Result<Option<Cow<'_, [u8]>>, DecodeError> {
    let Some(key) = Key::read(key)? else { return Ok(None) };
    Ok(Some(match compact(key.payload) {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }))
}

/// The values of the decoder's columns in a record key; `None` for a null key.
pub fn decode_key(decoder: &Decoder, key: &[u8]) -> Result<Option<Row>, DecodeError> {
    let Some(key) = Key::read(key)? else { return Ok(None) };
    let wires = key.schema.map(|s| schema::key_wires(s, &decoder.columns)).transpose()?;
    let mut json = serde_json::Deserializer::from_str(key.payload);
    Ok(RowSeed { columns: &decoder.columns, wires: wires.as_deref().or(decoder.plain_wires.as_deref()) }.deserialize(&mut json)?)
}

/// A key's two parts as text.
struct Key<'a> {
    schema: Option<&'a str>,
    payload: &'a str,
}

/// The form with a schema. A table may have columns of these names, but a column's value is never a schema object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped<'a> {
    #[serde(borrow)]
    schema: &'a RawValue,
    #[serde(borrow)]
    payload: &'a RawValue,
}

impl<'a> Key<'a> {
    fn read(key: &'a [u8]) -> Result<Option<Key<'a>>, DecodeError> {
        if key.len() > VALUE_BYTES_MAX {
            return Err(DecodeError::TooLarge { bytes: key.len() });
        }
        let text = std::str::from_utf8(key).map_err(|e| DecodeError::Malformed(e.to_string()))?;
        let raw: &RawValue = serde_json::from_str(text)?;
        let key = match serde_json::from_str::<Wrapped<'_>>(text) {
            Ok(w) if w.schema.get().starts_with('{') || w.payload.get() == "null" => {
                Key { schema: Some(w.schema.get()).filter(|s| s.starts_with('{')), payload: w.payload.get() }
            }
            _ => Key { schema: None, payload: raw.get() },
        };
        match key.payload.as_bytes().first() {
            Some(b'{') => Ok(Some(key)),
            Some(b'n') => Ok(None),
            _ => Err(DecodeError::NotAnEnvelope("the key is not an object".into())),
        }
    }
}

/// Without white space between tokens.
fn compact(json: &str) -> Cow<'_, str> {
    let mut in_string = false;
    let mut escaped = false;
    let mut is_dropped = |c: char| {
        if in_string {
            (in_string, escaped) = (escaped || c != '"', !escaped && c == '\\');
            return false;
        }
        in_string = c == '"';
        matches!(c, ' ' | '\t' | '\n' | '\r')
    };
    let Some((first, _)) = json.char_indices().find(|(_, c)| is_dropped(*c)) else { return Cow::Borrowed(json) };
    let mut kept = json[..first].to_owned();
    // The first one that is dropped lies outside of strings, and so does what follows it.
    kept.extend(json[first + 1..].chars().filter(|c| !is_dropped(*c)));
    Cow::Owned(kept)
}
