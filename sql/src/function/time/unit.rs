//! Units by name, and what is cut to them: `date_trunc`, `date_bin`.

use super::super::Base::*;
use super::super::argument::text;
use super::super::{Function, Outcome, Run, row};
use super::zone::zone;
use super::{interval, is_infinite, out_of_range, timestamp};
use crate::error::RowError;
use crate::time::{self, Civil, DAY, HOUR, MINUTE, SECOND};
use crate::value::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unit {
    Microseconds,
    Milliseconds,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Decade,
    Century,
    Millennium,
    // Only to be extracted.
    Epoch,
    DayOfWeek,
    IsoDayOfWeek,
    DayOfYear,
    IsoYear,
    Julian,
    Timezone,
    TimezoneHour,
    TimezoneMinute,
}

impl Unit {
    /// The unit of that name (`datetime.c`, `deltatktbl` and the field names in `datetktbl`).
    pub fn named(name: &str, of: &str) -> Result<Unit, RowError> {
        let lower = name.to_ascii_lowercase();
        // Tokens are compared up to their length of ten.
        let end = lower.char_indices().nth(10).map_or(lower.len(), |(end, _)| end);
        Ok(match &lower[..end] {
            "us" | "usec" | "usecs" | "usecond" | "useconds" | "microsecon" => Unit::Microseconds,
            "ms" | "msec" | "msecs" | "msecond" | "mseconds" | "millisecon" => Unit::Milliseconds,
            "s" | "sec" | "secs" | "second" | "seconds" => Unit::Second,
            "m" | "min" | "mins" | "minute" | "minutes" => Unit::Minute,
            "h" | "hour" | "hours" | "hr" | "hrs" => Unit::Hour,
            "d" | "day" | "days" => Unit::Day,
            "w" | "week" | "weeks" => Unit::Week,
            "mon" | "mons" | "month" | "months" => Unit::Month,
            "qtr" | "quarter" => Unit::Quarter,
            "y" | "year" | "years" | "yr" | "yrs" => Unit::Year,
            "dec" | "decs" | "decade" | "decades" => Unit::Decade,
            "c" | "cent" | "century" | "centuries" => Unit::Century,
            "mil" | "mils" | "millennia" | "millennium" => Unit::Millennium,
            "epoch" => Unit::Epoch,
            "dow" => Unit::DayOfWeek,
            "isodow" => Unit::IsoDayOfWeek,
            "doy" => Unit::DayOfYear,
            "isoyear" => Unit::IsoYear,
            "julian" | "j" | "jd" => Unit::Julian,
            "timezone" => Unit::Timezone,
            "timezone_h" => Unit::TimezoneHour,
            "timezone_m" => Unit::TimezoneMinute,
            _ => return Err(RowError::new("22023", format!("unit \"{lower}\" not recognized for type {of}"))),
        })
    }
}

pub(super) fn unsupported(name: &str, of: &str) -> RowError {
    RowError::new("0A000", format!("unit \"{}\" not supported for type {of}", name.to_ascii_lowercase()))
}

/// The year of the unit's first year (`timestamp_trunc`).
fn first_year(year: i32, unit: Unit) -> i32 {
    match unit {
        Unit::Millennium if year > 0 => (year + 999) / 1000 * 1000 - 999,
        Unit::Millennium => -((999 - (year - 1)) / 1000) * 1000 + 1,
        Unit::Century if year > 0 => (year + 99) / 100 * 100 - 99,
        Unit::Century => -((99 - (year - 1)) / 100) * 100 + 1,
        Unit::Decade if year > 0 => year / 10 * 10,
        Unit::Decade => -((8 - (year - 1)) / 10) * 10,
        _ => year,
    }
}

/// A local time cut to its unit; `None` for units that cannot be cut to.
fn truncated(micros: i64, unit: Unit) -> Option<i64> {
    let (days, clock) = time::split_timestamp(micros);
    let at = |days: i32, clock: i64| i64::from(days).saturating_mul(DAY).saturating_add(clock);
    let cut_clock = |unit: i64| at(days, clock - clock % unit);
    let civil = time::civil_from_days(days);
    let start = |year: i32, month: u8| at(time::days_from_civil(Civil { year, month, day: 1 }), 0);
    Some(match unit {
        Unit::Microseconds => micros,
        Unit::Milliseconds => cut_clock(1_000),
        Unit::Second => cut_clock(SECOND),
        Unit::Minute => cut_clock(MINUTE),
        Unit::Hour => cut_clock(HOUR),
        Unit::Day => cut_clock(DAY),
        // 1970-01-01 was a Thursday.
        Unit::Week => at(days - (days + 3).rem_euclid(7), 0),
        Unit::Month => start(civil.year, civil.month),
        Unit::Quarter => start(civil.year, 3 * ((civil.month - 1) / 3) + 1),
        Unit::Year | Unit::Decade | Unit::Century | Unit::Millennium => start(first_year(civil.year, unit), 1),
        _ => return None,
    })
}

const PLAIN: &str = "timestamp without time zone";
const ZONED: &str = "timestamp with time zone";

fn truncate(unit: &Value, value: &Value, of: &str) -> Outcome {
    let (micros, name) = (timestamp(value)?, text(unit)?);
    if is_infinite(micros) {
        return Ok(Value::Timestamp(micros));
    }
    match truncated(micros, Unit::named(name, of)?) {
        Some(micros) => super::checked_timestamp(Some(micros)),
        None => Err(unsupported(name, of)),
    }
}

/// `timestamptz_trunc_zone`: cut in the zone's local time. Below a day the offset stays the one of the moment.
fn truncate_in_zone(unit: &Value, value: &Value, name: &Value) -> Outcome {
    let (micros, unit_name) = (timestamp(value)?, text(unit)?);
    if is_infinite(micros) {
        return Ok(Value::Timestamp(micros));
    }
    let zone = zone(text(name)?)?;
    let unit = Unit::named(unit_name, ZONED)?;
    let east = i64::from(zone.offset_at(micros)?) * SECOND;
    let local = micros.checked_add(east).ok_or_else(|| out_of_range("timestamp"))?;
    let Some(cut) = truncated(local, unit) else { return Err(unsupported(unit_name, ZONED)) };
    let east = if unit >= Unit::Day { i64::from(zone.offset_at_local(cut)?) * SECOND } else { east };
    super::checked_timestamp(cut.checked_sub(east))
}

fn truncate_interval(unit: &Value, value: &Value) -> Outcome {
    let ((months, days, micros), name) = (interval(value)?, text(unit)?);
    let years = |n: i32| Ok(Value::Interval(months / (12 * n) * (12 * n), 0, 0));
    let cut = |unit: i64| Ok(Value::Interval(months, days, micros / unit * unit));
    match Unit::named(name, "interval")? {
        Unit::Microseconds => cut(1),
        Unit::Milliseconds => cut(1_000),
        Unit::Second => cut(SECOND),
        Unit::Minute => cut(MINUTE),
        Unit::Hour => cut(HOUR),
        Unit::Day => Ok(Value::Interval(months, days, 0)),
        Unit::Month => Ok(Value::Interval(months, 0, 0)),
        Unit::Quarter => Ok(Value::Interval(months / 3 * 3, 0, 0)),
        Unit::Year => years(1),
        Unit::Decade => years(10),
        Unit::Century => years(100),
        Unit::Millennium => years(1000),
        _ => Err(unsupported(name, "interval")),
    }
}

/// `timestamp_bin`: the start of the stride, counted from the origin, that holds the moment.
fn bin(stride: &Value, value: &Value, origin: &Value) -> Outcome {
    let ((months, days, micros), value, origin) = (interval(stride)?, timestamp(value)?, timestamp(origin)?);
    if is_infinite(value) {
        return Ok(Value::Timestamp(value));
    }
    if is_infinite(origin) {
        return Err(out_of_range("origin"));
    }
    if months != 0 {
        return Err(RowError::new("0A000", "timestamps cannot be binned into intervals containing months or years"));
    }
    let stride = i64::from(days).checked_mul(DAY).and_then(|d| d.checked_add(micros)).ok_or_else(|| out_of_range("interval"))?;
    if stride <= 0 {
        return Err(RowError::new("22008", "stride must be greater than zero"));
    }
    let since = value.checked_sub(origin).ok_or_else(|| out_of_range("interval"))?;
    super::checked_timestamp(value.checked_sub(since.rem_euclid(stride)))
}

pub(super) const FUNCTIONS: &[Function] = &[
    row("date_trunc", &[Text, Timestamp], Timestamp, Run::Two(|a, b| truncate(a, b, PLAIN))),
    row("date_trunc", &[Text, Timestamptz], Timestamptz, Run::Two(|a, b| truncate(a, b, ZONED))).stable(),
    row("date_trunc", &[Text, Timestamptz, Text], Timestamptz, Run::Three(truncate_in_zone)).stable(),
    row("date_trunc", &[Text, Interval], Interval, Run::Two(truncate_interval)),
    row("date_bin", &[Interval, Timestamp, Timestamp], Timestamp, Run::Three(bin)),
    row("date_bin", &[Interval, Timestamptz, Timestamptz], Timestamptz, Run::Three(bin)),
];
