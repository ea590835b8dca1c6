//! One column value: JSON, the column's type and its encoding to a [`Value`].
//!
//! The outer error of a seed is the record's (broken JSON), the inner one the row's (a value that contradicts its type).

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::error::{contradiction, unavailable};
use super::schema::Wire;
use super::{ARRAY_ITEMS_MAX, UNAVAILABLE, number, temporal};
use crate::error::RowError;
use crate::value::{Type, Value};

/// A value, or why the row cannot be used.
pub(super) type Read = Result<Value, RowError>;

/// Reads a value of a type in an encoding.
pub(super) struct ValueSeed<'d> {
    pub(super) ty: &'d Type,
    pub(super) wire: &'d Wire,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Read;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Read, D::Error> {
        match self.ty {
            // The parser's own numbers are doubles, and not always the nearest ones: these types need the digits.
            Type::Float4 | Type::Float8 | Type::Numeric(_) => {
                let raw = <&RawValue as de::Deserialize>::deserialize(deserializer)?;
                number::read(self.ty, self.wire, raw.get()).map_err(de::Error::custom)
            }
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl ValueSeed<'_> {
    fn contradicts<T>(&self, found: &str) -> Result<T, RowError> {
        Err(contradiction(self.ty, found))
    }

    fn integer(&self, value: i64) -> Read {
        let within = |min: i64, max: i64| {
            if (min..=max).contains(&value) { Ok(Value::Int(value)) } else { self.contradicts("an integer out of range") }
        };
        match (self.ty, self.wire) {
            (Type::Int2, Wire::Unknown | Wire::Plain) => within(i16::MIN.into(), i16::MAX.into()),
            (Type::Int4, Wire::Unknown | Wire::Plain) => within(i32::MIN.into(), i32::MAX.into()),
            (Type::Int8, Wire::Unknown | Wire::Plain) => Ok(Value::Int(value)),
            (Type::Date | Type::Time(_) | Type::Timestamp(_) | Type::Interval, wire) => temporal::from_integer(self.ty, wire, value),
            _ => self.contradicts("an integer"),
        }
    }

    fn text(&self, text: &str) -> Read {
        if text == UNAVAILABLE {
            return Err(unavailable());
        }
        match (self.ty, self.wire) {
            (Type::Bytea, Wire::Unknown | Wire::Bytes) => bytes(text),
            (Type::Date | Type::Time(_) | Type::Timestamp(_) | Type::Timestamptz(_) | Type::Timetz(_) | Type::Interval, wire) => {
                temporal::from_text(self.ty, wire, text)
            }
            (
                Type::Text | Type::Varchar(_) | Type::Bpchar(_) | Type::Uuid | Type::Json | Type::Jsonb | Type::Enum(_) | Type::Inet,
                Wire::Unknown | Wire::Plain,
            ) => Value::from_text(self.ty, text),
            _ => self.contradicts("text"),
        }
    }
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
        Ok(match (self.ty, self.wire) {
            (Type::Bool, Wire::Unknown | Wire::Plain) => Ok(Value::Bool(value)),
            _ => self.contradicts("a boolean"),
        })
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Read, E> {
        Ok(self.integer(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Read, E> {
        Ok(i64::try_from(value).map_or_else(|_| self.contradicts("an integer out of range"), |value| self.integer(value)))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Read, E> {
        Ok(self.contradicts("a number with a fraction or out of range"))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Read, E> {
        Ok(self.text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Read, A::Error> {
        let (Type::Array(element), Some(wire)) = (self.ty, element_wire(self.wire)) else {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(self.contradicts("an array"));
        };
        let mut items = Vec::new();
        let mut error = None;
        while let Some(item) = seq.next_element_seed(ValueSeed { ty: element, wire })? {
            match item {
                Ok(_) if items.len() == ARRAY_ITEMS_MAX => {
                    error.get_or_insert_with(|| RowError::new("54000", format!("array has more than {ARRAY_ITEMS_MAX} elements")));
                }
                Ok(item) if error.is_none() => items.push(item),
                Ok(_) => {}
                Err(e) => {
                    error.get_or_insert(e);
                }
            }
        }
        if let Some(error) = error {
            return Ok(Err(error));
        }
        // An unchanged TOASTed array of integers arrives as the bytes of the placeholder.
        let placeholder = items.len() == UNAVAILABLE.len()
            && items.iter().zip(UNAVAILABLE.bytes()).all(|(item, byte)| matches!(item, Value::Int(i) if *i == i64::from(byte)));
        Ok(if placeholder { Err(unavailable()) } else { Ok(Value::Array(items.into())) })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Read, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(self.contradicts("an object"))
    }
}

fn element_wire(wire: &Wire) -> Option<&Wire> {
    match wire {
        Wire::Unknown => Some(&Wire::Unknown),
        Wire::Array(element) => Some(element),
        _ => None,
    }
}

/// Base64, as JSON has `bytes`.
fn bytes(text: &str) -> Read {
    let bytes = decode_base64(text).ok_or_else(|| contradiction(&Type::Bytea, "text that is not base64"))?;
    if bytes == UNAVAILABLE.as_bytes() { Err(unavailable()) } else { Ok(Value::Bytea(bytes.into())) }
}

/// Standard base64 with padding.
pub(super) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

/// The content of a JSON string literal.
pub(super) fn unquote(json: &str) -> Result<Cow<'_, str>, serde_json::Error> {
    struct Text;
    impl<'de> Visitor<'de> for Text {
        type Value = Cow<'de, str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
            Ok(Cow::Borrowed(text))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Cow<'de, str>, E> {
            Ok(Cow::Owned(text.to_owned()))
        }
    }
    de::Deserializer::deserialize_str(&mut serde_json::Deserializer::from_str(json), Text)
}
