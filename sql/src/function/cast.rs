//! Casts: which exist (`pg_cast`), in which context, and what they do.
//!
//! Sources: `pg_cast.dat`, `parse_coerce.c` (`find_coercion_pathway`: casts to and from strings go through the types' output and
//! input functions), `int.c`, `int8.c`, `float.c`, `numeric.c`, `timestamp.c`, `date.c`, `jsonb.c`.

use std::borrow::Cow;

use super::Base::{self, *};
use super::Outcome;
use super::argument::{boolean, float4, float8, int, mismatch, numeric, text};
use super::json;
use super::number::in_range;
use crate::error::RowError;
use crate::numeric::Numeric as Decimal;
use crate::time;
use crate::value::{Type, Value};

/// How a value becomes one of another type, modifiers aside.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Conversion {
    /// Binary coercible: the same value.
    Same,
    /// By a function.
    With(fn(&Value) -> Outcome),
    /// To text, through the output function of the source.
    Output,
    /// From text, through the input function of the target.
    Input,
    /// Element by element.
    Elements,
}

use Conversion::{Same, With};

/// The conversion that happens without being asked for, if there is one.
pub(crate) fn implicit(from: Base, to: Base) -> Option<Conversion> {
    Some(match (from, to) {
        (Int2, Int4 | Int8) | (Int4, Int8) => Same,
        (Int2 | Int4 | Int8, Numeric) => With(int_to_numeric),
        (Int2 | Int4 | Int8, Float4) => With(int_to_float4),
        (Int2 | Int4 | Int8, Float8) => With(int_to_float8),
        (Numeric, Float4) => With(|v| Ok(Value::Float4(numeric(v)?.to_f32()?))),
        (Numeric, Float8) => With(|v| Ok(Value::Float8(numeric(v)?.to_f64()?))),
        (Float4, Float8) => With(|v| Ok(Value::Float8(float8(v)?))),
        (Varchar, Text | Bpchar) | (Text, Varchar | Bpchar) => Same,
        (Bpchar, Text | Varchar) => With(unpadded),
        (Date, Timestamp | Timestamptz) => With(date_to_timestamp),
        (Timestamp, Timestamptz) => Same,
        (Time, Interval) => With(time_to_interval),
        (Time, Timetz) => With(time_to_timetz),
        _ if from == to => Same,
        _ => return None,
    })
}

/// The conversion of `CAST(x AS t)` and `x::t`.
pub(crate) fn explicit(from: Base, to: Base) -> Option<Conversion> {
    if let Some(conversion) = implicit(from, to) {
        return Some(conversion);
    }
    Some(match (from, to) {
        (Int4, Int2) | (Int8, Int2) => With(|v| in_range(Some(int(v)?), 2)),
        (Int8, Int4) => With(|v| in_range(Some(int(v)?), 4)),
        (Numeric, Int2) => With(|v| numeric_to_int(v, 2)),
        (Numeric, Int4) => With(|v| numeric_to_int(v, 4)),
        (Numeric, Int8) => With(|v| numeric_to_int(v, 8)),
        (Float4 | Float8, Int2) => With(|v| float_to_int(v, 2)),
        (Float4 | Float8, Int4) => With(|v| float_to_int(v, 4)),
        (Float4 | Float8, Int8) => With(|v| float_to_int(v, 8)),
        (Float4, Numeric) => With(|v| Ok(Value::Numeric(Decimal::from_f32(float4(v)?)?))),
        (Float8, Numeric) => With(|v| Ok(Value::Numeric(Decimal::from_f64(float8(v)?)?))),
        (Float8, Float4) => With(narrow),
        (Bool, Int4) => With(|v| Ok(Value::Int(i64::from(boolean(v)?)))),
        (Int4, Bool) => With(|v| Ok(Value::Bool(int(v)? != 0))),
        (Timestamptz, Timestamp) => Same,
        (Timestamp | Timestamptz, Date) => With(timestamp_to_date),
        (Timestamp | Timestamptz, Time) => With(timestamp_to_time),
        (Timestamptz, Timetz) => With(timestamptz_to_timetz),
        (Timetz, Time) => With(timetz_to_time),
        (Interval, Time) => With(interval_to_time),
        (Json, Jsonb) => Conversion::Input,
        (Jsonb, Json) => With(|v| if let Value::Jsonb(t) = v { Ok(Value::Json(t.clone())) } else { Err(mismatch(v, "a jsonb")) }),
        (Jsonb, Bool) => With(json::truth),
        (Jsonb, Int2) => With(|v| numeric_to_int(&Value::Numeric(json::number(v, "smallint")?), 2)),
        (Jsonb, Int4) => With(|v| numeric_to_int(&Value::Numeric(json::number(v, "integer")?), 4)),
        (Jsonb, Int8) => With(|v| numeric_to_int(&Value::Numeric(json::number(v, "bigint")?), 8)),
        (Jsonb, Float4) => With(|v| Ok(Value::Float4(json::number(v, "real")?.to_f32()?))),
        (Jsonb, Float8) => With(|v| Ok(Value::Float8(json::number(v, "double precision")?.to_f64()?))),
        (Jsonb, Numeric) => With(|v| Ok(Value::Numeric(json::number(v, "numeric")?))),
        (Array, Array) => Conversion::Elements,
        _ if to.category() == 'S' => Conversion::Output,
        _ if from.category() == 'S' => Conversion::Input,
        _ => return None,
    })
}

/// Whether the conversion is stable in Postgres, for it reads the session's zone or styles (`pg_cast`, volatility of the functions).
pub(crate) fn is_stable(from: Base, to: Base) -> bool {
    let local = matches!((from, to), (Date | Timestamp, Timestamptz) | (Timestamptz, Date | Timestamp | Time | Timetz) | (Time, Timetz));
    let styled = matches!(from, Date | Timestamp | Timestamptz | Array | Enum) && to.category() == 'S';
    let read = matches!(to, Date | Time | Timetz | Timestamp | Timestamptz | Interval | Array | Enum) && from.category() == 'S';
    local || styled || read
}

/// A value cast to text: `::text`, not always the output function.
pub(crate) fn text_of<'a>(ty: &Type, value: &'a Value) -> Cow<'a, str> {
    let text = value.to_text(ty);
    match ty {
        Type::Bpchar(_) => match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim_end_matches(' ')),
            Cow::Owned(text) => Cow::Owned(text.trim_end_matches(' ').to_owned()),
        },
        // network_show: always with the length of the mask.
        Type::Inet if !text.contains('/') => Cow::Owned(format!("{text}/{}", if text.contains(':') { 128 } else { 32 })),
        _ => text,
    }
}

/// The value as the modifiers of `ty` want it, by the rules of an explicit cast: text is cut, numbers and times are rounded.
/// `None`: `ty` has no modifiers that change values.
pub(crate) fn fit(ty: &Type) -> Option<fn(&Type, &Value) -> Outcome> {
    Some(match ty {
        Type::Numeric(Some(_)) => |ty, v| match ty {
            Type::Numeric(Some((precision, scale))) => Ok(Value::Numeric(numeric(v)?.apply_typmod(*precision, *scale)?)),
            _ => Ok(v.clone()),
        },
        Type::Varchar(Some(_)) | Type::Bpchar(Some(_)) => |ty, v| cut_text(ty, v),
        Type::Time(Some(_)) | Type::Timetz(Some(_)) | Type::Timestamp(Some(_)) | Type::Timestamptz(Some(_)) => round_time,
        Type::Array(element) if fit(element).is_some() => |ty, v| match (ty, v) {
            (Type::Array(element), Value::Array(items)) => {
                let Some(fit) = fit(element) else { return Ok(v.clone()) };
                let items = items.iter().map(|item| if item.is_null() { Ok(Value::Null) } else { fit(element, item) });
                Ok(Value::Array(items.collect::<Result<Vec<_>, _>>()?.into()))
            }
            _ => Ok(v.clone()),
        },
        _ => return None,
    })
}

fn cut_text(ty: &Type, value: &Value) -> Outcome {
    let (length, pad) = match ty {
        Type::Varchar(Some(length)) => (*length, false),
        Type::Bpchar(Some(length)) => (*length, true),
        _ => return Ok(value.clone()),
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let text = text(value)?;
    if let Some((end, _)) = text.char_indices().nth(length) {
        return Ok(Value::Text(text[..end].into()));
    }
    let missing = if pad { length - text.chars().count() } else { 0 };
    Ok(if missing == 0 { value.clone() } else { Value::Text(format!("{text}{}", " ".repeat(missing)).into()) })
}

fn round_time(ty: &Type, value: &Value) -> Outcome {
    Ok(match (ty, value) {
        (Type::Time(p), Value::Time(micros)) => Value::Time(time::round_micros(*micros, *p)),
        (Type::Timetz(p), Value::Timetz(micros, offset)) => Value::Timetz(time::round_micros(*micros, *p), *offset),
        (Type::Timestamp(p) | Type::Timestamptz(p), Value::Timestamp(micros)) => Value::Timestamp(time::round_timestamp(*micros, *p)),
        _ => value.clone(),
    })
}

fn int_to_numeric(value: &Value) -> Outcome {
    Ok(Value::Numeric(Decimal::from_i64(int(value)?)))
}

#[allow(clippy::cast_precision_loss)] // Rounds to the nearest, as the C cast does.
fn int_to_float4(value: &Value) -> Outcome {
    Ok(Value::Float4(int(value)? as f32))
}

#[allow(clippy::cast_precision_loss)]
fn int_to_float8(value: &Value) -> Outcome {
    Ok(Value::Float8(int(value)? as f64))
}

fn numeric_to_int(value: &Value, bytes: u8) -> Outcome {
    in_range(numeric(value)?.to_i64_rounded().ok(), bytes)
}

/// Halves to even (`rint`); NaN and what is beyond the type fail.
fn float_to_int(value: &Value, bytes: u8) -> Outcome {
    const TWO_POW_63: f64 = 9_223_372_036_854_775_808.0;
    let rounded = float8(value)?.round_ties_even();
    let fits = (-TWO_POW_63..TWO_POW_63).contains(&rounded);
    #[allow(clippy::cast_possible_truncation)] // In range by the line above.
    in_range(fits.then_some(rounded as i64), bytes)
}

fn narrow(value: &Value) -> Outcome {
    let wide = float8(value)?;
    #[allow(clippy::cast_possible_truncation)] // What does not fit becomes infinite or zero, and is refused below.
    let narrow = wide as f32;
    if narrow.is_infinite() && !wide.is_infinite() {
        return Err(RowError::new("22003", "value out of range: overflow"));
    }
    if narrow == 0.0 && wide != 0.0 {
        return Err(RowError::new("22003", "value out of range: underflow"));
    }
    Ok(Value::Float4(narrow))
}

fn unpadded(value: &Value) -> Outcome {
    let padded = text(value)?;
    let trimmed = padded.trim_end_matches(' ');
    Ok(if trimmed.len() == padded.len() { value.clone() } else { Value::Text(trimmed.into()) })
}

/// Midnight UTC; the infinities stay infinite (`date2timestamp_opt_overflow`).
pub(crate) fn date_to_timestamp(value: &Value) -> Outcome {
    let Value::Date(days) = value else { return Err(mismatch(value, "a date")) };
    match *days {
        time::DATE_INFINITY => Ok(Value::Timestamp(time::TIMESTAMP_INFINITY)),
        time::DATE_NEGATIVE_INFINITY => Ok(Value::Timestamp(time::TIMESTAMP_NEGATIVE_INFINITY)),
        days => time::join_timestamp(days, 0).map(Value::Timestamp).map_err(|_| RowError::new("22008", "date out of range for timestamp")),
    }
}

fn micros(value: &Value) -> Result<i64, RowError> {
    if let Value::Timestamp(micros) = value { Ok(*micros) } else { Err(mismatch(value, "a timestamp")) }
}

fn timestamp_to_date(value: &Value) -> Outcome {
    Ok(Value::Date(match micros(value)? {
        time::TIMESTAMP_INFINITY => time::DATE_INFINITY,
        time::TIMESTAMP_NEGATIVE_INFINITY => time::DATE_NEGATIVE_INFINITY,
        micros => time::split_timestamp(micros).0,
    }))
}

/// NULL for the infinities (`timestamp_time`).
fn timestamp_to_time(value: &Value) -> Outcome {
    Ok(match micros(value)? {
        time::TIMESTAMP_INFINITY | time::TIMESTAMP_NEGATIVE_INFINITY => Value::Null,
        micros => Value::Time(time::split_timestamp(micros).1),
    })
}

fn timestamptz_to_timetz(value: &Value) -> Outcome {
    Ok(match timestamp_to_time(value)? {
        Value::Time(micros) => Value::Timetz(micros, 0),
        other => other,
    })
}

fn timetz_to_time(value: &Value) -> Outcome {
    if let Value::Timetz(micros, _) = value { Ok(Value::Time(*micros)) } else { Err(mismatch(value, "a timetz")) }
}

fn time_to_timetz(value: &Value) -> Outcome {
    if let Value::Time(micros) = value { Ok(Value::Timetz(*micros, 0)) } else { Err(mismatch(value, "a time")) }
}

fn time_to_interval(value: &Value) -> Outcome {
    if let Value::Time(micros) = value { Ok(Value::Interval(0, 0, *micros)) } else { Err(mismatch(value, "a time")) }
}

/// What is left of whole days (`interval_time`).
fn interval_to_time(value: &Value) -> Outcome {
    let Value::Interval(_, _, micros) = value else { return Err(mismatch(value, "an interval")) };
    Ok(Value::Time(micros.rem_euclid(time::DAY)))
}
