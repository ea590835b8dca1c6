//! `interval_in`: Postgres' own forms and ISO 8601 durations (`DecodeInterval`, `DecodeISO8601Interval` of `datetime.c`).

use super::datetime::Refused;
use super::parse::refuse;
use super::token::{Field, Kind, fields, is_keyword};
use super::{DAY, HOUR, MINUTE, SECOND};
use crate::error::RowError;

/// Longest fields that are looked at, in bytes: the work buffer of `interval_in`.
const FIELDS_BYTES_MAX: usize = 256;

/// Reads an interval: months, days, microseconds.
pub fn parse_interval(text: &str) -> Result<(i32, i32, i64), RowError> {
    let traditional = fields(text, FIELDS_BYTES_MAX).ok_or(Refused::BadFormat).and_then(|f| from_fields(&f));
    let parts = match traditional {
        Err(Refused::BadFormat) => from_iso(text),
        other => other,
    };
    match parts {
        Ok(parts) => parts.finish().ok_or_else(|| RowError::new("22008", "interval out of range")),
        Err(Refused::FieldOverflow) => Err(RowError::new("22015", format!("interval field value out of range: \"{text}\""))),
        Err(other) => Err(refuse(other, "interval", text)),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    /// Years, or several of them
    Year(i32),
}

/// The keywords of `deltatktbl`.
const UNITS: &[(&[&str], Unit)] = &[
    (&["us", "usec", "usecond", "useconds", "usecs", "microsecond"], Unit::Microsecond),
    (&["ms", "msec", "msecond", "mseconds", "msecs", "millisecond"], Unit::Millisecond),
    (&["s", "sec", "second", "seconds", "secs"], Unit::Second),
    (&["m", "min", "mins", "minute", "minutes"], Unit::Minute),
    (&["h", "hour", "hours", "hr", "hrs"], Unit::Hour),
    (&["d", "day", "days"], Unit::Day),
    (&["w", "week", "weeks"], Unit::Week),
    (&["mon", "mons", "month", "months"], Unit::Month),
    (&["y", "year", "years", "yr", "yrs"], Unit::Year(1)),
    (&["dec", "decade", "decades", "decs"], Unit::Year(10)),
    (&["c", "cent", "centuries", "century"], Unit::Year(100)),
    (&["mil", "mils", "millennia", "millennium"], Unit::Year(1000)),
];

#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    years: i32,
    months: i32,
    days: i32,
    micros: i64,
}

impl Parts {
    fn finish(self) -> Option<(i32, i32, i64)> {
        let months = i64::from(self.years) * 12 + i64::from(self.months);
        Some((i32::try_from(months).ok()?, self.days, self.micros))
    }

    /// Adds `value` and a fraction of a unit; the fraction goes to smaller units, months counting 30 days.
    fn add(&mut self, unit: Unit, value: i64, fraction: f64) -> Option<()> {
        match unit {
            Unit::Microsecond => self.add_micros(value, fraction, 1),
            Unit::Millisecond => self.add_micros(value, fraction, 1000),
            Unit::Second => self.add_micros(value, fraction, SECOND),
            Unit::Minute => self.add_micros(value, fraction, MINUTE),
            Unit::Hour => self.add_micros(value, fraction, HOUR),
            Unit::Day => {
                self.add_days(value, 1)?;
                self.add_fraction(fraction, DAY)
            }
            Unit::Week => {
                self.add_days(value, 7)?;
                self.add_day_fraction(fraction, 7.0)
            }
            Unit::Month => {
                self.months = self.months.checked_add(i32::try_from(value).ok()?)?;
                self.add_day_fraction(fraction, 30.0)
            }
            Unit::Year(years) => {
                self.years = self.years.checked_add(i32::try_from(value).ok()?.checked_mul(years)?)?;
                let months = (fraction * f64::from(years) * 12.0).round_ties_even();
                self.months = self.months.checked_add(to_i32(months)?)?;
                Some(())
            }
        }
    }

    fn add_micros(&mut self, value: i64, fraction: f64, scale: i64) -> Option<()> {
        self.micros = self.micros.checked_add(value.checked_mul(scale)?)?;
        self.add_fraction(fraction, scale)
    }

    fn add_days(&mut self, value: i64, scale: i32) -> Option<()> {
        self.days = self.days.checked_add(i32::try_from(value).ok()?.checked_mul(scale)?)?;
        Some(())
    }

    fn add_day_fraction(&mut self, fraction: f64, scale: f64) -> Option<()> {
        let days = fraction * scale;
        self.days = self.days.checked_add(to_i32(days.trunc())?)?;
        self.add_fraction(days - days.trunc(), DAY)
    }

    /// A fraction of a unit in microseconds, halves towards zero (`AdjustFractMicroseconds`).
    fn add_fraction(&mut self, fraction: f64, scale: i64) -> Option<()> {
        // Scales are at most a day of microseconds, and fractions below one: both are exact and in range.
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
        let (micros, rest) = {
            let exact = fraction * scale as f64;
            (exact as i64, exact - exact.trunc())
        };
        let rounded = micros + i64::from(rest > 0.5) - i64::from(rest < -0.5);
        self.micros = self.micros.checked_add(rounded)?;
        Some(())
    }

    fn negated(self) -> Option<Parts> {
        Some(Parts {
            years: self.years.checked_neg()?,
            months: self.months.checked_neg()?,
            days: self.days.checked_neg()?,
            micros: self.micros.checked_neg()?,
        })
    }
}

fn to_i32(value: f64) -> Option<i32> {
    // In range, so nothing is cut.
    #[allow(clippy::cast_possible_truncation)]
    (value.abs() < f64::from(i32::MAX)).then_some(value as i32)
}

/// Which units were given: none may come twice.
#[derive(Default)]
struct Seen(u16);

impl Seen {
    fn mark(&mut self, bits: u16) -> Result<(), Refused> {
        if self.0 & bits != 0 {
            return Err(Refused::BadFormat);
        }
        self.0 |= bits;
        Ok(())
    }
}

const SECONDS: u16 = 0b111;
const CLOCK: u16 = 0b1_1111;

fn bits(unit: Unit, fraction: f64) -> u16 {
    match unit {
        Unit::Microsecond => 1,
        Unit::Millisecond => 1 << 1,
        Unit::Second if fraction == 0.0 => 1 << 2,
        Unit::Second => SECONDS,
        Unit::Minute => 1 << 3,
        Unit::Hour => 1 << 4,
        Unit::Day => 1 << 5,
        Unit::Week => 1 << 6,
        Unit::Month => 1 << 7,
        Unit::Year(1) => 1 << 8,
        Unit::Year(10) => 1 << 9,
        Unit::Year(100) => 1 << 10,
        Unit::Year(_) => 1 << 11,
    }
}

/// Units follow their numbers, so the fields are read from the last to the first.
fn from_fields(fields: &[Field]) -> Result<Parts, Refused> {
    let mut parts = Parts::default();
    let mut seen = Seen::default();
    let mut unit: Option<Unit> = None;
    let mut ago = false;
    for field in fields.iter().rev() {
        let text = field.text.as_str();
        match field.kind {
            Kind::Time => {
                seen.mark(CLOCK)?;
                parts.micros = parts.micros.checked_add(clock(text)?).ok_or(Refused::FieldOverflow)?;
                unit = Some(Unit::Day);
            }
            Kind::Signed if text.contains(':') => {
                seen.mark(CLOCK)?;
                let micros = clock(&text[1..])?;
                let signed = if text.starts_with('-') { -micros } else { micros };
                parts.micros = parts.micros.checked_add(signed).ok_or(Refused::FieldOverflow)?;
                unit = Some(Unit::Day);
            }
            Kind::Signed | Kind::Date | Kind::Number => {
                let (value, fraction, is_months) = number(text)?;
                let of = if is_months { Unit::Month } else { unit.unwrap_or(Unit::Second) };
                seen.mark(bits(of, fraction))?;
                parts.add(of, value, fraction).ok_or(Refused::FieldOverflow)?;
                // "1 12:00" and "1 2 hours" have days before their hours.
                unit = Some(if of == Unit::Hour { Unit::Day } else { of });
            }
            Kind::Word if text == "ago" => ago = true,
            Kind::Word => {
                let known = UNITS.iter().find(|(names, _)| names.iter().any(|n| is_keyword(text, n)));
                unit = Some(known.ok_or(Refused::BadFormat)?.1);
            }
            Kind::SignedWord => return Err(Refused::BadFormat),
        }
    }
    if seen.0 == 0 {
        return Err(Refused::BadFormat);
    }
    if ago { parts.negated().ok_or(Refused::FieldOverflow) } else { Ok(parts) }
}

/// A number with its fraction, or `years-months` in months.
fn number(text: &str) -> Result<(i64, f64, bool), Refused> {
    let sign_length = usize::from(text.starts_with(['+', '-']));
    let negative = text.starts_with('-');
    let unsigned = &text[sign_length..];
    let end = unsigned.find(|c: char| !c.is_ascii_digit()).unwrap_or(unsigned.len());
    let digits = &unsigned[..end];
    let value = if digits.is_empty() { Ok(0) } else { text[..sign_length + end].parse::<i64>() };
    let value = value.map_err(|_| Refused::FieldOverflow)?;
    match unsigned[end..].strip_prefix('-') {
        Some(months) => {
            // The month is read and checked before what follows it is noticed (`strtoint`).
            let end = months.find(|c: char| !c.is_ascii_digit()).unwrap_or(months.len());
            if end == 0 {
                return Err(Refused::BadFormat);
            }
            let rest = &months[end..];
            let months = months[..end].parse::<i64>().ok().filter(|m| *m < 12).ok_or(Refused::FieldOverflow)?;
            if !rest.is_empty() {
                return Err(Refused::BadFormat);
            }
            let years = value.checked_mul(12).ok_or(Refused::FieldOverflow)?;
            let total = if negative { years.checked_sub(months) } else { years.checked_add(months) };
            Ok((total.ok_or(Refused::FieldOverflow)?, 0.0, true))
        }
        None => {
            let fraction = fraction(&unsigned[end..])?;
            Ok((value, if negative { -fraction } else { fraction }, false))
        }
    }
}

/// `.5`, or nothing.
fn fraction(text: &str) -> Result<f64, Refused> {
    match text.strip_prefix('.') {
        None if text.is_empty() => Ok(0.0),
        Some("") => Ok(0.0),
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => format!("0.{digits}").parse().map_err(|_| Refused::BadFormat),
        _ => Err(Refused::BadFormat),
    }
}

/// `[hours:]minutes[:seconds]` without a limit on the hours.
fn clock(text: &str) -> Result<i64, Refused> {
    let (h, m, s, micros) = super::datetime::clock(text)?;
    h.checked_mul(HOUR).and_then(|h| h.checked_add(m * MINUTE + s * SECOND + micros)).ok_or(Refused::FieldOverflow)
}

/// `P1Y2M3DT4H5M6.7S`
fn from_iso(text: &str) -> Result<Parts, Refused> {
    let mut rest = text.strip_prefix('P').filter(|r| !r.is_empty()).ok_or(Refused::BadFormat)?;
    let mut parts = Parts::default();
    let mut in_time = false;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('T') {
            if in_time {
                return Err(Refused::BadFormat);
            }
            (in_time, rest) = (true, after);
            continue;
        }
        let end = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or(Refused::BadFormat)?;
        let (value, fraction, is_months) = number(&rest[..end])?;
        if is_months || end == 0 || !rest[..end].bytes().any(|b| b.is_ascii_digit()) {
            return Err(Refused::BadFormat);
        }
        let unit = match (in_time, rest.as_bytes()[end]) {
            (false, b'Y') => Unit::Year(1),
            (false, b'M') => Unit::Month,
            (false, b'W') => Unit::Week,
            (false, b'D') => Unit::Day,
            (true, b'H') => Unit::Hour,
            (true, b'M') => Unit::Minute,
            (true, b'S') => Unit::Second,
            _ => return Err(Refused::BadFormat),
        };
        parts.add(unit, value, fraction).ok_or(Refused::FieldOverflow)?;
        rest = &rest[end + 1..];
    }
    Ok(parts)
}
