//! Reading dates, times and intervals.

use super::{Civil, DAY, HOUR, MINUTE, SECOND, days_from_civil, days_in_month, join_timestamp, round_micros};
use crate::error::RowError;

/// `date_in`.
pub fn parse_date(text: &str) -> Result<i32, RowError> {
    match text.trim() {
        "infinity" => return Ok(super::DATE_INFINITY),
        "-infinity" => return Ok(super::DATE_NEGATIVE_INFINITY),
        _ => {}
    }
    let (days, rest) = date(text.trim()).ok_or_else(|| invalid("date", text))?;
    if rest.is_empty() { Ok(days) } else { Err(invalid("date", text)) }
}

/// `time_in`.
pub fn parse_time(text: &str, precision: Option<u8>) -> Result<i64, RowError> {
    match time(text.trim()) {
        Some((micros, "")) => Ok(round_micros(micros, precision)),
        _ => Err(invalid("time", text)),
    }
}

/// `timetz_in`.
pub fn parse_timetz(text: &str, precision: Option<u8>) -> Result<(i64, i32), RowError> {
    let (micros, zone) = time(text.trim()).ok_or_else(|| invalid("time with time zone", text))?;
    let seconds = offset(zone).ok_or_else(|| invalid("time with time zone", text))?;
    Ok((round_micros(micros, precision), seconds))
}

/// `timestamp_in`.
pub fn parse_timestamp(text: &str, precision: Option<u8>) -> Result<i64, RowError> {
    Ok(round_micros(date_time(text, "timestamp")?.0, precision))
}

/// `timestamptz_in`.
pub fn parse_timestamptz(text: &str, precision: Option<u8>) -> Result<i64, RowError> {
    let (local, seconds) = date_time(text, "timestamp with time zone")?;
    Ok(round_micros(local - i64::from(seconds) * SECOND, precision))
}

/// `interval_in`: months, days, microseconds.
pub fn parse_interval(text: &str) -> Result<(i32, i32, i64), RowError> {
    Err(invalid("interval", text))
}

fn date_time(text: &str, ty: &str) -> Result<(i64, i32), RowError> {
    match text.trim() {
        "infinity" => return Ok((super::TIMESTAMP_INFINITY, 0)),
        "-infinity" => return Ok((super::TIMESTAMP_NEGATIVE_INFINITY, 0)),
        _ => {}
    }
    let (days, rest) = date(text.trim()).ok_or_else(|| invalid(ty, text))?;
    if rest.is_empty() {
        return Ok((join_timestamp(days, 0)?, 0));
    }
    let (micros, zone) = rest.strip_prefix(['T', ' ']).and_then(time).ok_or_else(|| invalid(ty, text))?;
    let seconds = offset(zone).ok_or_else(|| invalid(ty, text))?;
    Ok((join_timestamp(days, micros)?, seconds))
}

fn date(text: &str) -> Option<(i32, &str)> {
    let (year, rest) = number(text, 4, 6)?;
    let (month, rest) = number(rest.strip_prefix('-')?, 2, 2)?;
    let (day, rest) = number(rest.strip_prefix('-')?, 2, 2)?;
    let date = Civil { year: i32::try_from(year).ok()?, month: u8::try_from(month).ok()?, day: u8::try_from(day).ok()? };
    let ok = (1..=12).contains(&date.month) && (1..=days_in_month(date.year, date.month)).contains(&date.day);
    ok.then(|| (days_from_civil(date), rest))
}

fn time(text: &str) -> Option<(i64, &str)> {
    let (hour, rest) = number(text, 2, 2)?;
    let (minute, rest) = number(rest.strip_prefix(':')?, 2, 2)?;
    let (second, mut rest) = match rest.strip_prefix(':') {
        Some(rest) => number(rest, 2, 2)?,
        None => (0, rest),
    };
    let mut fraction = 0;
    if let Some(digits) = rest.strip_prefix('.') {
        let (value, after) = number(digits, 1, 6)?;
        fraction = value * 10_i64.pow(6 - u32::try_from(digits.len() - after.len()).ok()?);
        rest = after;
    }
    let micros = hour * HOUR + minute * MINUTE + second * SECOND + fraction;
    (minute < 60 && second <= 60 && micros <= DAY).then_some((micros, rest))
}

fn offset(text: &str) -> Option<i32> {
    if text.is_empty() || text == "Z" {
        return Some(0);
    }
    let (hours, rest) = number(text.strip_prefix(['+', '-'])?, 1, 2)?;
    let (minutes, rest) = match rest.strip_prefix(':') {
        Some(rest) => number(rest, 2, 2)?,
        None => (0, rest),
    };
    let seconds = i32::try_from(hours * 3600 + minutes * 60).ok()?;
    rest.is_empty().then_some(if text.starts_with('-') { -seconds } else { seconds })
}

fn number(text: &str, digits_min: usize, digits_max: usize) -> Option<(i64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits < digits_min || digits > digits_max {
        return None;
    }
    Some((text[..digits].parse().ok()?, &text[digits..]))
}

fn invalid(ty: &str, text: &str) -> RowError {
    RowError::new("22007", format!("invalid input syntax for type {ty}: \"{text}\""))
}
