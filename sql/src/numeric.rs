//! Exact decimal numbers with the meaning of Postgres' `numeric`.
//!
//! A value is an integer coefficient and a display scale, `coefficient / 10^scale`. Coefficients that fit an `i128` stay there;
//! larger ones are big integers. Which of the two holds a value can never be seen from outside: every operation gives the same
//! digits on both paths. Result scales, rounding (half away from zero) and limits are those of Postgres 15
//! (`src/backend/utils/adt/numeric.c`): 131,072 digits before and 16,383 after the decimal point.
//!
//! Not here: NaN and the infinities, which are refused where values enter, and transcendental functions.

mod arithmetic;
mod convert;
mod text;

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use num_bigint::{BigInt, Sign};
use num_traits::{ToPrimitive, Zero};

use crate::error::RowError;

/// Digits after the decimal point that a stored numeric can have (`NUMERIC_DSCALE_MAX`).
const SCALE_MAX: u32 = 16_383;
/// Digits before the decimal point that a stored numeric can have: (`NUMERIC_WEIGHT_MAX` + 1) groups of four.
const INTEGER_DIGITS_MAX: u32 = 131_072;
/// Significant digits that a quotient has at least (`NUMERIC_MIN_SIG_DIGITS`).
const SIGNIFICANT_DIGITS_MIN: i64 = 16;
/// The scale that a quotient has at most (`NUMERIC_MAX_DISPLAY_SCALE`).
const DIVISION_SCALE_MAX: i64 = 1_000;
/// The scales to which `round` and `trunc` clamp their argument: one beyond the digits before the point, and the largest scale.
const ROUND_SCALE_MIN: i32 = -131_073;
/// See [`ROUND_SCALE_MIN`].
const ROUND_SCALE_MAX: i32 = 16_383;

/// A finite decimal number of any size with a display scale.
///
/// Equality, order and hash are of the value: `1.0` equals `1.00`, as in Postgres.
#[derive(Clone, Debug)]
pub struct Numeric {
    coefficient: Coefficient,
    scale: u16,
}

/// `Big` only when `Small` cannot hold the number, so that a value has one form. `i128::MIN` counts as big: it has no negation.
#[derive(Clone, Debug)]
enum Coefficient {
    Small(i128),
    Big(Arc<BigInt>),
}

impl Numeric {
    /// Zero with scale 0.
    pub const ZERO: Numeric = Numeric { coefficient: Coefficient::Small(0), scale: 0 };

    /// The integer, with scale 0.
    pub fn from_i64(value: i64) -> Numeric {
        Numeric { coefficient: Coefficient::Small(i128::from(value)), scale: 0 }
    }

    /// `coefficient / 10^scale`. Fails beyond Postgres' largest scale (22003).
    pub fn from_scaled(coefficient: i128, scale: u16) -> Result<Numeric, RowError> {
        if u32::from(scale) > SCALE_MAX {
            return Err(overflow());
        }
        if coefficient == i128::MIN {
            return Ok(Numeric { coefficient: Coefficient::Big(Arc::new(BigInt::from(coefficient))), scale });
        }
        Ok(Numeric { coefficient: Coefficient::Small(coefficient), scale })
    }

    /// `coefficient / 10^scale` of any size. Fails where Postgres cannot store it (22003).
    pub fn from_big(coefficient: BigInt, scale: u32) -> Result<Numeric, RowError> {
        let Ok(scale_u16) = u16::try_from(scale) else {
            return Err(overflow());
        };
        if scale > SCALE_MAX {
            return Err(overflow());
        }
        if let Some(small) = coefficient.to_i128().filter(|c| *c != i128::MIN) {
            return Ok(Numeric { coefficient: Coefficient::Small(small), scale: scale_u16 });
        }
        let digits_max = INTEGER_DIGITS_MAX + scale;
        // 10^d needs more than 3.32 d bits, so shorter numbers are in range without computing the power.
        if coefficient.bits() > u64::from(digits_max) * 332 / 100 && coefficient.magnitude() >= big_pow10(digits_max).magnitude() {
            return Err(overflow());
        }
        Ok(Numeric { coefficient: Coefficient::Big(Arc::new(coefficient)), scale: scale_u16 })
    }

    /// Digits after the decimal point when printed.
    pub fn dscale(&self) -> u16 {
        self.scale
    }

    /// Whether the value is zero at any scale.
    pub fn is_zero(&self) -> bool {
        matches!(self.coefficient, Coefficient::Small(0))
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i8 {
        match &self.coefficient {
            Coefficient::Small(c) => match c.cmp(&0) {
                Ordering::Less => -1,
                Ordering::Equal => 0,
                Ordering::Greater => 1,
            },
            Coefficient::Big(c) => match c.sign() {
                Sign::Minus => -1,
                Sign::NoSign => 0,
                Sign::Plus => 1,
            },
        }
    }

    fn big(&self) -> BigInt {
        match &self.coefficient {
            Coefficient::Small(c) => BigInt::from(*c),
            Coefficient::Big(c) => (**c).clone(),
        }
    }

    /// The coefficient this value would have at a larger or equal scale, if it fits.
    fn small_at(&self, scale: u16) -> Option<i128> {
        let Coefficient::Small(c) = self.coefficient else {
            return None;
        };
        c.checked_mul(pow10(u32::from(scale.checked_sub(self.scale)?))?)
    }

    fn big_at(&self, scale: u16) -> BigInt {
        let by = u32::from(scale.saturating_sub(self.scale));
        if by == 0 { self.big() } else { self.big() * big_pow10(by) }
    }

    /// The power of ten of the first digit that is not zero; `None` for zero.
    fn leading_power(&self) -> Option<i64> {
        let digits = match &self.coefficient {
            Coefficient::Small(0) => return None,
            Coefficient::Small(c) => u64::from(c.unsigned_abs().ilog10()) + 1,
            Coefficient::Big(c) => decimal_digits(c),
        };
        Some(i64::try_from(digits).unwrap_or(i64::MAX) - 1 - i64::from(self.scale))
    }
}

impl Ord for Numeric {
    fn cmp(&self, other: &Numeric) -> Ordering {
        let scale = self.scale.max(other.scale);
        if let (Some(a), Some(b)) = (self.small_at(scale), other.small_at(scale)) {
            return a.cmp(&b);
        }
        // Different signs or sizes decide without making the numbers equally long.
        let by_sign = self.sign().cmp(&other.sign());
        if by_sign != Ordering::Equal {
            return by_sign;
        }
        match self.leading_power().cmp(&other.leading_power()) {
            Ordering::Equal => self.big_at(scale).cmp(&other.big_at(scale)),
            by_size if self.sign() < 0 => by_size.reverse(),
            by_size => by_size,
        }
    }
}

impl PartialOrd for Numeric {
    fn partial_cmp(&self, other: &Numeric) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Numeric {
    fn eq(&self, other: &Numeric) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Numeric {}

impl Hash for Numeric {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let reduced = self.without_trailing_zeros();
        match &reduced.coefficient {
            Coefficient::Small(c) => c.hash(state),
            Coefficient::Big(c) => c.hash(state),
        }
        reduced.scale.hash(state);
    }
}

/// 10^n where an `i128` holds it.
fn pow10(n: u32) -> Option<i128> {
    const POWERS: [i128; 39] = {
        let mut powers = [1_i128; 39];
        let mut n = 1;
        while n < 39 {
            powers[n] = powers[n - 1] * 10;
            n += 1;
        }
        powers
    };
    POWERS.get(n as usize).copied()
}

fn big_pow10(n: u32) -> BigInt {
    pow10(n).map_or_else(|| BigInt::from(10_u8).pow(n), BigInt::from)
}

/// Decimal digits of the number, 1 for zero.
fn decimal_digits(n: &BigInt) -> u64 {
    if n.is_zero() {
        return 1;
    }
    // b bits hold between floor((b-1) * log10(2)) + 1 and floor(b * log10(2)) + 1 digits: at most two candidates.
    let low = (n.bits() - 1) * 30_102_999 / 100_000_000 + 1;
    let mut digits = low;
    let mut limit = big_pow10(u32::try_from(low).unwrap_or(u32::MAX));
    while n.magnitude() >= limit.magnitude() {
        digits += 1;
        limit *= 10;
    }
    digits
}

/// What Postgres says of a number it cannot store (`make_result`).
fn overflow() -> RowError {
    RowError::new("22003", "value overflows numeric format")
}
