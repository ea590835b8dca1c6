//! Dates, times and intervals in Debezium's encodings (`time.precision.mode`, `interval.handling.mode`).

use super::column::Read;
use super::error::{contradiction, lossy};
use super::schema::Wire;
use crate::error::RowError;
use crate::time::{self, Civil, DAY, HOUR, MINUTE, SECOND};
use crate::value::{Type, Value};

/// The connector's stand-ins for the infinities of a timestamp, in microseconds: pgjdbc's `DATE_POSITIVE_INFINITY` and its
/// counterpart.
const INFINITY_MICROS: i64 = 9_223_372_036_825_200_000;
const NEGATIVE_INFINITY_MICROS: i64 = -9_223_372_036_832_400_000;
/// The connector's stand-ins for the infinities of a date: -5877611-06-21 and the day after it, long before any date of Postgres.
const INFINITY_DATE: Civil = Civil { year: -5_877_611, month: 6, day: 21 };

/// Reads an integer.
pub(super) fn from_integer(ty: &Type, wire: &Wire, value: i64) -> Read {
    let out_of_range = || contradiction(ty, "an integer out of range");
    match (ty, wire) {
        (Type::Date, Wire::Unknown | Wire::Days) => date(i32::try_from(value).map_err(|_| out_of_range())?).ok_or_else(out_of_range),
        (Type::Time(precision), _) => {
            let micros = micros(ty, wire, *precision, value)?;
            if (0..=DAY).contains(&micros) { Ok(Value::Time(micros)) } else { Err(out_of_range()) }
        }
        (Type::Timestamp(precision), _) => timestamp(micros(ty, wire, *precision, value)?).ok_or_else(out_of_range),
        (Type::Interval, Wire::Unknown | Wire::ApproximateDuration) => {
            Err(lossy("microseconds cannot carry an interval: set interval.handling.mode=string in the connector"))
        }
        _ => Err(contradiction(ty, "an integer")),
    }
}

/// Reads text.
pub(super) fn from_text(ty: &Type, wire: &Wire, text: &str) -> Read {
    if !matches!(wire, Wire::Unknown | Wire::Iso) {
        return Err(contradiction(ty, "text"));
    }
    let unreadable = || contradiction(ty, "text of another form");
    match ty {
        Type::Date => iso_date(text.strip_suffix('Z').unwrap_or(text)).and_then(date).ok_or_else(unreadable),
        Type::Time(_) => iso_time(text.strip_suffix('Z').unwrap_or(text)).filter(|t| *t <= DAY).map(Value::Time).ok_or_else(unreadable),
        Type::Timestamp(_) | Type::Timestamptz(_) => iso_timestamp(text).ok_or_else(unreadable),
        Type::Interval if text.starts_with('P') => Value::from_text(ty, text).map_err(|_| unreadable()),
        Type::Timetz(_) => Err(lossy("the connector has converted time with time zone to UTC: its offset is lost")),
        _ => Err(unreadable()),
    }
}

/// Without a schema the encoding follows from the declared precision, as with `time.precision.mode=adaptive`.
fn micros(ty: &Type, wire: &Wire, precision: Option<u8>, value: i64) -> Result<i64, RowError> {
    let in_micros = match wire {
        Wire::Unknown if precision.is_some_and(|p| p <= 3) => value.checked_mul(1000),
        Wire::Unknown | Wire::Micros => Some(value),
        Wire::Millis => value.checked_mul(1000),
        // The connector's arithmetic saturates beyond what nanoseconds reach (years 1677 to 2262) and then adds the time of day.
        Wire::Nanos if value == i64::MAX || value <= i64::MIN + DAY * 1000 => None,
        Wire::Nanos => (value % 1000 == 0).then_some(value / 1000),
        _ => return Err(contradiction(ty, "an integer of another unit")),
    };
    let in_micros = in_micros.ok_or_else(|| contradiction(ty, "an integer out of range"))?;
    Ok(in_micros)
}

fn timestamp(micros: i64) -> Option<Value> {
    // Milliseconds drop the same digits from the stand-ins that they do not have: they end in zeros.
    match micros {
        INFINITY_MICROS => Some(Value::Timestamp(time::TIMESTAMP_INFINITY)),
        NEGATIVE_INFINITY_MICROS => Some(Value::Timestamp(time::TIMESTAMP_NEGATIVE_INFINITY)),
        _ => time::is_timestamp(micros).then_some(Value::Timestamp(micros)),
    }
}

fn date(days: i32) -> Option<Value> {
    let infinity = time::days_from_civil(INFINITY_DATE);
    if days == infinity {
        return Some(Value::Date(time::DATE_INFINITY));
    }
    if days == infinity + 1 {
        return Some(Value::Date(time::DATE_NEGATIVE_INFINITY));
    }
    time::is_date(days).then_some(Value::Date(days))
}

/// `-0043-03-15`: the year is astronomical, with a sign when it is negative or has more than four digits.
fn iso_date(text: &str) -> Option<i32> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (year, rest) = unsigned.split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    let year = number(year, 4, 9)?;
    let (month, day) = (u8::try_from(number(month, 2, 2)?).ok()?, u8::try_from(number(day, 2, 2)?).ok()?);
    let year = i32::try_from(if negative { -year } else { year }).ok()?;
    let valid = (1..=12).contains(&month) && (1..=time::days_in_month(year, month)).contains(&day);
    valid.then(|| time::days_from_civil(Civil { year, month, day }))
}

/// `12:34[:56[.789012]]`, at most six decimals that count.
fn iso_time(text: &str) -> Option<i64> {
    let (hour, rest) = text.split_once(':')?;
    let (minute, second) = rest.split_once(':').unwrap_or((rest, "00"));
    let (second, fraction) = second.split_once('.').unwrap_or((second, "0"));
    let (hour, minute, second) = (number(hour, 2, 2)?, number(minute, 2, 2)?, number(second, 2, 2)?);
    let fraction = fraction.trim_end_matches('0');
    let micros = if fraction.is_empty() { 0 } else { number(fraction, 1, 6)? * 10_i64.pow(6 - u32::try_from(fraction.len()).ok()?) };
    (hour <= 24 && minute < 60 && second < 60).then_some(hour * HOUR + minute * MINUTE + second * SECOND + micros)
}

/// `2026-02-28T10:34:56.789012Z`, or `infinity` for a timestamptz. Always in UTC.
fn iso_timestamp(text: &str) -> Option<Value> {
    match text {
        "infinity" => return Some(Value::Timestamp(time::TIMESTAMP_INFINITY)),
        "-infinity" => return Some(Value::Timestamp(time::TIMESTAMP_NEGATIVE_INFINITY)),
        _ => {}
    }
    let (date, clock) = text.strip_suffix('Z').unwrap_or(text).split_once('T')?;
    let micros = i64::from(iso_date(date)?).checked_mul(DAY)?.checked_add(iso_time(clock).filter(|t| *t < DAY)?)?;
    timestamp(micros)
}

fn number(text: &str, digits_min: usize, digits_max: usize) -> Option<i64> {
    let ok = (digits_min..=digits_max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if ok { text.parse().ok() } else { None }
}
