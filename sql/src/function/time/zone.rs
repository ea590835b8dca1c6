//! AT TIME ZONE: local time to moment and back.

use super::super::Base::*;
use super::super::argument::text;
use super::super::{Function, Outcome, Run, row};
use super::{is_infinite, timestamp};
use crate::error::RowError;
use crate::time::SECOND;
use crate::time::Zone;
use crate::value::Value;

/// A zone of the tz database by its full name. Abbreviations and POSIX texts mean other things in Postgres than they seem to (`+05` is
/// west of Greenwich) and depend on its configuration: they are refused.
pub(super) fn zone(name: &str) -> Result<Zone, RowError> {
    let full = name.contains('/') && !name.starts_with(|c: char| !c.is_ascii_alphabetic());
    if full || matches!(name.to_ascii_uppercase().as_str(), "UTC" | "GMT") {
        return Zone::named(name);
    }
    let known = Zone::named(name).is_ok() || name.contains(|c: char| c.is_ascii_digit()) || name.len() <= 5;
    if known {
        return Err(RowError::new(
            "0A000",
            format!("time zone \"{name}\" is not supported: write its full name, for example Europe/Berlin"),
        ));
    }
    Err(RowError::new("22023", format!("time zone \"{name}\" not recognized")))
}

/// The moment at which clocks of the zone show the local time (`timestamp_zone`).
fn to_moment(name: &Value, local: &Value) -> Outcome {
    let (zone_name, local) = (text(name)?, timestamp(local)?);
    if is_infinite(local) {
        return Ok(Value::Timestamp(local));
    }
    let east = i64::from(zone(zone_name)?.offset_at_local(local)?) * SECOND;
    super::checked_timestamp(local.checked_sub(east))
}

/// What clocks of the zone show at the moment (`timestamptz_zone`).
fn to_local(name: &Value, moment: &Value) -> Outcome {
    let (zone_name, moment) = (text(name)?, timestamp(moment)?);
    if is_infinite(moment) {
        return Ok(Value::Timestamp(moment));
    }
    let east = i64::from(zone(zone_name)?.offset_at(moment)?) * SECOND;
    super::checked_timestamp(moment.checked_add(east))
}

const INTERVAL: &str = "write the zone's full name, for example AT TIME ZONE 'Europe/Berlin'";

pub(super) const FUNCTIONS: &[Function] = &[
    row("timezone", &[Text, Timestamp], Timestamptz, Run::Two(to_moment)),
    row("timezone", &[Text, Timestamptz], Timestamp, Run::Two(to_local)),
    row("timezone", &[Text, Timetz], Timetz, Run::Refused("convert a timestamptz instead")),
    row("timezone", &[Interval, Timestamp], Timestamptz, Run::Refused(INTERVAL)),
    row("timezone", &[Interval, Timestamptz], Timestamp, Run::Refused(INTERVAL)),
    row("timezone", &[Interval, Timetz], Timetz, Run::Refused(INTERVAL)),
];
