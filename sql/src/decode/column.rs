//! One column value. First version: the catalog type decides.

use std::fmt;

use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::UNAVAILABLE;
use super::error::{contradiction, unavailable};
use super::schema::Wire;
use crate::error::RowError;
use crate::numeric::Numeric;
use crate::time;
use crate::value::{Type, Value};

/// Reads a value of a type in an encoding. The inner error is the row's, the outer one the record's.
pub(super) struct ValueSeed<'d> {
    pub(super) ty: &'d Type,
    pub(super) wire: &'d Wire,
}

type Read = Result<Value, RowError>;

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Read;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Read, D::Error> {
        match self.ty {
            // serde_json's own numbers are doubles that are not always the nearest: read the digits instead.
            Type::Float4 | Type::Float8 | Type::Numeric(_) => {
                let raw = <&RawValue as de::Deserialize>::deserialize(deserializer)?;
                number(self.ty, raw.get()).map_err(de::Error::custom)
            }
            _ => deserializer.deserialize_any(self),
        }
    }
}

fn number(ty: &Type, json: &str) -> Result<Read, serde_json::Error> {
    if json == "null" {
        return Ok(Ok(Value::Null));
    }
    if json.starts_with('"') {
        let text: std::borrow::Cow<'_, str> = serde_json::from_str(json)?;
        return Ok(from_text(ty, &text));
    }
    if json.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) {
        return Ok(Value::from_text(ty, json));
    }
    Ok(Err(contradiction(ty, "another type")))
}

fn from_text(ty: &Type, text: &str) -> Read {
    if text == UNAVAILABLE {
        return Err(unavailable());
    }
    Value::from_text(ty, text)
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Read;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a column value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Read, E> {
        Ok(Ok(Value::Null))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Read, E> {
        Ok(match self.ty {
            Type::Bool => Ok(Value::Bool(value)),
            ty => Err(contradiction(ty, "a boolean")),
        })
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Read, E> {
        let _ = self.wire;
        let integer = |min: i64, max: i64| {
            (min..=max)
                .contains(&value)
                .then_some(Value::Int(value))
                .ok_or_else(|| contradiction(self.ty, "a larger integer"))
        };
        Ok(match self.ty {
            Type::Int2 => integer(i16::MIN.into(), i16::MAX.into()),
            Type::Int4 => integer(i32::MIN.into(), i32::MAX.into()),
            Type::Int8 => Ok(Value::Int(value)),
            Type::Date => i32::try_from(value)
                .map(Value::Date)
                .map_err(|_| contradiction(self.ty, "a larger integer")),
            Type::Time(p) => Ok(Value::Time(if p.is_some_and(|p| p <= 3) {
                value * 1000
            } else {
                value
            })),
            Type::Timestamp(p) => {
                let micros = if p.is_some_and(|p| p <= 3) {
                    value.checked_mul(1000)
                } else {
                    Some(value)
                };
                micros
                    .filter(|m| time::is_timestamp(*m))
                    .map(Value::Timestamp)
                    .ok_or_else(|| contradiction(self.ty, "an integer out of range"))
            }
            ty => Err(contradiction(ty, "an integer")),
        })
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Read, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => Ok(Err(contradiction(self.ty, "a larger integer"))),
        }
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Read, E> {
        Ok(Err(contradiction(self.ty, "a fraction")))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Read, E> {
        Ok(match self.ty {
            Type::Bool | Type::Int2 | Type::Int4 | Type::Int8 => {
                Err(contradiction(self.ty, "a string"))
            }
            Type::Bytea => Err(contradiction(self.ty, "a string")),
            ty => from_text(ty, text),
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Read, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Err(contradiction(self.ty, "an array")))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Read, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Err(contradiction(self.ty, "an object")))
    }
}

/// Keeps the import honest until decimals arrive as bytes.
#[allow(dead_code)]
fn decimal(value: i128, scale: u16) -> Result<Numeric, RowError> {
    Numeric::from_scaled(value, scale)
}
