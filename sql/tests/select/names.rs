//! Names and types of result columns.

use std::sync::Arc;

use highwater_sql::Type;
use highwater_sql::check::check;
use highwater_sql::value::EnumType;

use crate::oracle::{self, Oracle};
use crate::samples::{catalog, column};

/// SELECT lists whose unnamed outputs Postgres names, with those names.
const NAMED: &[(&str, &[&str])] = &[
    ("i4, samples.t, public.samples.b", &["i4", "t", "b"]),
    ("1, 'x', null, true", &["?column?", "?column?", "?column?", "?column?"]),
    ("i4 + 1, -i4, not b", &["?column?", "?column?", "?column?"]),
    ("upper(t), pg_catalog.lower(t)", &["upper", "lower"]),
    ("i4::text, cast(1 as numeric(4,1)), 'x'::varchar", &["i4", "numeric", "varchar"]),
    ("(i4 + 1)::bigint, date '2020-01-01', true::text", &["int8", "date", "text"]),
    ("coalesce(i4, 1), nullif(i4, 1), greatest(1, 2), least(1, 2)", &["coalesce", "nullif", "greatest", "least"]),
    ("case when b then 1 end, case when b then 1 else i4 end", &["case", "i4"]),
    ("(case when b then 1 else 2 end)::text", &["text"]),
    ("t collate \"C\", ia[1], (i4)", &["t", "ia", "i4"]),
    ("i4 is null, i4 in (1), i4 between 1 and 2", &["?column?", "?column?", "?column?"]),
    ("1 as \"Mixed Case\", 2 Folded, 3 as select", &["Mixed Case", "folded", "select"]),
    ("array[1], (array[1])[1]", &["array", "array"]),
];

#[test]
fn outputs_are_named_as_postgres_names_them() {
    for (list, names) in NAMED {
        let plan = check(&format!("SELECT {list} FROM samples"), &catalog()).unwrap_or_else(|e| panic!("{list}: {e}"));
        let ours: Vec<&str> = plan.outputs.iter().map(|o| o.name.as_str()).collect();
        assert_eq!(ours, *names, "{list}");
    }
}

#[test]
fn postgres_names_them_so() {
    let url = oracle::url();
    let mut oracle = Oracle::connect(&url);
    for (list, names) in NAMED {
        let columns = oracle.columns(&format!("SELECT {} FROM samples", list.replace("public.samples.b", "samples.b")));
        let theirs: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(theirs, *names, "{list}");
    }
}

#[test]
fn a_star_is_all_columns_in_their_order() {
    let catalog = catalog();
    let all: Vec<&str> = catalog.tables[0].columns.iter().map(|c| c.name.as_str()).collect();
    for star in ["*", "samples.*", "public.samples.*", "s.*"] {
        let from = if star == "s.*" { "samples s" } else { "samples" };
        let plan = check(&format!("SELECT {star} FROM {from}"), &catalog).unwrap();
        assert_eq!(plan.outputs.iter().map(|o| o.name.as_str()).collect::<Vec<_>>(), all);
        assert_eq!(plan.source_columns, catalog.tables[0].columns);
        for (output, column) in plan.outputs.iter().zip(&catalog.tables[0].columns) {
            assert_eq!(output.ty, column.ty, "{}", column.name);
        }
    }
    let plan = check("SELECT i4, i4 + i2 AS sum FROM samples WHERE b", &catalog).unwrap();
    assert_eq!(plan.source_columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["i4", "i2", "b"]);
    assert_eq!(plan.output("sum"), Some(1));
    assert_eq!(plan.output("none"), None);
}

/// How `format_type()` writes an enumeration, how a SELECT may, and what means another type.
const ENUMERATIONS: &[(&str, &[&str], &[&str])] = &[
    ("mood", &["mood", "MOOD", "\"mood\"", "public.mood"], &["\"Mood\"", "other.mood", "pg_catalog.mood"]),
    ("\"Mood\"", &["\"Mood\"", "public.\"Mood\""], &["Mood", "mood", "\"\"\"Mood\"\"\""]),
    ("\"order\"", &["\"order\"", "public.\"order\""], &["\"Order\""]),
    ("other.\"Size\"", &["other.\"Size\""], &["\"Size\"", "other.Size", "\"other.Size\""]),
    ("other.size", &["other.size", "OTHER.\"size\""], &["size", "\"other.size\""]),
    ("\"other.size\"", &["\"other.size\""], &["other.size"]),
    ("\"a \"\"b\"\"\"", &["\"a \"\"b\"\"\""], &["\"a b\"", "\"a \"\"b\""]),
];

#[test]
fn a_cast_names_an_enumeration_as_postgres_does() {
    for (stored, names, others) in ENUMERATIONS {
        let mut catalog = catalog();
        let ty = Type::Enum(Arc::new(EnumType { name: (*stored).into(), labels: vec!["sad".into()] }));
        catalog.tables[0].columns.push(column("x", ty.clone()));
        for name in *names {
            let plan = check(&format!("SELECT t::{name} FROM samples"), &catalog).unwrap_or_else(|e| panic!("{stored} as {name}: {e}"));
            assert_eq!(plan.outputs[0].ty, ty, "{name}");
        }
        for other in *others {
            let error = check(&format!("SELECT t::{other} FROM samples"), &catalog).unwrap_err();
            assert_eq!(error.sqlstate, "42704", "{stored} as {other}");
        }
    }
}

#[test]
fn postgres_names_enumerations_so() {
    let mut oracle = Oracle::connect(&oracle::url());
    for (stored, names, others) in ENUMERATIONS {
        oracle.execute(&format!("BEGIN; CREATE SCHEMA other; CREATE TYPE {stored} AS ENUM ('sad')"));
        for name in *names {
            assert_eq!(oracle.type_of(&format!("t::{name}")), *stored, "{name}");
        }
        for other in *others {
            let answer = oracle.type_of(&format!("t::{other}"));
            assert!(answer.starts_with("!42704"), "{stored} as {other}: {answer}");
        }
        oracle.execute("ROLLBACK");
    }
}
