//! The table that all cases read: one or two columns of each type, and values at the edges of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use highwater_sql::value::EnumType;
use highwater_sql::{Catalog, Column, Plan, ReplicaIdentity, RowError, SelectError, Table, Type, Value, check::check};

/// Column, type as DDL, and values as text.
pub struct Sample {
    pub name: &'static str,
    pub sql_type: &'static str,
    pub values: &'static [&'static str],
}

const INT2: &[&str] = &["0", "1", "-1", "7", "-32768", "32767", "100"];
const INT4: &[&str] = &["0", "1", "-1", "2", "10", "-7", "2147483647", "-2147483648", "8000", "46341"];
const INT8: &[&str] = &["0", "1", "-1", "3", "9223372036854775807", "-9223372036854775808", "4294967296", "-100"];
const FLOAT4: &[&str] = &["0", "-0", "1.5", "-2.5", "0.5", "3.4028235e38", "1e-45", "NaN", "Infinity", "-Infinity", "1e10", "0.1"];
const FLOAT8: &[&str] =
    &["0", "-0", "1.5", "2.5", "-0.5", "0.1", "1e300", "-1e300", "5e-324", "NaN", "Infinity", "-Infinity", "123456789.123", "1e15", "1e16"];
const NUMERIC: &[&str] = &[
    "0",
    "1",
    "-1",
    "0.5",
    "2.5",
    "-2.5",
    "1.10",
    "0.0000000001",
    "12345678901234567890.123456789",
    "99999999999999999999999999999999999999",
    "-0.00",
    "1e30",
    "1e-20",
    "3",
    "100.00",
    "0.333333333333333333",
    "170141183460469231731687303715884105728",
];
const NUMERIC_12_3: &[&str] = &["0.000", "1.500", "-999999999.999", "12.345", "999999999.999", "2.000"];
const TEXT: &[&str] = &[
    "",
    "a",
    "A",
    "abc",
    "ABC",
    " a ",
    "é",
    "Straße",
    "日本語",
    "a,b,c",
    "1",
    " 12 ",
    "-1.5",
    "true",
    "2024-02-29",
    "x\ty",
    "\\",
    "%",
    "a_b%",
    "aaa",
    "hello world",
    "😀",
    "{\"a\":1}",
    "null",
    "O'Neil",
    "abcabc",
    "NaN",
    "1e5",
    "a\nb",
    "\u{17f}\u{212a}\u{130}",
    "aB1 cD2-eF_g",
    "\u{663}\u{2003}\u{a0}x",
    "a%b",
];
const VARCHAR: &[&str] = &["", "a", "ab ", "abcdefghij", "É", "7", "abc"];
const BPCHAR: &[&str] = &["", "a", "ab", "abcde", "é", "1"];
const UUID: &[&str] =
    &["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"];
const DATE: &[&str] = &[
    "2024-02-29",
    "2023-12-31",
    "2024-01-01",
    "1970-01-01",
    "0001-01-01",
    "4714-11-24 BC",
    "9999-12-31",
    "infinity",
    "-infinity",
    "2000-03-01",
];
const TIME: &[&str] = &["00:00:00", "24:00:00", "12:34:56.789", "23:59:59.999999"];
const TIMETZ: &[&str] = &["00:00:00+00", "12:34:56.789+05:30", "23:59:59.999999-08"];
const TIMESTAMP: &[&str] = &[
    "2024-02-29 12:34:56.789123",
    "2023-12-31 23:59:59.999999",
    "2024-01-01 00:00:00",
    "1970-01-01 00:00:00",
    "1969-12-31 23:59:59.5",
    "0001-01-01 00:00:00",
    "infinity",
    "-infinity",
    "2024-03-31 01:30:00",
    "2024-10-27 01:30:00",
    "9999-12-31 23:59:59",
];
const INTERVAL: &[&str] = &[
    "0",
    "1 day",
    "-1 day",
    "1 mon",
    "1 year 2 mons 3 days 04:05:06.789",
    "-00:00:01",
    "36:00:00",
    "1 mon -1 day",
    "100 years",
    "00:00:00.000001",
    "-1 mon -1 day -01:00:00",
];
const JSON: &[&str] = &[
    "{\"a\": 1, \"b\": {\"c\": [1, 2, {\"d\": null}]}}",
    "[]",
    "{}",
    "null",
    "\"text\"",
    "1.50",
    "true",
    "[1, \"two\", null, {\"a\": 3}]",
    "{\"a\": \"x\", \"a\": \"y\", \"é\": \"ü\"}",
    "{\"a\": {\"b\": \"c\"}, \"n\": -0.0, \"s\": \"line\\nbreak\"}",
    "1.5",
    "32768",
    "1e30",
    "\"a\"",
    "[\"a\", \"b\", [1.0, [null]], \"a\", {}]",
    "{\"a\": [1, 2], \"b\": null, \"c\": {\"d\": null, \"e\": [null]}, \"1\": false}",
    "false",
    "[[1.50], {\"a\": {\"b\": \"c\", \"z\": \"\\u00e9\"}}, 1.5]",
];
/// Kept as text: escapes, blanks, duplicates and the order of keys count.
const JSON_TEXT: &[&str] = &[
    "{\"a\": 1, \"b\": {\"c\": [1, 2, {\"d\": null}]}}",
    " { \"a\" : {\"b\": 1} , \"b\":2, \"a\": { \"c\" : [ 1 , 2 ] } } ",
    "[]",
    " {} ",
    "null",
    "\"te\\u0078t\\n\"",
    "1.50e2",
    "true",
    "[1, \"two\", null, {\"a\": 3}, [ 4, \"\\ud83d\\ude00\" ]]",
    "{\"a\": \"x\", \"a\": \"y\", \"é\": \"ü\", \"\\u0062\": null}",
    "{\"a\": \"\\u0000\", \"b\": 1}",
    "[\"\\ud83d\", 1]",
];
const BYTEA: &[&str] = &["\\x", "\\x00", "\\x616263", "\\xff00ff"];
const INET: &[&str] = &["192.168.1.5", "10.0.0.0/8", "::1", "2001:db8::/32"];
const MOOD: &[&str] = &["sad", "ok", "Happy"];
const INT4_ARRAY: &[&str] = &["{}", "{1}", "{1,2,3}", "{1,NULL,3}", "{-2147483648,2147483647}"];
const TEXT_ARRAY: &[&str] =
    &["{}", "{a}", "{a,b,c}", "{\"\",NULL,\"x y\"}", "{b,c}", "{c,d,0}", "{-1,\"q\\\"\\\\,\"}", "{NULL}", "{é,null}"];
const INT8_ARRAY: &[&str] = &["{}", "{1}", "{3,2,1}", "{1,NULL}", "{9223372036854775807}"];
const BOOL_ARRAY: &[&str] = &["{}", "{t,f,NULL}", "{f}"];
const TIMESTAMP_ARRAY: &[&str] = &["{}", "{2024-02-29 12:34:56.789,infinity}", "{NULL,1969-12-31 23:59:59}"];
const FLOAT8_ARRAY: &[&str] = &["{}", "{-0,NaN,1e300}", "{1.5,NULL}"];

const fn sample(name: &'static str, sql_type: &'static str, values: &'static [&'static str]) -> Sample {
    Sample { name, sql_type, values }
}

pub const SAMPLES: &[Sample] = &[
    sample("b", "boolean", &["true", "false"]),
    sample("b2", "boolean", &["true", "false"]),
    sample("i2", "smallint", INT2),
    sample("i4", "integer", INT4),
    sample("i4b", "integer", INT4),
    sample("i8", "bigint", INT8),
    sample("f4", "real", FLOAT4),
    sample("f8", "double precision", FLOAT8),
    sample("f8b", "double precision", FLOAT8),
    sample("n", "numeric", NUMERIC),
    sample("nb", "numeric", NUMERIC),
    sample("n3", "numeric(12,3)", NUMERIC_12_3),
    sample("t", "text", TEXT),
    sample("tb", "text", TEXT),
    sample("v", "varchar(10)", VARCHAR),
    sample("c", "char(5)", BPCHAR),
    sample("u", "uuid", UUID),
    sample("d", "date", DATE),
    sample("db", "date", DATE),
    sample("tm", "time", TIME),
    sample("tmz", "timetz", TIMETZ),
    sample("ts", "timestamp", TIMESTAMP),
    sample("ts0", "timestamp(0)", TIMESTAMP),
    sample("tz", "timestamptz", TIMESTAMP),
    sample("tzb", "timestamptz", TIMESTAMP),
    sample("iv", "interval", INTERVAL),
    sample("ivb", "interval", INTERVAL),
    sample("j", "json", JSON_TEXT),
    sample("jb", "jsonb", JSON),
    sample("jb2", "jsonb", JSON),
    sample("by", "bytea", BYTEA),
    sample("ip", "inet", INET),
    sample("m", "hw_mood", MOOD),
    sample("ia", "integer[]", INT4_ARRAY),
    sample("ta", "text[]", TEXT_ARRAY),
    sample("tab", "text[]", TEXT_ARRAY),
    sample("iab", "integer[]", INT4_ARRAY),
    sample("la", "bigint[]", INT8_ARRAY),
    sample("ba", "boolean[]", BOOL_ARRAY),
    sample("tza", "timestamptz[]", TIMESTAMP_ARRAY),
    sample("fa", "double precision[]", FLOAT8_ARRAY),
];

pub fn type_of(sql_type: &str) -> Type {
    match sql_type {
        "boolean" => Type::Bool,
        "smallint" => Type::Int2,
        "integer" => Type::Int4,
        "bigint" => Type::Int8,
        "real" => Type::Float4,
        "double precision" => Type::Float8,
        "numeric" => Type::Numeric(None),
        "numeric(12,3)" => Type::Numeric(Some((12, 3))),
        "text" => Type::Text,
        "varchar(10)" => Type::Varchar(Some(10)),
        "char(5)" => Type::Bpchar(Some(5)),
        "uuid" => Type::Uuid,
        "date" => Type::Date,
        "time" => Type::Time(None),
        "timetz" => Type::Timetz(None),
        "timestamp" => Type::Timestamp(None),
        "timestamp(0)" => Type::Timestamp(Some(0)),
        "timestamptz" => Type::Timestamptz(None),
        "interval" => Type::Interval,
        "json" => Type::Json,
        "jsonb" => Type::Jsonb,
        "bytea" => Type::Bytea,
        "inet" => Type::Inet,
        "hw_mood" => Type::Enum(Arc::new(EnumType { name: "hw_mood".into(), labels: MOOD.iter().map(|m| (*m).into()).collect() })),
        "integer[]" => Type::Array(Box::new(Type::Int4)),
        "text[]" => Type::Array(Box::new(Type::Text)),
        "bigint[]" => Type::Array(Box::new(Type::Int8)),
        "boolean[]" => Type::Array(Box::new(Type::Bool)),
        "timestamptz[]" => Type::Array(Box::new(Type::Timestamptz(None))),
        "double precision[]" => Type::Array(Box::new(Type::Float8)),
        other => panic!("no sample of type {other}"),
    }
}

pub fn column(name: &str, ty: Type) -> Column {
    Column { name: name.into(), ty, not_null: false, has_default: false, collation_is_c: true }
}

pub fn table(schema: &str, name: &str, columns: Vec<Column>, unique_keys: &[&[&str]]) -> Table {
    let unique_keys: Vec<Vec<String>> = unique_keys.iter().map(|key| key.iter().map(|c| (*c).to_owned()).collect()).collect();
    Table {
        schema: schema.into(),
        name: name.into(),
        columns,
        primary_key: unique_keys.first().cloned().unwrap_or_default(),
        unique_keys,
        replica_identity: ReplicaIdentity::Full,
    }
}

pub fn catalog() -> Catalog {
    let columns = SAMPLES.iter().map(|s| column(s.name, type_of(s.sql_type))).collect();
    Catalog { tables: vec![table("public", "samples", columns, &[])], default_collation_is_c: true }
}

/// One row of `samples`: column to text, NULL where there is none.
pub type Row = BTreeMap<String, String>;

/// What a database says of an expression for one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Null,
    Text(String),
    /// SQLSTATE
    Error(String),
}

impl From<RowError> for Answer {
    fn from(error: RowError) -> Self {
        Self::Error(error.sqlstate.into())
    }
}

/// The type that Highwater gives an expression, without modifiers, as `pg_typeof` prints it.
pub fn our_type(expression: &str) -> Result<String, SelectError> {
    let plan = check(&format!("SELECT {expression} FROM samples"), &catalog())?;
    Ok(match &plan.outputs[0].ty {
        Type::Numeric(_) => "numeric".into(),
        Type::Varchar(_) => "character varying".into(),
        Type::Bpchar(_) => "character".into(),
        Type::Time(_) => "time without time zone".into(),
        Type::Timetz(_) => "time with time zone".into(),
        Type::Timestamp(_) => "timestamp without time zone".into(),
        Type::Timestamptz(_) => "timestamp with time zone".into(),
        other => other.name(),
    })
}

/// What Highwater says of `(expression)::text` for each row.
pub fn our_answers(expression: &str, rows: &[Row]) -> Result<Vec<Answer>, SelectError> {
    let plan = check(&format!("SELECT ({expression})::text FROM samples"), &catalog())?;
    Ok(rows.iter().map(|row| our_answer(&plan, row)).collect())
}

/// What Highwater makes of `to_jsonb(expression)::text` for each row when it is an output: a webhook's body.
pub fn our_json(expression: &str, rows: &[Row]) -> Result<Vec<Answer>, SelectError> {
    let plan = check(&format!("SELECT {expression} FROM samples"), &catalog())?;
    let json = |row: &Row| {
        let value = evaluated(&plan, row)?;
        let mut text = String::new();
        value.write_json(&plan.outputs[0].ty, &mut text)?;
        Ok(Answer::Text(text))
    };
    Ok(rows.iter().map(|row| json(row).unwrap_or_else(|error: RowError| error.into())).collect())
}

fn evaluated(plan: &Plan, row: &Row) -> Result<Value, RowError> {
    let value = |column: &Column| row.get(&column.name).map_or(Value::Null, |text| value(&column.ty, text));
    let source: Vec<Value> = plan.source_columns.iter().map(value).collect();
    Ok(plan.evaluate(&source, &[])?.expect("a row without WHERE vanished").remove(0))
}

fn our_answer(plan: &Plan, row: &Row) -> Answer {
    match evaluated(plan, row) {
        Ok(Value::Null) => Answer::Null,
        Ok(value) => Answer::Text(value.to_text(&plan.outputs[0].ty).into_owned()),
        Err(error) => error.into(),
    }
}

fn value(ty: &Type, text: &str) -> Value {
    Value::from_text(ty, text).unwrap_or_else(|e| panic!("{}: {text}: {e}", ty.name()))
}

/// Whether the input functions read that value; those that they do not read yet are left out.
pub fn readable(sql_type: &str, text: &str) -> bool {
    Value::from_text(&type_of(sql_type), text).is_ok()
}
