//! A line as a Kafka record.
//!
//! Either the record itself, `{"key": ..., "value": ...}` with JSON or text that holds JSON in both, or a Debezium envelope alone. What a test
//! leaves out is filled in: an envelope alone has a key, and one without `source` comes from the pipeline's table.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::source::Record;

/// What stands for the key where none is written.
const SOME_KEY: &str = "{}";

/// Reads a line. `table`: the topic prefix, schema and name of the source table. The error says what is wrong with the line.
pub fn read(text: &str, number: usize, table: [&str; 3]) -> Result<Record, String> {
    let line: &RawValue = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let members = members(line.get());
    let is_record = members.contains_key("value") && !members.contains_key("op") && !members.contains_key("payload");
    let (key, value) = if is_record {
        let key = members.get("key").map_or(Ok(Some(SOME_KEY.into())), |key| content(key));
        (key?, members.get("value").map_or(Ok(None), |value| content(value))?)
    } else {
        (Some(SOME_KEY.into()), content(line)?)
    };
    let value = value.map(|value| with_source(value, number, table));
    let bytes = |text: Cow<'_, str>| Bytes::from(text.into_owned());
    let offset = i64::try_from(number).unwrap_or(i64::MAX);
    Ok(Record { partition: 0, offset, timestamp_ms: 0, key: key.map(bytes), value: value.map(bytes) })
}

fn members(json: &str) -> HashMap<String, &RawValue> {
    serde_json::from_str(json).unwrap_or_default()
}

/// The bytes of a key or value: JSON as it is, the content of a text, nothing for null.
fn content(json: &RawValue) -> Result<Option<Cow<'_, str>>, String> {
    match json.get().as_bytes().first() {
        Some(b'n') => Ok(None),
        Some(b'"') => serde_json::from_str::<String>(json.get()).map(|text| Some(text.into())).map_err(|error| error.to_string()),
        _ => Ok(Some(json.get().into())),
    }
}

/// An envelope that has an operation and no source, as one writes it by hand, gets one.
fn with_source<'a>(value: Cow<'a, str>, number: usize, [name, schema, table]: [&str; 3]) -> Cow<'a, str> {
    let members = members(&value);
    if !members.contains_key("op") || ["source", "payload"].iter().any(|key| members.contains_key(*key)) {
        return value;
    }
    let Some((before, rest)) = value.split_once('{') else { return value };
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let (name, schema, table) = (quoted(name), quoted(schema), quoted(table));
    let sequence = quoted(&format!("[null,\"{number}\"]"));
    let source = format!(r#""source":{{"name":{name},"schema":{schema},"table":{table},"sequence":{sequence},"ts_us":0}}"#);
    format!("{before}{{{source},{rest}").into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(bytes: Option<Bytes>) -> Option<String> {
        bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn of(line: &str) -> (Option<String>, Option<String>) {
        let record = read(line, 7, ["p", "s", "t"]).unwrap();
        (text(record.key), text(record.value))
    }

    #[test]
    fn records_and_envelopes() {
        let some = |text: &str| Some(text.to_owned());
        let envelope = r#"{"op":"c","source":{},"after":{"value":1}}"#;
        assert_eq!(of(envelope), (some("{}"), some(envelope)));
        assert_eq!(of(&format!(r#"{{"key":{{"id":1}},"value":{envelope}}}"#)), (some(r#"{"id":1}"#), some(envelope)));
        assert_eq!(of(r#"{"key":"{\"id\":1}","value":"{\"a\""}"#), (some(r#"{"id":1}"#), some(r#"{"a""#)));
        assert_eq!(of(r#"{"key":null,"value":null,"offset":3}"#), (None, None));
        assert_eq!(of("null"), (some("{}"), None));
        assert_eq!(of(r#"{"schema":null,"payload":{"op":"c"}}"#).1, some(r#"{"schema":null,"payload":{"op":"c"}}"#));
        assert!(read("{", 1, ["p", "s", "t"]).is_err());
    }

    #[test]
    fn an_envelope_without_a_source_comes_from_the_pipelines_table() {
        let source = r#""source":{"name":"p","schema":"s","table":"t","sequence":"[null,\"7\"]","ts_us":0}"#;
        assert_eq!(of(r#"{ "op":"c"}"#).1, Some(format!(r#"{{{source}, "op":"c"}}"#)));
        assert_eq!(of(r#"{"after":{}}"#).1, Some(r#"{"after":{}}"#.to_owned()));
    }
}
