//! The btree order of each type.

use std::cmp::Ordering;

use super::{Type, Value, inet};
use crate::json;
use crate::time::{DAY, SECOND};

impl Value {
    /// The order of two non-null values of type `ty`: the one of the type's default btree operator class, collation C. NULL sorts
    /// last, as it would in an index; json has no order in Postgres and compares as text here.
    pub fn compare(&self, other: &Value, ty: &Type) -> Ordering {
        match (self, other) {
            (Value::Null, Value::Null) => Ordering::Equal,
            (Value::Null, _) => Ordering::Greater,
            (_, Value::Null) => Ordering::Less,
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Int(a), Value::Int(b)) => a.cmp(b),
            (Value::Float4(a), Value::Float4(b)) => compare_floats(f64::from(*a), f64::from(*b)),
            (Value::Float8(a), Value::Float8(b)) => compare_floats(*a, *b),
            (Value::Numeric(a), Value::Numeric(b)) => a.cmp(b),
            (Value::Text(a), Value::Text(b)) => compare_text(a, b, ty),
            (Value::Uuid(a), Value::Uuid(b)) => a.cmp(b),
            (Value::Date(a), Value::Date(b)) => a.cmp(b),
            (Value::Time(a), Value::Time(b)) | (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
            // First the moment, then the zone: west before east is what the stored sign of Postgres gives in reverse.
            (Value::Timetz(a, za), Value::Timetz(b, zb)) => {
                let utc = |micros: i64, zone: i32| micros - i64::from(zone) * SECOND;
                utc(*a, *za).cmp(&utc(*b, *zb)).then(zb.cmp(za))
            }
            (Value::Interval(..), Value::Interval(..)) => interval_span(self).cmp(&interval_span(other)),
            (Value::Json(a), Value::Json(b)) => a.cmp(b),
            (Value::Jsonb(a), Value::Jsonb(b)) => json::compare(a, b),
            (Value::Bytea(a), Value::Bytea(b)) => a.cmp(b),
            (Value::Array(a), Value::Array(b)) => {
                let element = if let Type::Array(element) = ty { element } else { &Type::Unknown };
                let differing = a.iter().zip(b.iter()).map(|(x, y)| x.compare(y, element)).find(|o| *o != Ordering::Equal);
                differing.unwrap_or_else(|| a.len().cmp(&b.len()))
            }
            // Values of different types never meet: the check at start makes both sides one type.
            _ => Ordering::Equal,
        }
    }
}

/// NaN equals itself and is greater than everything else; -0 equals 0.
fn compare_floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

fn compare_text(a: &str, b: &str, ty: &Type) -> Ordering {
    match ty {
        Type::Bpchar(_) => a.trim_end_matches(' ').cmp(b.trim_end_matches(' ')),
        Type::Enum(e) => {
            let position = |label: &str| e.labels.iter().position(|l| l == label);
            position(a).cmp(&position(b))
        }
        Type::Inet => inet::compare(a, b),
        _ => a.cmp(b),
    }
}

/// `interval_cmp_value`: a month counts as 30 days, a day as 24 hours.
fn interval_span(value: &Value) -> i128 {
    match value {
        Value::Interval(months, days, micros) => (i128::from(*months) * 30 + i128::from(*days)) * i128::from(DAY) + i128::from(*micros),
        _ => 0,
    }
}
