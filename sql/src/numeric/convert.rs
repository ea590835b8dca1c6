//! Casts between [`Numeric`] and the other number types.

use num_traits::ToPrimitive;

use super::{Coefficient, Numeric, pow10};
use crate::error::RowError;

impl Numeric {
    /// The nearest integer, halves away from zero. Fails with 22003 beyond `bigint`.
    pub fn to_i64_rounded(&self) -> Result<i64, RowError> {
        let out_of_range = || RowError::new("22003", "bigint out of range");
        match self.round(0)?.coefficient {
            Coefficient::Small(c) => i64::try_from(c).map_err(|_| out_of_range()),
            Coefficient::Big(_) => Err(out_of_range()),
        }
    }

    /// The value in units of `10^-scale`, rounded half away from zero. Fails with 22003 beyond 64 bits.
    pub fn to_scaled(&self, scale: u8) -> Result<i64, RowError> {
        let out_of_range = || RowError::new("22003", format!("value out of range at scale {scale}"));
        match self.round(scale.into())?.coefficient {
            Coefficient::Small(c) => i64::try_from(c).map_err(|_| out_of_range()),
            Coefficient::Big(_) => Err(out_of_range()),
        }
    }

    /// The nearest double, as the cast to `double precision`. Fails with 22003 beyond its range, at both ends.
    pub fn to_f64(&self) -> Result<f64, RowError> {
        /// Integers up to 2^53 and powers of ten up to 10^22 are exact doubles, so that one division rounds correctly.
        const EXACT: i128 = 1 << 53;
        if let Coefficient::Small(c) = self.coefficient
            && c.abs() <= EXACT
            && self.scale <= 22
            && let (Some(c), Some(p)) = (c.to_f64(), pow10(self.scale.into()).and_then(|p| p.to_f64()))
        {
            return Ok(c / p);
        }
        let text = self.to_string();
        match text.parse::<f64>() {
            Ok(v) if v.is_finite() && (v != 0.0 || self.is_zero()) => Ok(v),
            _ => Err(RowError::new("22003", format!("\"{text}\" is out of range for type double precision"))),
        }
    }

    /// The nearest single, as the cast to `real`. Fails with 22003 beyond its range, at both ends.
    pub fn to_f32(&self) -> Result<f32, RowError> {
        let text = self.to_string();
        match text.parse::<f32>() {
            Ok(v) if v.is_finite() && (v != 0.0 || self.is_zero()) => Ok(v),
            _ => Err(RowError::new("22003", format!("\"{text}\" is out of range for type real"))),
        }
    }

    /// The cast from `double precision`: 15 significant digits. NaN and the infinities are refused (0A000).
    pub fn from_f64(value: f64) -> Result<Numeric, RowError> {
        from_digits(value.is_finite(), format!("{value:.14e}"))
    }

    /// The cast from `real`: 6 significant digits. NaN and the infinities are refused (0A000).
    pub fn from_f32(value: f32) -> Result<Numeric, RowError> {
        from_digits(value.is_finite(), format!("{value:.5e}"))
    }
}

/// Reads `d.ddde±x` as C's `%g` would have printed it: without the trailing zeros of the mantissa.
fn from_digits(finite: bool, text: String) -> Result<Numeric, RowError> {
    if !finite {
        return Err(RowError::new("0A000", "numeric NaN and infinities are not supported"));
    }
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
    Numeric::parse(&format!("{mantissa}e{exponent}"))
}
