//! Text of dates, times and intervals: ISO and postgres styles, and the ISO 8601 forms that `to_jsonb` prints.

use std::fmt::Write as _;

use super::{
    DATE_INFINITY, DATE_NEGATIVE_INFINITY, HOUR, MINUTE, SECOND, TIMESTAMP_INFINITY, TIMESTAMP_NEGATIVE_INFINITY, civil_from_days,
    split_timestamp,
};

/// `2026-02-28`, `infinity`, `0044-03-15 BC`.
pub fn push_date(out: &mut String, days: i32) {
    if days == DATE_INFINITY || days == DATE_NEGATIVE_INFINITY {
        return push_infinity(out, days < 0);
    }
    let before_christ = push_ymd(out, days);
    push_era(out, before_christ);
}

/// As [`push_date`]: JSON has the same form.
pub fn push_date_json(out: &mut String, days: i32) {
    push_date(out, days);
}

/// `12:34:56.789`; 24:00:00 is a time, too.
pub fn push_time(out: &mut String, micros: i64) {
    push_hms(out, micros / HOUR, micros % HOUR);
}

/// `12:34:56+02`, the offset with minutes and seconds only when it has them.
pub fn push_timetz(out: &mut String, micros: i64, offset_seconds: i32) {
    push_time(out, micros);
    let seconds = offset_seconds.unsigned_abs();
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let sign = if offset_seconds < 0 { '-' } else { '+' };
    // Writing to a String cannot fail.
    let _ = write!(out, "{sign}{h:02}");
    if m != 0 || s != 0 {
        let _ = write!(out, ":{m:02}");
    }
    if s != 0 {
        let _ = write!(out, ":{s:02}");
    }
}

/// `2026-02-28 12:34:56.789`.
pub fn push_timestamp(out: &mut String, micros: i64) {
    push_date_time(out, micros, ' ', "");
}

/// `2026-02-28 12:34:56.789+00`: the session's zone is UTC.
pub fn push_timestamptz(out: &mut String, micros: i64) {
    push_date_time(out, micros, ' ', "+00");
}

/// `2026-02-28T12:34:56.789`.
pub fn push_timestamp_json(out: &mut String, micros: i64) {
    push_date_time(out, micros, 'T', "");
}

/// `2026-02-28T12:34:56.789+00:00`.
pub fn push_timestamptz_json(out: &mut String, micros: i64) {
    push_date_time(out, micros, 'T', "+00:00");
}

/// `1 year 2 mons 3 days 04:05:06.7` (IntervalStyle postgres).
pub fn push_interval(out: &mut String, months: i32, days: i32, micros: i64) {
    let start = out.len();
    let mut negative_before = false;
    for (count, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if count == 0 {
            continue;
        }
        if out.len() > start {
            out.push(' ');
        }
        if negative_before && count > 0 {
            out.push('+');
        }
        let plural = if count == 1 { "" } else { "s" };
        let _ = write!(out, "{count} {unit}{plural}");
        negative_before = count < 0;
    }
    if micros == 0 && out.len() > start {
        return;
    }
    if out.len() > start {
        out.push(' ');
    }
    if micros < 0 {
        out.push('-');
    } else if negative_before {
        out.push('+');
    }
    let hours = micros / HOUR;
    push_hms(out, hours.abs(), (micros % HOUR).abs());
}

fn push_date_time(out: &mut String, micros: i64, separator: char, zone: &str) {
    if micros == TIMESTAMP_INFINITY || micros == TIMESTAMP_NEGATIVE_INFINITY {
        return push_infinity(out, micros < 0);
    }
    let (days, time) = split_timestamp(micros);
    let before_christ = push_ymd(out, days);
    out.push(separator);
    push_time(out, time);
    out.push_str(zone);
    push_era(out, before_christ);
}

fn push_infinity(out: &mut String, negative: bool) {
    out.push_str(if negative { "-infinity" } else { "infinity" });
}

/// Returns whether the year is before Christ, which is said at the very end.
fn push_ymd(out: &mut String, days: i32) -> bool {
    let date = civil_from_days(days);
    let before_christ = date.year <= 0;
    let year = if before_christ { 1 - date.year } else { date.year };
    push_padded(out, i64::from(year), 4);
    out.push('-');
    push_padded(out, i64::from(date.month), 2);
    out.push('-');
    push_padded(out, i64::from(date.day), 2);
    before_christ
}

fn push_era(out: &mut String, before_christ: bool) {
    if before_christ {
        out.push_str(" BC");
    }
}

fn push_hms(out: &mut String, hours: i64, rest: i64) {
    push_padded(out, hours, 2);
    out.push(':');
    push_padded(out, rest / MINUTE, 2);
    out.push(':');
    push_padded(out, rest % MINUTE / SECOND, 2);
    let fraction = rest % SECOND;
    if fraction != 0 {
        out.push('.');
        push_padded(out, fraction, 6);
        out.truncate(out.trim_end_matches('0').len());
    }
}

/// A number that is not negative, with leading zeros up to `width`.
fn push_padded(out: &mut String, number: i64, width: usize) {
    let _ = write!(out, "{number:0width$}");
}
