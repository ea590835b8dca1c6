//! What the tests of this binary share: type names to types, and the escapes of COPY.

use std::sync::Arc;

use highwater_sql::Type;
use highwater_sql::value::EnumType;

/// The type of a name as it is written in SQL.
pub fn type_of(name: &str) -> Type {
    if let Some(element) = name.strip_suffix("[]") {
        return Type::Array(Box::new(type_of(element)));
    }
    let (base, modifiers) = match name.split_once('(') {
        Some((base, rest)) => (base, rest.trim_end_matches(')').split(',').map(|m| m.parse::<i64>().unwrap()).collect()),
        None => (name, Vec::new()),
    };
    let precision = modifiers.first().map(|p| u8::try_from(*p).unwrap());
    let length = modifiers.first().map(|n| u32::try_from(*n).unwrap());
    match base {
        "boolean" => Type::Bool,
        "smallint" => Type::Int2,
        "integer" => Type::Int4,
        "bigint" => Type::Int8,
        "real" => Type::Float4,
        "double precision" => Type::Float8,
        "numeric" => Type::Numeric(modifiers.first().map(|p| (u16::try_from(*p).unwrap(), i16::try_from(modifiers[1]).unwrap()))),
        "text" => Type::Text,
        "varchar" => Type::Varchar(length),
        "char" | "bpchar" => Type::Bpchar(length),
        "uuid" => Type::Uuid,
        "date" => Type::Date,
        "time" => Type::Time(precision),
        "timetz" => Type::Timetz(precision),
        "timestamp" => Type::Timestamp(precision),
        "timestamptz" => Type::Timestamptz(precision),
        "interval" => Type::Interval,
        "json" => Type::Json,
        "jsonb" => Type::Jsonb,
        "bytea" => Type::Bytea,
        "inet" => Type::Inet,
        "mood" => Type::Enum(Arc::new(EnumType { name: "mood".into(), labels: vec!["sad".into(), "ok".into(), "happy".into()] })),
        other => panic!("no type {other}"),
    }
}

/// The fields of a line that COPY wrote.
pub fn copy_fields(line: &str) -> Vec<String> {
    line.split('\t').map(unescape).collect()
}

fn unescape(field: &str) -> String {
    let mut text = String::new();
    let mut chars = field.chars();
    while let Some(c) = chars.next() {
        text.push(match c {
            '\\' => match chars.next().unwrap() {
                'b' => '\x08',
                'f' => '\x0c',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\x0b',
                other => other,
            },
            c => c,
        });
    }
    text
}
