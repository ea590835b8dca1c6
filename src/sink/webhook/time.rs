//! Moments as CloudEvents wants them: RFC 3339, UTC, microseconds.

use highwater_sql::time::{civil_from_days, parse_timestamptz, split_timestamp};

/// The moment, or none where RFC 3339 has no text for it (years beyond 0000 to 9999).
pub fn rfc3339(unix_us: i64) -> Option<String> {
    let (days, micros) = split_timestamp(unix_us);
    let (date, seconds, micros) = (civil_from_days(days), micros / 1_000_000, micros % 1_000_000);
    let (year, month, day) = (date.year, date.month, date.day);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    (0..=9999).contains(&year).then(|| format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z"))
}

/// The inverse of [`rfc3339`].
pub fn unix_us(text: &str) -> Option<i64> {
    parse_timestamptz(text, None).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected: `date -u -d @SECONDS +%FT%T` of GNU coreutils.
    #[test]
    fn moments_are_written_in_utc_with_microseconds() {
        for (unix_us, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (951_782_400_000_001, "2000-02-29T00:00:00.000001Z"),
            (951_868_799_000_000, "2000-02-29T23:59:59.000000Z"),
            (1_709_251_199_500_000, "2024-02-29T23:59:59.500000Z"),
            (1_735_689_599_999_999, "2024-12-31T23:59:59.999999Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
            (-62_167_219_200_000_000, "0000-01-01T00:00:00.000000Z"),
            (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(rfc3339(unix_us).as_deref(), Some(text));
            if !text.starts_with("0000") {
                assert_eq!(super::unix_us(text), Some(unix_us));
            }
        }
    }

    #[test]
    fn moments_that_have_no_text_are_none_and_no_number_is_too_large() {
        for unix_us in [i64::MIN, -62_167_219_200_000_001, 253_402_300_800_000_000, i64::MAX] {
            assert_eq!(rfc3339(unix_us), None);
        }
    }
}
