//! What types are called: `format_type()`.

use super::Type;

impl Type {
    /// The name as `format_type()` prints it, for example `numeric(20,6)` or `timestamp with time zone`.
    pub fn name(&self) -> String {
        let with = |name: &str, modifier: Option<u32>| modifier.map_or_else(|| name.to_owned(), |m| format!("{name}({m})"));
        let zoned = |name: &str, precision: Option<u8>, zone: &str| {
            precision.map_or_else(|| format!("{name} {zone}"), |p| format!("{name}({p}) {zone}"))
        };
        match self {
            Type::Bool => "boolean".into(),
            Type::Int2 => "smallint".into(),
            Type::Int4 => "integer".into(),
            Type::Int8 => "bigint".into(),
            Type::Float4 => "real".into(),
            Type::Float8 => "double precision".into(),
            Type::Numeric(None) => "numeric".into(),
            Type::Numeric(Some((p, s))) => format!("numeric({p},{s})"),
            Type::Text => "text".into(),
            Type::Varchar(n) => with("character varying", *n),
            Type::Bpchar(None) => "bpchar".into(),
            Type::Bpchar(n) => with("character", *n),
            Type::Uuid => "uuid".into(),
            Type::Date => "date".into(),
            Type::Time(p) => zoned("time", *p, "without time zone"),
            Type::Timetz(p) => zoned("time", *p, "with time zone"),
            Type::Timestamp(p) => zoned("timestamp", *p, "without time zone"),
            Type::Timestamptz(p) => zoned("timestamp", *p, "with time zone"),
            Type::Interval => "interval".into(),
            Type::Json => "json".into(),
            Type::Jsonb => "jsonb".into(),
            Type::Bytea => "bytea".into(),
            Type::Enum(e) => e.name.clone(),
            Type::Inet => "inet".into(),
            Type::Array(element) => format!("{}[]", element.name()),
            Type::Unknown => "unknown".into(),
        }
    }

    /// The name without modifiers, as error messages of input functions have it.
    pub fn base_name(&self) -> String {
        match self {
            Type::Numeric(_) => "numeric".into(),
            Type::Varchar(_) => "character varying".into(),
            Type::Bpchar(_) => "character".into(),
            Type::Time(_) => "time".into(),
            Type::Timetz(_) => "time with time zone".into(),
            Type::Timestamp(_) => "timestamp".into(),
            Type::Timestamptz(_) => "timestamp with time zone".into(),
            other => other.name(),
        }
    }

    /// smallint, integer, bigint.
    pub fn is_integer(&self) -> bool {
        matches!(self, Type::Int2 | Type::Int4 | Type::Int8)
    }

    /// Integers, numeric, real, double precision.
    pub fn is_number(&self) -> bool {
        self.is_integer() || matches!(self, Type::Numeric(_) | Type::Float4 | Type::Float8)
    }

    /// text, varchar, char(n).
    pub fn is_text(&self) -> bool {
        matches!(self, Type::Text | Type::Varchar(_) | Type::Bpchar(_))
    }
}
