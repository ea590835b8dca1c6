//! A moment as an operator writes it: RFC 3339, or a duration back from now.

use std::fmt;
use std::str::FromStr;

use highwater_sql::{Type, Value};

use crate::config::Duration;

/// A moment, and how it was written: a replay that is called again the same way is the same replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    text: String,
    when: When,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// Unix milliseconds.
    At(i64),
    /// Before now.
    Ago(Duration),
}

impl Moment {
    /// Unix milliseconds.
    pub fn unix_ms(&self, now_ms: i64) -> i64 {
        match self.when {
            When::At(unix_ms) => unix_ms,
            When::Ago(duration) => now_ms.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        }
    }
}

impl fmt::Display for Moment {
    /// As it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let when = match text.parse() {
            Ok(duration) => When::Ago(duration),
            Err(_) => When::At(rfc3339_ms(text).ok_or_else(|| {
                format!("{text:?} is no moment; write RFC 3339 with an offset, such as 2026-02-28T10:34:56Z, or a duration back from now: 90s, 10m, 2h, 7d")
            })?),
        };
        Ok(Self { text: text.to_owned(), when })
    }
}

/// RFC 3339, section 5.6; the value is read as Postgres reads a `timestamptz`, which takes more than that.
fn rfc3339_ms(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let digits = |range: std::ops::Range<usize>| bytes.get(range).is_some_and(|part| part.iter().all(u8::is_ascii_digit));
    let is = |at: usize, allowed: &[u8]| bytes.get(at).is_some_and(|byte| allowed.contains(byte));
    let date = digits(0..4) && is(4, b"-") && digits(5..7) && is(7, b"-") && digits(8..10) && is(10, b"Tt ");
    let time = digits(11..13) && is(13, b":") && digits(14..16) && is(16, b":") && digits(17..19);
    if !date || !time {
        return None;
    }
    let rest = &text[19..];
    let fraction = rest.strip_prefix('.').map_or(0, |rest| 1 + rest.bytes().take_while(u8::is_ascii_digit).count());
    let offset = &rest.as_bytes()[fraction..];
    let numeric =
        |o: &[u8]| o.len() == 6 && matches!(o[0], b'+' | b'-') && o[3] == b':' && [1, 2, 4, 5].iter().all(|n| o[*n].is_ascii_digit());
    if fraction == 1 || !(matches!(offset, b"Z" | b"z") || numeric(offset)) {
        return None;
    }
    let value = Value::from_text(&Type::Timestamptz(None), text).ok()?;
    value.unix_micros().map(|micros| micros.div_euclid(1000))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Expected: `date -u -d TEXT +%s%3N` of GNU coreutils.
    #[test]
    fn moments_are_rfc_3339_or_back_from_now() {
        for (text, unix_ms) in [
            ("2026-02-28T10:34:56Z", 1_772_274_896_000),
            ("2026-02-28t10:34:56.75z", 1_772_274_896_750),
            ("2026-02-28T12:34:56.5+02:00", 1_772_274_896_500),
            ("2026-02-28 04:34:56-06:00", 1_772_274_896_000),
            ("1969-12-31T23:59:59.999Z", -1),
            ("2h", 1_000_000_000_000 - 7_200_000),
            ("90s", 1_000_000_000_000 - 90_000),
        ] {
            let moment: Moment = text.parse().unwrap();
            assert_eq!((moment.unix_ms(1_000_000_000_000), moment.to_string()), (unix_ms, text.to_owned()));
        }
    }

    #[test]
    fn what_has_two_meanings_is_refused() {
        for text in [
            "",
            "yesterday",
            "now",
            "infinity",
            "2026-02-28",
            "2026-02-28T10:34:56",
            "2026-02-28T10:34:56.Z",
            "2026-02-28T10:34:56 Europe/Berlin",
            "2026-02-30T10:34:56Z",
            "28.02.2026 10:34:56Z",
            "2",
            "-2h",
            "2026-02-28T10:34:56ä",
        ] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
    }
}
