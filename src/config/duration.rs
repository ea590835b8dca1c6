//! A length of time as people write it: `500ms`, `10s`, `10m`, `2h`, `7d`.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

/// A length of time from the pipeline file: a whole number and one of the units `ms`, `s`, `m`, `h`, `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(std::time::Duration);

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const MILLIS_MAX: u64 = 366 * 86_400_000;

impl Duration {
    /// A constant, for defaults.
    pub const fn from_millis(millis: u64) -> Self {
        Self(std::time::Duration::from_millis(millis))
    }

    /// A constant, for defaults.
    pub const fn from_secs(secs: u64) -> Self {
        Self(std::time::Duration::from_secs(secs))
    }

    /// As the standard library has it.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }

    /// Whole milliseconds.
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl fmt::Display for Duration {
    /// In the largest unit that says it exactly.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.as_millis();
        let exact = UNITS.iter().rev().find(|(_, unit)| millis > 0 && millis.is_multiple_of(*unit));
        let (name, unit) = exact.unwrap_or(&("s", 1000));
        write!(f, "{}{name}", millis / unit)
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit = UNITS.iter().find(|(name, _)| *name == unit.trim_start());
        let (Ok(number), Some((_, unit))) = (number.parse::<u64>(), unit) else {
            return Err(format!("{text:?} is not a duration; write a whole number and a unit: 500ms, 10s, 10m, 2h, 7d"));
        };
        match number.checked_mul(*unit) {
            Some(millis) if millis <= MILLIS_MAX => Ok(Self::from_millis(millis)),
            _ => Err(format!("{text:?} is too long; the longest duration is 366d")),
        }
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration in quotes such as \"10s\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, millis, shown) in [
            ("500ms", 500, "500ms"),
            ("10s", 10_000, "10s"),
            ("10m", 600_000, "10m"),
            ("90m", 5_400_000, "90m"),
            ("120m", 7_200_000, "2h"),
            ("7 d", 604_800_000, "7d"),
            ("0s", 0, "0s"),
        ] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(duration.as_millis(), millis, "{text}");
            assert_eq!(duration.to_string(), shown);
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_to_write() {
        for text in ["", "10", "s", "-1s", "1.5s", "10 minutes", "10S", "+1s", "99999999999999999999s"] {
            let message = format!("{text:?} is not a duration; write a whole number and a unit: 500ms, 10s, 10m, 2h, 7d");
            assert_eq!(text.parse::<Duration>(), Err(message));
        }
        assert_eq!("367d".parse::<Duration>(), Err("\"367d\" is too long; the longest duration is 366d".to_owned()));
        assert_eq!(
            "18446744073709551615d".parse::<Duration>().unwrap_err(),
            "\"18446744073709551615d\" is too long; the longest duration is 366d"
        );
    }
}
