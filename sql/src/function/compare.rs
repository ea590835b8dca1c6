//! `=`, `<>`, `<`, `<=`, `>`, `>=`: the order of the type's btree operator class, also across types where Postgres has such operators.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::Base::{self, *};
use super::{Function, Run};
use crate::value::{Type, Value};

/// The pairs of types that have comparison operators (`pg_operator`).
const COMPARABLE: &[(Base, Base)] = &[
    (Bool, Bool),
    (Int2, Int2),
    (Int2, Int4),
    (Int2, Int8),
    (Int4, Int2),
    (Int4, Int4),
    (Int4, Int8),
    (Int8, Int2),
    (Int8, Int4),
    (Int8, Int8),
    (Float4, Float4),
    (Float4, Float8),
    (Float8, Float4),
    (Float8, Float8),
    (Numeric, Numeric),
    (Text, Text),
    (Bpchar, Bpchar),
    (Uuid, Uuid),
    (Bytea, Bytea),
    (Inet, Inet),
    (Jsonb, Jsonb),
    (Interval, Interval),
    (Time, Time),
    (Timetz, Timetz),
    (Date, Date),
    (Date, Timestamp),
    (Date, Timestamptz),
    (Timestamp, Date),
    (Timestamp, Timestamp),
    (Timestamp, Timestamptz),
    (Timestamptz, Date),
    (Timestamptz, Timestamp),
    (Timestamptz, Timestamptz),
    (AnyEnum, AnyEnum),
    (AnyArray, AnyArray),
];

type Test = (&'static str, fn(Ordering) -> bool);

const TESTS: &[Test] = &[
    ("=", Ordering::is_eq),
    ("<>", Ordering::is_ne),
    ("<", Ordering::is_lt),
    ("<=", Ordering::is_le),
    (">", Ordering::is_gt),
    (">=", Ordering::is_ge),
];

pub(super) fn operators() -> Vec<Function> {
    let mut rows = Vec::with_capacity(TESTS.len() * COMPARABLE.len());
    for (name, test) in TESTS {
        for (left, right) in COMPARABLE {
            let ordered = !matches!(*name, "=" | "<>");
            rows.push(Function {
                name,
                arguments: Cow::Owned(vec![*left, *right]),
                result: Bool,
                run: Run::Compare(*test),
                stable: left != right && (*left == Timestamptz || *right == Timestamptz),
                needs_c: ordered && matches!(left, Text | Bpchar | AnyArray | Jsonb),
            });
        }
    }
    rows
}

/// The order of two values that are not NULL, of types that [`COMPARABLE`] pairs. `ty` is the type of the left one.
pub(crate) fn order(left: &Value, right: &Value, ty: &Type) -> Ordering {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Float4(a), Value::Float8(_)) => Value::Float8(f64::from(*a)).compare(right, &Type::Float8),
        (Value::Float8(_), Value::Float4(b)) => left.compare(&Value::Float8(f64::from(*b)), &Type::Float8),
        (Value::Date(days), Value::Timestamp(micros)) => day_and_instant(*days, *micros),
        (Value::Timestamp(micros), Value::Date(days)) => day_and_instant(*days, *micros).reverse(),
        _ => left.compare(right, ty),
    }
}

/// A date beyond the range of timestamps is still ordered (`date.c`, `date_cmp_timestamp_internal`).
fn day_and_instant(days: i32, micros: i64) -> Ordering {
    const DAY_MICROS: i128 = 86_400_000_000;
    let start = match days {
        i32::MIN => i128::from(i64::MIN),
        i32::MAX => i128::from(i64::MAX),
        // The infinities of a timestamp stay beyond every day.
        _ => (i128::from(days) * DAY_MICROS).clamp(i128::from(i64::MIN) + 1, i128::from(i64::MAX) - 1),
    };
    start.cmp(&i128::from(micros))
}
