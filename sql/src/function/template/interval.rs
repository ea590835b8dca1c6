//! Intervals, and times of day, by a template (`formatting.c`, `interval_to_char`): their fields as they are stored, hours beyond 24
//! included. Only the fields of days and clocks are computed.

use super::super::argument::text;
use super::super::text::built;
use super::super::time::interval;
use super::super::{Outcome, Prepared, Unsupported};
use super::time::{LANGUAGE, push_ordinal};
use super::{Field, Part, refused};
use crate::time::{HOUR, MINUTE, SECOND};
use crate::value::Value;

const FIELDS: &[&str] =
    &["HH24", "HH12", "HH", "MI", "SS", "MS", "US", "FF1", "FF2", "FF3", "FF4", "FF5", "FF6", "SSSS", "SSSSS", "DD", "MM"];

pub(super) fn prepared(template: &Value) -> Result<Prepared, Unsupported> {
    let template = text(template).map_err(|e| refused(&e.message))?;
    let parts = LANGUAGE.parts(template)?;
    for part in &parts {
        if let Part::Field(field) = part
            && !FIELDS.contains(&field.keyword.to_ascii_uppercase().as_str())
        {
            return Err(refused(&format!("{} of an interval", field.keyword)));
        }
    }
    if template.is_empty() {
        return Ok(Prepared::new(|_| Ok(Value::Null)));
    }
    Ok(Prepared::new(move |value| print(&parts, interval(value)?)))
}

fn print(parts: &[Part], (months, days, micros): (i32, i32, i64)) -> Outcome {
    let mut out = String::new();
    for part in parts {
        match part {
            Part::Text(c) => out.push(*c),
            Part::Field(field) => push(field, (months, days, micros), &mut out),
        }
    }
    built(out)
}

/// A sign takes a place of its own, except before days and fractions of a second.
fn push(field: &Field, (months, days, micros): (i32, i32, i64), out: &mut String) {
    let (hour, fraction) = (micros / HOUR, micros % SECOND);
    let keyword = field.keyword.to_ascii_uppercase();
    let (number, negative) = match keyword.as_str() {
        "HH24" => (hour, hour < 0),
        "HH12" | "HH" => (if hour % 12 == 0 { 12 } else { hour % 12 }, hour < 0),
        "MI" => (micros % HOUR / MINUTE, micros % HOUR / MINUTE < 0),
        "SS" => (micros % MINUTE / SECOND, micros % MINUTE / SECOND < 0),
        "DD" => (days.into(), false),
        "MM" => ((months % 12).into(), months % 12 < 0),
        "SSSS" | "SSSSS" => return push_ordinal(&(micros / SECOND).to_string(), field, out),
        "US" => return push_ordinal(&format!("{fraction:06}"), field, out),
        "MS" => return push_ordinal(&format!("{:03}", fraction / 1_000), field, out),
        fraction_digits => {
            let digits = fraction_digits.strip_prefix("FF").and_then(|d| d.parse::<u32>().ok()).unwrap_or(6).min(6);
            let width = usize::try_from(digits).unwrap_or(6);
            let cut = fraction / 10_i64.pow(6 - digits);
            return push_ordinal(&format!("{cut:0width$}"), field, out);
        }
    };
    let width = if field.bare { 0 } else { 2 + usize::from(negative) };
    push_ordinal(&format!("{number:0width$}"), field, out);
}
