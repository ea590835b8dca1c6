//! Dates and times from numbers, ages, and intervals in other units.

use std::borrow::Cow;

use super::super::Base::*;
use super::super::argument::{float8, int};
use super::super::{Function, Outcome, Run, row};
use super::{checked_timestamp, interval, is_infinite, is_infinite_date, out_of_range, timestamp};
use crate::error::RowError;
use crate::time::{self, Civil, DAY, HOUR, MINUTE, days_in_month};
use crate::value::Value;

/// `float8_timestamptz`: seconds since 1970.
#[allow(clippy::cast_possible_truncation)] // In range by the check before.
fn from_epoch(value: &Value) -> Outcome {
    // Seconds between 1970 and 2000: rounding happens on the distance to 2000, as in Postgres.
    const TO_2000: i64 = 946_684_800;
    let seconds = float8(value)?;
    if seconds.is_nan() {
        return Err(RowError::new("22008", "timestamp cannot be NaN"));
    }
    if seconds.is_infinite() {
        return Ok(Value::Timestamp(if seconds > 0.0 { time::TIMESTAMP_INFINITY } else { time::TIMESTAMP_NEGATIVE_INFINITY }));
    }
    if !(-210_866_803_200.0..9_224_318_016_000.0).contains(&seconds) {
        return Err(out_of_range("timestamp"));
    }
    let micros = ((seconds - 946_684_800.0) * 1e6).round_ties_even() as i64;
    checked_timestamp(micros.checked_add(TO_2000 * time::SECOND))
}

fn field_out_of_range(what: &str, shown: String) -> RowError {
    RowError::new("22008", format!("{what} field value out of range: {shown}"))
}

/// The day of numbers from arguments; negative years are BC.
fn civil_day(year: i64, month: i64, day: i64) -> Option<i32> {
    if year == 0 {
        return None;
    }
    let year = i32::try_from(if year < 0 { year + 1 } else { year }).ok()?;
    let (month, day) = (u8::try_from(month).ok()?, u8::try_from(day).ok()?);
    let valid = (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
    // Years far beyond every date would overflow the day count.
    let near = (-4_800..=5_874_897).contains(&year);
    (valid && near).then(|| time::days_from_civil(Civil { year, month, day }))
}

fn make_date(year: &Value, month: &Value, day: &Value) -> Outcome {
    let (year, month, day) = (int(year)?, int(month)?, int(day)?);
    let error = || field_out_of_range("date", format!("{year}-{month:02}-{day:02}"));
    civil_day(year, month, day).filter(|d| time::is_date(*d)).map(Value::Date).ok_or_else(error)
}

/// Microseconds since midnight (`float_time_overflows`, `make_time`).
#[allow(clippy::cast_possible_truncation)]
fn clock_of(hour: i64, minute: i64, second: f64) -> Option<i64> {
    // Seconds are rounded before they are checked: a tiny negative number is zero.
    let rest = (second * 1e6).round_ties_even();
    let ranges = (0..=24).contains(&hour) && (0..60).contains(&minute) && (0.0..=6e7).contains(&rest);
    if !ranges {
        return None;
    }
    let micros = hour * HOUR + minute * MINUTE + rest as i64;
    (micros <= DAY).then_some(micros)
}

fn make_time(hour: &Value, minute: &Value, second: &Value) -> Outcome {
    let (hour, minute, second) = (int(hour)?, int(minute)?, float8(second)?);
    let error = || field_out_of_range("time", format!("{hour}:{minute:02}:{second:02}"));
    clock_of(hour, minute, second).map(Value::Time).ok_or_else(error)
}

fn make_timestamp(arguments: &[Cow<'_, Value>]) -> Outcome {
    let [year, month, day, hour, minute, second] = arguments else {
        return Err(RowError::new("XX000", "make_timestamp takes six arguments"));
    };
    let (year, month, day) = (int(year)?, int(month)?, int(day)?);
    let date_error = || field_out_of_range("date", format!("{year}-{month:02}-{day:02}"));
    let days = civil_day(year, month, day).ok_or_else(date_error)?;
    let (hour, minute, second) = (int(hour)?, int(minute)?, float8(second)?);
    let time_error = || field_out_of_range("time", format!("{hour}:{minute:02}:{second:02}"));
    let clock = clock_of(hour, minute, second).ok_or_else(time_error)?;
    time::join_timestamp(days, clock).map(Value::Timestamp)
}

/// Years, months and days between two times as people count them (`timestamp_age`).
fn age(a: &Value, b: &Value) -> Outcome {
    let (a, b) = (timestamp(a)?, timestamp(b)?);
    if is_infinite(a) || is_infinite(b) {
        return Err(RowError::new("0A000", "the age of an infinite timestamp is not supported"));
    }
    let (later, earlier, sign) = if a < b { (b, a, -1) } else { (a, b, 1) };
    let ((later_day, later_clock), (earlier_day, earlier_clock)) = (time::split_timestamp(later), time::split_timestamp(earlier));
    let (x, y) = (time::civil_from_days(later_day), time::civil_from_days(earlier_day));
    let mut micros = later_clock - earlier_clock;
    let mut days = i32::from(x.day) - i32::from(y.day);
    let mut months = (x.year - y.year) * 12 + i32::from(x.month) - i32::from(y.month);
    if micros < 0 {
        micros += DAY;
        days -= 1;
    }
    // Days are borrowed from the month of the earlier time.
    while days < 0 {
        days += i32::from(days_in_month(y.year, y.month));
        months -= 1;
    }
    Ok(Value::Interval(sign * months, sign * days, i64::from(sign) * micros))
}

/// 24 hours are a day (`interval_justify_hours`).
fn justified_hours((months, days, micros): (i32, i32, i64)) -> Result<(i32, i32, i64), RowError> {
    let mut days = i64::from(days) + micros / DAY;
    let mut micros = micros % DAY;
    if days > 0 && micros < 0 {
        micros += DAY;
        days -= 1;
    } else if days < 0 && micros > 0 {
        micros -= DAY;
        days += 1;
    }
    Ok((months, i32::try_from(days).map_err(|_| out_of_range("interval"))?, micros))
}

/// 30 days are a month (`interval_justify_days`).
fn justified_days((months, days, micros): (i32, i32, i64)) -> Result<(i32, i32, i64), RowError> {
    let mut months = i64::from(months) + i64::from(days / 30);
    let mut days = days % 30;
    if months > 0 && days < 0 {
        days += 30;
        months -= 1;
    } else if months < 0 && days > 0 {
        days -= 30;
        months += 1;
    }
    Ok((i32::try_from(months).map_err(|_| out_of_range("interval"))?, days, micros))
}

fn made((months, days, micros): (i32, i32, i64)) -> Value {
    Value::Interval(months, days, micros)
}

fn is_finite(value: &Value) -> Outcome {
    Ok(Value::Bool(match value {
        Value::Date(days) => !is_infinite_date(*days),
        Value::Timestamp(micros) => !is_infinite(*micros),
        _ => true,
    }))
}

const ZONE: &str = "write make_timestamp(...) AT TIME ZONE and the zone";
const TODAY: &str = "write age(a, b): with one argument the other is today, which would differ on a replay";

pub(super) const FUNCTIONS: &[Function] = &[
    row("to_timestamp", &[Float8], Timestamptz, Run::One(from_epoch)),
    row("to_timestamp", &[Text, Text], Timestamptz, Run::Refused("cast the text: x::timestamptz")),
    row("make_date", &[Int4, Int4, Int4], Date, Run::Three(make_date)),
    row("make_time", &[Int4, Int4, Float8], Time, Run::Three(make_time)),
    row("make_timestamp", &[Int4, Int4, Int4, Int4, Int4, Float8], Timestamp, Run::List(make_timestamp)),
    row("make_timestamptz", &[Int4, Int4, Int4, Int4, Int4, Float8], Timestamptz, Run::List(make_timestamp)).stable(),
    row("make_timestamptz", &[Int4, Int4, Int4, Int4, Int4, Float8, Text], Timestamptz, Run::Refused(ZONE)),
    row("age", &[Timestamp], Interval, Run::Refused(TODAY)),
    row("age", &[Timestamptz], Interval, Run::Refused(TODAY)),
    row("age", &[Timestamp, Timestamp], Interval, Run::Two(age)),
    row("age", &[Timestamptz, Timestamptz], Interval, Run::Two(age)),
    row("justify_hours", &[Interval], Interval, Run::One(|a| justified_hours(interval(a)?).map(made))),
    row("justify_days", &[Interval], Interval, Run::One(|a| justified_days(interval(a)?).map(made))),
    row("isfinite", &[Date], Bool, Run::One(is_finite)),
    row("isfinite", &[Timestamp], Bool, Run::One(is_finite)),
    row("isfinite", &[Timestamptz], Bool, Run::One(is_finite)),
    row("isfinite", &[Interval], Bool, Run::One(is_finite)),
];
