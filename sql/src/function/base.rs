//! Types as signatures have them: without modifiers, and the pseudo-types.

use crate::value::Type;

/// A type without its modifiers, or a pseudo-type of a declared argument (`pg_type.typtype` `p`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Base {
    Unknown,
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Text,
    Varchar,
    Bpchar,
    Uuid,
    Date,
    Time,
    Timetz,
    Timestamp,
    Timestamptz,
    Interval,
    Json,
    Jsonb,
    Bytea,
    Inet,
    Enum,
    Array,
    /// A type that Highwater does not know, of category U (`macaddr`): only unknown constants become it
    Foreign,
    /// `text[]`, as a declared argument
    TextArray,
    /// `anyelement`
    AnyElement,
    /// `anynonarray`
    AnyNonArray,
    /// `anyarray`
    AnyArray,
    /// `anyenum`
    AnyEnum,
    /// `anycompatible`
    AnyCompatible,
    /// `anycompatiblearray`
    AnyCompatibleArray,
    /// `VARIADIC text[]`: as a last argument, one text or more
    Texts,
    /// `"any"`, and as a last argument any number of them
    Any,
}

impl Base {
    pub fn of(ty: &Type) -> Self {
        match ty {
            Type::Unknown => Self::Unknown,
            Type::Bool => Self::Bool,
            Type::Int2 => Self::Int2,
            Type::Int4 => Self::Int4,
            Type::Int8 => Self::Int8,
            Type::Float4 => Self::Float4,
            Type::Float8 => Self::Float8,
            Type::Numeric(_) => Self::Numeric,
            Type::Text => Self::Text,
            Type::Varchar(_) => Self::Varchar,
            Type::Bpchar(_) => Self::Bpchar,
            Type::Uuid => Self::Uuid,
            Type::Date => Self::Date,
            Type::Time(_) => Self::Time,
            Type::Timetz(_) => Self::Timetz,
            Type::Timestamp(_) => Self::Timestamp,
            Type::Timestamptz(_) => Self::Timestamptz,
            Type::Interval => Self::Interval,
            Type::Json => Self::Json,
            Type::Jsonb => Self::Jsonb,
            Type::Bytea => Self::Bytea,
            Type::Inet => Self::Inet,
            Type::Enum(_) => Self::Enum,
            Type::Array(_) => Self::Array,
        }
    }

    /// The type without modifiers; `None` for what needs more to be a type (enumerations, arrays, pseudo-types).
    pub fn plain(self) -> Option<Type> {
        Some(match self {
            Self::Unknown => Type::Unknown,
            Self::Bool => Type::Bool,
            Self::Int2 => Type::Int2,
            Self::Int4 => Type::Int4,
            Self::Int8 => Type::Int8,
            Self::Float4 => Type::Float4,
            Self::Float8 => Type::Float8,
            Self::Numeric => Type::Numeric(None),
            Self::Text => Type::Text,
            Self::Varchar => Type::Varchar(None),
            Self::Bpchar => Type::Bpchar(None),
            Self::Uuid => Type::Uuid,
            Self::Date => Type::Date,
            Self::Time => Type::Time(None),
            Self::Timetz => Type::Timetz(None),
            Self::Timestamp => Type::Timestamp(None),
            Self::Timestamptz => Type::Timestamptz(None),
            Self::Interval => Type::Interval,
            Self::Json => Type::Json,
            Self::Jsonb => Type::Jsonb,
            Self::Bytea => Type::Bytea,
            Self::Inet => Type::Inet,
            Self::TextArray => Type::Array(Box::new(Type::Text)),
            Self::Enum
            | Self::Array
            | Self::Foreign
            | Self::AnyElement
            | Self::AnyNonArray
            | Self::AnyArray
            | Self::AnyEnum
            | Self::AnyCompatible
            | Self::AnyCompatibleArray
            | Self::Texts
            | Self::Any => return None,
        })
    }

    /// `pg_type.typcategory`
    pub fn category(self) -> char {
        match self {
            Self::Unknown => 'X',
            Self::Bool => 'B',
            Self::Int2 | Self::Int4 | Self::Int8 | Self::Float4 | Self::Float8 | Self::Numeric => 'N',
            Self::Text | Self::Varchar | Self::Bpchar => 'S',
            Self::Date | Self::Time | Self::Timetz | Self::Timestamp | Self::Timestamptz => 'D',
            Self::Interval => 'T',
            Self::Uuid | Self::Json | Self::Jsonb | Self::Bytea | Self::Foreign => 'U',
            Self::Inet => 'I',
            Self::Enum => 'E',
            Self::Array | Self::TextArray | Self::Texts => 'A',
            Self::AnyElement | Self::AnyNonArray | Self::AnyArray | Self::AnyEnum => 'P',
            Self::AnyCompatible | Self::AnyCompatibleArray | Self::Any => 'P',
        }
    }

    /// `pg_type.typispreferred`
    pub fn is_preferred(self) -> bool {
        matches!(self, Self::Bool | Self::Float8 | Self::Text | Self::Timestamptz | Self::Interval | Self::Inet)
    }

    /// Whether an argument declared so is passed with the type that it has.
    pub fn keeps_type(self) -> bool {
        self.is_pseudo() && !matches!(self, Self::AnyCompatible | Self::AnyCompatibleArray)
    }

    pub fn is_pseudo(self) -> bool {
        self.category() == 'P'
    }
}
