//! Instants as microseconds since 1970-01-01 UTC, and their RFC 3339 text.
//!
//! Reads every RFC 3339 form (any offset, any number of fraction digits; digits beyond microseconds are cut off) and writes
//! one: UTC with six fraction digits. It knows nothing of time zones or leap-second tables: a second of 60 is the next one's 0.

use std::time::{SystemTime, UNIX_EPOCH};

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// The wall clock, in microseconds since the epoch. A clock before 1970 reads as 0.
#[must_use]
pub fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_micros()).ok()).unwrap_or(0)
}

/// Reads an RFC 3339 date-time (section 5.6) as microseconds since the epoch; `None` if it is not one.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let literal = |at: usize, wanted: &[u8]| bytes.get(at).is_some_and(|b| wanted.contains(b));
    if !(literal(4, b"-") && literal(7, b"-") && literal(10, b"Tt ") && literal(13, b":") && literal(16, b":")) {
        return None;
    }
    let (year, month, day) = (digits(bytes, 0, 4)?, digits(bytes, 5, 2)?, digits(bytes, 8, 2)?);
    let (hour, minute, second) = (digits(bytes, 11, 2)?, digits(bytes, 14, 2)?, digits(bytes, 17, 2)?);
    if hour > 23 || minute > 59 || second > 60 || !(1..=12).contains(&month) {
        return None;
    }
    if day < 1 || day > days_in_month(year, month) {
        return None;
    }
    let (micros, rest) = fraction(bytes.get(19..)?)?;
    let seconds = days_from_civil(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
    Some((seconds - offset_seconds(rest)?) * MICROS_PER_SECOND + micros)
}

/// Writes microseconds since the epoch as RFC 3339 in UTC, for example `2026-01-31T08:05:09.000123Z`.
#[must_use]
pub fn format(at_us: i64) -> String {
    let seconds = at_us.div_euclid(MICROS_PER_SECOND);
    let micros = at_us.rem_euclid(MICROS_PER_SECOND);
    let (year, month, day) = civil_from_days(seconds.div_euclid(SECONDS_PER_DAY));
    let of_day = seconds.rem_euclid(SECONDS_PER_DAY);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

fn digits(bytes: &[u8], from: usize, count: usize) -> Option<i64> {
    bytes.get(from..from + count)?.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
}

/// The optional `.digits` as microseconds, and what follows it.
fn fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some(rest) = rest.strip_prefix(b".") else {
        return Some((0, rest));
    };
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 {
        return None;
    }
    let digits = rest[..length].iter().map(|digit| i64::from(digit - b'0'));
    let micros = digits.chain(std::iter::repeat(0)).take(6).fold(0, |micros, digit| micros * 10 + digit);
    Some((micros, &rest[length..]))
}

fn offset_seconds(rest: &[u8]) -> Option<i64> {
    let sign = match rest {
        b"Z" | b"z" => return Some(0),
        [b'+', ..] => 1,
        [b'-', ..] => -1,
        _ => return None,
    };
    let (hours, minutes) = (digits(rest, 1, 2)?, digits(rest, 4, 2)?);
    if rest.len() != 6 || rest[3] != b':' || hours > 23 || minutes > 59 {
        return None;
    }
    Some(sign * (hours * 3600 + minutes * 60))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar. The year begins in March here, so that the leap day is its last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 719,468 days lie between 0000-03-01 and 1970-01-01; (153 m + 2) / 5 is the length of the months before month m.
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year_of_era;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Expected numbers come from `date -u -d ... +%s`.
    #[test]
    fn reads_every_form_of_rfc_3339() {
        for (text, expected_us) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-03-01T00:00:00Z", 1_772_323_200_000_000),
            ("2024-02-29T23:59:59.999999Z", 1_709_251_199_999_999),
            ("2024-02-29T23:59:59.9999999Z", 1_709_251_199_999_999),
            ("2024-02-29t23:59:59.5z", 1_709_251_199_500_000),
            ("1969-12-31T23:59:59.000001Z", -999_999),
            ("2026-01-15T10:30:00+05:30", 1_768_453_200_000_000),
            ("2026-01-15T10:30:00.25-08:00", 1_768_501_800_250_000),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000_000),
        ] {
            assert_eq!(parse(text), Some(expected_us), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_rfc_3339() {
        for text in [
            "",
            "2026",
            "2026-01-15",
            "2026-01-15T10:30:00",
            "2026-01-15T10:30Z",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-00-10T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-15T24:00:00Z",
            "2026-01-15T10:60:00Z",
            "2026-01-15T10:30:61Z",
            "2026-01-15T10:30:00.Z",
            "2026-01-15T10:30:00+0530",
            "2026-01-15T10:30:00+24:00",
            "2026-01-15T10:30:00+05:30x",
            "2026-01-15T10:30:00Zx",
            "2026-01-15T10:3٣:00Z",
            "+026-01-15T10:30:00Z",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn writes_utc_with_microseconds() {
        assert_eq!(format(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(format(-1), "1969-12-31T23:59:59.999999Z");
        assert_eq!(format(1_709_251_199_000_123), "2024-02-29T23:59:59.000123Z");
        assert_eq!(format(1_772_323_200_000_000), "2026-03-01T00:00:00.000000Z");
    }

    #[test]
    fn every_day_of_eight_centuries_goes_there_and_back() {
        for days in -146_097..146_097 {
            let at_us = days * SECONDS_PER_DAY * MICROS_PER_SECOND + 1;
            assert_eq!(parse(&format(at_us)), Some(at_us), "day {days}");
        }
    }
}
