//! The outermost object, in both forms.

use std::fmt;

use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::row::RowSeed;
use super::schema::{Schema, Wire};
use super::source::{Parts, SourceSeed, Text};
use super::{DecodeError, Decoder, Envelope, Op, Row};

/// Reads a record value in either form.
pub(super) fn read(decoder: &Decoder, text: &str) -> Result<Envelope, DecodeError> {
    if text.trim() == "null" {
        return Err(DecodeError::NotAnEnvelope("null".into()));
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let outer = EnvelopeSeed { decoder, wires: decoder.plain_wires.as_deref(), outermost: true }.deserialize(&mut json)?;
    json.end()?;
    match outer.wrapped {
        None => outer.finish(decoder),
        Some(wrapped) => {
            let payload = wrapped.payload.map(RawValue::get).filter(|p| *p != "null");
            let payload = payload.ok_or_else(|| DecodeError::NotAnEnvelope("no payload".into()))?;
            let schema = wrapped.schema.map(RawValue::get).filter(|s| *s != "null");
            let schema = schema.map(|s| Schema::cached(decoder, s)).transpose()?;
            let wires = schema.as_deref().map(Schema::wires).or(decoder.plain_wires.as_deref());
            let mut json = serde_json::Deserializer::from_str(payload);
            EnvelopeSeed { decoder, wires, outermost: false }.deserialize(&mut json)?.finish(decoder)
        }
    }
}

/// What was found in the object.
#[derive(Default)]
struct Found<'de> {
    op: Option<Result<Op, String>>,
    before: Option<Row>,
    after: Option<Row>,
    source: Option<Parts>,
    wrapped: Option<Wrapped<'de>>,
}

/// The form with a schema: both parts as text, because the schema decides how the payload is read, whichever comes first.
#[derive(Default)]
struct Wrapped<'de> {
    schema: Option<&'de RawValue>,
    payload: Option<&'de RawValue>,
}

impl Found<'_> {
    fn finish(self, decoder: &Decoder) -> Result<Envelope, DecodeError> {
        let op = self.op.ok_or_else(|| DecodeError::NotAnEnvelope("no op".into()))?.map_err(DecodeError::UnknownOp)?;
        let source = self.source.ok_or_else(|| DecodeError::NotAnEnvelope("no source".into()))?;
        let source = source.finish(&decoder.names).map_err(DecodeError::Position)?;
        Ok(Envelope { op, before: self.before, after: self.after, source })
    }
}

struct EnvelopeSeed<'d> {
    decoder: &'d Decoder,
    wires: Option<&'d [Wire]>,
    outermost: bool,
}

#[derive(Clone, Copy)]
enum Field {
    Op,
    Before,
    After,
    Source,
    Schema,
    Payload,
    Other,
}

impl<'de> DeserializeSeed<'de> for EnvelopeSeed<'_> {
    type Value = Found<'de>;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Found<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EnvelopeSeed<'_> {
    type Value = Found<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a change event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found<'de>, A::Error> {
        let mut found = Found::default();
        let row = || RowSeed { columns: &self.decoder.columns, wires: self.wires };
        while let Some(field) = map.next_key_seed(Text(|key: &str| {
            Ok(match key {
                "op" => Field::Op,
                "before" => Field::Before,
                "after" => Field::After,
                "source" => Field::Source,
                "schema" if self.outermost => Field::Schema,
                "payload" if self.outermost => Field::Payload,
                _ => Field::Other,
            })
        }))? {
            match field {
                Field::Op => {
                    let op = map.next_value_seed(Text(|text: &str| Ok(Op::parse(text).ok_or_else(|| text.to_owned()))))?;
                    once(&mut found.op, op, "op")?;
                }
                Field::Before => {
                    let before = map.next_value_seed(row())?;
                    once_or_null(&mut found.before, before, "before")?;
                }
                Field::After => {
                    let after = map.next_value_seed(row())?;
                    once_or_null(&mut found.after, after, "after")?;
                }
                Field::Source => {
                    let source = map.next_value_seed(SourceSeed { names: self.decoder.names.get() })?;
                    once(&mut found.source, source, "source")?;
                }
                Field::Schema => {
                    let schema = map.next_value()?;
                    once(&mut found.wrapped.get_or_insert_default().schema, schema, "schema")?;
                }
                Field::Payload => {
                    let payload = map.next_value()?;
                    once(&mut found.wrapped.get_or_insert_default().payload, payload, "payload")?;
                }
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// A key that comes twice makes the record ambiguous.
fn once<T, E: de::Error>(slot: &mut Option<T>, value: T, field: &'static str) -> Result<(), E> {
    if slot.replace(value).is_some() { Err(E::duplicate_field(field)) } else { Ok(()) }
}

fn once_or_null<T, E: de::Error>(slot: &mut Option<T>, value: Option<T>, field: &'static str) -> Result<(), E> {
    value.map_or(Ok(()), |v| once(slot, v, field))
}
