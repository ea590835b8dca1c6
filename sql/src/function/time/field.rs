//! `extract` (numeric, exact) and `date_part` (double precision) of dates, times and intervals.

use super::super::Base::*;
use super::super::argument::{mismatch, text};
use super::super::{Function, Outcome, Run, row};
use super::unit::{Unit, unsupported};
use super::{clock, date, interval, is_infinite, is_infinite_date, timestamp};
use crate::error::RowError;
use crate::numeric::Numeric as Decimal;
use crate::time::{self, DAY, HOUR, MINUTE, SECOND};
use crate::value::Value;

/// Julian day of 1970-01-01.
const JULIAN_1970: i64 = 2_440_588;
const DAY_SECONDS: i64 = 86_400;

/// A field, before it becomes numeric or double precision.
enum Field {
    Whole(i64),
    /// A number of 10^-scale.
    Scaled(i64, u16),
    /// The microseconds of a minute, as seconds or milliseconds (the scale of the number).
    InMinute(i64, u16),
    /// A day and the microseconds of it.
    Julian(i64, i64),
    /// Microseconds of a local time and its offset, as seconds.
    Zoned(i64, i32),
    /// Months, days and microseconds, as seconds.
    Span(i32, i32, i64),
    /// Of an infinite moment: grows with time.
    Infinite {
        negative: bool,
    },
    /// Of an infinite moment: comes and goes.
    Unknown,
}

impl Field {
    fn numeric(self) -> Outcome {
        let decimal = match self {
            Self::Whole(value) => Decimal::from_i64(value),
            Self::Scaled(value, scale) | Self::InMinute(value, scale) => Decimal::from_scaled(i128::from(value), scale)?,
            Self::Zoned(micros, east) => Decimal::from_scaled(i128::from(micros) - i128::from(east) * i128::from(SECOND), 6)?,
            Self::Span(months, days, micros) => Decimal::from_scaled(span_micros(months, days, micros), 6)?,
            Self::Julian(day, micros) => Decimal::from_i64(day).add(&Decimal::from_i64(micros).div(&Decimal::from_i64(DAY))?)?,
            Self::Infinite { .. } => return Err(RowError::new("0A000", "infinite numerics are not supported")),
            Self::Unknown => return Ok(Value::Null),
        };
        Ok(Value::Numeric(decimal))
    }

    #[allow(clippy::cast_precision_loss)] // date_part is inexact.
    fn float(self) -> Outcome {
        Ok(Value::Float8(match self {
            Self::Whole(value) => value as f64,
            Self::Scaled(value, scale) => value as f64 / 10_f64.powi(i32::from(scale)),
            Self::InMinute(value, 3) => (value / SECOND) as f64 * 1000.0 + (value % SECOND) as f64 / 1000.0,
            Self::InMinute(value, _) => (value / SECOND) as f64 + (value % SECOND) as f64 / 1e6,
            Self::Zoned(micros, east) => micros as f64 / 1e6 - f64::from(east),
            Self::Span(months, days, micros) => {
                let day_seconds = DAY_SECONDS as f64;
                let years = 365.25 * day_seconds * f64::from(months / 12);
                micros as f64 / 1e6 + years + 30.0 * day_seconds * f64::from(months % 12) + day_seconds * f64::from(days)
            }
            Self::Julian(day, micros) => {
                let (seconds, rest) = (micros / SECOND, micros % SECOND);
                day as f64 + (seconds as f64 + rest as f64 / 1e6) / DAY_SECONDS as f64
            }
            Self::Infinite { negative } => {
                if negative {
                    f64::NEG_INFINITY
                } else {
                    f64::INFINITY
                }
            }
            Self::Unknown => return Ok(Value::Null),
        }))
    }
}

/// Fields of a time of day; `None`: it has no such field.
fn of_clock(micros: i64, unit: Unit) -> Option<Field> {
    let in_minute = micros % MINUTE;
    Some(match unit {
        Unit::Microseconds => Field::Whole(in_minute),
        Unit::Milliseconds => Field::InMinute(in_minute, 3),
        Unit::Second => Field::InMinute(in_minute, 6),
        Unit::Minute => Field::Whole(micros / MINUTE % 60),
        Unit::Hour => Field::Whole(micros / HOUR),
        _ => return None,
    })
}

/// Fields of a date.
fn of_day(days: i32, unit: Unit) -> Option<Field> {
    let civil = time::civil_from_days(days);
    let year = i64::from(civil.year);
    // 1970-01-01 was a Thursday: Monday is 0 here.
    let weekday = i64::from((days + 3).rem_euclid(7));
    let january_first = |year: i32| time::days_from_civil(time::Civil { year, month: 1, day: 1 });
    // The ISO week belongs to the year of its Thursday.
    let thursday = days - (days + 3).rem_euclid(7) + 3;
    let iso_year = time::civil_from_days(thursday).year;
    let shown = |year: i64| if year > 0 { year } else { year - 1 };
    Some(Field::Whole(match unit {
        Unit::Day => i64::from(civil.day),
        Unit::Week => i64::from((thursday - january_first(iso_year)) / 7 + 1),
        Unit::Month => i64::from(civil.month),
        Unit::Quarter => i64::from((civil.month - 1) / 3 + 1),
        Unit::Year => shown(year),
        Unit::Decade => {
            if year >= 0 {
                year / 10
            } else {
                -((8 - (year - 1)) / 10)
            }
        }
        Unit::Century => {
            if year > 0 {
                (year + 99) / 100
            } else {
                -((99 - (year - 1)) / 100)
            }
        }
        Unit::Millennium => {
            if year > 0 {
                (year + 999) / 1000
            } else {
                -((999 - (year - 1)) / 1000)
            }
        }
        Unit::IsoYear => shown(i64::from(iso_year)),
        Unit::DayOfWeek => (weekday + 1) % 7,
        Unit::IsoDayOfWeek => weekday + 1,
        Unit::DayOfYear => i64::from(days - january_first(civil.year) + 1),
        Unit::Julian => i64::from(days) + JULIAN_1970,
        Unit::Epoch => i64::from(days) * DAY_SECONDS,
        _ => return None,
    }))
}

/// `NonFiniteTimestampTzPart`
fn of_infinity(negative: bool, unit: Unit) -> Field {
    match unit {
        Unit::Year | Unit::Decade | Unit::Century | Unit::Millennium | Unit::Julian | Unit::IsoYear | Unit::Epoch => {
            Field::Infinite { negative }
        }
        _ => Field::Unknown,
    }
}

fn of_timestamp(micros: i64, unit: Unit, zoned: bool) -> Option<Field> {
    // Without asking whether there is a zone (`NonFiniteTimestampTzPart`).
    if is_infinite(micros) {
        return Some(of_infinity(micros < 0, unit));
    }
    let is_zone = matches!(unit, Unit::Timezone | Unit::TimezoneHour | Unit::TimezoneMinute);
    if is_zone && !zoned {
        return None;
    }
    let (days, clock) = time::split_timestamp(micros);
    match unit {
        // The session's zone is UTC.
        Unit::Timezone | Unit::TimezoneHour | Unit::TimezoneMinute => Some(Field::Whole(0)),
        Unit::Epoch => Some(Field::Scaled(micros, 6)),
        Unit::Julian => Some(Field::Julian(i64::from(days) + JULIAN_1970, clock)),
        _ => of_clock(clock, unit).or_else(|| of_day(days, unit)),
    }
}

fn of_date(days: i32, unit: Unit) -> Option<Field> {
    if !is_infinite_date(days) {
        return of_day(days, unit);
    }
    let negative = days < 0;
    // The fields of a date only.
    of_day(0, unit).map(|_| of_infinity(negative, unit))
}

fn of_time(value: &Value, unit: Unit) -> Result<Option<Field>, RowError> {
    let micros = clock(value)?;
    Ok(match (value, unit) {
        (Value::Time(_), Unit::Epoch) => Some(Field::Scaled(micros, 6)),
        (Value::Timetz(_, east), Unit::Epoch) => Some(Field::Zoned(micros, *east)),
        (Value::Timetz(_, east), Unit::Timezone) => Some(Field::Whole((*east).into())),
        (Value::Timetz(_, east), Unit::TimezoneHour) => Some(Field::Whole((east / 3600).into())),
        (Value::Timetz(_, east), Unit::TimezoneMinute) => Some(Field::Whole((east / 60 % 60).into())),
        _ => of_clock(micros, unit),
    })
}

/// Microseconds of an interval with years of 365.25 and months of 30 days.
fn span_micros(months: i32, days: i32, micros: i64) -> i128 {
    let quarter_days = 1_461 * i128::from(months / 12) + 120 * i128::from(months % 12) + 4 * i128::from(days);
    quarter_days * i128::from(DAY / 4) + i128::from(micros)
}

fn of_interval((months, days, micros): (i32, i32, i64), unit: Unit) -> Option<Field> {
    let years = i64::from(months / 12);
    Some(match unit {
        Unit::Day => Field::Whole(days.into()),
        Unit::Month => Field::Whole((months % 12).into()),
        Unit::Quarter => Field::Whole(i64::from(months % 12) / 3 + 1),
        Unit::Year => Field::Whole(years),
        Unit::Decade => Field::Whole(years / 10),
        Unit::Century => Field::Whole(years / 100),
        Unit::Millennium => Field::Whole(years / 1000),
        Unit::Epoch => Field::Span(months, days, micros),
        _ => return of_clock(micros, unit),
    })
}

/// The field of a value; `of` is its type's name in messages.
fn field(unit: &Value, value: &Value, of: &str) -> Result<Field, RowError> {
    let name = text(unit)?;
    let unit = Unit::named(name, of)?;
    let found = match value {
        Value::Date(_) => of_date(date(value)?, unit),
        Value::Timestamp(_) => of_timestamp(timestamp(value)?, unit, of.contains("with time zone")),
        Value::Time(_) | Value::Timetz(..) => of_time(value, unit)?,
        Value::Interval(..) => of_interval(interval(value)?, unit),
        other => return Err(mismatch(other, "a date or time")),
    };
    found.ok_or_else(|| unsupported(name, of))
}

/// date_part of a date is that of its midnight.
fn part_of_date(unit: &Value, value: &Value) -> Outcome {
    field(unit, &super::super::cast::date_to_timestamp(value)?, "timestamp without time zone")?.float()
}

macro_rules! field_functions {
    ($name:literal, $result:ident, $as:ident, $date:expr) => {
        [
            row($name, &[Text, Date], $result, Run::Two($date)),
            row($name, &[Text, Timestamp], $result, Run::Two(|a, b| field(a, b, "timestamp without time zone")?.$as())),
            row($name, &[Text, Timestamptz], $result, Run::Two(|a, b| field(a, b, "timestamp with time zone")?.$as())).stable(),
            row($name, &[Text, Time], $result, Run::Two(|a, b| field(a, b, "time without time zone")?.$as())),
            row($name, &[Text, Timetz], $result, Run::Two(|a, b| field(a, b, "time with time zone")?.$as())),
            row($name, &[Text, Interval], $result, Run::Two(|a, b| field(a, b, "interval")?.$as())),
        ]
    };
}

pub(super) fn functions() -> Vec<Function> {
    let mut rows = Vec::new();
    rows.extend(field_functions!("extract", Numeric, numeric, |a, b| field(a, b, "date")?.numeric()));
    rows.extend(field_functions!("date_part", Float8, float, part_of_date));
    rows
}
