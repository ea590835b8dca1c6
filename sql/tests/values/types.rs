//! Input and output functions of all types: the table that `types.sql` made from Postgres.

use highwater_sql::Value;

use crate::support::{copy_fields, type_of};

/// What Postgres reads and this crate refuses, with the code and message: never another value.
const REFUSED: &[(&str, &str, &str, &str)] = &[
    ("numeric", "NaN", "0A000", "numeric NaN and infinities are not supported"),
    ("numeric", "-Infinity", "0A000", "numeric NaN and infinities are not supported"),
    ("numeric(5,2)", " nan ", "0A000", "numeric NaN and infinities are not supported"),
    ("integer[]", "{{1,2},{3,4}}", "0A000", "multidimensional arrays are not supported"),
    ("integer[]", "[0:1]={1,2}", "0A000", "arrays with explicit bounds are not supported"),
    ("date", "now", "0A000", "date/time value \"now\" is not supported: it depends on the clock"),
    ("timestamptz", "today", "0A000", "date/time value \"today\" is not supported: it depends on the clock"),
    ("timestamp", "Tomorrow 12:00", "0A000", "date/time value \"tomorrow\" is not supported: it depends on the clock"),
    ("time", "now", "0A000", "date/time value \"now\" is not supported: it depends on the clock"),
    ("date", "J2451187", "22007", "invalid input syntax for type date: \"J2451187\""),
    ("timestamptz", "2026-02-28 12:00 PST", "22007", "invalid input syntax for type timestamp with time zone: \"2026-02-28 12:00 PST\""),
    ("timestamptz", "12026-02-28 12:00 America/New_York", "0A000", "named time zones are supported for the years -9999 to 9999 only"),
    ("timestamp", "294247-01-11 00:00", "22008", "timestamp out of range: \"294247-01-11 00:00\""),
    ("interval", "P0001-02-03T04:05:06", "22007", "invalid input syntax for type interval: \"P0001-02-03T04:05:06\""),
    ("double precision", "0x1p3", "22P02", "invalid input syntax for type double precision: \"0x1p3\""),
];

fn check(line: &str) -> Result<(), String> {
    let fields = copy_fields(line);
    let [name, input, a, b] = fields.as_slice() else { panic!("{line}") };
    let ty = type_of(name);
    let error = a.strip_prefix('!');
    let printed = Value::from_text(&ty, input).and_then(|value| {
        let mut json = String::new();
        value.write_json(&ty, &mut json)?;
        // The output function's letters.
        let text = if let Value::Bool(v) = value { (if v { "t" } else { "f" }).to_owned() } else { value.to_text(&ty).into_owned() };
        Ok((text, json))
    });
    match (&printed, error) {
        (Err(e), Some(sqlstate)) if e.sqlstate == sqlstate && e.message == *b => Ok(()),
        (Ok((text, json)), None) if text == a && json == b => Ok(()),
        _ => Err(format!(
            "{line}
    gave {printed:?}"
        )),
    }
}

#[test]
fn input_and_output_functions_give_what_postgres_gives() {
    let table = include_str!("../fixtures/types.tsv");
    let lines: Vec<&str> = table.lines().filter(|l| !l.starts_with('#')).collect();
    let wrong: Vec<String> = lines.iter().filter_map(|line| check(line).err()).collect();
    assert!(lines.len() > 700);
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), lines.len(), wrong.join("\n"));
}

#[test]
fn what_is_not_supported_is_refused() {
    for (name, input, sqlstate, message) in REFUSED {
        let refused = Value::from_text(&type_of(name), input).unwrap_err();
        assert_eq!((refused.sqlstate, refused.message.as_str()), (*sqlstate, *message), "{name} {input}");
    }
}
