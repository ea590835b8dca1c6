//! Encodings that the captures do not have: one table of column type, schema, JSON and the value or the refusal.
//!
//! Expected values follow from Debezium's documentation of its PostgreSQL connector (data type mappings) and from the sources of its
//! converters; that they agree with what a running connector sends is for the tests of the real stack to show.

use highwater_sql::Column;
use highwater_sql::decode::{DecodeError, Decoder, Op, Snapshot, TimePrecision, decode_key, key_payload, lost};

use crate::support::type_of;

const DAY: &str = "20512";

/// Column type, field schema (empty: the plain envelope), JSON of the value, text of the decoded value or `!` and the SQLSTATE.
const CASES: &[(&str, &str, &str, &str)] = &[
    // Integers
    ("smallint", "", "32767", "32767"),
    ("smallint", "", "32768", "!22P03"),
    ("integer", "", "-2147483648", "-2147483648"),
    ("integer", "", "2147483648", "!22P03"),
    ("integer", "", "1.0", "!22P03"),
    ("integer", "", "1e2", "!22P03"),
    ("integer", "", "\"1\"", "!22P03"),
    ("integer", "", "true", "!22P03"),
    ("integer", "", "[1]", "!22P03"),
    ("integer", "", "{\"a\":1}", "!22P03"),
    ("bigint", "", "9223372036854775807", "9223372036854775807"),
    ("bigint", "", "9223372036854775808", "!22P03"),
    ("bigint", "", "-9223372036854775809", "!22P03"),
    ("bigint", r#"{"type":"int64"}"#, "5", "5"),
    ("bigint", r#"{"type":"int64","name":"io.debezium.time.MicroTimestamp"}"#, "5", "!22P03"),
    ("boolean", "", "true", "true"),
    ("boolean", "", "1", "!22P03"),
    ("boolean", "", "\"true\"", "!22P03"),
    // Floats: the digits as they are
    ("real", "", "0.1", "0.1"),
    ("real", "", "16777217", "1.6777216e+07"),
    ("real", "", "1.17549435E-38", "1.1754944e-38"),
    ("real", "", "1e39", "!22003"),
    ("real", "", "\"NaN\"", "NaN"),
    ("real", "", "\"1.5\"", "!22P03"),
    ("double precision", "", "0.1", "0.1"),
    ("double precision", "", "1.7976931348623157E308", "1.7976931348623157e+308"),
    ("double precision", "", "123456789012345680", "1.2345678901234568e+17"),
    ("double precision", r#"{"type":"double"}"#, "\"-Infinity\"", "-Infinity"),
    ("double precision", "", "5", "5"),
    // decimal.handling.mode=string
    ("numeric", "", "\"123.4500\"", "123.4500"),
    ("numeric", "", "\"NAN\"", "!0A000"),
    ("numeric", "", "\"NaN\"", "!0A000"),
    ("numeric", "", "\"POSITIVE_INFINITY\"", "!0A000"),
    ("numeric", "", "\"abc\"", "!22P03"),
    ("numeric", "", "\"\"", "!22P03"),
    ("numeric", "", "\"__debezium_unavailable_value\"", "!22P03"),
    ("numeric(10,2)", "", "\"1.10\"", "1.10"),
    // Of a column with another scale, whatever the value.
    ("numeric(10,2)", "", "\"1.1\"", "!22P03"),
    ("numeric(10,2)", "", "\"1.100\"", "!22P03"),
    ("numeric(5,-2)", "", "\"1200\"", "1200"),
    ("numeric(10,2)", "", "\"1.105\"", "!22P03"),
    ("numeric(4,2)", "", "\"100.00\"", "!22P03"),
    ("numeric(10,2)", r#"{"type":"string"}"#, "\"1.10\"", "1.10"),
    // decimal.handling.mode=double
    ("numeric(10,2)", "", "1.1", "1.10"),
    ("numeric(15,2)", "", "1234567890123.45", "1234567890123.45"),
    ("numeric(15,2)", r#"{"type":"double"}"#, "1.23456789012345E12", "1234567890123.45"),
    ("numeric(10,2)", r#"{"type":"double"}"#, "1.105", "!22P03"),
    ("numeric(16,2)", "", "1.10", "!0A000"),
    ("numeric", "", "1.5", "!0A000"),
    ("numeric", r#"{"type":"double"}"#, "\"NaN\"", "!0A000"),
    ("numeric(10,2)", "", "true", "!22P03"),
    // decimal.handling.mode=precise
    ("numeric(10,2)", r#"{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}}"#, "\"ANw=\"", "2.20"),
    ("numeric(10,2)", r#"{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}}"#, "\"+w==\"", "-0.05"),
    ("numeric(10,2)", r#"{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}}"#, "\"+w=\"", "!22P03"),
    ("numeric(10,2)", r#"{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}}"#, "\"\"", "!22P03"),
    ("numeric(10,2)", r#"{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}}"#, "1.10", "1.10"),
    (
        "numeric(10,2)",
        r#"{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"3"}}"#,
        "\"Aw==\"",
        "!22P03",
    ),
    ("numeric(10,2)", r#"{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal"}"#, "\"Aw==\"", "!22P03"),
    ("numeric", r#"{"type":"struct","name":"io.debezium.data.VariableScaleDecimal"}"#, r#"{"scale":2,"value":"MDk="}"#, "123.45"),
    ("numeric", r#"{"type":"struct","name":"io.debezium.data.VariableScaleDecimal"}"#, r#"{"scale":-2,"value":"MDk="}"#, "1234500"),
    ("numeric", "", r#"{"scale":2,"value":"MDk="}"#, "123.45"),
    ("numeric", "", r#"{"scale":99999,"value":"MDk="}"#, "!22003"),
    ("numeric", "", r#"{"scale":2}"#, "!22P03"),
    ("numeric", "", r#"{"scale":0,"value":"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="}"#, "!22P03"),
    // Text
    ("text", "", r#""na\u00efve \ud83d\ude00""#, "naïve 😀"),
    ("text", "", "\"__debezium_unavailable_value\"", "!22P03"),
    ("text", "", "5", "!22P03"),
    ("varchar(3)", "", "\"abcd\"", "!22001"),
    ("char(3)", "", "\"a\"", "a  "),
    ("mood", "", "\"happy\"", "happy"),
    ("mood", r#"{"type":"string","name":"io.debezium.data.Enum","parameters":{"allowed":"sad,ok"}}"#, "\"ok\"", "ok"),
    ("mood", "", "\"glad\"", "!22P02"),
    ("inet", "", "\"10.0.0.1/32\"", "10.0.0.1"),
    (
        "uuid",
        r#"{"type":"string","name":"io.debezium.data.Uuid"}"#,
        "\"00000000-0000-4000-8000-00000000000A\"",
        "00000000-0000-4000-8000-00000000000a",
    ),
    ("uuid", "", "\"0\"", "!22P02"),
    ("json", "", r#""{\"b\": 1, \"a\": 2.50}""#, r#"{"b": 1, "a": 2.50}"#),
    ("jsonb", r#"{"type":"string","name":"io.debezium.data.Json"}"#, r#""{\"b\":1,\"a\":2.50}""#, r#"{"a": 2.50, "b": 1}"#),
    ("jsonb", "", "\"{\"", "!22P02"),
    ("jsonb", "", r#"{"a":1}"#, "!22P03"),
    ("bytea", "", "\"3q2+7w==\"", "\\xdeadbeef"),
    ("bytea", r#"{"type":"bytes"}"#, "\"\"", "\\x"),
    ("bytea", "", "\"3q2-7w==\"", "!22P03"),
    ("bytea", r#"{"type":"string"}"#, "\"deadbeef\"", "!22P03"),
    ("bytea", "", "\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\"", "!22P03"),
    // time.precision.mode=adaptive
    ("date", "", DAY, "2026-02-28"),
    ("date", "", "-719163", "0001-12-31 BC"),
    ("date", "", "-2147472693", "!22P03"),
    ("date", "", "2147483648", "!22P03"),
    ("time", "", "45296789012", "12:34:56.789012"),
    ("time", "", "86400000000", "24:00:00"),
    ("time", "", "86400000001", "!22P03"),
    ("time", "", "-1", "!22P03"),
    ("time(3)", "", "45296789", "12:34:56.789"),
    ("time(3)", "", "45296789000", "!22P03"),
    ("time(4)", "", "45296789000", "12:34:56.789"),
    ("timestamp", "", "1772282096789012", "2026-02-28 12:34:56.789012"),
    ("timestamp(3)", "", "1772282096789", "2026-02-28 12:34:56.789"),
    ("timestamp(0)", "", "1772282096000", "2026-02-28 12:34:56"),
    ("timestamp", "", "9223372036825200000", "infinity"),
    ("timestamp", "", "-9223372036832400000", "-infinity"),
    ("timestamp(3)", "", "9223372036825200", "infinity"),
    ("timestamp(3)", "", "-9223372036832400", "-infinity"),
    ("timestamp(3)", "", "1772282096789012000", "!22P03"),
    ("timestamp", "", "-9223372036854775808", "!22P03"),
    ("timestamp", "", "9223372036854775807", "!22P03"),
    ("timestamp", "", "\"abc\"", "!22P03"),
    ("timestamptz", "", "\"2026-02-28T10:34:56.789012Z\"", "2026-02-28 10:34:56.789012+00"),
    ("timestamptz", "", "\"2026-02-28T10:34:56Z\"", "2026-02-28 10:34:56+00"),
    ("timestamptz", "", "\"-infinity\"", "-infinity"),
    ("timestamptz", "", "\"-0043-03-15T12:00:00Z\"", "0044-03-15 12:00:00+00 BC"),
    ("timestamptz", "", "\"+12026-02-28T10:34:56Z\"", "12026-02-28 10:34:56+00"),
    ("timestamptz", "", "\"+294277-01-01T00:00:00Z\"", "!22P03"),
    ("timestamptz", "", "\"2026-02-30T10:34:56Z\"", "!22P03"),
    ("timestamptz", "", "\"2026-02-28T10:34:56.7890125Z\"", "!22P03"),
    ("timestamptz", "", "\"2026-02-28T10:34:56+02:00\"", "!22P03"),
    ("timestamptz", "", "1772282096789012", "!22P03"),
    ("timetz", "", "\"10:34:56.789012Z\"", "!0A000"),
    ("interval", "", "37091106700000", "!0A000"),
    ("interval", r#"{"type":"int64","name":"io.debezium.time.MicroDuration"}"#, "0", "!0A000"),
    ("interval", "", "\"P1Y2M3DT4H5M6.7S\"", "1 year 2 mons 3 days 04:05:06.7"),
    ("interval", r#"{"type":"string","name":"io.debezium.time.Interval"}"#, "\"P0Y0M-1DT2H0M-0.5S\"", "-1 days +01:59:59.5"),
    ("interval", "", "\"1 day\"", "!22P03"),
    // The other modes, told apart by the schema
    ("time(3)", r#"{"type":"int64","name":"io.debezium.time.MicroTime"}"#, "45296789000", "12:34:56.789"),
    ("time", r#"{"type":"int32","name":"org.apache.kafka.connect.data.Time"}"#, "45296789", "12:34:56.789"),
    ("time", r#"{"type":"int64","name":"io.debezium.time.NanoTime"}"#, "45296789012000", "12:34:56.789012"),
    ("time", r#"{"type":"string","name":"io.debezium.time.IsoTime"}"#, "\"12:34:56.789012Z\"", "12:34:56.789012"),
    ("timestamp", r#"{"type":"int64","name":"org.apache.kafka.connect.data.Timestamp"}"#, "1772282096789", "2026-02-28 12:34:56.789"),
    ("timestamp(3)", r#"{"type":"int64","name":"io.debezium.time.MicroTimestamp"}"#, "1772282096789000", "2026-02-28 12:34:56.789"),
    ("timestamp", r#"{"type":"int64","name":"io.debezium.time.NanoTimestamp"}"#, "1772282096789012000", "2026-02-28 12:34:56.789012"),
    ("timestamp", r#"{"type":"int64","name":"io.debezium.time.NanoTimestamp"}"#, "1772282096789012001", "!22P03"),
    ("timestamp", r#"{"type":"int64","name":"io.debezium.time.NanoTimestamp"}"#, "9223372036854775807", "!22P03"),
    ("timestamp", r#"{"type":"int64","name":"io.debezium.time.NanoTimestamp"}"#, "-9223372036800000000", "!22P03"),
    (
        "timestamp",
        r#"{"type":"string","name":"io.debezium.time.IsoTimestamp"}"#,
        "\"2026-02-28T12:34:56.789012Z\"",
        "2026-02-28 12:34:56.789012",
    ),
    ("timestamp", "", "\"2026-02-28T12:34:56.789012Z\"", "2026-02-28 12:34:56.789012"),
    ("date", r#"{"type":"int32","name":"org.apache.kafka.connect.data.Date"}"#, DAY, "2026-02-28"),
    ("date", r#"{"type":"string","name":"io.debezium.time.IsoDate"}"#, "\"2026-02-28Z\"", "2026-02-28"),
    ("date", r#"{"type":"int64","name":"io.debezium.time.MicroTimestamp"}"#, DAY, "!22P03"),
    ("timestamp", r#"{"type":"int32","name":"io.debezium.time.Date"}"#, DAY, "!22P03"),
    // The infinities of dates
    ("date", "", "-2147472664", "!22P03"),
    ("date", r#"{"type":"string","name":"io.debezium.time.IsoDate"}"#, "\"-5877611-06-21Z\"", "infinity"),
    ("date", r#"{"type":"string","name":"io.debezium.time.IsoDate"}"#, "\"-5877611-06-22Z\"", "-infinity"),
    // Arrays
    ("integer[]", "", "[1,null,3]", "{1,NULL,3}"),
    ("integer[]", "", "[1,\"a\"]", "!22P03"),
    ("integer[]", "", "[[1]]", "!22P03"),
    ("integer[]", "", "\"{1}\"", "!22P03"),
    ("integer[]", "", "[95,95,100,101,98,101,122,105,117,109,95,117,110,97,118,97,105,108,97,98,108,101,95,118,97,108,117,101]", "!22P03"),
    ("text[]", r#"{"type":"array","items":{"type":"string"}}"#, "[\"a b\",null]", "{\"a b\",NULL}"),
    ("text[]", "", "[\"__debezium_unavailable_value\"]", "!22P03"),
    ("text[]", "", "\"__debezium_unavailable_value\"", "!22P03"),
    (
        "numeric(10,2)[]",
        r#"{"type":"array","items":{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}}}"#,
        "[\"ANw=\",null]",
        "{2.20,NULL}",
    ),
    (
        "timestamp[]",
        r#"{"type":"array","items":{"type":"int64","name":"org.apache.kafka.connect.data.Timestamp"}}"#,
        "[1772282096789]",
        "{\"2026-02-28 12:34:56.789\"}",
    ),
    ("date[]", "", "[20512]", "{2026-02-28}"),
    ("bytea[]", "", "[\"3q2+7w==\"]", "{\"\\\\xdeadbeef\"}"),
];

const SOURCE: &str = r#"{"name":"p","schema":"public","table":"t","snapshot":null,"sequence":"[\"1\",\"2\"]","ts_us":3,"lsn":2,"txId":4}"#;

fn column(name: &str, ty: &str) -> Column {
    Column { name: name.into(), ty: type_of(ty), not_null: false, has_default: false, collation_is_c: true }
}

fn record(schema: &str, value: &str, schema_last: bool) -> String {
    let payload =
        format!(r#"{{"before":null,"after":{{"other":[{{}}],"v":{value}}},"source":{SOURCE},"op":"c","ts_ms":1,"transaction":null}}"#);
    if schema.is_empty() {
        return payload;
    }
    let field = format!("{},\"optional\":true,\"field\":\"v\"}}", schema.strip_suffix('}').unwrap());
    let schema = format!(
        r#"{{"type":"struct","fields":[{{"type":"struct","fields":[{field}],"field":"before"}},{{"type":"struct","fields":[{field}],"field":"after"}},{{"type":"string","field":"op"}}]}}"#
    );
    if schema_last {
        format!(r#"{{"payload":{payload},"schema":{schema}}}"#)
    } else {
        format!(r#"{{"schema":{schema},"payload":{payload}}}"#)
    }
}

#[test]
fn every_encoding_gives_its_value_or_is_refused() {
    let mut wrong = Vec::new();
    for (ty, schema, value, expected) in CASES {
        let column = column("v", ty);
        let decoder = Decoder::new(std::slice::from_ref(&column));
        for schema_last in [false, true] {
            // Twice, so that the second one meets what the first one left behind.
            for _ in 0..2 {
                let envelope = decoder.decode(record(schema, value, schema_last).as_bytes()).unwrap();
                let found = match envelope.after.unwrap() {
                    Ok(row) => row[0].to_text(&column.ty).into_owned(),
                    Err(e) => {
                        assert_eq!(e.column.as_deref(), Some("v"));
                        format!("!{}", e.sqlstate)
                    }
                };
                if found != *expected {
                    wrong.push(format!("{ty} {schema} {value}: {found}, not {expected}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
}

#[test]
fn a_schema_that_changes_is_read_again() {
    let column = column("v", "numeric(10,2)");
    let decoder = Decoder::new(std::slice::from_ref(&column));
    let decimal = r#"{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}}"#;
    for (schema, value, expected) in [
        (decimal, "\"ANw=\"", "2.20"),
        (r#"{"type":"string"}"#, "\"1.10\"", "1.10"),
        (decimal, "\"ANw=\"", "2.20"),
        ("", "\"3.00\"", "3.00"),
    ] {
        let row = decoder.decode(record(schema, value, false).as_bytes()).unwrap().after.unwrap().unwrap();
        assert_eq!(row[0].to_text(&column.ty), expected);
    }
}

fn decode(record: &str) -> Result<highwater_sql::Envelope, DecodeError> {
    Decoder::new(&[column("v", "integer")]).decode(record.as_bytes())
}

#[test]
fn records_that_are_no_change_events_are_refused_by_class() {
    let with_source = |source: &str| format!(r#"{{"op":"c","after":{{"v":1}},"source":{source}}}"#);
    for (record, class) in [
        ("", "malformed"),
        ("{", "malformed"),
        ("{}{}", "malformed"),
        ("[]", "malformed"),
        ("\"x\"", "malformed"),
        (r#"{"op":1}"#, "malformed"),
        (r#"{"after":5,"op":"c"}"#, "malformed"),
        (r#"{"op":"c","op":"c"}"#, "malformed"),
        (r#"{"after":{"v":1,"v":2}}"#, "malformed"),
        (r#"{"after":{"v":1},"after":{"v":2}}"#, "malformed"),
        ("null", "not_an_envelope"),
        ("{}", "not_an_envelope"),
        (r#"{"op":"c"}"#, "not_an_envelope"),
        (r#"{"schema":null,"payload":null}"#, "not_an_envelope"),
        (r#"{"op":"c","source":null}"#, "malformed"),
        (&format!(r#"{{"op":"x","source":{SOURCE}}}"#), "unknown_op"),
        (&with_source("{}"), "no_position"),
        (&with_source(r#"{"name":"p","schema":"s","table":"t","ts_us":1}"#), "no_position"),
        (&with_source(r#"{"name":"p","schema":"s","table":"t","lsn":1}"#), "no_position"),
        (&with_source(r#"{"name":"p","schema":"s","table":"t","ts_us":1,"sequence":"[1,2]"}"#), "malformed"),
        (&with_source(r#"{"name":"p","schema":"s","table":"t","ts_us":1,"lsn":-1}"#), "malformed"),
        (&with_source(r#"{"name":"p","schema":"s","table":"t","ts_us":1,"lsn":1,"snapshot":"maybe"}"#), "malformed"),
    ] {
        assert_eq!(decode(record).map(|_| "accepted").map_err(|e| e.class()), Err(class), "{record}");
    }
    assert_eq!(Decoder::new(&[]).decode(b"\xff").unwrap_err().class(), "malformed");
}

#[test]
fn positions_are_read_in_every_form() {
    let read = |fields: &str| decode(&format!(r#"{{"op":"r","source":{{"name":"p","schema":"s","table":"t",{fields}}}}}"#));
    let source = |fields: &str| read(fields).unwrap().source;
    // `lsn` goes down between transactions: it is no position.
    for without in [r#""lsn":7,"ts_us":5"#, r#""lsn":7,"sequence":null,"ts_us":5"#] {
        assert_eq!(read(without).unwrap_err().class(), "no_position");
    }
    assert_eq!(source(r#""sequence":"[null,\"7\"]","ts_ms":5"#).ts_us, 5000);
    assert_eq!(source(r#""sequence":"[null,\"18446744073709551615\"]","ts_us":5"#).sequence, (None, u64::MAX));
    assert_eq!(source(r#""sequence":"[\"3\", \"4\"]","ts_us":5"#).sequence, (Some(3), 4));
    for (text, snapshot) in [
        ("null", Snapshot::No),
        ("\"false\"", Snapshot::No),
        ("\"true\"", Snapshot::Row),
        ("\"first\"", Snapshot::Row),
        ("\"first_in_data_collection\"", Snapshot::Row),
        ("\"last_in_data_collection\"", Snapshot::LastInTable),
        ("\"last\"", Snapshot::Last),
        ("\"incremental\"", Snapshot::Incremental),
    ] {
        assert_eq!(source(&format!(r#""sequence":"[null,\"7\"]","ts_us":5,"snapshot":{text}"#)).snapshot, snapshot);
    }
    assert_eq!(decode(&format!(r#"{{"op":"t","source":{SOURCE}}}"#)).unwrap().op, Op::Truncate);
}

#[test]
fn an_error_of_one_row_leaves_the_rest_of_the_record() {
    let record = format!(r#"{{"before":{{"v":"x"}},"after":{{"v":2}},"source":{SOURCE},"op":"u"}}"#);
    let envelope = decode(&record).unwrap();
    assert!(envelope.before.unwrap().is_err());
    assert!(envelope.after.unwrap().is_ok());
    assert_eq!(envelope.source.sequence, (Some(1), 2));
}

#[test]
fn keys_lose_only_their_schema_and_white_space() {
    let payload = |key: &str| key_payload(key.as_bytes()).map(|p| p.map(|p| String::from_utf8(p.into_owned()).unwrap()));
    let same = Ok(Some("{\"a\":1,\"b\":\"x  \\\" y\"}".to_owned()));
    assert_eq!(payload(r#"{"a":1,"b":"x  \" y"}"#), same);
    assert_eq!(payload("{ \"a\" : 1,\n\t\"b\": \"x  \\\" y\" } "), same);
    assert_eq!(payload(r#"{"schema":{"type":"struct"},"payload":{"a":1,"b":"x  \" y"}}"#), same);
    assert_eq!(payload("null"), Ok(None));
    assert_eq!(payload(r#"{"schema":{"type":"struct"},"payload":null}"#), Ok(None));
    assert_eq!(payload(r#"{"schema":null,"payload":null}"#), Ok(None));
    // Columns may have these names.
    assert_eq!(payload(r#"{"schema":"x","payload":"y"}"#), Ok(Some(r#"{"schema":"x","payload":"y"}"#.to_owned())));
    assert_eq!(payload("5").unwrap_err().class(), "not_an_envelope");
    assert_eq!(payload("{").unwrap_err().class(), "malformed");
}

#[test]
fn keys_with_a_schema_follow_it() {
    let column = column("d", "numeric(10,2)");
    let decoder = Decoder::new(std::slice::from_ref(&column));
    let key = r#"{"schema":{"type":"struct","fields":[{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"},"field":"d"}]},"payload":{"d":"ANw="}}"#;
    let row = decode_key(&decoder, key.as_bytes()).unwrap().unwrap().unwrap();
    assert_eq!(row[0].to_text(&column.ty), "2.20");
}

#[test]
fn a_mode_that_plain_json_does_not_show_can_be_told() {
    // Mode, column type, JSON, text or SQLSTATE.
    for (mode, ty, value, expected) in [
        ("adaptive", "time(3)", "45296789", "12:34:56.789"),
        ("adaptive", "timestamp", "1772282096789012", "2026-02-28 12:34:56.789012"),
        ("adaptive", "timestamp(3)", "1772282096789", "2026-02-28 12:34:56.789"),
        ("adaptive_time_microseconds", "time(3)", "45296789000", "12:34:56.789"),
        ("adaptive_time_microseconds", "timestamp(3)", "1772282096789", "2026-02-28 12:34:56.789"),
        ("connect", "time", "45296789", "12:34:56.789"),
        ("connect", "timestamp", "1772282096789", "2026-02-28 12:34:56.789"),
        ("connect", "timestamp[]", "[1772282096789]", "{\"2026-02-28 12:34:56.789\"}"),
        ("connect", "date", "20512", "2026-02-28"),
        ("connect", "timestamp", "\"2026-02-28T12:34:56Z\"", "!22P03"),
        ("isostring", "date", "\"2026-02-28Z\"", "2026-02-28"),
        ("isostring", "timestamp(3)", "\"2026-02-28T12:34:56.789Z\"", "2026-02-28 12:34:56.789"),
        ("isostring", "timestamp", "1772282096789012", "!22P03"),
        ("microseconds", "timestamp(3)", "1772282096789000", "2026-02-28 12:34:56.789"),
        ("nanoseconds", "timestamp", "1772282096789012000", "2026-02-28 12:34:56.789012"),
        ("nanoseconds", "time(0)", "45296000000000", "12:34:56"),
        ("nanoseconds", "timestamptz", "\"2026-02-28T10:34:56Z\"", "2026-02-28 10:34:56+00"),
    ] {
        let column = column("v", ty);
        let decoder = Decoder::new(std::slice::from_ref(&column)).with_time_precision(TimePrecision::parse(mode).unwrap());
        let found = match decoder.decode(record("", value, false).as_bytes()).unwrap().after.unwrap() {
            Ok(row) => row[0].to_text(&column.ty).into_owned(),
            Err(e) => format!("!{}", e.sqlstate),
        };
        assert_eq!(found, expected, "{mode} {ty} {value}");
        // A schema still decides.
        let schema = r#"{"type":"int64","name":"io.debezium.time.MicroTimestamp"}"#;
        if ty == "timestamp" {
            let row = decoder.decode(record(schema, "1772282096789012", false).as_bytes()).unwrap().after.unwrap().unwrap();
            assert_eq!(row[0].to_text(&column.ty), "2026-02-28 12:34:56.789012");
        }
    }
    assert_eq!(TimePrecision::parse("structured"), None);
}

#[test]
fn types_that_no_record_can_carry_are_known() {
    for (ty, carried) in
        [("timetz", false), ("timetz(2)[]", false), ("interval", true), ("interval[]", false), ("time", true), ("text[]", true)]
    {
        assert_eq!(lost(&type_of(ty)).is_none(), carried, "{ty}");
    }
}
