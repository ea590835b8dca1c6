//! Dates, times and intervals: arithmetic (`timestamp.c`, `date.c`).
//!
//! The session's zone is UTC, so a timestamptz computes as a timestamp does. A month added to the last days of a month ends on the
//! last day of the other month; the infinities stay what they are.

mod field;
mod make;
mod unit;
mod zone;

use super::Base::*;
use super::argument::{float8, int, mismatch};
use super::{Function, Outcome, Run, row};
use crate::error::RowError;
use crate::time::{self, Civil, DAY, SECOND, days_in_month};
use crate::value::Value;

pub(super) fn out_of_range(what: &str) -> RowError {
    RowError::new("22008", format!("{what} out of range"))
}

pub(super) fn date(value: &Value) -> Result<i32, RowError> {
    if let Value::Date(days) = value { Ok(*days) } else { Err(mismatch(value, "a date")) }
}

pub(super) fn timestamp(value: &Value) -> Result<i64, RowError> {
    if let Value::Timestamp(micros) = value { Ok(*micros) } else { Err(mismatch(value, "a timestamp")) }
}

pub(super) fn clock(value: &Value) -> Result<i64, RowError> {
    match value {
        Value::Time(micros) | Value::Timetz(micros, _) => Ok(*micros),
        _ => Err(mismatch(value, "a time")),
    }
}

/// Months, days, microseconds.
pub(super) fn interval(value: &Value) -> Result<(i32, i32, i64), RowError> {
    if let Value::Interval(months, days, micros) = value { Ok((*months, *days, *micros)) } else { Err(mismatch(value, "an interval")) }
}

pub(super) fn is_infinite(micros: i64) -> bool {
    matches!(micros, time::TIMESTAMP_INFINITY | time::TIMESTAMP_NEGATIVE_INFINITY)
}

fn is_infinite_date(days: i32) -> bool {
    matches!(days, time::DATE_INFINITY | time::DATE_NEGATIVE_INFINITY)
}

fn checked_timestamp(micros: Option<i64>) -> Outcome {
    micros.filter(|m| time::is_timestamp(*m)).map(Value::Timestamp).ok_or_else(|| out_of_range("timestamp"))
}

fn add_days(days: i32, more: i64) -> Outcome {
    if is_infinite_date(days) {
        return Ok(Value::Date(days));
    }
    let sum = i64::from(days).checked_add(more).and_then(|d| i32::try_from(d).ok());
    sum.filter(|d| time::is_date(*d)).map(Value::Date).ok_or_else(|| out_of_range("date"))
}

fn subtract_dates(a: &Value, b: &Value) -> Outcome {
    let (a, b) = (date(a)?, date(b)?);
    if is_infinite_date(a) || is_infinite_date(b) {
        return Err(RowError::new("22008", "cannot subtract infinite dates"));
    }
    Ok(Value::Int(i64::from(a) - i64::from(b)))
}

/// `timestamp_pl_interval`: first months, then days, then microseconds.
fn add_interval(micros: i64, (months, days, rest): (i32, i32, i64)) -> Outcome {
    if is_infinite(micros) {
        return Ok(Value::Timestamp(micros));
    }
    let (mut day, clock) = time::split_timestamp(micros);
    if months != 0 {
        let civil = time::civil_from_days(day);
        let month = i64::from(civil.year) * 12 + i64::from(civil.month) - 1 + i64::from(months);
        let year = i32::try_from(month.div_euclid(12)).map_err(|_| out_of_range("timestamp"))?;
        let month = u8::try_from(month.rem_euclid(12) + 1).unwrap_or(1);
        day = time::days_from_civil(Civil { year, month, day: civil.day.min(days_in_month(year, month)) });
        time::join_timestamp(day, clock)?;
    }
    let day = day.checked_add(days).ok_or_else(|| out_of_range("timestamp"))?;
    let moved = time::join_timestamp(day, clock)?;
    checked_timestamp(moved.checked_add(rest))
}

fn negated((months, days, micros): (i32, i32, i64)) -> Result<(i32, i32, i64), RowError> {
    match (months.checked_neg(), days.checked_neg(), micros.checked_neg()) {
        (Some(months), Some(days), Some(micros)) => Ok((months, days, micros)),
        _ => Err(out_of_range("interval")),
    }
}

fn date_plus_interval(day: &Value, by: (i32, i32, i64)) -> Outcome {
    add_interval(timestamp(&super::cast::date_to_timestamp(day)?)?, by)
}

fn date_plus_time(day: &Value, clock_micros: i64) -> Outcome {
    match timestamp(&super::cast::date_to_timestamp(day)?)? {
        infinite if is_infinite(infinite) => Ok(Value::Timestamp(infinite)),
        midnight => checked_timestamp(midnight.checked_add(clock_micros)),
    }
}

/// The moment of a local time with its own offset.
fn date_plus_timetz(day: &Value, local: &Value) -> Outcome {
    let Value::Timetz(micros, east) = local else { return Err(mismatch(local, "a timetz")) };
    date_plus_time(day, micros - i64::from(*east) * SECOND)
}

/// Whole days and the rest, of one sign (`interval_justify_hours`).
fn subtract_timestamps(a: &Value, b: &Value) -> Outcome {
    let (a, b) = (timestamp(a)?, timestamp(b)?);
    if is_infinite(a) || is_infinite(b) {
        return Err(RowError::new("22008", "cannot subtract infinite timestamps"));
    }
    let micros = a.checked_sub(b).ok_or_else(|| out_of_range("interval"))?;
    let days = i32::try_from(micros / DAY).map_err(|_| out_of_range("interval"))?;
    Ok(Value::Interval(0, days, micros % DAY))
}

/// The time of day that so many microseconds from midnight are.
fn turned(value: &Value, micros: i64) -> Value {
    let micros = micros.rem_euclid(DAY);
    match value {
        Value::Timetz(_, east) => Value::Timetz(micros, *east),
        _ => Value::Time(micros),
    }
}

/// A time of day after some time, around midnight (`time_pl_interval`, which wraps around like a machine word).
fn turn(value: &Value, micros: i64) -> Outcome {
    Ok(turned(value, clock(value)?.wrapping_add(micros)))
}

fn turn_back(value: &Value, by: &Value) -> Outcome {
    Ok(turned(value, clock(value)?.wrapping_sub(interval(by)?.2)))
}

fn combine(a: (i32, i32, i64), b: (i32, i32, i64), small: fn(i32, i32) -> Option<i32>, large: fn(i64, i64) -> Option<i64>) -> Outcome {
    match (small(a.0, b.0), small(a.1, b.1), large(a.2, b.2)) {
        (Some(months), Some(days), Some(micros)) => Ok(Value::Interval(months, days, micros)),
        _ => Err(out_of_range("interval")),
    }
}

/// The infinities stay what they are whatever is taken from them.
fn subtract_interval(micros: i64, by: (i32, i32, i64)) -> Outcome {
    if is_infinite(micros) { Ok(Value::Timestamp(micros)) } else { add_interval(micros, negated(by)?) }
}

#[allow(clippy::cast_possible_truncation)] // Checked by the line before, as Postgres does.
fn to_i32(value: f64) -> Result<i32, RowError> {
    let fits = (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&value);
    if fits { Ok(value as i32) } else { Err(out_of_range("interval")) }
}

/// `interval_mul` and `interval_div`: fractions of months become days, fractions of days become seconds.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn scaled((months, days, micros): (i32, i32, i64), scale: impl Fn(f64) -> f64) -> Outcome {
    const TWO_POW_63: f64 = 9_223_372_036_854_775_808.0;
    const DAY_SECONDS: f64 = 86_400.0;
    let round_micros = |seconds: f64| (seconds * 1e6).round_ties_even() / 1e6;
    let whole_months = to_i32(scale(f64::from(months)))?;
    let mut whole_days = to_i32(scale(f64::from(days)))?;
    let month_rest = round_micros((scale(f64::from(months)) - f64::from(whole_months)) * 30.0);
    let day_rest = scale(f64::from(days)) - f64::from(whole_days) + month_rest - month_rest.trunc();
    let mut seconds = round_micros(day_rest * DAY_SECONDS);
    if seconds.abs() >= DAY_SECONDS {
        let more = (seconds / DAY_SECONDS).trunc();
        whole_days = whole_days.checked_add(to_i32(more)?).ok_or_else(|| out_of_range("interval"))?;
        seconds -= more * DAY_SECONDS;
    }
    whole_days = whole_days.checked_add(to_i32(month_rest)?).ok_or_else(|| out_of_range("interval"))?;
    let total = (scale(micros as f64) + seconds * 1e6).round_ties_even();
    if !(-TWO_POW_63..TWO_POW_63).contains(&total) {
        return Err(out_of_range("interval"));
    }
    Ok(Value::Interval(whole_months, whole_days, total as i64))
}

fn multiply(by: &Value, factor: &Value) -> Outcome {
    let factor = float8(factor)?;
    scaled(interval(by)?, |part| part * factor)
}

fn divide(by: &Value, divisor: &Value) -> Outcome {
    let divisor = float8(divisor)?;
    if divisor == 0.0 {
        return Err(super::number::division_by_zero());
    }
    scaled(interval(by)?, |part| part / divisor)
}

const SUMS: &[Function] = &[
    row("+", &[Date, Int4], Date, Run::Two(|a, b| add_days(date(a)?, int(b)?))),
    row("+", &[Int4, Date], Date, Run::Swapped(|a, b| add_days(date(a)?, int(b)?))),
    row("+", &[Date, Interval], Timestamp, Run::Two(|a, b| date_plus_interval(a, interval(b)?))),
    row("+", &[Interval, Date], Timestamp, Run::Swapped(|a, b| date_plus_interval(a, interval(b)?))),
    row("+", &[Date, Time], Timestamp, Run::Two(|a, b| date_plus_time(a, clock(b)?))),
    row("+", &[Time, Date], Timestamp, Run::Swapped(|a, b| date_plus_time(a, clock(b)?))),
    row("+", &[Date, Timetz], Timestamptz, Run::Two(date_plus_timetz)),
    row("+", &[Timetz, Date], Timestamptz, Run::Swapped(date_plus_timetz)),
    row("+", &[Timestamp, Interval], Timestamp, Run::Two(|a, b| add_interval(timestamp(a)?, interval(b)?))),
    row("+", &[Interval, Timestamp], Timestamp, Run::Swapped(|a, b| add_interval(timestamp(a)?, interval(b)?))),
    row("+", &[Timestamptz, Interval], Timestamptz, Run::Two(|a, b| add_interval(timestamp(a)?, interval(b)?))).stable(),
    row("+", &[Interval, Timestamptz], Timestamptz, Run::Swapped(|a, b| add_interval(timestamp(a)?, interval(b)?))).stable(),
    row("+", &[Time, Interval], Time, Run::Two(|a, b| turn(a, interval(b)?.2))),
    row("+", &[Interval, Time], Time, Run::Swapped(|a, b| turn(a, interval(b)?.2))),
    row("+", &[Timetz, Interval], Timetz, Run::Two(|a, b| turn(a, interval(b)?.2))),
    row("+", &[Interval, Timetz], Timetz, Run::Swapped(|a, b| turn(a, interval(b)?.2))),
    row("+", &[Interval, Interval], Interval, Run::Two(|a, b| combine(interval(a)?, interval(b)?, i32::checked_add, i64::checked_add))),
    row("+", &[Inet, Int8], Inet, Run::Refused(INET)),
    row("+", &[Int8, Inet], Inet, Run::Refused(INET)),
];

const INET: &str = "inet is passed on as it is; compute with it in the reader of the result";

const DIFFERENCES: &[Function] = &[
    row("-", &[Date, Int4], Date, Run::Two(|a, b| add_days(date(a)?, -int(b)?))),
    row("-", &[Date, Date], Int4, Run::Two(subtract_dates)),
    row(
        "-",
        &[Date, Interval],
        Timestamp,
        Run::Two(|a, b| subtract_interval(timestamp(&super::cast::date_to_timestamp(a)?)?, interval(b)?)),
    ),
    row("-", &[Time, Time], Interval, Run::Two(|a, b| Ok(Value::Interval(0, 0, clock(a)? - clock(b)?)))),
    row("-", &[Time, Interval], Time, Run::Two(turn_back)),
    row("-", &[Timetz, Interval], Timetz, Run::Two(turn_back)),
    row("-", &[Timestamp, Timestamp], Interval, Run::Two(subtract_timestamps)),
    row("-", &[Timestamptz, Timestamptz], Interval, Run::Two(subtract_timestamps)),
    row("-", &[Timestamp, Interval], Timestamp, Run::Two(|a, b| subtract_interval(timestamp(a)?, interval(b)?))),
    row("-", &[Timestamptz, Interval], Timestamptz, Run::Two(|a, b| subtract_interval(timestamp(a)?, interval(b)?))).stable(),
    row("-", &[Interval, Interval], Interval, Run::Two(|a, b| combine(interval(a)?, interval(b)?, i32::checked_sub, i64::checked_sub))),
    row("-", &[Interval], Interval, Run::One(|a| negated(interval(a)?).map(|(m, d, t)| Value::Interval(m, d, t)))),
    row("-", &[Inet, Int8], Inet, Run::Refused(INET)),
    row("-", &[Inet, Inet], Int8, Run::Refused(INET)),
];

const FACTORS: &[Function] = &[
    row("*", &[Interval, Float8], Interval, Run::Two(multiply)),
    row("*", &[Float8, Interval], Interval, Run::Two(|a, b| multiply(b, a))),
    row("/", &[Interval, Float8], Interval, Run::Two(divide)),
];

pub(super) fn operators() -> Vec<Function> {
    [SUMS, DIFFERENCES, FACTORS].concat()
}

pub(super) fn functions() -> Vec<Function> {
    [&field::functions(), make::FUNCTIONS, unit::FUNCTIONS, zone::FUNCTIONS].concat()
}
