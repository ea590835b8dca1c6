//! Types and values: what a column can hold, in the least space that is exact.
//!
//! [`Value::from_text`] and [`Value::to_text`] are a type's input and output functions, [`Value::write_json`] is `to_jsonb`, and
//! [`Value::compare`] is the type's btree order, all as Postgres 15 has them in the session that the crate promises.
//!
//! Not here: casts and operators, which are functions of the SELECT, and what Debezium makes of a value (`decode`).

mod array;
mod bytes;
mod compare;
mod float;
mod inet;
mod input;
mod name;
mod output;

use std::sync::Arc;

use smol_str::SmolStr;

use crate::error::RowError;
use crate::numeric::Numeric;
use crate::time;

/// A Postgres type, with the modifiers that change values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// `boolean`
    Bool,
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `real`
    Float4,
    /// `double precision`
    Float8,
    /// `numeric`, with (precision, scale) when declared
    Numeric(Option<(u16, i16)>),
    /// `text`
    Text,
    /// `varchar`, with its length in characters when declared
    Varchar(Option<u32>),
    /// `char(n)`, blank-padded
    Bpchar(Option<u32>),
    /// `uuid`
    Uuid,
    /// `date`
    Date,
    /// `time`, with its precision when declared
    Time(Option<u8>),
    /// `time with time zone`
    Timetz(Option<u8>),
    /// `timestamp`
    Timestamp(Option<u8>),
    /// `timestamp with time zone`
    Timestamptz(Option<u8>),
    /// `interval`
    Interval,
    /// `json`
    Json,
    /// `jsonb`
    Jsonb,
    /// `bytea`
    Bytea,
    /// An enumeration
    Enum(Arc<EnumType>),
    /// `inet`, as text
    Inet,
    /// A one-dimensional array
    Array(Box<Type>),
    /// A string literal or NULL whose type is not resolved yet
    Unknown,
}

/// An enumeration type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EnumType {
    /// Schema-qualified when not in `public`.
    pub name: String,
    /// Labels in sort order.
    pub labels: Vec<String>,
}

/// A value; its [`Type`] is known from the slot or expression that holds it.
///
/// Infinities of date and timestamps are the extremes of their integer, as in Postgres (`DATEVAL_NOBEGIN`, `DT_NOEND`).
#[derive(Clone, Debug)]
pub enum Value {
    /// NULL of any type.
    Null,
    /// boolean
    Bool(bool),
    /// int2, int4, int8
    Int(i64),
    /// float4
    Float4(f32),
    /// float8
    Float8(f64),
    /// numeric
    Numeric(Numeric),
    /// text, varchar, char(n) (padded), enum labels, inet; short texts need no allocation
    Text(SmolStr),
    /// uuid
    Uuid([u8; 16]),
    /// Days since 1970-01-01; `i32::MIN` and `i32::MAX` are the infinities.
    Date(i32),
    /// Microseconds since midnight.
    Time(i64),
    /// Microseconds since midnight and seconds east of UTC.
    Timetz(i64, i32),
    /// timestamp, timestamptz: microseconds since 1970-01-01 00:00 UTC; `i64::MIN` and `i64::MAX` are the infinities.
    Timestamp(i64),
    /// Months, days, microseconds.
    Interval(i32, i32, i64),
    /// json: the text as written
    Json(SmolStr),
    /// jsonb: the text as Postgres prints it (`jsonb_out`); operators parse it when they need it
    Jsonb(SmolStr),
    /// bytea
    Bytea(Arc<[u8]>),
    /// A one-dimensional array
    Array(Arc<[Value]>),
}

impl Value {
    /// Whether this is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// A number in units of `10^-scale`, rounded as `round(x::numeric, scale)` does: half away from zero. Fails with 22003 beyond
    /// 64 bits, with 0A000 for NaN and the infinities, and with 42804 for what is not a number.
    pub fn to_scaled(&self, scale: u8) -> Result<i64, RowError> {
        match self {
            Value::Int(v) => Numeric::from_i64(*v).to_scaled(scale),
            Value::Numeric(v) => v.to_scaled(scale),
            Value::Float8(v) => Numeric::from_f64(*v)?.to_scaled(scale),
            Value::Float4(v) => Numeric::from_f32(*v)?.to_scaled(scale),
            _ => Err(RowError::new("42804", "not a number")),
        }
    }

    /// Microseconds since 1970-01-01 00:00 UTC of a timestamp, or of a date's midnight; `None` for infinities and other types.
    pub fn unix_micros(&self) -> Option<i64> {
        match self {
            Value::Timestamp(t) => (time::TIMESTAMP_MIN..time::TIMESTAMP_INFINITY).contains(t).then_some(*t),
            Value::Date(d) if *d != time::DATE_INFINITY && *d != time::DATE_NEGATIVE_INFINITY => i64::from(*d).checked_mul(time::DAY),
            _ => None,
        }
    }
}
