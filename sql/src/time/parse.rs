//! The input functions of the date and time types.

use super::datetime::{Moment, Parts, Refused, read, read_time};
use super::{
    DATE_INFINITY, DATE_NEGATIVE_INFINITY, SECOND, TIMESTAMP_INFINITY, TIMESTAMP_NEGATIVE_INFINITY, is_date, is_timestamp, join_timestamp,
    round_micros, round_timestamp,
};
use crate::error::RowError;

/// `date_in`. A time of day in the text is read and dropped.
pub fn parse_date(text: &str) -> Result<i32, RowError> {
    match read(text).map_err(|e| refuse(e, "date", text))? {
        Moment::Epoch => Ok(0),
        Moment::Infinite { negative } => Ok(if negative { DATE_NEGATIVE_INFINITY } else { DATE_INFINITY }),
        Moment::Fields(Parts { days: Some(days), .. }) if is_date(days) => Ok(days),
        Moment::Fields(Parts { days: Some(_), .. }) => Err(RowError::new("22008", format!("date out of range: \"{text}\""))),
        Moment::Fields(_) => Err(refuse(Refused::BadFormat, "date", text)),
    }
}

/// `time_in`. A date and a zone in the text are read and dropped.
pub fn parse_time(text: &str, precision: Option<u8>) -> Result<i64, RowError> {
    match read_time(text).map_err(|e| refuse(e, "time", text))? {
        Moment::Fields(Parts { micros: Some(micros), .. }) => Ok(round_micros(micros, precision)),
        _ => Err(refuse(Refused::BadFormat, "time", text)),
    }
}

/// `timetz_in`: microseconds since midnight, and seconds east of UTC (none given: the session's zone, UTC).
pub fn parse_timetz(text: &str, precision: Option<u8>) -> Result<(i64, i32), RowError> {
    match read_time(text).map_err(|e| refuse(e, "time with time zone", text))? {
        Moment::Fields(Parts { micros: Some(micros), offset, .. }) => Ok((round_micros(micros, precision), offset.unwrap_or(0))),
        _ => Err(refuse(Refused::BadFormat, "time with time zone", text)),
    }
}

/// `timestamp_in`. A zone in the text is read and dropped.
pub fn parse_timestamp(text: &str, precision: Option<u8>) -> Result<i64, RowError> {
    timestamp(text, "timestamp", precision, false)
}

/// `timestamptz_in`. A text without a zone is in the session's, UTC.
pub fn parse_timestamptz(text: &str, precision: Option<u8>) -> Result<i64, RowError> {
    timestamp(text, "timestamp with time zone", precision, true)
}

fn timestamp(text: &str, ty: &str, precision: Option<u8>, zoned: bool) -> Result<i64, RowError> {
    match read(text).map_err(|e| refuse(e, ty, text))? {
        Moment::Epoch => Ok(0),
        Moment::Infinite { negative } => Ok(if negative { TIMESTAMP_NEGATIVE_INFINITY } else { TIMESTAMP_INFINITY }),
        Moment::Fields(Parts { days: Some(days), micros, offset }) => {
            let out_of_range = || RowError::new("22008", format!("timestamp out of range: \"{text}\""));
            let east = if zoned { i64::from(offset.unwrap_or(0)) * SECOND } else { 0 };
            let moment = join_timestamp(days, micros.unwrap_or(0)).map_err(|_| out_of_range())?;
            let moment = moment.checked_sub(east).filter(|m| is_timestamp(*m)).ok_or_else(out_of_range)?;
            Ok(round_timestamp(moment, precision))
        }
        Moment::Fields(_) => Err(refuse(Refused::BadFormat, ty, text)),
    }
}

/// The words of `DateTimeParseError`.
pub(super) fn refuse(reason: Refused, ty: &str, text: &str) -> RowError {
    match reason {
        Refused::BadFormat => RowError::new("22007", format!("invalid input syntax for type {ty}: \"{text}\"")),
        Refused::FieldOverflow => RowError::new("22008", format!("date/time field value out of range: \"{text}\"")),
        Refused::ZoneOverflow => RowError::new("22009", format!("time zone displacement out of range: \"{text}\"")),
        Refused::Other(error) => error,
    }
}
