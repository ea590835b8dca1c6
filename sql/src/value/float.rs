//! Text of floating-point numbers: `float4in`, `float4out`, `float8in`, `float8out` (with `extra_float_digits = 1`).

use std::fmt::Write as _;

use super::input::is_space;
use crate::error::RowError;

/// Below this no decimal of 17 digits (9 for `real`) lies exactly between two neighbours.
const TIES_FROM: f64 = 1_048_576.0;

/// The shortest decimal that reads back as the same number, in C's `%g` style: an exponent below 1e-4 and from 1e15 on.
pub(super) fn push_f64(out: &mut String, value: f64) {
    let reads_back = |text: &str| text.parse() == Ok(value.abs());
    push_float(out, value, format!("{:e}", value.abs()), |n| format!("{:.n$e}", value.abs()), reads_back, 15);
}

/// As [`push_f64`], with an exponent from 1e6 on.
pub(super) fn push_f32(out: &mut String, value: f32) {
    let reads_back = |text: &str| text.parse() == Ok(value.abs());
    push_float(out, value.into(), format!("{:e}", value.abs()), |n| format!("{:.n$e}", value.abs()), reads_back, 6);
}

fn push_float(
    out: &mut String,
    value: f64,
    shortest: String,
    with_decimals: impl Fn(usize) -> String,
    reads_back: impl Fn(&str) -> bool,
    exponent_max: i32,
) {
    if value.is_nan() {
        return out.push_str("NaN");
    }
    if value.is_sign_negative() {
        out.push('-');
    }
    if value.is_infinite() {
        return out.push_str("Infinity");
    }
    // Of two shortest decimals that are equally near Postgres takes the even one.
    let decimals = shortest.split_once('e').map_or("", |(m, _)| m).split_once('.').map_or(0, |(_, d)| d.len());
    let nearest = with_decimals(decimals);
    let shortest = if nearest != shortest && reads_back(&nearest) { nearest } else { shortest };
    // A midpoint of so few digits lies between large numbers only: smaller ones have too many binary places.
    let text = if value.abs() < TIES_FROM { shortest } else { inside_interval(shortest, with_decimals, reads_back) };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..exponent_max).contains(&exponent) {
        return push_fixed(out, &mantissa.replace('.', ""), exponent);
    }
    // Writing to a String cannot fail.
    let _ = write!(out, "{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
}

/// Postgres does not print a decimal that lies exactly between two floats, although reading it rounds to the right one
/// (`STRICTLY_SHORTEST` of `src/common/d2s.c` is off); Rust does. 1e23 is the best known: Postgres prints 9.999999999999999e+22.
fn inside_interval(shortest: String, with_decimals: impl Fn(usize) -> String, reads_back: impl Fn(&str) -> bool) -> String {
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let decimals = mantissa.split_once('.').map_or(0, |(_, d)| d.len());
    let is_inside = |text: &str| {
        let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let point = if mantissa.contains('.') { "" } else { "." };
        let above = format!("{mantissa}{point}{:0>30}e{exponent}", 1);
        let below = just_below(mantissa).map(|m| format!("{m}e{exponent}"));
        reads_back(text) && reads_back(&above) && below.is_none_or(|b| reads_back(&b))
    };
    if is_inside(&shortest) {
        return shortest;
    }
    let longer = (decimals..=17).map(&with_decimals).find(|text| is_inside(text));
    let Some(longer) = longer else { return format!("{mantissa}e{exponent}") };
    let (mantissa, exponent) = longer.split_once('e').unwrap_or((&longer, "0"));
    let mantissa = if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    format!("{mantissa}e{exponent}")
}

/// A decimal a little smaller than `d.ddd`: its last digit lowered, nines behind it.
fn just_below(mantissa: &str) -> Option<String> {
    let last_nonzero = mantissa.rfind(|c: char| matches!(c, '1'..='9'))?;
    let digit = mantissa.as_bytes()[last_nonzero] - 1;
    let tail: String = mantissa[last_nonzero + 1..].chars().map(|c| if c == '.' { '.' } else { '9' }).collect();
    let point = if mantissa.contains('.') { "" } else { "." };
    Some(format!("{}{}{tail}{point}{}", &mantissa[..last_nonzero], char::from(digit), "9".repeat(30)))
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
    let trimmed = text.trim_matches(is_space);
    if let Some(word) = parse_word(trimmed) {
        return Ok(word);
    }
    let number = number_prefix(trimmed);
    let value: f64 = number.parse().map_err(|_| invalid("double precision", text))?;
    if value.is_infinite() || (value == 0.0 && has_digit(number)) {
        return Err(out_of_range("double precision", number));
    }
    if number.len() < trimmed.len() { Err(invalid("double precision", text)) } else { Ok(value) }
}

/// Reads a `real`.
pub(super) fn parse_f32(text: &str) -> Result<f32, RowError> {
    let trimmed = text.trim_matches(is_space);
    if let Some(word) = parse_word(trimmed) {
        // NaN and the infinities are the same in both sizes.
        #[allow(clippy::cast_possible_truncation)]
        return Ok(word as f32);
    }
    let number = number_prefix(trimmed);
    let value: f32 = number.parse().map_err(|_| invalid("real", text))?;
    if value.is_infinite() || (value == 0.0 && has_digit(number)) {
        return Err(out_of_range("real", number));
    }
    if number.len() < trimmed.len() { Err(invalid("real", text)) } else { Ok(value) }
}

/// `NaN` and the infinities in the spellings that C and Postgres know.
fn parse_word(text: &str) -> Option<f64> {
    let (negative, word) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    if word.eq_ignore_ascii_case("infinity") || word.eq_ignore_ascii_case("inf") {
        return Some(if negative { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    word.eq_ignore_ascii_case("nan").then_some(f64::NAN)
}

/// What C's `strtod` reads of a text: its range is checked before what follows it.
fn number_prefix(text: &str) -> &str {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes.get(from..).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit()).count();
    let mut end = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    end += digits(end);
    if bytes.get(end) == Some(&b'.') {
        end += 1 + digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end + 1 + sign);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    &text[..end]
}

/// Whether the mantissa has a digit other than zero.
fn has_digit(text: &str) -> bool {
    let mantissa = text.split(['e', 'E']).next().unwrap_or(text);
    mantissa.bytes().any(|b| matches!(b, b'1'..=b'9'))
}

fn invalid(ty: &str, text: &str) -> RowError {
    RowError::new("22P02", format!("invalid input syntax for type {ty}: \"{text}\""))
}

fn out_of_range(ty: &str, text: &str) -> RowError {
    RowError::new("22003", format!("\"{text}\" is out of range for type {ty}"))
}
