//! Limits: no SELECT and no JSON text, however long or deep, takes more than bounded stack, memory and time.

use highwater_sql::{Type, Value, check::check, json, parse};

use crate::samples::{Row, catalog, our_answers};

/// Far beyond what a SELECT may have.
const MEGABYTE: usize = 1 << 20;

#[test]
fn long_texts_are_refused_before_they_are_read() {
    for piece in ["(", "[", "ARRAY[", "- ", "NOT ", "a.", "'a' || ", "/*", "\"", "$$", "CASE WHEN ", "f(", "1 + "] {
        let text = format!("SELECT {}", piece.repeat(MEGABYTE / piece.len()));
        assert_eq!(check(&text, &catalog()).unwrap_err().sqlstate, "54000", "{piece}");
        assert_eq!(parse::tables(&text).unwrap_err().sqlstate, "54000", "{piece}");
    }
}

/// Up to the longest text: an error, or a plan, and no overflow of a thread's stack of 2 MB (the default, as tests have).
#[test]
fn deep_texts_end_in_an_error() {
    let table = catalog();
    let longest = parse::SELECT_BYTES_MAX - 64;
    let nested: &[(&str, &str, &str)] = &[
        ("(", "i4", ")"),
        ("ARRAY[", "i4", "]"),
        ("(ARRAY[", "i4", "])[1]"),
        ("jb -> (", "'a'", ")"),
        ("jsonb_build_object('a', ", "i4", ")"),
        ("coalesce(", "i4", ", 1)"),
        ("CASE WHEN b THEN ", "i4", " END"),
        ("CASE ", "i4", " WHEN 1 THEN 1 END"),
        ("CAST(", "i4", " AS int)"),
        ("NOT ", "b", ""),
        ("@ ", "i4", ""),
        ("", "i4", "::int"),
        ("", "jb", "['a']"),
        ("", "i4", " IS NULL"),
        ("", "jb", " -> 'a'"),
        ("", "b", " = b"),
        ("b AND (b OR ", "b", ")"),
        ("", "i4", " AT TIME ZONE 'UTC'"),
        ("", "t", " COLLATE \"C\""),
        ("i4 IN (", "1", ")"),
        ("i4 BETWEEN 1 AND (", "1", ")"),
        ("i4 = ANY (ARRAY[", "1", "])"),
        ("t LIKE (", "t", ")"),
        ("/* ", "*/", "*/"),
        ("a.", "a", ""),
    ];
    for (before, middle, after) in nested {
        for levels in [50, 200, longest / (before.len() + after.len())] {
            let text = format!("SELECT {}{middle}{} FROM samples", before.repeat(levels), after.repeat(levels));
            let started = std::time::Instant::now();
            let outcome = check(&text, &table);
            assert!(started.elapsed().as_secs() < 5, "{before}...{after} took {:?}", started.elapsed());
            assert!(levels == 50 || outcome.is_err(), "{before}...{after}");
        }
    }
    let list = |piece: &str| format!("SELECT i4 IN (1{}) FROM samples", piece.repeat(longest / 2 / piece.len()));
    check(&list(", 1"), &table).unwrap();
    let wide = format!("SELECT b{} FROM samples", " OR b".repeat(longest / 5 - 10));
    check(&wide, &table).unwrap();
}

#[test]
fn deep_and_wide_json_is_a_value_or_an_error() {
    let deep = |levels: usize, open: &str, close: &str| format!("{}1{}", open.repeat(levels), close.repeat(levels));
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        for ty in [Type::Json, Type::Jsonb] {
            assert!(Value::from_text(&ty, &deep(json::DEPTH_MAX, open, close)).is_ok());
            for levels in [json::DEPTH_MAX + 1, MEGABYTE] {
                let text = if levels == MEGABYTE { open.repeat(levels) } else { deep(levels, open, close) };
                assert_eq!(Value::from_text(&ty, &text).unwrap_err().sqlstate, "54001", "{open} {levels}");
            }
        }
    }
    // Numbers that are short as text and long as numeric.
    let digits = format!("[{}1]", "1e131000,".repeat(MEGABYTE / 9));
    assert!(Value::from_text(&Type::Json, &digits).is_ok());
    assert_eq!(Value::from_text(&Type::Jsonb, &digits).unwrap_err().sqlstate, "54000");
}

#[test]
fn documents_that_an_expression_makes_stay_within_the_limits() {
    let deepest = format!("{}1{}", "[".repeat(json::DEPTH_MAX), "]".repeat(json::DEPTH_MAX));
    let row = |name: &str, text: &str| vec![Row::from([(name.to_owned(), text.to_owned())])];
    let state = |expression: &str, rows: &[Row]| format!("{:?}", our_answers(expression, rows).unwrap()[0]);
    for expression in ["jsonb_build_array(jb)", "jsonb_build_object('a', jb)", "'{}'::jsonb || jb || '{}'::jsonb || jsonb_build_array(jb)"]
    {
        assert_eq!(state(expression, &row("jb", &deepest)), "Error(\"54001\")", "{expression}");
    }
    for expression in ["jb = jb || '[]'", "jb @> jb", "jsonb_strip_nulls(jb) = jb", "jb #> '{0,0,0}' = jb -> 0 -> 0 -> 0"] {
        assert_eq!(state(expression, &row("jb", &deepest)), "Text(\"true\")", "{expression}");
    }
    let long = format!("[{}1]", "\"0123456789\",".repeat(MEGABYTE * 5 / 8));
    for expression in ["jsonb_build_array(jb, jb)", "json_build_object('a', jb, 'b', jb)", "jsonb_build_object('a', jb, 'b', jb)"] {
        assert_eq!(state(expression, &row("jb", &long)), "Error(\"54000\")", "{expression}");
    }
}
