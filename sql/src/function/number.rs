//! Numbers: arithmetic with Postgres' promotions, checks of range and division rules.
//!
//! Integers (`int.c`, `int8.c`): the result has the wider type and must fit it (22003); `/` cuts towards zero. Floats (`float.h`): an
//! overflow to infinity or underflow to zero is an error (22003). numeric: [`crate::numeric`].

mod power;

use std::borrow::Cow;
use std::cmp::Ordering;

use super::Base::{self, *};
use super::argument::{float4, float8, int, numeric};
use super::{Function, Outcome, Run, row};
use crate::error::RowError;
use crate::numeric::Numeric as Decimal;
use crate::value::Value;

pub(super) fn division_by_zero() -> RowError {
    RowError::new("22012", "division by zero")
}

/// The value in the range of an integer type of `bytes` bytes.
pub(super) fn in_range(value: Option<i64>, bytes: u8) -> Outcome {
    let (fits, name) = match bytes {
        2 => (value.filter(|v| i16::try_from(*v).is_ok()), "smallint"),
        4 => (value.filter(|v| i32::try_from(*v).is_ok()), "integer"),
        _ => (value, "bigint"),
    };
    fits.map(Value::Int).ok_or_else(|| RowError::new("22003", format!("{name} out of range")))
}

/// Two integers to one of `BYTES` bytes.
fn integers<const BYTES: u8>(a: &Value, b: &Value, operation: fn(i64, i64) -> Option<i64>) -> Outcome {
    in_range(operation(int(a)?, int(b)?), BYTES)
}

fn add<const BYTES: u8>(a: &Value, b: &Value) -> Outcome {
    integers::<BYTES>(a, b, i64::checked_add)
}

fn subtract<const BYTES: u8>(a: &Value, b: &Value) -> Outcome {
    integers::<BYTES>(a, b, i64::checked_sub)
}

fn multiply<const BYTES: u8>(a: &Value, b: &Value) -> Outcome {
    integers::<BYTES>(a, b, i64::checked_mul)
}

fn divide<const BYTES: u8>(a: &Value, b: &Value) -> Outcome {
    if int(b)? == 0 {
        return Err(division_by_zero());
    }
    integers::<BYTES>(a, b, i64::checked_div)
}

fn modulo<const BYTES: u8>(a: &Value, b: &Value) -> Outcome {
    if int(b)? == 0 {
        return Err(division_by_zero());
    }
    // The smallest integer modulo -1 is 0 (the machine instruction would trap).
    integers::<BYTES>(a, b, |a, b| Some(a.wrapping_rem(b)))
}

fn negate<const BYTES: u8>(a: &Value) -> Outcome {
    in_range(int(a)?.checked_neg(), BYTES)
}

fn absolute<const BYTES: u8>(a: &Value) -> Outcome {
    in_range(int(a)?.checked_abs(), BYTES)
}

fn same(a: &Value) -> Outcome {
    Ok(a.clone())
}

/// `float.h`, `float8_pl` and its kin: infinity out of finite arguments is an overflow, zero out of others an underflow.
fn checked8(result: f64, infinite_allowed: bool, zero_allowed: bool) -> Outcome {
    if result.is_infinite() && !infinite_allowed {
        return Err(RowError::new("22003", "value out of range: overflow"));
    }
    if result == 0.0 && !zero_allowed {
        return Err(RowError::new("22003", "value out of range: underflow"));
    }
    Ok(Value::Float8(result))
}

fn checked4(result: f32, infinite_allowed: bool, zero_allowed: bool) -> Outcome {
    checked8(f64::from(result), infinite_allowed, zero_allowed)?;
    Ok(Value::Float4(result))
}

macro_rules! float_operations {
    ($float:ty, $read:ident, $checked:ident, $add:ident, $sub:ident, $mul:ident, $div:ident) => {
        fn $add(a: &Value, b: &Value) -> Outcome {
            let (a, b) = ($read(a)?, $read(b)?);
            $checked(a + b, a.is_infinite() || b.is_infinite(), true)
        }
        fn $sub(a: &Value, b: &Value) -> Outcome {
            let (a, b) = ($read(a)?, $read(b)?);
            $checked(a - b, a.is_infinite() || b.is_infinite(), true)
        }
        fn $mul(a: &Value, b: &Value) -> Outcome {
            let (a, b) = ($read(a)?, $read(b)?);
            $checked(a * b, a.is_infinite() || b.is_infinite(), a == 0.0 || b == 0.0)
        }
        fn $div(a: &Value, b: &Value) -> Outcome {
            let (a, b) = ($read(a)?, $read(b)?);
            if b == 0.0 && !a.is_nan() {
                return Err(division_by_zero());
            }
            $checked(a / b, a.is_infinite(), a == 0.0 || b.is_infinite())
        }
    };
}
float_operations!(f64, float8, checked8, add8, subtract8, multiply8, divide8);
float_operations!(f32, float4, checked4, add4, subtract4, multiply4, divide4);

fn numerics(a: &Value, b: &Value, operation: fn(&Decimal, &Decimal) -> Result<Decimal, RowError>) -> Outcome {
    operation(numeric(a)?, numeric(b)?).map(Value::Numeric)
}

const I2I2: &[Base] = &[Int2, Int2];
const I2I4: &[Base] = &[Int2, Int4];
const I2I8: &[Base] = &[Int2, Int8];
const I4I2: &[Base] = &[Int4, Int2];
const I4I4: &[Base] = &[Int4, Int4];
const I4I8: &[Base] = &[Int4, Int8];
const I8I2: &[Base] = &[Int8, Int2];
const I8I4: &[Base] = &[Int8, Int4];
const I8I8: &[Base] = &[Int8, Int8];
const F4F4: &[Base] = &[Float4, Float4];
const F4F8: &[Base] = &[Float4, Float8];
const F8F4: &[Base] = &[Float8, Float4];
const F8F8: &[Base] = &[Float8, Float8];
const NN: &[Base] = &[Numeric, Numeric];

macro_rules! arithmetic {
    ($name:literal, $integers:ident, $float4:ident, $float8:ident, $numeric:expr) => {
        [
            row($name, I2I2, Int2, Run::Two($integers::<2>)),
            row($name, I2I4, Int4, Run::Two($integers::<4>)),
            row($name, I2I8, Int8, Run::Two($integers::<8>)),
            row($name, I4I2, Int4, Run::Two($integers::<4>)),
            row($name, I4I4, Int4, Run::Two($integers::<4>)),
            row($name, I4I8, Int8, Run::Two($integers::<8>)),
            row($name, I8I2, Int8, Run::Two($integers::<8>)),
            row($name, I8I4, Int8, Run::Two($integers::<8>)),
            row($name, I8I8, Int8, Run::Two($integers::<8>)),
            row($name, F4F4, Float4, Run::Two($float4)),
            row($name, F4F8, Float8, Run::Two($float8)),
            row($name, F8F4, Float8, Run::Two($float8)),
            row($name, F8F8, Float8, Run::Two($float8)),
            row($name, NN, Numeric, Run::Two(|a, b| numerics(a, b, $numeric))),
        ]
    };
}

const MODULO: &[Function] = &[
    row("%", I2I2, Int2, Run::Two(modulo::<2>)),
    row("%", I4I4, Int4, Run::Two(modulo::<4>)),
    row("%", I8I8, Int8, Run::Two(modulo::<8>)),
    row("%", NN, Numeric, Run::Two(|a, b| numerics(a, b, Decimal::rem))),
    row("mod", I2I2, Int2, Run::Two(modulo::<2>)),
    row("mod", I4I4, Int4, Run::Two(modulo::<4>)),
    row("mod", I8I8, Int8, Run::Two(modulo::<8>)),
    row("mod", NN, Numeric, Run::Two(|a, b| numerics(a, b, Decimal::rem))),
];

const I2: &[Base] = &[Int2];
const I4: &[Base] = &[Int4];
const I8: &[Base] = &[Int8];
const F4: &[Base] = &[Float4];
const F8: &[Base] = &[Float8];
const N: &[Base] = &[Numeric];

const SIGNS: &[Function] = &[
    row("+", I2, Int2, Run::One(same)),
    row("+", I4, Int4, Run::One(same)),
    row("+", I8, Int8, Run::One(same)),
    row("+", F4, Float4, Run::One(same)),
    row("+", F8, Float8, Run::One(same)),
    row("+", N, Numeric, Run::One(same)),
    row("-", I2, Int2, Run::One(negate::<2>)),
    row("-", I4, Int4, Run::One(negate::<4>)),
    row("-", I8, Int8, Run::One(negate::<8>)),
    row("-", F4, Float4, Run::One(|a| Ok(Value::Float4(-float4(a)?)))),
    row("-", F8, Float8, Run::One(|a| Ok(Value::Float8(-float8(a)?)))),
    row("-", N, Numeric, Run::One(|a| Ok(Value::Numeric(std::ops::Neg::neg(numeric(a)?))))),
];

/// `@` and `abs`
macro_rules! absolute {
    ($name:literal) => {
        [
            row($name, I2, Int2, Run::One(absolute::<2>)),
            row($name, I4, Int4, Run::One(absolute::<4>)),
            row($name, I8, Int8, Run::One(absolute::<8>)),
            row($name, F4, Float4, Run::One(|a| Ok(Value::Float4(float4(a)?.abs())))),
            row($name, F8, Float8, Run::One(|a| Ok(Value::Float8(float8(a)?.abs())))),
            row($name, N, Numeric, Run::One(|a| Ok(Value::Numeric(numeric(a)?.abs())))),
        ]
    };
}

pub(super) fn operators() -> Vec<Function> {
    let mut rows = Vec::new();
    rows.extend(arithmetic!("+", add, add4, add8, Decimal::add));
    rows.extend(arithmetic!("-", subtract, subtract4, subtract8, Decimal::sub));
    rows.extend(arithmetic!("*", multiply, multiply4, multiply8, Decimal::mul));
    rows.extend(arithmetic!("/", divide, divide4, divide8, Decimal::div));
    rows.extend(absolute!("@"));
    rows.extend(SIGNS.iter().chain(MODULO).filter(|f| f.name != "mod").cloned());
    rows.extend(power::ROWS.iter().filter(|f| f.name == "^" || f.name.ends_with('/')).cloned());
    rows
}

/// A scale argument: rounding clamps it anyway, far inside of 32 bits.
fn scale(value: &Value) -> Result<i32, RowError> {
    Ok(i32::try_from(int(value)?).unwrap_or(0))
}

fn decimal(value: Result<Decimal, RowError>) -> Outcome {
    value.map(Value::Numeric)
}

/// `sign(double precision)`: NaN is 0 there (`dsign`).
fn sign8(value: f64) -> f64 {
    if value > 0.0 {
        1.0
    } else if value < 0.0 {
        -1.0
    } else {
        0.0
    }
}

/// `width_bucket(operand, low, high, count)` of numerics (`numeric.c`, `width_bucket_numeric`).
fn width_bucket(arguments: &[Cow<'_, Value>]) -> Outcome {
    let [operand, low, high, count] = arguments else {
        return Err(RowError::new("XX000", "width_bucket takes four arguments"));
    };
    let count = int(count)?;
    let (operand, low, high) = (numeric(operand)?, numeric(low)?, numeric(high)?);
    if count <= 0 {
        return Err(RowError::new("2201G", "count must be greater than zero"));
    }
    let (from, to) = match low.cmp(high) {
        Ordering::Equal => return Err(RowError::new("2201G", "lower bound cannot equal upper bound")),
        Ordering::Less if operand < low => return Ok(Value::Int(0)),
        Ordering::Less if operand >= high => return in_range(count.checked_add(1), 4),
        Ordering::Greater if operand > low => return Ok(Value::Int(0)),
        Ordering::Greater if operand <= high => return in_range(count.checked_add(1), 4),
        Ordering::Less => (operand.sub(low)?, high.sub(low)?),
        Ordering::Greater => (low.sub(operand)?, low.sub(high)?),
    };
    // The quotient is rounded before it is cut, as in Postgres: close to the upper bound this gives count + 1.
    let bucket = from.mul(&Decimal::from_i64(count))?.div(&to)?.floor()?.to_i64_rounded()?;
    in_range(bucket.checked_add(1), 4)
}

const ROUNDING: &[Function] = &[
    row("round", N, Numeric, Run::One(|a| decimal(numeric(a)?.round(0)))),
    row("round", F8, Float8, Run::One(|a| Ok(Value::Float8(float8(a)?.round_ties_even())))),
    row("round", &[Numeric, Int4], Numeric, Run::Two(|a, b| decimal(numeric(a)?.round(scale(b)?)))),
    row("trunc", N, Numeric, Run::One(|a| decimal(numeric(a)?.trunc(0)))),
    row("trunc", F8, Float8, Run::One(|a| Ok(Value::Float8(float8(a)?.trunc())))),
    row("trunc", &[Numeric, Int4], Numeric, Run::Two(|a, b| decimal(numeric(a)?.trunc(scale(b)?)))),
    row("trunc", &[Foreign], Foreign, Run::Refused("cast the argument to numeric or double precision")),
    row("ceil", N, Numeric, Run::One(|a| decimal(numeric(a)?.ceil()))),
    row("ceil", F8, Float8, Run::One(|a| Ok(Value::Float8(float8(a)?.ceil())))),
    row("ceiling", N, Numeric, Run::One(|a| decimal(numeric(a)?.ceil()))),
    row("ceiling", F8, Float8, Run::One(|a| Ok(Value::Float8(float8(a)?.ceil())))),
    row("floor", N, Numeric, Run::One(|a| decimal(numeric(a)?.floor()))),
    row("floor", F8, Float8, Run::One(|a| Ok(Value::Float8(float8(a)?.floor())))),
    row("sign", N, Numeric, Run::One(|a| Ok(Value::Numeric(Decimal::from_i64(numeric(a)?.sign().into()))))),
    row("sign", F8, Float8, Run::One(|a| Ok(Value::Float8(sign8(float8(a)?))))),
    row("div", NN, Numeric, Run::Two(|a, b| numerics(a, b, Decimal::div_trunc))),
    row("width_bucket", &[Numeric, Numeric, Numeric, Int4], Int4, Run::List(width_bucket)),
    row("width_bucket", &[Float8, Float8, Float8, Int4], Int4, Run::Refused("cast the arguments to numeric")),
    row("scale", N, Int4, Run::One(|a| Ok(Value::Int(numeric(a)?.dscale().into())))),
    row("trim_scale", N, Numeric, Run::One(|a| Ok(Value::Numeric(numeric(a)?.without_trailing_zeros())))),
];

pub(super) fn functions() -> Vec<Function> {
    let mut rows = Vec::new();
    rows.extend(absolute!("abs"));
    rows.extend(ROUNDING.iter().chain(MODULO).filter(|f| f.name != "%").cloned());
    rows.extend(power::ROWS.iter().filter(|f| f.name.starts_with(char::is_alphabetic)).cloned());
    rows
}
