//! Numbers whose digits matter: numeric, real, double precision.

use num_bigint::BigInt;
use serde::Deserialize;

use super::UNAVAILABLE;
use super::column::{Read, decode_base64, unquote};
use super::error::{contradiction, lossy, unavailable};
use super::schema::Wire;
use crate::error::RowError;
use crate::numeric::Numeric;
use crate::value::{Type, Value};

/// Decimal digits that a double always keeps (`DBL_DIG`).
const DOUBLE_DIGITS: u16 = 15;
/// Longest unscaled number in bytes: numeric's 147,455 digits need 61,233.
const UNSCALED_BYTES_MAX: usize = 62_000;

/// Reads a value of one of these types from its JSON text, which is known to be well formed.
pub(super) fn read(ty: &Type, wire: &Wire, json: &str) -> Result<Read, serde_json::Error> {
    Ok(match json.as_bytes().first() {
        Some(b'n') => Ok(Value::Null),
        Some(b'"') => text(ty, wire, &unquote(json)?),
        Some(b'-' | b'0'..=b'9') => digits(ty, wire, json),
        Some(b'{') => match (ty, wire) {
            (Type::Numeric(typmod), Wire::Unknown | Wire::VariableScaleDecimal) => serde_json::from_str::<ScaledJson<'_>>(json)
                .map_or_else(
                    |_| Err(contradiction(ty, "an object")),
                    |scaled| unscaled(ty, &scaled.value, scaled.scale).and_then(|n| fit(ty, n, *typmod)),
                ),
            _ => Err(contradiction(ty, "an object")),
        },
        _ => Err(contradiction(ty, "a boolean or an array")),
    })
}

/// `io.debezium.data.VariableScaleDecimal`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScaledJson<'a> {
    scale: i32,
    #[serde(borrow)]
    value: std::borrow::Cow<'a, str>,
}

fn text(ty: &Type, wire: &Wire, text: &str) -> Read {
    if text == UNAVAILABLE {
        return Err(unavailable());
    }
    match (ty, wire) {
        (Type::Float4 | Type::Float8, Wire::Unknown | Wire::Floating) => match text {
            "NaN" | "Infinity" | "-Infinity" => Value::from_text(ty, text),
            _ => Err(contradiction(ty, "text")),
        },
        (Type::Numeric(typmod), Wire::Unknown | Wire::Plain) => match text {
            "NAN" | "NaN" | "POSITIVE_INFINITY" | "Infinity" | "NEGATIVE_INFINITY" | "-Infinity" => {
                Err(lossy("numeric NaN and infinities are not supported"))
            }
            _ => {
                let number = Numeric::parse(text).map_err(|_| contradiction(ty, "text that is not a number"))?;
                exact(ty, number, *typmod)
            }
        },
        (Type::Numeric(_), Wire::Floating) => Err(lossy("numeric NaN and infinities are not supported")),
        (Type::Numeric(typmod), Wire::Decimal(scale)) => unscaled(ty, text, *scale).and_then(|n| exact(ty, n, *typmod)),
        _ => Err(contradiction(ty, "text")),
    }
}

fn digits(ty: &Type, wire: &Wire, json: &str) -> Read {
    match (ty, wire) {
        (Type::Float4 | Type::Float8, Wire::Unknown | Wire::Floating) => Value::from_text(ty, json),
        // Connect's `decimal.format=NUMERIC`
        (Type::Numeric(typmod), Wire::Decimal(_)) => fit(ty, Numeric::parse(json)?, *typmod),
        (Type::Numeric(typmod), Wire::Unknown | Wire::Floating) => match typmod {
            Some((precision, _)) if *precision <= DOUBLE_DIGITS => {
                let double: f64 = json.parse().map_err(|_| contradiction(ty, "a number out of range"))?;
                fit(ty, Numeric::from_f64(double)?, *typmod)
            }
            _ => Err(lossy(format!("a double cannot carry type {}: set decimal.handling.mode=string in the connector", ty.name()))),
        },
        _ => Err(contradiction(ty, "a number")),
    }
}

/// Base64 of a big-endian two's complement integer, and a scale.
fn unscaled(ty: &Type, base64: &str, scale: i32) -> Result<Numeric, RowError> {
    if base64 == UNAVAILABLE {
        return Err(unavailable());
    }
    let bytes = decode_base64(base64).filter(|b| !b.is_empty() && b.len() <= UNSCALED_BYTES_MAX);
    let bytes = bytes.ok_or_else(|| contradiction(ty, "text that is not an unscaled decimal"))?;
    if bytes == UNAVAILABLE.as_bytes() {
        return Err(unavailable());
    }
    let integer = BigInt::from_signed_bytes_be(&bytes);
    match u32::try_from(scale) {
        Ok(scale) => Numeric::from_big(integer, scale),
        Err(_) => Numeric::parse(&format!("{integer}e{}", scale.unsigned_abs())),
    }
}

/// The number as the column writes it: with exactly its digits after the point. One with others has been encoded for another type. The
/// connector does not know negative scales, and writes such numbers with digits of its own.
fn exact(ty: &Type, number: Numeric, typmod: Option<(u16, i16)>) -> Read {
    match typmod {
        Some((_, scale)) if scale >= 0 && i32::from(scale) != i32::from(number.dscale()) => {
            Err(contradiction(ty, "a number of another scale"))
        }
        _ => fit(ty, number, typmod),
    }
}

/// The number as the column stores it. One that the column cannot store has been encoded for another type.
fn fit(ty: &Type, number: Numeric, typmod: Option<(u16, i16)>) -> Read {
    let Some((precision, scale)) = typmod else { return Ok(Value::Numeric(number)) };
    let stored = number.apply_typmod(precision, scale).map_err(|_| contradiction(ty, "a number with too many digits"))?;
    if stored == number { Ok(Value::Numeric(stored)) } else { Err(contradiction(ty, "a number with more decimals")) }
}
