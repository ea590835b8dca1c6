//! The output functions: value to text, and value to JSON as `to_jsonb` has it.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::{Type, Value, array, bytes, float};
use crate::error::RowError;
use crate::numeric::Numeric;
use crate::{json, time};

impl Value {
    /// The type's output function; empty for NULL, which has no text.
    pub fn to_text(&self, ty: &Type) -> Cow<'_, str> {
        match self {
            Value::Text(t) | Value::Json(t) | Value::Jsonb(t) => Cow::Borrowed(t),
            Value::Null => Cow::Borrowed(""),
            Value::Bool(v) => Cow::Borrowed(if *v { "true" } else { "false" }),
            _ => {
                let mut text = String::new();
                self.push_text(ty, &mut text);
                Cow::Owned(text)
            }
        }
    }

    /// Appends what [`Value::to_text`] returns.
    pub fn push_text(&self, ty: &Type, out: &mut String) {
        match self {
            Value::Null => {}
            Value::Bool(v) => out.push_str(if *v { "true" } else { "false" }),
            // Writing to a String cannot fail.
            Value::Int(v) => write!(out, "{v}").unwrap_or(()),
            Value::Float4(v) => float::push_f32(out, *v),
            Value::Float8(v) => float::push_f64(out, *v),
            Value::Numeric(v) => write!(out, "{v}").unwrap_or(()),
            Value::Text(t) | Value::Json(t) | Value::Jsonb(t) => out.push_str(t),
            Value::Uuid(v) => bytes::push_uuid(out, v),
            Value::Date(d) => time::push_date(out, *d),
            Value::Time(t) => time::push_time(out, *t),
            Value::Timetz(t, offset) => time::push_timetz(out, *t, *offset),
            Value::Timestamp(t) if matches!(ty, Type::Timestamptz(_)) => time::push_timestamptz(out, *t),
            Value::Timestamp(t) => time::push_timestamp(out, *t),
            Value::Interval(months, days, micros) => time::push_interval(out, *months, *days, *micros),
            Value::Bytea(v) => bytes::push_bytea(out, v),
            Value::Array(items) => array::push_array(out, items, element(ty)),
        }
    }

    /// Appends what `to_jsonb(value)::text` prints, `null` for NULL. Fails where `to_jsonb` does: a json value with `\u0000`
    /// (22P05) or with a number that numeric cannot hold (22003).
    pub fn write_json(&self, ty: &Type, out: &mut String) -> Result<(), RowError> {
        match self {
            Value::Null => out.push_str("null"),
            Value::Bool(v) => out.push_str(if *v { "true" } else { "false" }),
            Value::Int(_) | Value::Numeric(_) | Value::Jsonb(_) => self.push_text(ty, out),
            Value::Float4(v) if !v.is_finite() => json::push_string(out, &self.to_text(ty)),
            Value::Float8(v) if !v.is_finite() => json::push_string(out, &self.to_text(ty)),
            Value::Float4(_) | Value::Float8(_) => {
                let number = Numeric::parse(&self.to_text(ty))?;
                write!(out, "{number}").unwrap_or(());
            }
            Value::Json(t) => out.push_str(&json::normalize(t)?),
            Value::Date(_) | Value::Timestamp(_) => {
                out.push('"');
                match self {
                    Value::Date(d) => time::push_date_json(out, *d),
                    Value::Timestamp(t) if matches!(ty, Type::Timestamptz(_)) => time::push_timestamptz_json(out, *t),
                    Value::Timestamp(t) => time::push_timestamp_json(out, *t),
                    _ => {}
                }
                out.push('"');
            }
            Value::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push_str(", ");
                    }
                    item.write_json(element(ty), out)?;
                }
                out.push(']');
            }
            _ => json::push_string(out, &self.to_text(ty)),
        }
        Ok(())
    }
}

fn element(ty: &Type) -> &Type {
    if let Type::Array(element) = ty { element } else { &Type::Unknown }
}
