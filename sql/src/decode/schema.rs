//! What a schema says about the encoding of each column.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;

use super::row::Columns;
use super::{DecodeError, Decoder};

/// How a value is encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    /// No schema: the catalog type decides.
    Unknown,
    /// A plain Connect type whose JSON speaks for itself: text, integers, booleans.
    Plain,
    /// A double (`decimal.handling.mode=double`, and `real` and `double precision` themselves).
    Floating,
    /// Base64.
    Bytes,
    /// Unscaled big-endian two's complement in base64, and its scale (`org.apache.kafka.connect.data.Decimal`).
    Decimal(i32),
    /// An object of scale and unscaled value (`io.debezium.data.VariableScaleDecimal`).
    VariableScaleDecimal,
    /// Days since 1970-01-01.
    Days,
    /// Milliseconds since 1970-01-01 or since midnight.
    Millis,
    /// Microseconds since 1970-01-01 or since midnight.
    Micros,
    /// Nanoseconds since 1970-01-01 or since midnight.
    Nanos,
    /// ISO 8601 text.
    Iso,
    /// A number of microseconds or nanoseconds that stands for months and days, too.
    ApproximateDuration,
    /// An array of values in one encoding.
    Array(Box<Wire>),
    /// A type that no column of a supported type has.
    Other(String),
}

/// A schema's text, and what it says about the decoder's columns.
#[derive(Debug)]
pub(super) struct Schema {
    text: Box<str>,
    wires: Box<[Wire]>,
}

impl Schema {
    /// The schema of a record value. Only a text that differs from the last one is parsed.
    pub(super) fn cached(decoder: &Decoder, text: &str) -> Result<Arc<Schema>, DecodeError> {
        if let Ok(cached) = decoder.schema.read()
            && let Some(schema) = cached.as_ref().filter(|s| *s.text == *text)
        {
            return Ok(Arc::clone(schema));
        }
        let envelope: Field<'_> = serde_json::from_str(text)?;
        let fields = envelope.fields.unwrap_or_default();
        let row = fields.iter().find(|f| f.is("after")).or_else(|| fields.iter().find(|f| f.is("before")));
        let wires = row.and_then(|r| r.fields.as_deref()).map_or_else(|| Box::from([]), |f| wires(f, &decoder.columns));
        let schema = Arc::new(Schema { text: text.into(), wires });
        if let Ok(mut cached) = decoder.schema.write() {
            *cached = Some(Arc::clone(&schema));
        }
        Ok(schema)
    }

    pub(super) fn wires(&self) -> &[Wire] {
        &self.wires
    }
}

/// The encodings in a key's schema, whose fields are the key columns themselves.
pub(super) fn key_wires(text: &str, columns: &Columns) -> Result<Box<[Wire]>, DecodeError> {
    let key: Field<'_> = serde_json::from_str(text)?;
    Ok(wires(&key.fields.unwrap_or_default(), columns))
}

fn wires(fields: &[Field<'_>], columns: &Columns) -> Box<[Wire]> {
    let wire = |name: &str| fields.iter().find(|f| f.is(name)).map_or(Wire::Unknown, Field::wire);
    columns.as_slice().iter().map(|c| wire(&c.name)).collect()
}

/// A Connect schema, as its JSON converter writes it.
#[derive(Deserialize)]
struct Field<'a> {
    #[serde(rename = "type", borrow)]
    ty: Cow<'a, str>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    field: Option<String>,
    #[serde(default, borrow)]
    fields: Option<Vec<Field<'a>>>,
    #[serde(default, borrow)]
    items: Option<Box<Field<'a>>>,
    #[serde(default)]
    parameters: Option<Parameters>,
}

#[derive(Deserialize)]
struct Parameters {
    #[serde(default)]
    scale: Option<String>,
}

impl Field<'_> {
    fn is(&self, name: &str) -> bool {
        self.field.as_deref() == Some(name)
    }

    fn wire(&self) -> Wire {
        let name = self.name.as_deref().unwrap_or_default();
        let time = name.strip_prefix("io.debezium.time.").or_else(|| name.strip_prefix("org.apache.kafka.connect.data."));
        match (name, time) {
            ("org.apache.kafka.connect.data.Decimal", _) => self.decimal(),
            ("io.debezium.data.VariableScaleDecimal", _) => Wire::VariableScaleDecimal,
            (_, Some("Date")) => Wire::Days,
            (_, Some("Time" | "Timestamp")) => Wire::Millis,
            (_, Some("MicroTime" | "MicroTimestamp")) => Wire::Micros,
            (_, Some("NanoTime" | "NanoTimestamp")) => Wire::Nanos,
            (_, Some("IsoDate" | "IsoTime" | "IsoTimestamp" | "ZonedTime" | "ZonedTimestamp" | "Interval")) => Wire::Iso,
            (_, Some("MicroDuration" | "NanoDuration")) => Wire::ApproximateDuration,
            ("" | "io.debezium.data.Uuid" | "io.debezium.data.Json" | "io.debezium.data.Enum", _) => self.plain(),
            _ => Wire::Other(name.to_owned()),
        }
    }

    fn decimal(&self) -> Wire {
        let scale = self.parameters.as_ref().and_then(|p| p.scale.as_deref()).and_then(|s| s.parse().ok());
        scale.map_or_else(|| Wire::Other("Decimal without a scale".into()), Wire::Decimal)
    }

    fn plain(&self) -> Wire {
        match &*self.ty {
            "boolean" | "int8" | "int16" | "int32" | "int64" | "string" => Wire::Plain,
            "float" | "float32" | "double" | "float64" => Wire::Floating,
            "bytes" => Wire::Bytes,
            "array" => self.items.as_ref().map_or_else(|| Wire::Other("array".into()), |i| Wire::Array(Box::new(i.wire()))),
            other => Wire::Other(other.to_owned()),
        }
    }
}
