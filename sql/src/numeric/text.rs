//! The text form of [`Numeric`]: `numeric_in` and `numeric_out`.

use std::fmt;

use num_bigint::BigInt;
use num_traits::Zero;

use super::{Coefficient, INTEGER_DIGITS_MAX, Numeric, big_pow10, overflow};
use crate::error::RowError;

/// Exponents at and beyond this are refused before anything is computed (`INT_MAX / 2`).
const EXPONENT_MAX: i64 = i32::MAX as i64 / 2;

/// A number as written: `digits · 10^exponent`, with the scale its text asks for.
struct Written {
    negative: bool,
    digits: String,
    exponent: i64,
    scale: u32,
}

impl Numeric {
    /// Reads what `numeric_in` reads, white space around it included. NaN and the infinities are refused (0A000).
    pub fn parse(text: &str) -> Result<Numeric, RowError> {
        if let Some(small) = parse_plain(text) {
            return Ok(small);
        }
        let written = Written::read(text)?;
        written.into_numeric()
    }
}

/// The common case: an optional sign, at most 37 digits and at most one point among them.
fn parse_plain(text: &str) -> Option<Numeric> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        all => (false, all),
    };
    if digits.is_empty() || digits.len() > 37 {
        return None;
    }
    let mut coefficient = 0_i128;
    let mut point = None;
    for (i, byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => coefficient = coefficient * 10 + i128::from(byte - b'0'),
            b'.' if point.is_none() && digits.len() > 1 => point = Some(i),
            _ => return None,
        }
    }
    let scale = point.map_or(0, |at| digits.len() - 1 - at);
    let coefficient = if negative { -coefficient } else { coefficient };
    Some(Numeric { coefficient: Coefficient::Small(coefficient), scale: u16::try_from(scale).ok()? })
}

impl Written {
    fn read(text: &str) -> Result<Written, RowError> {
        let invalid = || RowError::new("22P02", format!("invalid input syntax for type numeric: \"{text}\""));
        let trimmed = text.trim_matches(is_space);
        let (negative, unsigned) = match trimmed.as_bytes() {
            [b'-', ..] => (true, &trimmed[1..]),
            [b'+', ..] => (false, &trimmed[1..]),
            _ => (false, trimmed),
        };
        let special = ["infinity", "inf"].iter().any(|s| unsigned.eq_ignore_ascii_case(s));
        if special || trimmed.eq_ignore_ascii_case("nan") {
            return Err(RowError::new("0A000", "numeric NaN and infinities are not supported"));
        }
        let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
            Some(at) => (&unsigned[..at], read_exponent(&unsigned[at + 1..]).ok_or_else(invalid)?),
            None => (unsigned, 0),
        };
        let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{integer}{fraction}");
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(invalid());
        }
        if exponent.abs() >= EXPONENT_MAX {
            return Err(overflow());
        }
        let fraction_digits = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
        let exponent = exponent - fraction_digits;
        let scale = u32::try_from((-exponent).max(0)).map_err(|_| overflow())?;
        Ok(Written { negative, digits: digits.trim_start_matches('0').to_owned(), exponent, scale })
    }

    /// The power of ten just above the number, if it is not zero.
    fn leading_power(&self) -> i64 {
        if self.digits.is_empty() { 0 } else { i64::try_from(self.digits.len()).unwrap_or(i64::MAX) + self.exponent }
    }

    fn into_numeric(self) -> Result<Numeric, RowError> {
        if self.leading_power() > i64::from(INTEGER_DIGITS_MAX) {
            return Err(overflow());
        }
        let up = u32::try_from(self.exponent).unwrap_or(0);
        let coefficient = self.coefficient();
        let coefficient = if up == 0 || coefficient.is_zero() { coefficient } else { coefficient * big_pow10(up) };
        Numeric::from_big(coefficient, self.scale)
    }

    fn coefficient(&self) -> BigInt {
        let coefficient = BigInt::parse_bytes(self.digits.as_bytes(), 10).unwrap_or_default();
        if self.negative { -coefficient } else { coefficient }
    }
}

/// What C's `strtol` reads, to the end of the text: white space and a sign before the digits are fine. Saturates.
fn read_exponent(text: &str) -> Option<i64> {
    let text = text.trim_start_matches(is_space);
    let (negative, digits) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        all => (false, all),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0_i64, |n, d| n.saturating_mul(10).saturating_add(i64::from(d - b'0')));
    Some(if negative { -value } else { value })
}

/// C's `isspace` in the C locale.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

impl fmt::Display for Numeric {
    /// All digits of the display scale, never an exponent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = usize::from(self.scale);
        match &self.coefficient {
            Coefficient::Small(c) => {
                // 39 digits are the most an i128 has; longer scales take the general path.
                let mut buffer = [b'0'; 40];
                let mut at = buffer.len();
                let mut rest = c.unsigned_abs();
                while rest != 0 || buffer.len() - at < scale + 1 {
                    if at == 0 {
                        return write_digits(f, *c < 0, &c.unsigned_abs().to_string(), scale);
                    }
                    at -= 1;
                    buffer[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
                    rest /= 10;
                }
                let digits = std::str::from_utf8(&buffer[at..]).map_err(|_| fmt::Error)?;
                write_digits(f, *c < 0, digits, scale)
            }
            Coefficient::Big(c) => write_digits(f, c.sign() == num_bigint::Sign::Minus, &c.magnitude().to_string(), scale),
        }
    }
}

fn write_digits(f: &mut fmt::Formatter<'_>, negative: bool, digits: &str, scale: usize) -> fmt::Result {
    if negative {
        f.write_str("-")?;
    }
    if scale == 0 {
        return f.write_str(digits);
    }
    if digits.len() > scale {
        let (integer, fraction) = digits.split_at(digits.len() - scale);
        return write!(f, "{integer}.{fraction}");
    }
    write!(f, "0.{digits:0>scale$}")
}
