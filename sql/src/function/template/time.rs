//! Dates and times by a template (`formatting.c`, `DCH_to_char`).

use super::super::argument::text;
use super::super::text::built;
use super::super::time::{is_infinite, timestamp};
use super::super::{Outcome, Prepared, Unsupported};
use super::{Field, Language, Part, refused};
use crate::time::{self as calendar, Civil, HOUR, MINUTE, SECOND};
use crate::value::Value;

pub(super) const LANGUAGE: Language = Language {
    keywords: &[
        "A.D.", "A.M.", "AD", "AM", "B.C.", "BC", "CC", "DAY", "DDD", "DD", "DY", "Day", "Dy", "D", "FF1", "FF2", "FF3", "FF4", "FF5",
        "FF6", "FX", "HH24", "HH12", "HH", "IDDD", "ID", "IW", "IYYY", "IYY", "IY", "I", "J", "MI", "MM", "MONTH", "MON", "MS", "Month",
        "Mon", "OF", "P.M.", "PM", "Q", "RM", "SSSSS", "SSSS", "SS", "TZH", "TZM", "TZ", "US", "WW", "W", "Y,YYY", "YYYY", "YYY", "YY",
        "Y", "a.d.", "a.m.", "ad", "am", "b.c.", "bc", "cc", "day", "ddd", "dd", "dy", "d", "ff1", "ff2", "ff3", "ff4", "ff5", "ff6", "fx",
        "hh24", "hh12", "hh", "iddd", "id", "iw", "iyyy", "iyy", "iy", "i", "j", "mi", "mm", "month", "mon", "ms", "of", "p.m.", "pm", "q",
        "rm", "sssss", "ssss", "ss", "tzh", "tzm", "tz", "us", "ww", "w", "y,yyy", "yyyy", "yyy", "yy", "y",
    ],
    prefixes: &["FM", "fm", "TM", "tm"],
    suffixes: &["TH", "th", "SP"],
};

const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const ROMAN: [&str; 12] = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];

pub(super) fn prepared(template: &Value) -> Result<Prepared, Unsupported> {
    prepare(template, false)
}

pub(super) fn prepared_with_zone(template: &Value) -> Result<Prepared, Unsupported> {
    prepare(template, true)
}

fn prepare(template: &Value, zoned: bool) -> Result<Prepared, Unsupported> {
    let template = text(template).map_err(|e| refused(&e.message))?;
    let parts = LANGUAGE.parts(template)?;
    if parts.iter().any(|part| matches!(part, Part::Field(field) if field.keyword.eq_ignore_ascii_case("fx"))) {
        return Err(refused("FX"));
    }
    if template.is_empty() {
        return Ok(Prepared::new(|_| Ok(Value::Null)));
    }
    Ok(Prepared::new(move |value| print(&parts, timestamp(value)?, zoned)))
}

/// NULL for the infinities.
fn print(parts: &[Part], micros: i64, zoned: bool) -> Outcome {
    if is_infinite(micros) {
        return Ok(Value::Null);
    }
    let moment = Moment::of(micros, zoned);
    let mut out = String::new();
    for part in parts {
        match part {
            Part::Text(c) => out.push(*c),
            Part::Field(field) => moment.push(field, &mut out),
        }
    }
    built(out)
}

/// A timestamp in all its fields.
struct Moment {
    zoned: bool,
    day: i32,
    civil: Civil,
    day_of_year: i64,
    /// 0 is Sunday.
    weekday: usize,
    iso_year: i32,
    iso_week: i64,
    clock: i64,
}

impl Moment {
    fn of(micros: i64, zoned: bool) -> Self {
        let (day, clock) = calendar::split_timestamp(micros);
        let civil = calendar::civil_from_days(day);
        let first_of = |year| calendar::days_from_civil(Civil { year, month: 1, day: 1 });
        let weekday = usize::try_from((i64::from(day) + 4).rem_euclid(7)).unwrap_or(0);
        // An ISO week belongs to the year of its Thursday.
        let thursday = day - (day + 3).rem_euclid(7) + 3;
        let iso_year = calendar::civil_from_days(thursday).year;
        Self {
            zoned,
            day,
            civil,
            day_of_year: i64::from(day - first_of(civil.year)) + 1,
            weekday,
            iso_year,
            iso_week: i64::from((thursday - first_of(iso_year)) / 7) + 1,
            clock,
        }
    }

    fn push(&self, field: &Field, out: &mut String) {
        let upper = field.keyword.to_ascii_uppercase();
        if let Some((number, width)) = self.number(&upper) {
            let width = if field.bare { 0 } else { width + usize::from(number < 0) };
            push_ordinal(&format!("{number:0width$}"), field, out);
        } else if let Some(digits) = self.digits(&upper) {
            push_ordinal(&digits, field, out);
        } else {
            self.push_name(&upper, field, out);
        }
    }

    /// Fields that are a number, with their width.
    fn number(&self, keyword: &str) -> Option<(i64, usize)> {
        // Years before the common era count from 1 BC.
        let shown = |year: i32| i64::from(if year <= 0 { 1 - year } else { year });
        let (year, iso_year) = (shown(self.civil.year), shown(self.iso_year));
        let hour = self.clock / HOUR;
        let iso_weekday = if self.weekday == 0 { 7 } else { i64::try_from(self.weekday).unwrap_or(0) };
        Some(match keyword {
            "HH" | "HH12" => (if hour % 12 == 0 { 12 } else { hour % 12 }, 2),
            "HH24" => (hour, 2),
            "MI" => (self.clock % HOUR / MINUTE, 2),
            "SS" => (self.clock % MINUTE / SECOND, 2),
            "SSSS" | "SSSSS" => (self.clock / SECOND, 0),
            "MM" => (self.civil.month.into(), 2),
            "DD" => (self.civil.day.into(), 2),
            "DDD" => (self.day_of_year, 3),
            "IDDD" => ((self.iso_week - 1) * 7 + iso_weekday, 3),
            "D" => (i64::try_from(self.weekday).unwrap_or(0) + 1, 0),
            "ID" => (iso_weekday, 0),
            "WW" => ((self.day_of_year - 1) / 7 + 1, 2),
            "IW" => (self.iso_week, 2),
            "W" => ((i64::from(self.civil.day) - 1) / 7 + 1, 0),
            "Q" => ((i64::from(self.civil.month) - 1) / 3 + 1, 0),
            "CC" => (century(self.civil.year), 2),
            "YYYY" => (year, 4),
            "YYY" => (year % 1_000, 3),
            "YY" => (year % 100, 2),
            "Y" => (year % 10, 0),
            "IYYY" => (iso_year, 4),
            "IYY" => (iso_year % 1_000, 3),
            "IY" => (iso_year % 100, 2),
            "I" => (iso_year % 10, 0),
            "J" => (i64::from(self.day) + 2_440_588, 0),
            _ => return None,
        })
    }

    /// Fields of digits that FM leaves as they are.
    fn digits(&self, keyword: &str) -> Option<String> {
        let micros = self.clock % SECOND;
        Some(match keyword {
            "MS" => format!("{:03}", micros / 1_000),
            "US" => format!("{micros:06}"),
            "FF1" => format!("{:01}", micros / 100_000),
            "FF2" => format!("{:02}", micros / 10_000),
            "FF3" => format!("{:03}", micros / 1_000),
            "FF4" => format!("{:04}", micros / 100),
            "FF5" => format!("{:05}", micros / 10),
            "FF6" => format!("{micros:06}"),
            "Y,YYY" => {
                let year = if self.civil.year <= 0 { 1 - self.civil.year } else { self.civil.year };
                format!("{},{:03}", year / 1_000, year % 1_000)
            }
            _ => return None,
        })
    }

    /// Fields that are words; the case is that of the keyword.
    fn push_name(&self, keyword: &str, field: &Field, out: &mut String) {
        let afternoon = self.clock / HOUR >= 12;
        let before_christ = self.civil.year <= 0;
        let month = usize::from(self.civil.month) - 1;
        let (name, width) = match keyword {
            "AM" | "PM" => (if afternoon { "PM" } else { "AM" }, 0),
            "A.M." | "P.M." => (if afternoon { "P.M." } else { "A.M." }, 0),
            "AD" | "BC" => (if before_christ { "BC" } else { "AD" }, 0),
            "A.D." | "B.C." => (if before_christ { "B.C." } else { "A.D." }, 0),
            "MONTH" => (MONTHS[month], 9),
            "MON" => (&MONTHS[month][..3], 0),
            "DAY" => (DAYS[self.weekday], 9),
            "DY" => (&DAYS[self.weekday][..3], 0),
            "RM" => (ROMAN[month], 4),
            "TZ" if self.zoned => ("UTC", 0),
            "OF" if field.bare => ("+0", 0),
            "TZH" | "OF" => ("+00", 0),
            "TZM" => ("00", 0),
            _ => return,
        };
        let width = if field.bare { 0 } else { width };
        let padded = format!("{name:width$}");
        // `Month` is January; `MONTH` and `AM` are capitals, `month` and `am` are not.
        match (field.keyword.as_bytes().first(), field.keyword.as_bytes().get(1)) {
            (Some(b'a'..=b'z'), _) => out.push_str(&padded.to_ascii_lowercase()),
            (_, Some(b'a'..=b'z')) => out.push_str(&padded),
            _ => out.push_str(&padded.to_ascii_uppercase()),
        }
    }
}

fn century(year: i32) -> i64 {
    i64::from(if year > 0 { (year - 1) / 100 + 1 } else { year / 100 - 1 })
}

/// The number with `st`, `nd`, `rd` or `th` when that was asked for (`str_numth`).
pub(super) fn push_ordinal(digits: &str, field: &Field, out: &mut String) {
    out.push_str(digits);
    let Some(case) = field.ordinal else { return };
    let teens = digits.len() > 1 && digits.as_bytes()[digits.len() - 2] == b'1';
    let ending = match digits.as_bytes().last() {
        Some(b'1') if !teens => "st",
        Some(b'2') if !teens => "nd",
        Some(b'3') if !teens => "rd",
        _ => "th",
    };
    out.push_str(&if case == "TH" { ending.to_ascii_uppercase() } else { ending.to_owned() });
}
