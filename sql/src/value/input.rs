//! The input functions: text to value.

use smol_str::SmolStr;

use super::{Type, Value, array, bytes, float, inet};
use crate::error::RowError;
use crate::numeric::Numeric;
use crate::{json, time};

impl Value {
    /// What the type's input function makes of the text, its modifiers applied as for a stored column (so text that is too long
    /// for `varchar(n)` fails with 22001). Fails with Postgres' code and message.
    pub fn from_text(ty: &Type, text: &str) -> Result<Value, RowError> {
        if text.as_bytes().contains(&0) {
            return Err(RowError::new("22021", "invalid byte sequence for encoding \"UTF8\": 0x00"));
        }
        Ok(match ty {
            Type::Bool => Value::Bool(parse_bool(text)?),
            Type::Int2 => Value::Int(parse_int(text, ty, i16::MIN.into(), i16::MAX.into())?),
            Type::Int4 => Value::Int(parse_int(text, ty, i32::MIN.into(), i32::MAX.into())?),
            Type::Int8 => Value::Int(parse_int(text, ty, i64::MIN, i64::MAX)?),
            Type::Float4 => Value::Float4(float::parse_f32(text)?),
            Type::Float8 => Value::Float8(float::parse_f64(text)?),
            Type::Numeric(None) => Value::Numeric(Numeric::parse(text)?),
            Type::Numeric(Some((p, s))) => Value::Numeric(Numeric::parse(text)?.apply_typmod(*p, *s)?),
            Type::Text | Type::Unknown => Value::Text(text.into()),
            Type::Varchar(n) => Value::Text(fit(text, *n, "character varying")?.into()),
            Type::Bpchar(n) => Value::Text(pad(fit(text, *n, "character")?, *n)),
            Type::Uuid => Value::Uuid(bytes::parse_uuid(text)?),
            Type::Date => Value::Date(time::parse_date(text)?),
            Type::Time(p) => Value::Time(time::parse_time(text, *p)?),
            Type::Timetz(p) => {
                let (micros, offset) = time::parse_timetz(text, *p)?;
                Value::Timetz(micros, offset)
            }
            Type::Timestamp(p) => Value::Timestamp(time::parse_timestamp(text, *p)?),
            Type::Timestamptz(p) => Value::Timestamp(time::parse_timestamptz(text, *p)?),
            Type::Interval => {
                let (months, days, micros) = time::parse_interval(text)?;
                Value::Interval(months, days, micros)
            }
            Type::Json => {
                json::validate(text)?;
                Value::Json(text.into())
            }
            Type::Jsonb => Value::Jsonb(json::normalize(text)?.into()),
            Type::Bytea => Value::Bytea(bytes::parse_bytea(text)?.into()),
            Type::Enum(e) if e.labels.iter().any(|l| l == text) => Value::Text(text.into()),
            Type::Enum(e) => {
                return Err(RowError::new("22P02", format!("invalid input value for enum {}: \"{text}\"", e.name)));
            }
            Type::Inet => Value::Text(inet::normalize(text)?.into()),
            Type::Array(element) => Value::Array(array::parse_array(text, element)?.into()),
        })
    }
}

/// C's `isspace` in the C locale.
pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

/// `boolin`: unambiguous prefixes of the words, any case, white space around them.
fn parse_bool(text: &str) -> Result<bool, RowError> {
    let word = text.trim_matches(is_space).to_ascii_lowercase();
    let is_prefix = |full: &str, least: usize| word.len() >= least && full.starts_with(&word);
    if is_prefix("true", 1) || is_prefix("yes", 1) || word == "on" || word == "1" {
        return Ok(true);
    }
    if is_prefix("false", 1) || is_prefix("no", 1) || is_prefix("off", 2) || word == "0" {
        return Ok(false);
    }
    Err(RowError::new("22P02", format!("invalid input syntax for type boolean: \"{text}\"")))
}

/// `pg_strtoint16` and its siblings.
fn parse_int(text: &str, ty: &Type, min: i64, max: i64) -> Result<i64, RowError> {
    let invalid = || RowError::new("22P02", format!("invalid input syntax for type {}: \"{text}\"", ty.name()));
    let out_of_range = || RowError::new("22003", format!("value \"{text}\" is out of range for type {}", ty.name()));
    let trimmed = text.trim_matches(is_space);
    let unsigned = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    let end = unsigned.find(|c: char| !c.is_ascii_digit()).unwrap_or(unsigned.len());
    if end == 0 {
        return Err(invalid());
    }
    // Too many digits are noticed before what follows them, the sign is applied last.
    let magnitude = unsigned[..end].parse::<i128>().map_err(|_| out_of_range())?;
    if magnitude > -i128::from(min) {
        return Err(out_of_range());
    }
    if end < unsigned.len() {
        return Err(invalid());
    }
    let value = if trimmed.starts_with('-') { -magnitude } else { magnitude };
    i64::try_from(value).ok().filter(|v| (min..=max).contains(v)).ok_or_else(out_of_range)
}

/// The text cut to `n` characters where only blanks are lost (`varchar_input`, `bpchar_input`).
fn fit<'a>(text: &'a str, n: Option<u32>, ty: &str) -> Result<&'a str, RowError> {
    let Some(n) = n else { return Ok(text) };
    let Some((end, _)) = text.char_indices().nth(n as usize) else {
        return Ok(text);
    };
    if text[end..].bytes().all(|b| b == b' ') {
        return Ok(&text[..end]);
    }
    Err(RowError::new("22001", format!("value too long for type {ty}({n})")))
}

fn pad(text: &str, n: Option<u32>) -> SmolStr {
    let missing = (n.unwrap_or(0) as usize).saturating_sub(text.chars().count());
    if missing == 0 { text.into() } else { format!("{text}{}", " ".repeat(missing)).into() }
}
