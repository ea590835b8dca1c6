//! Text of floating-point numbers: `float4in`, `float4out`, `float8in`, `float8out` (with `extra_float_digits = 1`).

use crate::error::RowError;

/// The shortest decimal that reads back as the same number, in C's `%g` style: an exponent below 1e-4 and from 1e15 on.
pub(super) fn push_f64(out: &mut String, value: f64) {
    push_float(out, value.is_nan(), value.is_infinite(), value.is_sign_negative(), &format!("{:e}", value.abs()), 15);
}

/// As [`push_f64`], with an exponent from 1e6 on.
pub(super) fn push_f32(out: &mut String, value: f32) {
    push_float(out, value.is_nan(), value.is_infinite(), value.is_sign_negative(), &format!("{:e}", value.abs()), 6);
}

fn push_float(out: &mut String, nan: bool, infinite: bool, negative: bool, text: &str, exponent_max: i32) {
    if nan {
        return out.push_str("NaN");
    }
    if negative {
        out.push('-');
    }
    if infinite {
        return out.push_str("Infinity");
    }
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..exponent_max).contains(&exponent) {
        return push_fixed(out, &mantissa.replace('.', ""), exponent);
    }
    out.push_str(mantissa);
    out.push_str(if exponent < 0 { "e-" } else { "e+" });
    out.push_str(&format!("{:02}", exponent.abs()));
}

/// Digits `d.ddd · 10^exponent` without an exponent.
fn push_fixed(out: &mut String, digits: &str, exponent: i32) {
    let Ok(exponent) = usize::try_from(exponent) else {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', usize::try_from(-1 - exponent).unwrap_or(0)));
        return out.push_str(digits);
    };
    let integer_digits = exponent + 1;
    if digits.len() <= integer_digits {
        out.push_str(digits);
        out.extend(std::iter::repeat_n('0', integer_digits - digits.len()));
    } else {
        out.push_str(&digits[..integer_digits]);
        out.push('.');
        out.push_str(&digits[integer_digits..]);
    }
}

/// Reads a `double precision`.
pub(super) fn parse_f64(text: &str) -> Result<f64, RowError> {
    let trimmed = trim(text);
    let value: f64 = parse_word(trimmed).map_or_else(|| trimmed.parse(), Ok).map_err(|_| invalid("double precision", text))?;
    let lost = (value == 0.0 && has_digit(trimmed)) || (value.is_infinite() && parse_word(trimmed).is_none());
    if lost { Err(out_of_range("double precision", trimmed)) } else { Ok(value) }
}

/// Reads a `real`.
pub(super) fn parse_f32(text: &str) -> Result<f32, RowError> {
    let trimmed = trim(text);
    #[allow(clippy::cast_possible_truncation)] // NaN and infinities only
    let word = parse_word(trimmed).map(|w| w as f32);
    let value: f32 = word.map_or_else(|| trimmed.parse(), Ok).map_err(|_| invalid("real", text))?;
    let lost = (value == 0.0 && has_digit(trimmed)) || (value.is_infinite() && word.is_none());
    if lost { Err(out_of_range("real", trimmed)) } else { Ok(value) }
}

/// `NaN` and the infinities in the spellings that C and Postgres know.
fn parse_word(text: &str) -> Option<f64> {
    let (negative, word) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    if ["infinity", "inf"].iter().any(|w| word.eq_ignore_ascii_case(w)) {
        return Some(if negative { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    word.eq_ignore_ascii_case("nan").then_some(f64::NAN)
}

/// Whether the mantissa has a digit other than zero.
fn has_digit(text: &str) -> bool {
    let mantissa = text.split(['e', 'E']).next().unwrap_or(text);
    mantissa.bytes().any(|b| b.is_ascii_digit() && b != b'0')
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r'])
}

fn invalid(ty: &str, text: &str) -> RowError {
    RowError::new("22P02", format!("invalid input syntax for type {ty}: \"{text}\""))
}

fn out_of_range(ty: &str, text: &str) -> RowError {
    RowError::new("22003", format!("\"{text}\" is out of range for type {ty}"))
}
