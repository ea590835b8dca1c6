//! Arithmetic on [`Numeric`]: each operation tries `i128` first and falls back to big integers with the same result.

use std::ops::Neg;
use std::sync::Arc;

use num_bigint::{BigInt, Sign};

use super::{
    Coefficient, DIVISION_SCALE_MAX, Numeric, ROUND_SCALE_MAX, ROUND_SCALE_MIN, SCALE_MAX, SIGNIFICANT_DIGITS_MIN, big_pow10, pow10,
};
use crate::error::RowError;

/// What happens to digits that are dropped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dropped {
    /// Half away from zero.
    Rounded,
    /// Towards zero.
    Cut,
}

impl Numeric {
    /// `self + other`; the scale is the larger one.
    pub fn add(&self, other: &Numeric) -> Result<Numeric, RowError> {
        let scale = self.scale.max(other.scale);
        if let (Some(a), Some(b)) = (self.small_at(scale), other.small_at(scale))
            && let Some(sum) = a.checked_add(b)
        {
            return Numeric::from_scaled(sum, scale);
        }
        Numeric::from_big(self.big_at(scale) + other.big_at(scale), scale.into())
    }

    /// `self - other`; the scale is the larger one.
    pub fn sub(&self, other: &Numeric) -> Result<Numeric, RowError> {
        self.add(&-other)
    }

    /// `self * other`, exact; the scales add up, to at most the largest scale there is.
    pub fn mul(&self, other: &Numeric) -> Result<Numeric, RowError> {
        let scale = u32::from(self.scale) + u32::from(other.scale);
        if let (Coefficient::Small(a), Coefficient::Small(b), Ok(scale), true) =
            (&self.coefficient, &other.coefficient, u16::try_from(scale), scale <= SCALE_MAX)
            && let Some(product) = a.checked_mul(*b)
        {
            return Numeric::from_scaled(product, scale);
        }
        let product = self.big() * other.big();
        if scale > SCALE_MAX {
            return Numeric::from_big(drop_big(product, scale - SCALE_MAX, Dropped::Rounded), SCALE_MAX);
        }
        Numeric::from_big(product, scale)
    }

    /// `self / other`, rounded to the scale that Postgres chooses: at least 16 significant digits and no fewer decimals than
    /// either operand (`select_div_scale`). Fails with 22012 for a zero divisor.
    pub fn div(&self, other: &Numeric) -> Result<Numeric, RowError> {
        if other.is_zero() {
            return Err(division_by_zero());
        }
        let scale = self.division_scale(other);
        // a/10^s ÷ b/10^t = (a · 10^(scale - s + t) / b) / 10^scale.
        let by = i32::from(scale) - i32::from(self.scale) + i32::from(other.scale);
        if let (Coefficient::Small(a), Coefficient::Small(b)) = (&self.coefficient, &other.coefficient)
            && let Some(dividend) = u32::try_from(by).ok().and_then(pow10).and_then(|p| a.checked_mul(p))
        {
            return Numeric::from_scaled(divide_small(dividend, *b, Dropped::Rounded), scale);
        }
        // The exponent is negative only for operands with more decimals than a quotient may have.
        let power = big_pow10(by.unsigned_abs());
        let (dividend, divisor) = if by < 0 { (self.big(), other.big() * power) } else { (self.big() * power, other.big()) };
        Numeric::from_big(divide_big(&dividend, &divisor, Dropped::Rounded), scale.into())
    }

    /// `self % other` with the sign of `self`; the scale is the larger one. Fails with 22012 for a zero divisor.
    pub fn rem(&self, other: &Numeric) -> Result<Numeric, RowError> {
        if other.is_zero() {
            return Err(division_by_zero());
        }
        let scale = self.scale.max(other.scale);
        if let (Some(a), Some(b)) = (self.small_at(scale), other.small_at(scale)) {
            return Numeric::from_scaled(a % b, scale);
        }
        Numeric::from_big(self.big_at(scale) % other.big_at(scale), scale.into())
    }

    /// `self / other` truncated to an integer, as the function `div`. Fails with 22012 for a zero divisor.
    pub fn div_trunc(&self, other: &Numeric) -> Result<Numeric, RowError> {
        if other.is_zero() {
            return Err(division_by_zero());
        }
        let scale = self.scale.max(other.scale);
        if let (Some(a), Some(b)) = (self.small_at(scale), other.small_at(scale)) {
            return Numeric::from_scaled(a / b, 0);
        }
        Numeric::from_big(self.big_at(scale) / other.big_at(scale), 0)
    }

    /// The absolute value.
    #[must_use]
    pub fn abs(&self) -> Numeric {
        if self.sign() < 0 { -self } else { self.clone() }
    }

    /// Rounded half away from zero to `scale` decimals; negative scales round before the decimal point.
    pub fn round(&self, scale: i32) -> Result<Numeric, RowError> {
        self.to_scale(scale.clamp(ROUND_SCALE_MIN, ROUND_SCALE_MAX), Dropped::Rounded)
    }

    /// Cut to `scale` decimals; negative scales cut before the decimal point.
    pub fn trunc(&self, scale: i32) -> Result<Numeric, RowError> {
        self.to_scale(scale.clamp(ROUND_SCALE_MIN, ROUND_SCALE_MAX), Dropped::Cut)
    }

    /// The smallest integer that is not less.
    pub fn ceil(&self) -> Result<Numeric, RowError> {
        let cut = self.to_scale(0, Dropped::Cut)?;
        if cut < *self { cut.add(&Numeric::from_i64(1)) } else { Ok(cut) }
    }

    /// The largest integer that is not greater.
    pub fn floor(&self) -> Result<Numeric, RowError> {
        let cut = self.to_scale(0, Dropped::Cut)?;
        if cut > *self { cut.sub(&Numeric::from_i64(1)) } else { Ok(cut) }
    }

    /// The value as a column of type `numeric(precision, scale)` stores it (`apply_typmod`): rounded to the scale, and
    /// 22003 `numeric field overflow` when it has more than `precision` digits then.
    pub fn apply_typmod(&self, precision: u16, scale: i16) -> Result<Numeric, RowError> {
        let rounded = self.to_scale(scale.into(), Dropped::Rounded)?;
        let digits = u32::from(precision) + if scale < 0 { u32::from(scale.unsigned_abs()) } else { 0 };
        let fits = match (&rounded.coefficient, pow10(digits)) {
            (Coefficient::Small(c), Some(limit)) => c.unsigned_abs() < limit.unsigned_abs(),
            (Coefficient::Small(_), None) => true,
            (Coefficient::Big(c), _) => c.magnitude() < big_pow10(digits).magnitude(),
        };
        if fits { Ok(rounded) } else { Err(RowError::new("22003", "numeric field overflow")) }
    }

    /// The same value with the smallest scale that holds it (`trim_scale`).
    #[must_use]
    pub fn without_trailing_zeros(&self) -> Numeric {
        let mut reduced = self.clone();
        while reduced.scale > 0 {
            match &reduced.coefficient {
                Coefficient::Small(c) if c % 10 == 0 => {
                    reduced = Numeric { coefficient: Coefficient::Small(c / 10), scale: reduced.scale - 1 };
                }
                Coefficient::Big(c) => {
                    let tenth = &**c / 10;
                    if &tenth * 10 != **c {
                        break;
                    }
                    let Ok(shorter) = Numeric::from_big(tenth, u32::from(reduced.scale) - 1) else {
                        break;
                    };
                    reduced = shorter;
                }
                Coefficient::Small(_) => break,
            }
        }
        reduced
    }

    fn to_scale(&self, scale: i32, dropped: Dropped) -> Result<Numeric, RowError> {
        let drop = i32::from(self.scale) - scale;
        let kept_scale = u16::try_from(scale).unwrap_or(0);
        let Ok(drop) = u32::try_from(drop) else {
            return match self.small_at(kept_scale) {
                Some(c) => Numeric::from_scaled(c, kept_scale),
                None => Numeric::from_big(self.big_at(kept_scale), kept_scale.into()),
            };
        };
        // A negative scale leaves zeros before the decimal point.
        let zeros = u32::try_from(-scale).unwrap_or(0);
        match &self.coefficient {
            Coefficient::Small(c) => {
                // More digits than an i128 has: what is left is less than half a unit.
                let kept = pow10(drop).map_or(0, |by| divide_small(*c, by, dropped));
                match pow10(zeros).and_then(|z| kept.checked_mul(z)) {
                    Some(c) => Numeric::from_scaled(c, kept_scale),
                    None if kept == 0 => Numeric::from_scaled(0, kept_scale),
                    None => Numeric::from_big(BigInt::from(kept) * big_pow10(zeros), kept_scale.into()),
                }
            }
            Coefficient::Big(c) => {
                let kept = drop_big((**c).clone(), drop, dropped);
                let kept = if zeros == 0 { kept } else { kept * big_pow10(zeros) };
                Numeric::from_big(kept, kept_scale.into())
            }
        }
    }

    /// `select_div_scale`: Postgres works in groups of four digits, and estimates the size of the quotient from the position
    /// and the value of the first group of each operand.
    fn division_scale(&self, divisor: &Numeric) -> u16 {
        let (weight, first) = self.first_group();
        let (divisor_weight, divisor_first) = divisor.first_group();
        let mut quotient_weight = weight - divisor_weight;
        if first <= divisor_first {
            quotient_weight -= 1;
        }
        let scale = (SIGNIFICANT_DIGITS_MIN - quotient_weight * 4).max(self.scale.into()).max(divisor.scale.into()).min(DIVISION_SCALE_MAX);
        // An operand with more decimals than the limit would lose them: Postgres lets the limit win, and so do we.
        u16::try_from(scale).unwrap_or(0)
    }

    /// Position (in groups of four from the decimal point, the units being group 0) and value of the first group that is not
    /// zero; (0, 0) for zero.
    fn first_group(&self) -> (i64, u32) {
        let Some(power) = self.leading_power() else {
            return (0, 0);
        };
        let weight = power.div_euclid(4);
        // The group's last digit stands for 10^(4 weight): shift the coefficient there.
        let shift = weight * 4 + i64::from(self.scale);
        let magnitude: u32 = match (&self.coefficient, u32::try_from(shift)) {
            (Coefficient::Small(c), Ok(shift)) => {
                pow10(shift).map_or(0, |p| u32::try_from(c.unsigned_abs() / p.unsigned_abs()).unwrap_or(0))
            }
            (Coefficient::Small(c), Err(_)) => {
                let up = u32::try_from(-shift).ok().and_then(pow10);
                up.and_then(|p| c.unsigned_abs().checked_mul(p.unsigned_abs())).map_or(0, |g| u32::try_from(g).unwrap_or(0))
            }
            (Coefficient::Big(c), Ok(shift)) => u32::try_from((&**c / big_pow10(shift)).magnitude()).unwrap_or(0),
            (Coefficient::Big(_), Err(_)) => 0,
        };
        (weight, magnitude)
    }
}

impl Neg for &Numeric {
    type Output = Numeric;

    fn neg(self) -> Numeric {
        let coefficient = match &self.coefficient {
            Coefficient::Small(c) => Coefficient::Small(-c),
            Coefficient::Big(c) => {
                let negated = -(**c).clone();
                // 2^127 is big and so is its negation, i128::MIN: the form stays the same.
                Coefficient::Big(Arc::new(negated))
            }
        };
        Numeric { coefficient, scale: self.scale }
    }
}

/// `a / b` for b ≠ 0; the callers rule out `i128::MIN`, so nothing here overflows.
fn divide_small(a: i128, b: i128, dropped: Dropped) -> i128 {
    let quotient = a / b;
    let rest = (a % b).unsigned_abs();
    if dropped == Dropped::Cut || rest < b.unsigned_abs() - rest {
        return quotient;
    }
    if (a < 0) == (b < 0) { quotient + 1 } else { quotient - 1 }
}

fn divide_big(a: &BigInt, b: &BigInt, dropped: Dropped) -> BigInt {
    let quotient = a / b;
    if dropped == Dropped::Cut {
        return quotient;
    }
    let rest = a - &quotient * b;
    if (rest.magnitude() * 2_u8) < *b.magnitude() {
        return quotient;
    }
    if (a.sign() == Sign::Minus) == (b.sign() == Sign::Minus) { quotient + 1 } else { quotient - 1 }
}

fn drop_big(value: BigInt, digits: u32, dropped: Dropped) -> BigInt {
    if digits == 0 { value } else { divide_big(&value, &big_pow10(digits), dropped) }
}

fn division_by_zero() -> RowError {
    RowError::new("22012", "division by zero")
}
