//! CloudEvents 1.0 in JSON, one or a batch: bytes -> events.
//!
//! Every event keeps its own bytes, untouched, whatever extensions and rows it holds; what is read out of it are the required
//! attributes and a few columns that the dashboard knows. A row without those columns is as welcome as any. Not done: the binary
//! content mode, and any check of `data` against a schema.

use axum::body::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::timestamp;

/// Content type of a batch.
pub const BATCH_TYPE: &str = "application/cloudevents-batch+json";
/// Content type of a single event.
pub const SINGLE_TYPE: &str = "application/cloudevents+json";

/// Shown in place of a column that is NULL.
pub const NULL_LABEL: &str = "(null)";

const REASON_CHARS_MAX: usize = 200;

/// One event: its own bytes, and what was read out of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What an event is known by: the same when it is delivered again.
    pub id: String,
    /// The CloudEvents `type`, for example `highwater.row.insert`.
    pub kind: String,
    /// `data.op`, if there is one.
    pub op: Option<String>,
    /// The CloudEvents `time`, in microseconds since the epoch.
    pub time_us: Option<i64>,
    /// The columns that the dashboard knows, of the row after the change, or before it when there is none after.
    pub columns: Columns,
    /// The whole event, byte for byte.
    pub body: Bytes,
}

/// Columns of the demo's rows, as text; `None` where a row has no such column or holds something that is not a scalar.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    /// `content_id`
    pub content_id: Option<String>,
    /// `content_type`
    pub content_type: Option<String>,
    /// `event_type`
    pub event_type: Option<String>,
    /// `device`
    pub device: Option<String>,
    /// `engagement_seconds`
    pub engagement_seconds: Option<String>,
}

/// The attributes that are read, and the two rows as they stand in the event.
#[derive(Debug, Deserialize)]
pub struct Envelope<'a> {
    specversion: String,
    /// Required by the specification, never empty.
    pub id: String,
    /// Required by the specification, never empty.
    pub source: String,
    /// Required by the specification, never empty.
    #[serde(rename = "type")]
    pub kind: String,
    /// Optional.
    pub subject: Option<String>,
    /// Optional, RFC 3339.
    pub time: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// What `data` holds in Highwater's events. All of it is missing in anybody else's.
#[derive(Debug, Default, Deserialize)]
pub struct Data<'a> {
    /// `insert`, `update`, `delete`, `truncate` or `snapshot`.
    #[serde(default)]
    pub op: Option<String>,
    /// The result row before the change.
    #[serde(borrow, default)]
    pub before: Option<&'a RawValue>,
    /// The result row after the change.
    #[serde(borrow, default)]
    pub after: Option<&'a RawValue>,
}

/// Why a body is refused. `event` counts from 0.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Neither of the two content types.
    #[error("content-type is neither {BATCH_TYPE} nor {SINGLE_TYPE}")]
    ContentType,
    /// Not JSON, or not an array of objects (a batch) or an object (a single event).
    #[error("the body is not JSON of the kind that its content-type names: {0}")]
    Json(String),
    /// JSON, but an attribute is missing, empty or of the wrong type.
    #[error("event {event} is not a CloudEvent 1.0: {reason}")]
    CloudEvent {
        /// Position in the batch, from 0.
        event: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// Reads a request's body by its content type; parameters such as `charset` are ignored.
///
/// # Errors
/// If anything in the body is wrong, the whole body is refused.
pub fn parse_body(content_type: Option<&str>, body: &Bytes) -> Result<Vec<Event>, Error> {
    let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let text = std::str::from_utf8(body).map_err(|error| Error::Json(error.to_string()));
    let json = |error: serde_json::Error| Error::Json(brief(&error.to_string()));
    let raw_events: Vec<&RawValue> = if media_type.eq_ignore_ascii_case(BATCH_TYPE) {
        serde_json::from_str(text?).map_err(json)?
    } else if media_type.eq_ignore_ascii_case(SINGLE_TYPE) {
        vec![serde_json::from_str(text?).map_err(json)?]
    } else {
        return Err(Error::ContentType);
    };
    let numbered = raw_events.into_iter().enumerate();
    numbered
        .map(|(event, raw)| {
            // A slice of the request's buffer, not a copy of it.
            Event::parse(body.slice_ref(raw.get().as_bytes())).map_err(|reason| Error::CloudEvent { event, reason })
        })
        .collect()
}

impl Event {
    /// Reads one event; the error says what is wrong with it.
    ///
    /// # Errors
    /// A required attribute is missing, empty or of the wrong type.
    pub fn parse(body: Bytes) -> Result<Self, String> {
        let text = std::str::from_utf8(&body).map_err(|error| error.to_string())?;
        let envelope = Envelope::parse(text)?;
        let time_us = match &envelope.time {
            Some(time) => Some(timestamp::parse(time).ok_or("time is not an RFC 3339 date-time")?),
            None => None,
        };
        let data = envelope.data();
        let columns = data.after.or(data.before).map(Columns::read).unwrap_or_default();
        let (op, id, kind) = (data.op, envelope.id, envelope.kind);
        Ok(Self { id, kind, op, time_us, columns, body })
    }

    /// Whether the event adds a row. Breakdowns count these alone, so that a row that is updated ten times counts once.
    #[must_use]
    pub fn is_insert(&self) -> bool {
        self.op.as_deref() == Some("insert")
    }
}

impl<'a> Envelope<'a> {
    /// Reads the attributes of one event; the error says what is wrong with it.
    ///
    /// # Errors
    /// A required attribute is missing, empty or of the wrong type.
    pub fn parse(text: &'a str) -> Result<Self, String> {
        // serde would read a struct from an array too.
        if !text.starts_with('{') {
            return Err("it is not an object".to_owned());
        }
        let envelope: Self = serde_json::from_str(text).map_err(|error| brief(&error.to_string()))?;
        if envelope.specversion != "1.0" {
            return Err("specversion is not \"1.0\"".to_owned());
        }
        for (name, value) in [("id", &envelope.id), ("source", &envelope.source), ("type", &envelope.kind)] {
            if value.is_empty() {
                return Err(format!("{name} is empty"));
            }
        }
        Ok(envelope)
    }

    /// Highwater's `data`; empty if the event holds something else.
    #[must_use]
    pub fn data(&self) -> Data<'a> {
        let object = self.data.filter(|raw| raw.get().starts_with('{'));
        object.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    }
}

impl Columns {
    fn read(row: &RawValue) -> Self {
        #[derive(Deserialize, Default)]
        struct Row<'a> {
            #[serde(borrow, default, deserialize_with = "present")]
            content_id: Option<&'a RawValue>,
            #[serde(borrow, default, deserialize_with = "present")]
            content_type: Option<&'a RawValue>,
            #[serde(borrow, default, deserialize_with = "present")]
            event_type: Option<&'a RawValue>,
            #[serde(borrow, default, deserialize_with = "present")]
            device: Option<&'a RawValue>,
            #[serde(borrow, default, deserialize_with = "present")]
            engagement_seconds: Option<&'a RawValue>,
        }
        if !row.get().starts_with('{') {
            return Self::default();
        }
        let row: Row<'_> = serde_json::from_str(row.get()).unwrap_or_default();
        Self {
            content_id: row.content_id.and_then(scalar_text),
            content_type: row.content_type.and_then(scalar_text),
            event_type: row.event_type.and_then(scalar_text),
            device: row.device.and_then(scalar_text),
            engagement_seconds: row.engagement_seconds.and_then(scalar_text),
        }
    }
}

/// Keeps a JSON null apart from a missing column.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// A string's content, a number or boolean as it is written, NULL as its label; nothing for arrays and objects.
fn scalar_text(raw: &RawValue) -> Option<String> {
    match raw.get().as_bytes().first()? {
        b'"' => serde_json::from_str(raw.get()).ok(),
        b'[' | b'{' => None,
        b'n' => Some(NULL_LABEL.to_owned()),
        _ => Some(raw.get().to_owned()),
    }
}

/// The parser's messages can repeat what was sent, so they are cut.
fn brief(reason: &str) -> String {
    reason.chars().take(REASON_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const INSERT: &str = r#"{"specversion":"1.0","id":"e1","source":"/s","type":"highwater.row.insert","subject":"7",
        "time":"2026-01-15T10:30:00.000001Z","datacontenttype":"application/json","traceparent":"x",
        "data":{"op":"insert","before":null,"after":{"id":7,"content_id":"c-1","event_type":"play","device":null,
        "engagement_seconds":8.0030000,"tags":["a"]}}}"#;

    fn batch(body: &str) -> Result<Vec<Event>, Error> {
        parse_body(Some(BATCH_TYPE), &Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn reads_a_batch_and_keeps_every_byte() {
        let events = batch(&format!("[{INSERT} , {}]", INSERT.replace("e1", "e2"))).unwrap();
        assert_eq!(events.len(), 2);
        let event = &events[0];
        assert_eq!((event.id.as_str(), event.kind.as_str()), ("e1", "highwater.row.insert"));
        assert_eq!(event.op.as_deref(), Some("insert"));
        assert_eq!(event.time_us, Some(1_768_473_000_000_001));
        assert_eq!(event.body, INSERT.as_bytes());
        assert_eq!(events[1].id, "e2");
    }

    #[test]
    fn columns_are_text_null_or_missing() {
        let columns = &batch(&format!("[{INSERT}]")).unwrap()[0].columns;
        assert_eq!(columns.content_id.as_deref(), Some("c-1"));
        assert_eq!(columns.device.as_deref(), Some("(null)"));
        assert_eq!(columns.content_type, None);
        assert_eq!(columns.engagement_seconds.as_deref(), Some("8.0030000"));
    }

    #[test]
    fn the_row_before_speaks_where_there_is_none_after() {
        let delete = INSERT.replace("after", "x").replace("\"before\":null", "\"before\":{\"device\":\"tv\"}");
        assert_eq!(batch(&format!("[{delete}]")).unwrap()[0].columns.device.as_deref(), Some("tv"));
    }

    #[test]
    fn reads_a_single_event_and_ignores_parameters_of_the_type() {
        let body = Bytes::from_static(INSERT.as_bytes());
        let events = parse_body(Some("Application/CloudEvents+JSON; charset=utf-8"), &body).unwrap();
        assert_eq!(events[0].id, "e1");
    }

    #[test]
    fn an_empty_batch_is_a_batch() {
        assert_eq!(batch(" [] ").unwrap(), []);
    }

    #[test]
    fn rows_of_other_pipelines_are_welcome() {
        for data in [
            "null",
            "5",
            "[1]",
            r#""text""#,
            r#"{"op":5}"#,
            r#"{"after":[1,2,3,4,5,6]}"#,
            r#"{"op":"insert","after":{"content_id":{"deep":[]},"device":5}}"#,
        ] {
            let event = format!(r#"[{{"specversion":"1.0","id":"a","source":"s","type":"t","data":{data}}}]"#);
            assert_eq!(batch(&event).unwrap().len(), 1, "{data}");
        }
        let without_data = r#"[{"specversion":"1.0","id":"a","source":"s","type":"t"}]"#;
        assert_eq!(batch(without_data).unwrap()[0].op, None);
    }

    #[test]
    fn nesting_without_end_is_an_answer_not_a_crash() {
        let deep = format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000));
        let event = format!(r#"[{{"specversion":"1.0","id":"a","source":"s","type":"t","data":{{"after":{deep}}}}}]"#);
        assert!(batch(&event).is_ok());
        assert!(matches!(batch(&deep), Err(Error::CloudEvent { .. })));
    }

    #[test]
    fn refuses_what_is_not_json_of_the_right_kind() {
        for body in ["", "x", "{}", "[", "[{}", "null", "[1] 2", INSERT] {
            assert!(matches!(batch(body), Err(Error::Json(_))), "{body}");
        }
        let not_utf8 = Bytes::from_static(b"[\"\xff\"]");
        assert!(matches!(parse_body(Some(BATCH_TYPE), &not_utf8), Err(Error::Json(_))));
        for content_type in [None, Some(""), Some("application/json"), Some("text/plain")] {
            let body = Bytes::from_static(b"[]");
            assert_eq!(parse_body(content_type, &body), Err(Error::ContentType), "{content_type:?}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_cloud_event_and_names_it() {
        for (from, to, wanted) in [
            (r#""specversion":"1.0","#, "", "specversion"),
            (r#""1.0""#, r#""0.3""#, "specversion"),
            (r#""id":"e1""#, r#""id":"""#, "id is empty"),
            (r#""id":"e1""#, r#""id":1"#, "invalid type"),
            (r#""id":"e1""#, r#""id":"\ud800""#, "escape"),
            (r#""source":"/s","#, "", "source"),
            (r#""type":"highwater.row.insert","#, "", "type"),
            ("2026-01-15T10", "yesterday", "time"),
        ] {
            let error = batch(&format!("[{INSERT},{}]", INSERT.replacen(from, to, 1))).unwrap_err();
            let Error::CloudEvent { event: 1, reason } = &error else { panic!("{from}: {error:?}") };
            assert!(reason.contains(wanted), "{from}: {reason}");
        }
        let array = r#"[["1.0","e1","/s","t",null,null,null]]"#;
        assert!(matches!(batch(array), Err(Error::CloudEvent { event: 0, .. })));
    }
}
