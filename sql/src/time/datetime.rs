//! Makes sense of the fields of a date, time or timestamp, as `DecodeDateTime` of Postgres' `datetime.c` does (DateStyle MDY).
//!
//! Not read, though Postgres does: Julian days and other numbers with a unit, POSIX zones, zone abbreviations other than those of UTC.

use super::token::{Field, Kind, fields};
use super::word::{Word, lookup, lookup_with_utc};
use super::zone::Zone;
use super::{Civil, DAY, HOUR, MINUTE, SECOND, days_from_civil, days_in_month};
use crate::error::RowError;

/// Longest fields that are looked at, in bytes (`MAXDATELEN + MAXDATEFIELDS`).
const FIELDS_BYTES_MAX: usize = 128 + 25;

/// What a text says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// `epoch`
    Epoch,
    /// `infinity`, or `-infinity`
    Infinite { negative: bool },
    /// Fields of a calendar and a clock.
    Fields(Parts),
}

/// The parts that a text gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// Days since 1970-01-01.
    pub(super) days: Option<i32>,
    /// Microseconds since midnight, 24:00:00 included.
    pub(super) micros: Option<i64>,
    /// Seconds east of UTC.
    pub(super) offset: Option<i32>,
}

/// Why a text is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// 22007
    BadFormat,
    /// 22008
    FieldOverflow,
    /// 22009
    ZoneOverflow,
    /// Another error with its own words.
    Other(RowError),
}

/// Reads a date, or a date and a time.
pub(super) fn read(text: &str) -> Result<Moment, Refused> {
    read_as(text, false)
}

/// Reads a time of day, where numbers without punctuation are times, too (`DecodeTimeOnly`).
pub(super) fn read_time(text: &str) -> Result<Moment, Refused> {
    read_as(text, true)
}

fn read_as(text: &str, time_only: bool) -> Result<Moment, Refused> {
    let fields = fields(text, FIELDS_BYTES_MAX).ok_or(Refused::BadFormat)?;
    let dated = match fields.as_slice() {
        [_, .., last] if time_only => last.kind == Kind::Date || fields[1].kind == Kind::Time,
        _ => false,
    };
    let mut reader = Reader { time_only, ..Reader::default() };
    for (i, field) in fields.iter().enumerate() {
        reader.may_be_date = !time_only || (i == 0 && dated);
        reader.field(field, fields.get(i + 1))?;
    }
    let special = reader.special.take();
    let parts = reader.finish(special.is_some())?;
    Ok(special.unwrap_or(Moment::Fields(parts)))
}

/// What was found so far. A part that comes twice makes the text unreadable.
#[derive(Default)]
struct Reader {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    /// In place of month and day.
    day_of_year: Option<i64>,
    has_text_month: bool,
    has_short_year: bool,
    /// Hour, minute, second, microseconds.
    clock: Option<(i64, i64, i64, i64)>,
    /// Seconds east of UTC, or a zone whose offset depends on the rest.
    zone: Option<Result<i32, Zone>>,
    is_pm: Option<bool>,
    is_bc: Option<bool>,
    has_weekday: bool,
    special: Option<Moment>,
    /// A `T` was read: the next field is a time.
    expects_time: bool,
    /// Only a time is wanted, so that numbers are not years or days.
    time_only: bool,
    /// Whether a field with punctuation can be a date here.
    may_be_date: bool,
}

impl Reader {
    fn field(&mut self, field: &Field, next: Option<&Field>) -> Result<(), Refused> {
        let has_day = self.month.is_some() && self.day.is_some();
        match field.kind {
            Kind::Date if self.expects_time || has_day || !self.may_be_date => self.zone_or_clock(&field.text),
            Kind::Date => self.date(&field.text),
            Kind::Time => {
                self.expects_time = false;
                let clock = clock(&field.text)?;
                self.set_clock(clock)
            }
            Kind::Signed => {
                let offset = offset(&field.text)?;
                set(&mut self.zone, Ok(offset))
            }
            Kind::Number => self.number(&field.text),
            Kind::Word => self.word(&field.text, next),
            Kind::SignedWord if field.text == "-infinity" => set(&mut self.special, Moment::Infinite { negative: true }),
            Kind::SignedWord => Err(Refused::BadFormat),
        }
    }

    fn word(&mut self, word: &str, next: Option<&Field>) -> Result<(), Refused> {
        match lookup_with_utc(word) {
            Some(Word::Month(month)) => self.text_month(month),
            Some(Word::Weekday) if !self.has_weekday => {
                self.has_weekday = true;
                Ok(())
            }
            Some(Word::Ignored) => Ok(()),
            Some(Word::Meridiem(pm)) => set(&mut self.is_pm, pm),
            Some(Word::Era(bc)) => set(&mut self.is_bc, bc),
            Some(Word::Utc) => set(&mut self.zone, Ok(0)),
            Some(Word::Epoch) => set(&mut self.special, Moment::Epoch),
            Some(Word::Infinity) => set(&mut self.special, Moment::Infinite { negative: false }),
            Some(Word::Midnight) => {
                self.set_clock((0, 0, 0, 0))?;
                set(&mut self.zone, Ok(0))
            }
            Some(Word::IsoTime) => {
                let date_done = self.year.is_some() && self.month.is_some() && self.day.is_some() || self.day_of_year.is_some();
                if !(date_done || self.time_only) || !next.is_some_and(|n| matches!(n.kind, Kind::Number | Kind::Time | Kind::Date)) {
                    return Err(Refused::BadFormat);
                }
                self.expects_time = true;
                Ok(())
            }
            Some(Word::Clock) => {
                Err(Refused::Other(RowError::new("0A000", format!("date/time value \"{word}\" is not supported: it depends on the clock"))))
            }
            Some(Word::Weekday | Word::Unit) => Err(Refused::BadFormat),
            None => self.named_zone(word),
        }
    }

    fn named_zone(&mut self, name: &str) -> Result<(), Refused> {
        let zone = Zone::named(name).map_err(|e| unknown_zone(name, e))?;
        set(&mut self.zone, Err(zone))
    }

    /// A month by name. A number that was taken for the month before is the day then.
    fn text_month(&mut self, month: i64) -> Result<(), Refused> {
        if let Some(number) = self.month {
            if self.has_text_month || self.day.is_some() || !(1..=31).contains(&number) {
                return Err(Refused::BadFormat);
            }
            self.day = Some(number);
        }
        self.has_text_month = true;
        self.month = Some(month);
        Ok(())
    }

    fn set_clock(&mut self, clock: (i64, i64, i64, i64)) -> Result<(), Refused> {
        let (h, m, s, micros) = clock;
        if !(0..=24).contains(&h) || m > 59 || s > 60 || h * HOUR + m * MINUTE + s * SECOND + micros > DAY {
            return Err(Refused::FieldOverflow);
        }
        set(&mut self.clock, clock)
    }

    /// After a complete date: the name of a zone, or a time and a zone run together (`040506-08`).
    fn zone_or_clock(&mut self, text: &str) -> Result<(), Refused> {
        if !text.starts_with(|c: char| c.is_ascii_digit()) {
            return self.named_zone(text);
        }
        self.expects_time = false;
        let at = text.find('-').ok_or(Refused::BadFormat)?;
        let zone = offset(&text[at..])?;
        self.run_together(&text[..at])?;
        set(&mut self.zone, Ok(zone))
    }

    /// A date with its parts in one field. Nothing but a zone can come before it.
    fn date(&mut self, text: &str) -> Result<(), Refused> {
        if self.clock.is_some() || self.has_weekday || self.is_pm.is_some() || self.is_bc.is_some() || self.special.is_some() {
            return Err(Refused::BadFormat);
        }
        let mut numbers = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            rest = rest.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
            let first = rest.chars().next().ok_or(Refused::BadFormat)?;
            let same = |c: char| if first.is_ascii_digit() { c.is_ascii_digit() } else { c.is_ascii_alphabetic() };
            let end = rest.find(|c| !same(c)).unwrap_or(rest.len());
            let part = &rest[..end];
            // One character after a part is dropped, whatever it is.
            rest = rest.get(end + 1..).unwrap_or_default();
            if first.is_ascii_digit() {
                numbers.push(part);
                continue;
            }
            match lookup(part) {
                Some(Word::Month(month)) if self.month.is_none() => {
                    self.month = Some(month);
                    self.has_text_month = true;
                }
                Some(Word::Ignored) => {}
                _ => return Err(Refused::BadFormat),
            }
        }
        for number in numbers {
            self.date_number(number)?;
        }
        let complete = self.year.is_some() && (self.month.is_some() && self.day.is_some() || self.day_of_year.is_some());
        if complete { Ok(()) } else { Err(Refused::BadFormat) }
    }

    fn number(&mut self, text: &str) -> Result<(), Refused> {
        let has_date = self.year.is_some() || self.month.is_some() || self.day.is_some();
        if self.expects_time {
            self.expects_time = false;
            return self.run_together(text);
        }
        match text.find('.') {
            Some(_) if self.time_only && self.may_be_date => self.date(text),
            Some(at) if self.time_only && at <= 2 => Err(Refused::BadFormat),
            _ if self.time_only => self.run_together(text),
            Some(_) if !has_date => self.date(text),
            Some(at) if at > 2 => self.run_together(text),
            None if text.len() >= 6 && (!has_date || self.clock.is_none()) => self.run_together(text),
            _ => self.date_number(text),
        }
    }

    /// `20260228` or `123456.789`.
    fn run_together(&mut self, text: &str) -> Result<(), Refused> {
        let (digits, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
        let date_done = self.year.is_some() && self.month.is_some() && self.day.is_some();
        let two = |at: usize| digits.get(at..at + 2).and_then(|d| d.parse::<i64>().ok()).ok_or(Refused::BadFormat);
        if fraction.is_empty() && !date_done && !self.time_only && digits.len() >= 6 {
            if self.year.is_some() || self.month.is_some() || self.day.is_some() {
                return Err(Refused::BadFormat);
            }
            let year_digits = digits.len() - 4;
            self.year = Some(integer(&digits[..year_digits])?);
            (self.month, self.day) = (Some(two(year_digits)?), Some(two(year_digits + 2)?));
            self.has_short_year = year_digits == 2;
            return Ok(());
        }
        let micros = if fraction.is_empty() { 0 } else { fraction_micros(fraction)? };
        match digits.len() {
            6 => self.set_clock((two(0)?, two(2)?, two(4)?, micros)),
            4 => self.set_clock((two(0)?, two(2)?, 0, micros)),
            _ => Err(Refused::BadFormat),
        }
    }

    /// A number that stands for one part, by the order of what was there before.
    fn date_number(&mut self, text: &str) -> Result<(), Refused> {
        if let Some(at) = text.find('.') {
            if at > 2 {
                return self.run_together(text);
            }
            return Err(Refused::BadFormat);
        }
        let value = integer(text)?;
        let long = text.len() >= 3;
        match (self.year, self.month, self.day) {
            (Some(_), None, None) if text.len() == 3 && (1..=366).contains(&value) => return set(&mut self.day_of_year, value),
            (None, None, None) if long => self.set_year(value, text),
            (None, None, None) | (Some(_), None, None) | (None, None, Some(_)) => self.month = Some(value),
            (None, Some(_), None) if self.has_text_month && long => self.set_year(value, text),
            (Some(year), Some(_), None) if self.has_text_month && long && self.has_short_year => {
                self.day = Some(year);
                self.year = Some(value);
                self.has_short_year = false;
            }
            (_, Some(_), None) => self.day = Some(value),
            (None, Some(_), Some(_)) => self.set_year(value, text),
            (Some(_), Some(_), Some(_)) => return self.run_together(text),
            (Some(_), None, Some(_)) => return Err(Refused::BadFormat),
        }
        Ok(())
    }

    fn set_year(&mut self, year: i64, text: &str) {
        self.year = Some(year);
        self.has_short_year = text.len() <= 2;
    }

    /// Checks the parts against each other (`ValidateDate`).
    fn finish(self, may_be_incomplete: bool) -> Result<Parts, Refused> {
        let year = match self.year {
            Some(year) if self.is_bc == Some(true) && year > 0 => Some(1 - year),
            Some(year) if self.is_bc != Some(true) && self.has_short_year => Some(year + if year < 70 { 2000 } else { 1900 }),
            Some(year) if self.is_bc != Some(true) && year > 0 => Some(year),
            Some(_) => return Err(Refused::FieldOverflow),
            None => None,
        };
        if self.month.is_some_and(|m| !(1..=12).contains(&m)) || self.day.is_some_and(|d| !(1..=31).contains(&d)) {
            return Err(Refused::FieldOverflow);
        }
        let days = match (year, self.month, self.day, self.day_of_year) {
            // Postgres' day count overflows there, and some of the years become other dates.
            (Some(year), _, _, Some(_)) if year > LAST_YEAR => {
                return Err(Refused::Other(RowError::new("0A000", format!("the day of a year beyond {LAST_YEAR} is not supported"))));
            }
            (Some(year), _, _, Some(day)) => Some(civil_days(year, 1, 1)?.saturating_add(i32::try_from(day - 1).unwrap_or(0))),
            (Some(year), Some(month), Some(day), None) => Some(civil_days(year, month, day)?),
            (None, None, None, None) => None,
            _ if may_be_incomplete => None,
            _ => return Err(Refused::BadFormat),
        };
        let micros = match (self.clock, self.is_pm) {
            (Some((hour, ..)), Some(_)) if hour > 12 => return Err(Refused::FieldOverflow),
            (Some((12, m, s, micros)), Some(false)) => Some(m * MINUTE + s * SECOND + micros),
            (Some((hour, m, s, micros)), Some(true)) if hour != 12 => Some((hour + 12) * HOUR + m * MINUTE + s * SECOND + micros),
            (Some((hour, m, s, micros)), _) => Some(hour * HOUR + m * MINUTE + s * SECOND + micros),
            (None, _) => None,
        };
        let offset = match self.zone {
            None => None,
            Some(Ok(offset)) => Some(offset),
            Some(Err(zone)) => {
                let local = days.and_then(|d| super::join_timestamp(d, micros.unwrap_or(0)).ok()).ok_or(Refused::BadFormat)?;
                Some(zone.offset_at_local(local).map_err(Refused::Other)?)
            }
        };
        Ok(Parts { days, micros, offset })
    }
}

fn civil_days(year: i64, month: i64, day: i64) -> Result<i32, Refused> {
    let date = (|| Some(Civil { year: i32::try_from(year).ok()?, month: u8::try_from(month).ok()?, day: u8::try_from(day).ok()? }))();
    let date = date.ok_or(Refused::FieldOverflow)?;
    if date.day > days_in_month(date.year, date.month) { Err(Refused::FieldOverflow) } else { Ok(days_from_civil(date)) }
}

/// `12:34[:56[.789]]`, or `34:56.789` without an hour (`DecodeTime`). The hours, which an interval may have many of, are not limited.
pub(super) fn clock(text: &str) -> Result<(i64, i64, i64, i64), Refused> {
    let mut parts = text.split(':');
    let first = long_integer(parts.next().unwrap_or_default())?;
    let second = parts.next().ok_or(Refused::BadFormat)?;
    let third = parts.next();
    if parts.next().is_some() {
        return Err(Refused::BadFormat);
    }
    // Nothing at all counts as zero, as it does for C's `strtol`.
    let or_zero = |digits: &str| if digits.is_empty() { Ok(0) } else { integer(digits) };
    let (h, m, s, micros) = match third {
        Some(seconds) => {
            let (whole, fraction) = seconds.split_at(seconds.find('.').unwrap_or(seconds.len()));
            (first, or_zero(second)?, or_zero(whole)?, fraction_micros(fraction)?)
        }
        None => match second.find('.') {
            Some(at) => (0, first, or_zero(&second[..at])?, fraction_micros(&second[at..])?),
            None => (first, or_zero(second)?, 0, 0),
        },
    };
    if m > 59 || s > 60 { Err(Refused::FieldOverflow) } else { Ok((h, m, s, micros)) }
}

/// The year of the last date.
const LAST_YEAR: i64 = 5_874_897;

/// A word that is no zone is bad syntax; one with punctuation or digits in it is looked up as a zone, a POSIX one when the letters
/// are followed by an offset (`pg_tzset`).
fn unknown_zone(name: &str, error: RowError) -> Refused {
    let rest = name.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    if rest.is_empty() {
        return Refused::BadFormat;
    }
    if rest.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_digit()) {
        return Refused::Other(RowError::new("0A000", format!("POSIX time zone \"{name}\" is not supported")));
    }
    Refused::Other(error)
}

/// `+08`, `-08:30`, `+0830`, `+08:30:15`: seconds east of UTC (`DecodeTimezone`).
fn offset(text: &str) -> Result<i32, Refused> {
    let number = |text: &str| -> Result<(i64, usize), Refused> {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        Ok((if end == 0 { 0 } else { integer(&text[..end]).map_err(|_| Refused::ZoneOverflow)? }, end))
    };
    let (mut hours, end) = number(text.get(1..).unwrap_or_default())?;
    let mut rest = &text[1 + end..];
    let (mut minutes, mut seconds) = (0, 0);
    if let Some(after) = rest.strip_prefix(':') {
        let (value, end) = number(after)?;
        (minutes, rest) = (value, &after[end..]);
        if let Some(after) = rest.strip_prefix(':') {
            let (value, end) = number(after)?;
            (seconds, rest) = (value, &after[end..]);
        }
    } else if rest.is_empty() && text.len() > 3 {
        (hours, minutes) = (hours / 100, hours % 100);
    }
    // The range is checked before what follows, which decides the message.
    if hours > 15 || minutes > 59 || seconds > 59 {
        return Err(Refused::ZoneOverflow);
    }
    if !rest.is_empty() {
        return Err(Refused::BadFormat);
    }
    let offset = i32::try_from(hours * 3600 + minutes * 60 + seconds).map_err(|_| Refused::ZoneOverflow)?;
    Ok(if text.starts_with('-') { -offset } else { offset })
}

/// `.789` in microseconds, rounded; empty is zero.
pub(super) fn fraction_micros(text: &str) -> Result<i64, Refused> {
    if text.is_empty() || text == "." {
        return Ok(0);
    }
    if !text[1..].bytes().all(|b| b.is_ascii_digit()) {
        return Err(Refused::BadFormat);
    }
    let fraction: f64 = format!("0{text}").parse().map_err(|_| Refused::BadFormat)?;
    // At most 1,000,000, so nothing is lost.
    #[allow(clippy::cast_possible_truncation)]
    Ok((fraction * 1_000_000.0).round_ties_even() as i64)
}

fn integer(text: &str) -> Result<i64, Refused> {
    long_integer(text).and_then(|n| i32::try_from(n).map(i64::from).map_err(|_| Refused::FieldOverflow))
}

fn long_integer(text: &str) -> Result<i64, Refused> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Refused::BadFormat);
    }
    text.parse().map_err(|_| Refused::FieldOverflow)
}

fn set<T>(slot: &mut Option<T>, value: T) -> Result<(), Refused> {
    if slot.replace(value).is_some() { Err(Refused::BadFormat) } else { Ok(()) }
}
