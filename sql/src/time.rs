//! Dates, times and intervals: the calendar, and their text forms.
//!
//! The calendar is the proleptic Gregorian one without leap seconds, as in Postgres (`src/backend/utils/adt/datetime.c`). Text
//! follows a session with TimeZone UTC, DateStyle ISO (MDY for ambiguous input) and IntervalStyle postgres.
//!
//! Units: days since 1970-01-01, microseconds since midnight, microseconds since 1970-01-01 00:00 UTC. Postgres counts from 2000 and
//! therefore reaches 294276; counting from 1970 ends on 294247-01-10, and later timestamps are refused as out of range.

mod datetime;
mod format;
mod interval;
mod parse;
mod token;
mod word;
mod zone;

pub use format::{
    push_date, push_date_json, push_interval, push_time, push_timestamp, push_timestamp_json, push_timestamptz, push_timestamptz_json,
    push_timetz,
};
pub use interval::parse_interval;
pub use parse::{parse_date, parse_time, parse_timestamp, parse_timestamptz, parse_timetz};
pub use zone::Zone;

use crate::error::RowError;

/// Microseconds in a second.
pub const SECOND: i64 = 1_000_000;
/// Microseconds in a minute.
pub const MINUTE: i64 = 60 * SECOND;
/// Microseconds in an hour.
pub const HOUR: i64 = 60 * MINUTE;
/// Microseconds in a day.
pub const DAY: i64 = 24 * HOUR;

/// The first date there is: 4714-11-24 BC.
pub const DATE_MIN: i32 = -2_440_588;
/// The last date there is: 5874897-12-31.
pub const DATE_MAX: i32 = 2_145_042_905;
/// `infinity` and `-infinity` as dates.
pub const DATE_INFINITY: i32 = i32::MAX;
/// See [`DATE_INFINITY`].
pub const DATE_NEGATIVE_INFINITY: i32 = i32::MIN;
/// The first timestamp there is: 4714-11-24 00:00:00 BC.
pub const TIMESTAMP_MIN: i64 = DATE_MIN as i64 * DAY;
/// `infinity` and `-infinity` as timestamps.
pub const TIMESTAMP_INFINITY: i64 = i64::MAX;
/// See [`TIMESTAMP_INFINITY`].
pub const TIMESTAMP_NEGATIVE_INFINITY: i64 = i64::MIN;

/// A calendar date. Year 0 is 1 BC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Astronomical year.
    pub year: i32,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

/// Days since 1970-01-01 of a date; months and days beyond their range are not checked here.
pub fn days_from_civil(date: Civil) -> i32 {
    // Years that begin in March put the leap day last: Howard Hinnant, "chrono-compatible low-level date algorithms".
    let month = i64::from(date.month);
    let year = i64::from(date.year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + i64::from(date.day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    i32::try_from(days).unwrap_or(if days < 0 { i32::MIN } else { i32::MAX })
}

/// The date of a day since 1970-01-01.
pub fn civil_from_days(days: i32) -> Civil {
    let days = i64::from(days) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Civil { year: i32::try_from(year).unwrap_or(i32::MAX), month: u8::try_from(month).unwrap_or(1), day: u8::try_from(day).unwrap_or(1) }
}

/// Whether February has 29 days.
pub fn is_leap_year(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days of a month, 28 to 31.
pub fn days_in_month(year: i32, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap_year(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// The day and the microseconds since its midnight of a finite timestamp.
pub fn split_timestamp(micros: i64) -> (i32, i64) {
    let days = micros.div_euclid(DAY);
    (i32::try_from(days).unwrap_or(if days < 0 { i32::MIN } else { i32::MAX }), micros.rem_euclid(DAY))
}

/// The timestamp of a day and microseconds since its midnight. Fails with 22008 outside of the timestamps there are.
pub fn join_timestamp(days: i32, micros: i64) -> Result<i64, RowError> {
    i64::from(days)
        .checked_mul(DAY)
        .and_then(|d| d.checked_add(micros))
        .filter(|t| is_timestamp(*t))
        .ok_or_else(|| RowError::new("22008", "timestamp out of range"))
}

/// Whether a finite timestamp is one.
pub fn is_timestamp(micros: i64) -> bool {
    (TIMESTAMP_MIN..TIMESTAMP_INFINITY).contains(&micros)
}

/// Whether a finite date is one.
pub fn is_date(days: i32) -> bool {
    (DATE_MIN..=DATE_MAX).contains(&days)
}

/// A timestamp rounded to 0 to 6 decimals of a second. Halves go away from 2000-01-01, from which Postgres counts: down before it
/// and up after it (`AdjustTimestampForTypmod`).
pub fn round_timestamp(micros: i64, precision: Option<u8>) -> i64 {
    /// 2000-01-01 00:00:00
    const POSTGRES_EPOCH: i64 = 10_957 * DAY;
    match micros.checked_sub(POSTGRES_EPOCH) {
        Some(since) if micros != TIMESTAMP_INFINITY => round_micros(since, precision).saturating_add(POSTGRES_EPOCH),
        _ => micros,
    }
}

/// A time of day rounded to 0 to 6 decimals of a second, halves away from zero (`AdjustTimeForTypmod`).
pub fn round_micros(micros: i64, precision: Option<u8>) -> i64 {
    let unit = match precision {
        None | Some(6..) => return micros,
        Some(p) => 10_i64.pow(6 - u32::from(p)),
    };
    let rest = micros % unit;
    let cut = micros - rest;
    if rest.abs() * 2 < unit { cut } else { cut + unit * rest.signum() }
}
