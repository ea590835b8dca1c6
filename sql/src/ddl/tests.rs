//! What a schema file says, and what is refused in it. That Postgres says the same is tested beside the engine's catalog reader.
#![allow(clippy::unwrap_used)]

use super::*;

fn table(text: &str) -> Table {
    read(text).unwrap().catalog.tables.pop().unwrap()
}

#[test]
fn what_is_no_table_is_skipped() {
    let schema = read(
        r"\connect shop
        SET search_path = ''; CREATE EXTENSION IF NOT EXISTS pgcrypto WITH SCHEMA public;
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN CREATE TABLE x (a int); RETURN new; END; $$;
        CREATE RULE r AS ON INSERT TO v DO INSTEAD (INSERT INTO a VALUES (1); DELETE FROM b);
        INSERT INTO t VALUES (1, 'CREATE TABLE y (a int);'); -- ; CREATE TABLE z (a int);
        ALTER TABLE public.t_id_seq OWNER TO someone; ALTER TYPE mood OWNER TO someone; CREATE INDEX ON t (a);;
        COMMENT ON TABLE t IS 'it''s'; CREATE TYPE pair AS (a int, b int); GRANT SELECT ON t TO someone",
    )
    .unwrap();
    assert!(schema.catalog.tables.is_empty() && schema.unusable.is_empty() && schema.unsupported.is_empty());
    assert!(schema.catalog.default_collation_is_c);
}

#[test]
fn defaults_end_where_a_constraint_begins() {
    let table = table(
        "CREATE TABLE t (a int DEFAULT NULL NOT NULL, b text DEFAULT 'x'::text COLLATE \"de_DE\" NOT NULL, c bool DEFAULT (1 IS NOT NULL),
         d int DEFAULT nextval('s'::regclass) UNIQUE, e timestamptz DEFAULT now() - interval '1 day', f bool DEFAULT 1 IS NOT DISTINCT FROM 2)",
    );
    let seen: Vec<_> = table.columns.iter().map(|c| (c.name.as_str(), c.not_null, c.collation_is_c)).collect();
    let expected = [("a", true, true), ("b", true, false), ("c", false, true), ("d", false, true), ("e", false, true), ("f", false, true)];
    assert_eq!(seen, expected);
    assert_eq!(table.unique_keys, [["d"]]);
}

#[test]
fn what_has_no_changes_of_its_own_is_named() {
    let schema = read(
        "CREATE UNLOGGED TABLE a (x int); CREATE TEMP TABLE b (x int); CREATE TABLE s.c (x int) PARTITION BY RANGE (x);
         CREATE TABLE d PARTITION OF s.c FOR VALUES FROM (1) TO (2); CREATE TABLE e (y int) INHERITS (c); CREATE TABLE f AS SELECT 1;
         CREATE FOREIGN TABLE g (x int) SERVER s; ALTER TABLE ONLY s.c ADD PRIMARY KEY (x); ALTER TABLE s.c ATTACH PARTITION d DEFAULT",
    )
    .unwrap();
    let names: Vec<_> = schema.unusable.iter().map(|(table, why, _)| format!("{table} {why}")).collect();
    let expected = [
        "public.a is an unlogged table",
        "public.b is a temporary table",
        "s.c is a partitioned table",
        "public.d is made without a list of its columns",
        "public.e inherits columns",
        "public.f is made from a query",
        "public.g is a foreign table",
    ];
    assert_eq!(names, expected);
    assert!(schema.catalog.tables.is_empty());
}

#[test]
fn what_is_not_understood_is_refused_with_place_and_remedy() {
    for (text, near, message) in [
        ("CREATE TABLE t (a int,, b int)", ", b", "syntax error at or near \",\""),
        ("CREATE TABLE t (a int NOT VALID)", "NOT VALID", "syntax error at or near \"NOT\""),
        ("CREATE TABLE t (a int) x; CREATE TABLE t (b int)", "t (b", "relation \"t\" already exists"),
        ("CREATE TABLE t (a int, a text)", "a text", "column \"a\" specified more than once"),
        ("CREATE TABLE t (LIKE other INCLUDING ALL)", "LIKE", "LIKE is not read"),
        ("CREATE TABLE t (a varchar(0))", "varchar(0)", "length for type varchar must be at least 1"),
        ("CREATE TABLE t (a interval day to second)", "day", "interval fields and precision are not supported"),
        ("CREATE TABLE t (a int, PRIMARY KEY (b))", "PRIMARY", "column \"b\" does not exist"),
        ("CREATE TABLE t (a int", "", "syntax error at end of input"),
        ("CREATE TABLE t (a int); ALTER TABLE t DROP COLUMN a", "DROP", "this change of a table is not read"),
        ("CREATE TABLE t (a int); ALTER TABLE t ALTER a TYPE text", "TYPE", "this change of a table is not read"),
        ("CREATE TABLE t (a int); ALTER TABLE t RENAME a TO b", "RENAME", "this change of a table is not read"),
        (
            "CREATE TABLE t (a int); ALTER TABLE t ADD CONSTRAINT k PRIMARY KEY USING INDEX i",
            "USING",
            "a key made from an index is not read",
        ),
        ("ALTER TABLE t REPLICA IDENTITY FULL", "t REPLICA", "relation \"t\" does not exist"),
        ("CREATE TYPE m AS ENUM ('a'); ALTER TYPE m RENAME VALUE 'a' TO 'b'", "RENAME", "renaming a type or a label is not read"),
        ("CREATE TABLE t (a text DEFAULT 'open)", "'open", "unterminated quoted string at or near \"'open)\""),
    ] {
        let error = read(text).unwrap_err();
        assert_eq!(error.message, message, "{text}");
        assert!(text[error.position.unwrap()..].starts_with(near), "{text}: {:?}", error.position);
        assert!(
            error.hint.is_some() || error.sqlstate == "22023" || message.starts_with("syntax") || message.starts_with("unterm"),
            "{text}"
        );
    }
    let large = " ".repeat(SCHEMA_BYTES_MAX + 1);
    assert_eq!(read(&large).unwrap_err().sqlstate, "54000");
}
