//! What is refused at start: message, SQLSTATE, the place in the text, and the way out.

use highwater_sql::{Catalog, Type, check::check};

use crate::oracle::{self, Oracle};
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
    ("SELECT t COLLATE \"de_DE\" FROM samples", "0A000", "collation \"de_DE\" is not supported", "COLLATE"),
    ("SELECT i4 COLLATE \"C\" FROM samples", "42804", "collations are not supported by type integer", "COLLATE"),
    ("SELECT 1 FROM samples a LEFT JOIN samples a ON true", "42712", "table name \"a\" specified more than once", "samples a ON"),
];

/// What Postgres accepts and Highwater does not: each with its message and the text at the reported position. `samples` is the
/// table of all cases; `labels` has the columns `id` (its key) and `label`.
const ACCEPTED_BY_POSTGRES: &[(&str, &str, &str)] = &[
    // More rows than one, or other rows.
    ("SELECT DISTINCT i4 FROM samples", "DISTINCT is not supported: a row is computed from one change alone", "DISTINCT"),
    ("SELECT DISTINCT ON (i4) i4 FROM samples", "DISTINCT is not supported: a row is computed from one change alone", "DISTINCT"),
    ("SELECT i4 FROM samples GROUP BY i4", "GROUP BY and HAVING are not supported: a row is computed from one change alone", "GROUP"),
    ("SELECT 1 FROM samples HAVING true", "GROUP BY and HAVING are not supported: a row is computed from one change alone", "HAVING"),
    ("SELECT i4 FROM samples WINDOW w AS (ORDER BY i4)", "WINDOW is not supported: a row is computed from one change alone", "WINDOW"),
    ("SELECT i4 FROM samples ORDER BY i4", "ORDER BY is not supported: changes keep the order of their commits", "ORDER"),
    ("SELECT i4 FROM samples LIMIT 1", "LIMIT, OFFSET and FETCH are not supported: every change counts", "LIMIT"),
    ("SELECT i4 FROM samples OFFSET 1", "LIMIT, OFFSET and FETCH are not supported: every change counts", "OFFSET"),
    ("SELECT i4 FROM samples FETCH FIRST ROW ONLY", "LIMIT, OFFSET and FETCH are not supported: every change counts", "FETCH"),
    ("SELECT i4 FROM samples UNION SELECT 1", "UNION, INTERSECT and EXCEPT are not supported", "UNION"),
    ("SELECT i4 FROM samples INTERSECT ALL SELECT 1", "UNION, INTERSECT and EXCEPT are not supported", "INTERSECT"),
    ("SELECT i4 FROM samples EXCEPT SELECT 1", "UNION, INTERSECT and EXCEPT are not supported", "EXCEPT"),
    (
        "SELECT count(*) FROM samples",
        "count(...) is not supported: a row is computed from one change alone, without the other rows",
        "count",
    ),
    (
        "SELECT string_agg(t, ',' ORDER BY i4) FROM samples",
        "string_agg(...) is not supported: a row is computed from one change alone, without the other rows",
        "string_agg",
    ),
    (
        "SELECT sum(i4) FILTER (WHERE b) FROM samples",
        "sum(...) is not supported: a row is computed from one change alone, without the other rows",
        "sum",
    ),
    (
        "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY i4) FROM samples",
        "percentile_disc(...) is not supported: a row is computed from one change alone, without the other rows",
        "percentile_disc",
    ),
    (
        "SELECT lag(i4) OVER (ORDER BY i8) FROM samples",
        "lag(...) is not supported: a row is computed from one change alone, without the other rows",
        "lag",
    ),
    ("SELECT unnest(ia) FROM samples", "unnest() of integer[] is not supported", "unnest"),
    (
        "SELECT generate_series(1, i4) FROM samples",
        "generate_series() is not supported: each change of the source gives one row",
        "generate_series",
    ),
    ("SELECT jsonb_object_keys(jb) FROM samples", "jsonb_object_keys() of jsonb is not supported", "jsonb_object_keys"),
    ("SELECT jsonb_array_elements(jb) FROM samples", "jsonb_array_elements() of jsonb is not supported", "jsonb_array_elements"),
    ("SELECT jsonb_each(jb) FROM samples", "jsonb_each() of jsonb is not supported", "jsonb_each"),
    (
        "SELECT regexp_matches(t, 'a') FROM samples",
        "regexp_matches() is not supported: each change of the source gives one row",
        "regexp_matches",
    ),
    // Where rows come from.
    ("SELECT 1", "a SELECT without FROM has no changes to follow", ""),
    ("SELECT FROM samples", "a SELECT without output columns is not supported", "FROM"),
    ("TABLE samples", "only a SELECT can be kept live", "TABLE"),
    ("VALUES (1)", "only a SELECT can be kept live", "VALUES"),
    ("(SELECT i4 FROM samples)", "only a SELECT can be kept live", "("),
    ("WITH s AS (SELECT * FROM samples) SELECT i4 FROM s", "WITH queries are not supported", "WITH"),
    ("WITH RECURSIVE s AS (SELECT * FROM samples) SELECT i4 FROM s", "WITH queries are not supported", "WITH"),
    ("SELECT i4 FROM samples, labels", "FROM takes one table, the source", ","),
    ("SELECT i4 FROM (SELECT * FROM samples) s", "subqueries and parentheses in FROM are not supported", "(SELECT"),
    ("SELECT i4 FROM (samples LEFT JOIN labels ON id = i4)", "subqueries and parentheses in FROM are not supported", "(samples"),
    (
        "SELECT i4 FROM samples LEFT JOIN (SELECT id FROM labels) l ON l.id = i4",
        "subqueries and parentheses in FROM are not supported",
        "(SELECT",
    ),
    ("SELECT i4 FROM samples LEFT JOIN LATERAL (SELECT 1) l ON true", "LATERAL and ONLY are not supported", "LATERAL"),
    ("SELECT i4 FROM ONLY samples", "LATERAL and ONLY are not supported", "ONLY"),
    ("SELECT i FROM generate_series(1, 2) i", "functions in FROM are not supported", "generate_series"),
    ("SELECT a FROM samples AS s (a)", "column aliases of a table are not supported", "("),
    ("SELECT i4 FROM samples TABLESAMPLE SYSTEM (1)", "TABLESAMPLE is not supported", "TABLESAMPLE"),
    (
        "SELECT i4 FROM samples RIGHT JOIN labels ON id = i4",
        "RIGHT JOIN is not supported: each change of the source gives one row",
        "RIGHT",
    ),
    ("SELECT i4 FROM samples FULL JOIN labels ON id = i4", "FULL JOIN is not supported: each change of the source gives one row", "FULL"),
    ("SELECT i4 FROM samples CROSS JOIN labels", "CROSS JOIN is not supported: each change of the source gives one row", "CROSS"),
    (
        "SELECT i4 FROM samples NATURAL LEFT JOIN labels",
        "NATURAL JOIN is not supported: each change of the source gives one row",
        "NATURAL",
    ),
    ("SELECT a.id FROM labels a JOIN labels b USING (id)", "JOIN ... USING is not supported", "USING"),
    (
        "SELECT i4 FROM samples LEFT JOIN labels a LEFT JOIN labels b ON a.id = b.id ON a.id = i4",
        "joins within joins are not supported",
        "LEFT JOIN labels b",
    ),
    ("SELECT i4 FROM samples LEFT JOIN labels ON label = t", "the join columns (label) of \"labels\" are not a unique key of it", "= t"),
    ("SELECT i4 FROM samples FOR UPDATE", "FOR UPDATE and FOR SHARE are not supported", "FOR"),
    ("SELECT i4 FROM samples FOR SHARE", "FOR UPDATE and FOR SHARE are not supported", "FOR"),
    ("SELECT i4 INTO TEMP other FROM samples", "SELECT INTO is not supported", "INTO"),
    // Subqueries and rows as values.
    ("SELECT (SELECT label FROM labels WHERE id = i4) FROM samples", "subqueries are not supported", "SELECT label"),
    ("SELECT i4 FROM samples WHERE EXISTS (SELECT 1 FROM labels)", "subqueries are not supported", "EXISTS"),
    ("SELECT i4 FROM samples WHERE i4 IN (SELECT id FROM labels)", "subqueries are not supported", "SELECT id"),
    ("SELECT i4 FROM samples WHERE i4 = ANY (SELECT id FROM labels)", "subqueries are not supported", "SELECT id"),
    ("SELECT ARRAY(SELECT id FROM labels) FROM samples", "subqueries are not supported", "ARRAY"),
    ("SELECT ROW(i4, t) FROM samples", "ROW(...) is not supported", "ROW"),
    ("SELECT (i4, t) FROM samples", "a row as a value is not supported", "(i4"),
    ("SELECT i4 FROM samples WHERE (i4, i8) < (1, 2)", "rows can only be compared with = and <>", "<"),
    ("SELECT (samples).i4 FROM samples", "fields of composite values are not supported", ".i4"),
    ("SELECT samples FROM samples", "the whole row of \"samples\" as one value is not supported", "samples FROM"),
    ("SELECT to_jsonb(s) FROM samples s", "the whole row of \"s\" as one value is not supported", "s)"),
    ("SELECT to_jsonb(s.*) FROM samples s", "* is only allowed as a whole entry of the SELECT list", "*"),
    ("SELECT ctid FROM samples", "system column \"ctid\" is not in change events", "ctid"),
    ("SELECT i4 + $1 FROM samples", "there are no parameters here", "$1"),
    // What differs on a replay or between sessions.
    ("SELECT now() FROM samples", "now() is not supported: its value would differ on a replay", "now"),
    ("SELECT random() FROM samples", "random() is not supported: its value would differ on a replay", "random"),
    ("SELECT current_date FROM samples", "CURRENT_DATE is not supported: its value would differ on a replay", "current_date"),
    ("SELECT localtimestamp(0) FROM samples", "LOCALTIMESTAMP is not supported: its value would differ on a replay", "localtimestamp"),
    ("SELECT current_user FROM samples", "current_user is not supported: it depends on the session", "current_user"),
    // json and arrays.
    ("SELECT jb #- '{a}' FROM samples", "operator #- of jsonb and unknown is not supported", "#-"),
    ("SELECT jb @? '$.a' FROM samples", "operator @? of jsonb and unknown is not supported", "@?"),
    ("SELECT jb @@ '$.a > 1' FROM samples", "operator @@ of jsonb and unknown is not supported", "@@"),
    ("SELECT jsonb_set(jb, '{a}', '1') FROM samples", "jsonb_set() of jsonb and unknown and unknown is not supported", "jsonb_set"),
    (
        "SELECT jsonb_insert(jb, '{a}', '1', true) FROM samples",
        "jsonb_insert() of jsonb and unknown and unknown and boolean is not supported",
        "jsonb_insert",
    ),
    ("SELECT jsonb_pretty(jb) FROM samples", "jsonb_pretty() of jsonb is not supported", "jsonb_pretty"),
    ("SELECT json_strip_nulls(j) FROM samples", "json_strip_nulls() of json is not supported", "json_strip_nulls"),
    ("SELECT jsonb_path_exists(jb, '$.a') FROM samples", "jsonb_path_exists() of jsonb and unknown is not supported", "jsonb_path_exists"),
    ("SELECT jsonb_extract_path(jb, VARIADIC ta) FROM samples", "VARIADIC is not supported", "VARIADIC"),
    ("SELECT ARRAY[[1], [2]] FROM samples", "arrays of more than one dimension are not supported", "ARRAY"),
    ("SELECT ARRAY[ia, ia] FROM samples", "arrays of more than one dimension are not supported", "ARRAY"),
    ("SELECT ia[1][1] FROM samples", "arrays of more than one dimension are not supported", "[1] FROM"),
    ("SELECT ia[1:2] FROM samples", "array slices are not supported", ":2"),
    ("SELECT '{{1}}'::int[] FROM samples", "multidimensional arrays are not supported", "'{{1}}'"),
    ("SELECT '[2:3]={1,2}'::int[] FROM samples", "arrays with explicit bounds are not supported", "'[2:3]"),
    ("SELECT array_positions(ia, 1) FROM samples", "array_positions() of integer[] and integer is not supported", "array_positions"),
    (
        "SELECT array_replace(ia, 1, 2) FROM samples",
        "array_replace() of integer[] and integer and integer is not supported",
        "array_replace",
    ),
    ("SELECT array_dims(ia) FROM samples", "array_dims() of integer[] is not supported", "array_dims"),
    ("SELECT trim_array(ia, 1) FROM samples", "trim_array() of integer[] and integer is not supported", "trim_array"),
    ("SELECT array_to_json(ia) FROM samples", "array_to_json() of integer[] is not supported", "array_to_json"),
    ("SELECT ip && ip FROM samples", "operator && of inet and inet is not supported", "&&"),
    // Spellings.
    ("SELECT i4 OPERATOR(pg_catalog.+) 1 FROM samples", "OPERATOR(...) is not supported", "OPERATOR"),
    ("SELECT make_date(year => 1, month => 2, day => 3) FROM samples", "named arguments are not supported", "=>"),
    ("SELECT U&'a' FROM samples", "U& constants and identifiers are not supported", "U&"),
    ("SELECT B'1' FROM samples", "bit strings are not supported", "B'1'"),
    ("SELECT interval '1' day FROM samples", "fields after an interval constant are not supported", "day"),
    ("SELECT interval(3) '1 s' FROM samples", "interval fields and precision are not supported", "(3)"),
    ("SELECT iv::interval day FROM samples", "interval fields and precision are not supported", "day"),
    ("SELECT t LIKE ANY (ta) FROM samples", "LIKE ANY and LIKE ALL are not supported", "ANY"),
    ("SELECT t IS NORMALIZED FROM samples", "this IS test is not supported", "NORMALIZED"),
    ("SELECT normalize(t) FROM samples", "normalize(...) is not supported", "normalize"),
    ("SELECT i4::money FROM samples", "type \"money\" is not supported", "money"),
    ("SELECT t::xml FROM samples", "type \"xml\" is not supported", "xml"),
    ("SELECT tsvector 'a' FROM samples", "type \"tsvector\" is not supported", "tsvector"),
    ("SELECT t::\"char\" FROM samples", "type \"char\" is not supported", "\"char\""),
    ("SELECT n ^ 2.5 FROM samples", "operator ^ of numeric and numeric is not supported", "^"),
];

/// The table of all cases and one that it can look up.
fn with_labels() -> Catalog {
    let mut catalog = catalog();
    catalog.tables.push(table("public", "labels", vec![column("id", Type::Int4), column("label", Type::Text)], &[&["id"]]));
    catalog
}

#[test]
fn what_only_highwater_refuses_is_listed() {
    let catalog = with_labels();
    for (sql, message, near) in ACCEPTED_BY_POSTGRES {
        let error = check(sql, &catalog).expect_err(sql);
        assert_eq!((error.sqlstate, error.message.as_str()), ("0A000", *message), "{sql}");
        let at = error.position.unwrap_or_else(|| panic!("{sql}: no position"));
        assert!(sql[at..].starts_with(near), "{sql}: at {:?}", &sql[at..]);
        assert!(error.hint.is_some_and(|hint| hint.len() > 5), "{sql}: says no way out");
    }
}

#[test]
fn postgres_accepts_what_only_highwater_refuses() {
    let url = oracle::url();
    let mut oracle = Oracle::connect(&url);
    oracle.execute("CREATE TEMP TABLE labels (id int PRIMARY KEY, label text)");
    for (sql, ..) in ACCEPTED_BY_POSTGRES {
        if let Err(error) = oracle.prepare(sql) {
            panic!("{sql}: Postgres: {error}");
        }
    }
}

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
    let columns = vec![word, column("plain", Type::Text), column("document", Type::Jsonb)];
    let catalog = Catalog { tables: vec![table("public", "t", columns, &[])], default_collation_is_c: false };
    for fine in [
        "word = 'a'",
        "word <> 'a'",
        "word IN ('a', 'b')",
        "length(word)",
        "word || 'x'",
        "word COLLATE \"C\" < 'a'",
        "lower(word COLLATE \"C\")",
        "lower(plain)",
        "lower(plain || 'x')",
        "'a' < plain",
        "lower((document ->> 'a') COLLATE \"C\")",
        "word IS NULL",
        "CASE word WHEN 'a' THEN 1 END",
        "coalesce(word, 'x')",
        "document = '{}'",
        "document @> '{}'",
        "document IN ('{}', '1')",
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
        "lower('Ä')",
        "lower(1 || 'x')",
        "lower(document ->> 'a')",
        "upper(coalesce(document ->> 'a', 'x'))",
        "document ->> 'a' < 'x'",
        "document ->> 'a' ILIKE 'x'",
        "greatest('a', 'b')",
        "lower(concat(document ->> 'a', 1))",
        "document < '{}'",
        "document BETWEEN '{}' AND '[]'",
        "greatest(document, '{}')",
        "ARRAY[document] < ARRAY[document]",
        "document < ANY (ARRAY[document])",
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
