//! Powers, roots, exponentials and logarithms of `double precision` (`float.c`).
//!
//! They use the C library's functions through Rust's, as Postgres does. numeric has its own algorithms in Postgres, with digits of
//! their own; they are refused until they are here digit for digit.

use super::super::argument::float8;
use super::super::{Function, Outcome, Run, row};
use super::{Base::*, F8, F8F8, N, NN, checked8};
use crate::error::RowError;
use crate::value::Value;

const CAST: &str = "cast the arguments to double precision";
/// The last digit differs from that of the C library.
const CUBE: &str = "write power(x, 1.0 / 3)";

fn invalid(sqlstate: &'static str, message: &str) -> Outcome {
    Err(RowError::new(sqlstate, message))
}

/// `dpow`: the special cases of POSIX' pow, and errors where it has none.
fn power(a: &Value, b: &Value) -> Outcome {
    let (base, exponent) = (float8(a)?, float8(b)?);
    if base.is_nan() || exponent.is_nan() {
        let one = exponent == 0.0 || base == 1.0;
        return Ok(Value::Float8(if one { 1.0 } else { f64::NAN }));
    }
    if base == 0.0 && exponent < 0.0 {
        return invalid("2201F", "zero raised to a negative power is undefined");
    }
    if base < 0.0 && exponent.floor() != exponent {
        return invalid("2201F", "a negative number raised to a non-integer power yields a complex result");
    }
    let infinite = base.is_infinite() || exponent.is_infinite();
    checked8(base.powf(exponent), infinite, infinite || base == 0.0)
}

fn square_root(a: &Value) -> Outcome {
    let value = float8(a)?;
    if value < 0.0 {
        return invalid("2201F", "cannot take square root of a negative number");
    }
    checked8(value.sqrt(), value.is_infinite(), value == 0.0)
}

fn exponential(a: &Value) -> Outcome {
    let value = float8(a)?;
    checked8(value.exp(), value.is_infinite(), value.is_infinite())
}

fn logarithm(a: &Value, of: fn(f64) -> f64) -> Outcome {
    let value = float8(a)?;
    if value == 0.0 {
        return invalid("2201E", "cannot take logarithm of zero");
    }
    if value < 0.0 {
        return invalid("2201E", "cannot take logarithm of a negative number");
    }
    checked8(of(value), value.is_infinite(), value == 1.0)
}

pub(super) const ROWS: &[Function] = &[
    row("^", F8F8, Float8, Run::Two(power)),
    row("^", NN, Numeric, Run::Refused(CAST)),
    row("|/", F8, Float8, Run::One(square_root)),
    row("||/", F8, Float8, Run::Refused(CUBE)),
    row("power", F8F8, Float8, Run::Two(power)),
    row("power", NN, Numeric, Run::Refused(CAST)),
    row("pow", F8F8, Float8, Run::Two(power)),
    row("pow", NN, Numeric, Run::Refused(CAST)),
    row("sqrt", F8, Float8, Run::One(square_root)),
    row("sqrt", N, Numeric, Run::Refused(CAST)),
    row("cbrt", F8, Float8, Run::Refused(CUBE)),
    row("exp", F8, Float8, Run::One(exponential)),
    row("exp", N, Numeric, Run::Refused(CAST)),
    row("ln", F8, Float8, Run::One(|a| logarithm(a, f64::ln))),
    row("ln", N, Numeric, Run::Refused(CAST)),
    row("log", F8, Float8, Run::One(|a| logarithm(a, f64::log10))),
    row("log", N, Numeric, Run::Refused(CAST)),
    row("log", NN, Numeric, Run::Refused(CAST)),
    row("log10", F8, Float8, Run::One(|a| logarithm(a, f64::log10))),
    row("log10", N, Numeric, Run::Refused(CAST)),
];
