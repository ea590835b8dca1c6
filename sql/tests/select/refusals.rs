//! What is refused at start: message, SQLSTATE, the place in the text, and the way out.

use highwater_sql::{Catalog, Type, check::check};

use crate::samples::{catalog, column, table};

/// SELECT, SQLSTATE, message, and the text at the reported position.
const REFUSED: &[(&str, &str, &str, &str)] = &[
    ("SELECT i5 FROM samples", "42703", "column \"i5\" does not exist", "i5"),
    ("SELECT samples.nothing FROM samples", "42703", "column samples.nothing does not exist", "samples.nothing"),
    ("SELECT x.i4 FROM samples", "42P01", "missing FROM-clause entry for table \"x\"", "x.i4"),
    ("SELECT samples.i4 FROM samples s", "42P01", "invalid reference to FROM-clause entry for table \"samples\"", "samples.i4"),
    ("SELECT 1 FROM nowhere", "42P01", "relation \"nowhere\" does not exist", "nowhere"),
    ("SELECT 1 FROM s.nowhere", "42P01", "relation \"s.nowhere\" does not exist", "s.nowhere"),
    ("SELECT t + 1 FROM samples", "42883", "operator does not exist: text + integer", "+ 1"),
    ("SELECT j = j FROM samples", "42883", "operator does not exist: json = json", "= j"),
    ("SELECT 'a' + 'b' FROM samples", "42725", "operator is not unique: unknown + unknown", "+ 'b'"),
    ("SELECT upper(1) FROM samples", "42883", "function upper(integer) does not exist", "upper(1)"),
    ("SELECT nothing(i4, t) FROM samples", "42883", "function nothing(integer, text) does not exist", "nothing"),
    ("SELECT i4 FROM samples WHERE i4", "42804", "argument of WHERE must be type boolean, not type integer", "i4"),
    ("SELECT b AND t FROM samples", "42804", "argument of AND must be type boolean, not type text", "t FROM"),
    ("SELECT CASE WHEN b THEN i4 ELSE d END FROM samples", "42804", "CASE types date and integer cannot be matched", "i4 ELSE"),
    ("SELECT coalesce(i4, t) FROM samples", "42804", "COALESCE types integer and text cannot be matched", "t)"),
    ("SELECT i4 + 'x' FROM samples", "22P02", "invalid input syntax for type integer: \"x\"", "'x'"),
    ("SELECT u::int FROM samples", "42846", "cannot cast type uuid to integer", "::int"),
    ("SELECT i4::nothing FROM samples", "42704", "type \"nothing\" does not exist or is not supported", "nothing"),
    ("SELECT n::numeric(0) FROM samples", "22023", "NUMERIC precision 0 must be between 1 and 1000", "numeric"),
    ("SELECT i4[1] FROM samples", "42804", "cannot subscript type integer because it does not support subscripting", "[1]"),
    ("SELECT ctid FROM samples", "0A000", "system column \"ctid\" is not in change events", "ctid"),
    ("SELECT samples FROM samples", "0A000", "the whole row of \"samples\" as one value is not supported", "samples FROM"),
    ("SELECT now() FROM samples", "0A000", "now() is not supported: its value would differ on a replay", "now"),
    ("SELECT random() FROM samples", "0A000", "random() is not supported: its value would differ on a replay", "random"),
    ("SELECT n ^ 2.5 FROM samples", "0A000", "operator ^ of numeric and numeric is not supported", "^"),
    ("SELECT t COLLATE \"de_DE\" FROM samples", "0A000", "collation \"de_DE\" is not supported", "COLLATE"),
    ("SELECT i4 COLLATE \"C\" FROM samples", "42804", "collations are not supported by type integer", "COLLATE"),
    ("SELECT (i4, t) FROM samples", "0A000", "a row as a value is not supported", "(i4"),
    ("SELECT 1 FROM samples a LEFT JOIN samples a ON true", "42712", "table name \"a\" specified more than once", "samples a ON"),
];

#[test]
fn refusals() {
    for (sql, sqlstate, message, near) in REFUSED {
        let error = check(sql, &catalog()).expect_err(sql);
        assert_eq!((error.sqlstate, error.message.as_str()), (*sqlstate, *message), "{sql}");
        let at = error.position.unwrap_or_else(|| panic!("{sql}: no position"));
        assert!(sql[at..].starts_with(near), "{sql}: at {:?}", &sql[at..]);
        assert!(*sqlstate != "0A000" || error.hint.is_some(), "{sql}: says no way out");
    }
}

#[test]
fn an_error_is_shown_as_psql_shows_it() {
    let sql = "SELECT i4,\n       i5\nFROM samples";
    let error = check(sql, &catalog()).unwrap_err();
    assert_eq!(
        error.render(sql).lines().take(3).collect::<Vec<_>>(),
        ["ERROR:  column \"i5\" does not exist", "LINE 2:        i5", "               ^"]
    );
}

#[test]
fn an_unknown_column_comes_with_a_suggestion() {
    let catalog = Catalog {
        tables: vec![table("public", "t", vec![column("duration_ms", Type::Int4), column("device", Type::Text)], &[])],
        default_collation_is_c: true,
    };
    let hint = |sql: &str| check(sql, &catalog).unwrap_err().hint;
    assert_eq!(hint("SELECT duration_m FROM t"), Some("Perhaps you meant to reference the column \"t.duration_ms\".".to_owned()));
    assert_eq!(hint("SELECT x.devise FROM t x"), Some("Perhaps you meant to reference the column \"x.device\".".to_owned()));
    assert_eq!(hint("SELECT zzz FROM t"), None);
}

/// Text in a collation that is not C: equality is by bytes in all of them, order and case are not.
#[test]
fn other_collations_only_where_they_do_not_matter() {
    let mut word = column("word", Type::Text);
    word.collation_is_c = false;
    let catalog = Catalog { tables: vec![table("public", "t", vec![word], &[])], default_collation_is_c: false };
    for fine in [
        "word = 'a'",
        "word <> 'a'",
        "word IN ('a', 'b')",
        "length(word)",
        "word || 'x'",
        "word COLLATE \"C\" < 'a'",
        "lower(word COLLATE \"C\")",
        "word IS NULL",
        "CASE word WHEN 'a' THEN 1 END",
        "coalesce(word, 'x')",
    ] {
        check(&format!("SELECT {fine} FROM t"), &catalog).unwrap_or_else(|e| panic!("{fine}: {e}"));
    }
    for refused in [
        "word < 'a'",
        "word BETWEEN 'a' AND 'b'",
        "lower(word)",
        "upper(word || 'x')",
        "greatest(word, 'a')",
        "lower(coalesce(word, 'x'))",
        "lower(1::text)",
    ] {
        let error = check(&format!("SELECT {refused} FROM t"), &catalog).expect_err(refused);
        assert_eq!(error.sqlstate, "0A000", "{refused}");
        assert!(error.message.contains("collation"), "{refused}: {error}");
    }
}

#[test]
fn wide_and_deep_selects_end_in_an_error_or_a_plan() {
    let catalog = catalog();
    let many = vec!["1"; 1665].join(",");
    assert_eq!(check(&format!("SELECT {many} FROM samples"), &catalog).unwrap_err().sqlstate, "54011");
    let deep = format!("{}i8{}", "abs(".repeat(90), ")".repeat(90));
    check(&format!("SELECT {deep} FROM samples"), &catalog).unwrap();
    // Nested BETWEEN and CASE must not grow with every level.
    let mut nested = "i8".to_owned();
    for _ in 0..40 {
        nested = format!("CASE {nested} WHEN 1 THEN 2 WHEN 2 THEN 3 ELSE 4 END");
    }
    check(&format!("SELECT {nested} FROM samples"), &catalog).unwrap();
}
