//! Settings of the connector that decide what a record can say.

use super::schema::Wire;
use crate::value::Type;

/// `time.precision.mode`: how dates, times and timestamps without a zone are encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimePrecision {
    /// By the column's precision: milliseconds for up to three decimals, microseconds for more. The connector's default.
    #[default]
    Adaptive,
    /// As `adaptive`, but times always in microseconds.
    AdaptiveTimeMicroseconds,
    /// Kafka Connect's own types: milliseconds.
    Connect,
    /// ISO 8601 text.
    IsoString,
    /// Microseconds.
    Microseconds,
    /// Nanoseconds.
    Nanoseconds,
}

impl TimePrecision {
    /// The mode of that name; `None` for others, which the decoder does not read.
    pub fn parse(setting: &str) -> Option<TimePrecision> {
        Some(match setting.trim().to_ascii_lowercase().as_str() {
            "adaptive" => TimePrecision::Adaptive,
            "adaptive_time_microseconds" => TimePrecision::AdaptiveTimeMicroseconds,
            "connect" => TimePrecision::Connect,
            "isostring" => TimePrecision::IsoString,
            "microseconds" => TimePrecision::Microseconds,
            "nanoseconds" => TimePrecision::Nanoseconds,
            _ => return None,
        })
    }

    /// The encoding of a column of this type.
    pub(super) fn wire(self, ty: &Type) -> Wire {
        match (self, ty) {
            (_, Type::Array(element)) => Wire::Array(Box::new(self.wire(element))),
            (TimePrecision::IsoString, Type::Date | Type::Time(_) | Type::Timestamp(_)) => Wire::Iso,
            (_, Type::Date) => Wire::Days,
            (TimePrecision::AdaptiveTimeMicroseconds | TimePrecision::Microseconds, Type::Time(_)) => Wire::Micros,
            (TimePrecision::Microseconds, Type::Timestamp(_)) => Wire::Micros,
            (TimePrecision::Connect, Type::Time(_) | Type::Timestamp(_)) => Wire::Millis,
            (TimePrecision::Nanoseconds, Type::Time(_) | Type::Timestamp(_)) => Wire::Nanos,
            _ => Wire::Unknown,
        }
    }
}

/// Why no record can say what a column of this type holds, whatever the connector's settings: to be refused before the first row. Such
/// a value is refused in a record, too.
pub fn lost(ty: &Type) -> Option<&'static str> {
    match ty {
        Type::Timetz(_) => Some("the connector converts time with time zone to UTC: its offset is lost"),
        Type::Array(element) if matches!(**element, Type::Interval) => Some("the connector leaves out columns of type interval[]"),
        Type::Array(element) => lost(element),
        _ => None,
    }
}
