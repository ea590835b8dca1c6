//! Time zones by name, from the tz database that is compiled in.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

use super::{DAY, SECOND, civil_from_days, split_timestamp};
use crate::error::RowError;

/// A time zone of the tz database, or a fixed offset.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

impl Zone {
    /// The zone of that name, in any case. Fails with 22023 as `AT TIME ZONE` does.
    ///
    /// A few names are abbreviations to Postgres, and then stand for one offset all year (`timezonesets/Default`). Its other
    /// abbreviations are not known here.
    pub fn named(name: &str) -> Result<Zone, RowError> {
        const ABBREVIATIONS: [(&str, i8); 7] = [("CET", 1), ("EET", 2), ("EST", -5), ("HST", -10), ("MET", 1), ("MST", -7), ("WET", 0)];
        if let Some((_, hours)) = ABBREVIATIONS.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
            return Ok(Zone(TimeZone::fixed(jiff::tz::offset(*hours))));
        }
        match jiff::tz::db().get(name) {
            Ok(zone) => Ok(Zone(zone)),
            Err(_) => Err(RowError::new("22023", format!("time zone \"{name}\" not recognized"))),
        }
    }

    /// Seconds east of UTC at a local time. A time that a transition skips is read with the offset before it, one that a
    /// transition repeats with the offset after it (`DetermineTimeZoneOffset`).
    pub fn offset_at_local(&self, local_micros: i64) -> Result<i32, RowError> {
        let offset = match self.0.to_ambiguous_timestamp(civil(local_micros)?).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset,
            AmbiguousOffset::Gap { before, .. } => before,
            AmbiguousOffset::Fold { after, .. } => after,
        };
        Ok(offset.seconds())
    }

    /// Seconds east of UTC at a moment.
    pub fn offset_at(&self, utc_micros: i64) -> Result<i32, RowError> {
        let moment = jiff::Timestamp::from_microsecond(utc_micros).map_err(|_| too_far())?;
        Ok(self.0.to_offset(moment).seconds())
    }
}

fn civil(local_micros: i64) -> Result<DateTime, RowError> {
    let (days, micros) = split_timestamp(local_micros);
    let date = civil_from_days(days);
    let parts = (|| {
        let (hour, rest) = (micros / (DAY / 24), micros % (DAY / 24));
        Some((
            i16::try_from(date.year).ok()?,
            i8::try_from(date.month).ok()?,
            i8::try_from(date.day).ok()?,
            i8::try_from(hour).ok()?,
            i8::try_from(rest / (60 * SECOND)).ok()?,
            i8::try_from(rest / SECOND % 60).ok()?,
            i32::try_from(rest % SECOND * 1000).ok()?,
        ))
    })();
    let (year, month, day, hour, minute, second, nanos) = parts.ok_or_else(too_far)?;
    DateTime::new(year, month, day, hour, minute, second, nanos).map_err(|_| too_far())
}

fn too_far() -> RowError {
    RowError::new("0A000", "named time zones are supported for the years -9999 to 9999 only")
}
