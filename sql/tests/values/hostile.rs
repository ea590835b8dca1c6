//! Input that nobody should send: no panic, no runaway memory, and limits that hold.

use highwater_sql::decode::{ARRAY_ITEMS_MAX, DecodeError, Decoder, VALUE_BYTES_MAX, decode_key, key_payload};
use highwater_sql::json::{self, DEPTH_MAX, Json};
use highwater_sql::{Column, Value};
use proptest::prelude::*;

use crate::fixtures::capture;
use crate::support::type_of;

const TYPES: &[&str] = &[
    "boolean",
    "smallint",
    "integer",
    "bigint",
    "real",
    "double precision",
    "numeric",
    "numeric(5,2)",
    "numeric(3,-2)",
    "text",
    "varchar(3)",
    "char(3)",
    "uuid",
    "date",
    "time",
    "time(2)",
    "timetz",
    "timestamp",
    "timestamp(0)",
    "timestamptz",
    "interval",
    "json",
    "jsonb",
    "bytea",
    "mood",
    "inet",
    "integer[]",
    "text[]",
    "numeric[]",
];

fn column(name: &str, ty: &str) -> Column {
    Column { name: name.into(), ty: type_of(ty), not_null: false, has_default: false, collation_is_c: true }
}

/// Columns of the captures' tables, with types that often contradict them.
fn decoder(seed: usize) -> Decoder {
    let names = [
        "id", "b", "i2", "i4", "i8", "f4", "f8", "n", "nn", "t", "d", "ti", "ts", "tstz", "iv", "u", "j", "jb", "ba", "ia", "ta", "m",
        "ip", "a", "v",
    ];
    let columns: Vec<Column> = names.iter().enumerate().map(|(i, n)| column(n, TYPES[(i * 7 + seed) % TYPES.len()])).collect();
    Decoder::new(&columns)
}

/// Text that looks like what types read: digits, signs, separators, words.
fn near_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[0-9]{1,7}",
        Just("-".to_owned()),
        Just("+".to_owned()),
        Just(":".to_owned()),
        Just(".".to_owned()),
        Just(" ".to_owned()),
        Just("/".to_owned()),
        "(e|E|T|Z|P|Y|M|D|H|S|BC|AM|pm|ago|day|mon|year|Feb|infinity|epoch|NaN|null|true|t)",
        "[{}\\[\\],\"'\\\\]",
        "(\\\\u[0-9a-f]{4}|\\\\x[0-9a-f]{2}|UTC|America/New_York|é|☃)",
        ".",
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), seed in 0_usize..29) {
        let decoder = decoder(seed);
        let _ = decoder.decode(&bytes);
        let _ = key_payload(&bytes);
        let _ = decode_key(&decoder, &bytes);
    }

    #[test]
    fn what_is_read_is_printed_and_read_again(text in near_text()) {
        for name in TYPES {
            let ty = type_of(name);
            let Ok(value) = Value::from_text(&ty, &text) else { continue };
            let printed = value.to_text(&ty).into_owned();
            let again = Value::from_text(&ty, &printed);
            prop_assert!(again.is_ok(), "{name}: {text:?} prints as {printed:?}, which gives {again:?}");
            let again = again.unwrap();
            prop_assert_eq!(again.to_text(&ty), printed.as_str(), "{}: {:?}", name, text);
            prop_assert_eq!(value.compare(&again, &ty), std::cmp::Ordering::Equal, "{}: {:?}", name, text);
            let mut json = String::new();
            if value.write_json(&ty, &mut json).is_ok() {
                prop_assert_eq!(json::normalize(&json), Ok(json.clone()), "{}", name);
                prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&json).is_ok());
            }
        }
    }

    #[test]
    fn json_is_what_serde_json_says_it_is(text in "[\\[\\]{},:\" 0-9a-z.eE+-]{0,20}") {
        // The one difference: serde_json's numbers have a range.
        let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        prop_assert_eq!(json::validate(&text).is_ok(), theirs, "{}", text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn mutated_captures_never_panic(
        record in 0_usize..125,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0_u8..4, any::<u8>()), 1..6),
        seed in 0_usize..29,
    ) {
        thread_local! {
            static RECORDS: Vec<Vec<u8>> = ["schemas-disabled", "schemas-enabled"]
                .iter()
                .flat_map(|c| capture(c))
                .filter_map(|r| r.value.filter(|v| v.len() < 20_000).map(String::into_bytes))
                .collect();
        }
        let mut bytes = RECORDS.with(|r| r[record % r.len()].clone());
        for (index, kind, byte) in edits {
            let at = index.index(bytes.len().max(1));
            bytes.resize(bytes.len().max(1), b' ');
            match kind {
                0 => bytes[at] = byte,
                1 => { bytes.remove(at); }
                2 => bytes.insert(at, b"\"{}[]:,0-9.eE\\nu"[usize::from(byte) % 16]),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let decoder = decoder(seed);
        let _ = decoder.decode(&bytes);
        let _ = decode_key(&decoder, &bytes);
        let _ = key_payload(&bytes);
    }
}

#[test]
fn nesting_is_limited() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(json::validate(&nested(DEPTH_MAX)).is_ok());
    assert_eq!(json::normalize(&nested(DEPTH_MAX)).unwrap(), nested(DEPTH_MAX));
    assert_eq!(json::validate(&nested(DEPTH_MAX + 1)).unwrap_err().sqlstate, "54001");
    assert_eq!(Json::parse(&nested(1_000_000)).unwrap_err().sqlstate, "54001");
    // In a record it is skipped without a stack, whether the column is wanted or not.
    for name in ["v", "other"] {
        let record = format!("{{\"after\":{{\"{name}\":{}}}}}", nested(1_000_000));
        let refused = Decoder::new(&[column("v", "integer[]")]).decode(record.as_bytes()).map(|_| ()).unwrap_err();
        assert_eq!(refused.class(), "not_an_envelope");
    }
    let schema = format!("{{\"schema\":{},\"payload\":{{}}}}", "{\"items\":".repeat(100_000) + &"}".repeat(100_000));
    assert_eq!(Decoder::new(&[]).decode(schema.as_bytes()).map(|_| ()).unwrap_err().class(), "malformed");
}

#[test]
fn sizes_are_limited() {
    let large = vec![b' '; VALUE_BYTES_MAX + 1];
    let decoder = Decoder::new(&[column("v", "integer[]")]);
    assert_eq!(decoder.decode(&large).map(|_| ()), Err(DecodeError::TooLarge { bytes: VALUE_BYTES_MAX + 1 }));
    assert_eq!(key_payload(&large).unwrap_err().class(), "too_large");
    let items = |n: usize| {
        let source = r#"{"name":"p","schema":"s","table":"t","sequence":"[null,\"1\"]","ts_us":1}"#;
        let record = format!(r#"{{"after":{{"v":[{}1]}},"op":"c","source":{source}}}"#, "1,".repeat(n - 1));
        decoder.decode(record.as_bytes()).unwrap().after.unwrap()
    };
    assert!(items(ARRAY_ITEMS_MAX).is_ok());
    assert_eq!(items(ARRAY_ITEMS_MAX + 1).unwrap_err().sqlstate, "54000");
}

#[test]
fn huge_numbers_are_refused_before_they_are_computed() {
    let numeric = type_of("numeric");
    for text in ["1e1000000000", "1e-1000000000", "1e999999999999999999999", &format!("0.{}1", "0".repeat(20_000)), &"9".repeat(200_000)] {
        assert_eq!(Value::from_text(&numeric, text).unwrap_err().sqlstate, "22003");
    }
    assert_eq!(Json::parse("1e1000000000").unwrap_err().sqlstate, "22003");
}
