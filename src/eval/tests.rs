//! The command over files, and what it says of tables and rows beside what Postgres says.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use highwater_sql::parse::TableName;

use super::*;
use crate::catalog::{self, Database, test_server::Postgres};
use crate::config::SecretUrl;

const PIPELINE: &str = "[source]\nprefix = \"shop\"\npostgres = \"${DATABASE_URL_THAT_IS_NOT_SET}\"\n[select]\nsql = '''\n";
const SCHEMA: &str = "CREATE TABLE s (id int PRIMARY KEY, l_id int, n int, j json); ALTER TABLE s REPLICA IDENTITY FULL;
    CREATE TABLE l (id int PRIMARY KEY, name text NOT NULL, t_id int); CREATE TABLE t (a int, b text, PRIMARY KEY (a, b), x numeric(5, 2));";
const SELECT: &str =
    "SELECT s.id, 10 / s.n AS q, l.name, t.x, s.j FROM s LEFT JOIN l ON l.id = s.l_id LEFT JOIN t ON t.a = l.t_id AND t.b = l.name
    WHERE s.id < 100";

/// A directory with the files of one run.
struct World {
    directory: PathBuf,
    files: Files,
}

impl World {
    fn new(name: &str, records: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("highwater-eval-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let file = |name: &str| directory.join(name);
        let lookups = vec![("l".to_owned(), file("l.jsonl")), ("public.t".to_owned(), file("t.jsonl"))];
        let files = Files { pipeline: file("p.toml"), schema: file("s.sql"), records: file("r.jsonl"), lookups, expect: None };
        let world = Self { directory, files };
        world.write("p.toml", &format!("{PIPELINE}{SELECT}'''\n"));
        world.write("s.sql", SCHEMA);
        world.write("r.jsonl", records);
        world.write("l.jsonl", "{\"id\": 1, \"name\": \"one\", \"t_id\": 5}\n\n{\"id\": 2, \"name\": \"two\", \"t_id\": null}\n");
        world.write("t.jsonl", "{\"a\": 5, \"b\": \"one\", \"x\": 1.5}\n");
        world
    }

    fn write(&self, name: &str, text: &str) -> &Self {
        fs::write(self.directory.join(name), text).unwrap();
        self
    }

    async fn eval(&self) -> (Result<bool, Error>, String, Vec<String>) {
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let result = eval(&self.files, &mut out, false, &mut |note| notes.push(note)).await;
        (result, String::from_utf8(out).unwrap(), notes)
    }

    async fn lines(&self) -> String {
        let (result, out, notes) = self.eval().await;
        assert!(result.unwrap() && notes.is_empty(), "{notes:?}");
        out
    }

    async fn refusal(&self) -> String {
        self.eval().await.0.unwrap_err().to_string().replace(self.directory.to_str().unwrap(), "")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn row(id: i32, l_id: &str, n: i32) -> String {
    format!(r#"{{"id":{id},"l_id":{l_id},"n":{n},"j":"{{\"a\" : 1}}","other":1}}"#)
}

#[tokio::test]
async fn each_result_row_and_each_dead_letter_is_a_line_in_order() {
    let mut records = vec![
        format!(r#"{{"op":"c","after":{}}}"#, row(1, "1", 3)),
        format!(r#"{{"op":"u","before":{},"after":{}}}"#, row(1, "1", 3), row(1, "2", 5)),
        format!(r#"{{"op":"u","before":{},"after":{}}}"#, row(1, "2", 5), row(1, "9", 0)),
        format!(r#"{{"op":"u","before":{},"after":{}}}"#, row(1, "9", 0), row(100, "null", 1)),
        format!(r#"{{"key":{{"id":1}},"value":{{"op":"d","before":{}}}}}"#, row(2, "null", -4)),
        r#"{"key":{"id":1},"value":null}"#.to_owned(),
        format!(r#"{{"op":"r","after":{}}}"#, row(3, "2", 1)),
        r#"{"op":"c","after":{"id":1,"l_id":null,"n":"one","j":null}}"#.to_owned(),
        format!(r#"{{"op":"u","after":{}}}"#, row(3, "2", 1)),
        format!(r#"{{"key":null,"value":{{"op":"c","after":{}}}}}"#, row(3, "2", 1)),
        r#"{"op":"x"}"#.to_owned(),
        r#"{"key":null,"value":"{"}"#.to_owned(),
        r#"{"op":"t"}"#.to_owned(),
    ];
    // More than one batch.
    records.extend((0..BATCH_RECORDS + 1).map(|_| format!(r#"{{"op":"c","after":{}}}"#, row(100, "1", 1))));
    records.push(format!(r#"{{"op":"c","after":{}}}"#, row(4, "1", 2)));
    let last = records.len();
    let expected = r#"{"record": 1, "op": "+", "row": {"id": 1, "q": 3, "name": "one", "x": 1.50, "j": {"a": 1}}}
{"record": 2, "op": "-", "row": {"id": 1, "q": 3, "name": "one", "x": 1.50, "j": {"a": 1}}}
{"record": 2, "op": "+", "row": {"id": 1, "q": 2, "name": "two", "x": null, "j": {"a": 1}}}
{"record": 3, "op": "-", "row": {"id": 1, "q": 2, "name": "two", "x": null, "j": {"a": 1}}}
{"record": 3, "error": {"sqlstate": "22012", "message": "division by zero", "column": "q"}}
{"record": 4, "error": {"sqlstate": "22012", "message": "division by zero", "column": "q"}}
{"record": 5, "op": "-", "row": {"id": 2, "q": -2, "name": null, "x": null, "j": {"a": 1}}}
{"record": 7, "op": "+", "row": {"id": 3, "q": 10, "name": "two", "x": null, "j": {"a": 1}}}
{"record": 8, "error": {"sqlstate": "22P03", "message": "record has text for type integer", "column": "n"}}
{"record": 9, "error": {"sqlstate": "XX000", "message": "the change has no old row: ALTER TABLE ... REPLICA IDENTITY FULL"}}
{"record": 10, "error": {"sqlstate": "XX000", "message": "the change has no key: the table needs a primary key"}}
{"record": 11, "error": {"sqlstate": "22P02", "message": "unknown op \"x\""}}
{"record": 12, "error": {"sqlstate": "22P02", "message": "malformed record: EOF while parsing an object at line 1 column 1"}}
"#;
    let world = World::new("lines", &records.join("\n"));
    let last = format!(r#"{{"record": {last}, "op": "+", "row": {{"id": 4, "q": 5, "name": "one", "x": 1.50, "j": {{"a": 1}}}}}}"#);
    assert_eq!(world.lines().await, format!("{expected}{last}\n"));
}

#[tokio::test]
async fn what_was_expected_is_compared() {
    let mut world = World::new("expect", &format!(r#"{{"op":"c","after":{}}}"#, row(1, "2", 3)));
    world.files.expect = Some(world.directory.join("e.jsonl"));
    let good = r#"{"record":1,"row":{"id":1,"q":3,"name":"two","x":null,"j":{"a":1}},"op":"+"}"#;
    let (result, out, _) = world.write("e.jsonl", good).eval().await;
    assert_eq!((result.unwrap(), out.as_str()), (true, "1 lines as expected\n"));
    let (result, out, _) = world
        .write("e.jsonl", r#"{"record": 1, "op": "+", "row": {"id": 1, "q": 4, "name": "two", "x": null, "j": {"a": 1}}}"#)
        .eval()
        .await;
    assert!(!result.unwrap());
    assert!(out.contains("q: expected 4, got 3") && out.ends_with("1 line differs\n"), "{out}");
    let (result, out, _) = world.write("e.jsonl", "").eval().await;
    assert!(!result.unwrap() && out.contains("expected  nothing"), "{out}");
    assert!(world.write("e.jsonl", "{").refusal().await.contains("e.jsonl:1: not JSON"));
    assert!(world.write("e.jsonl", "{}").refusal().await.contains("e.jsonl:1: there is no record number"));
}

#[tokio::test]
async fn what_is_wrong_with_a_file_is_said_with_its_place() {
    let good = format!(r#"{{"op":"c","after":{}}}"#, row(1, "2", 3));
    let world = World::new("wrong", &good);
    assert!(world.write("r.jsonl", &format!("{good}\n\n{{")).refusal().await.starts_with("/r.jsonl:3: not JSON: "));
    let foreign = r#"{"op":"c","source":{"name":"other","schema":"public","table":"s","sequence":"[null,\"1\"]","ts_us":1}}"#;
    let said = world.write("r.jsonl", foreign).refusal().await;
    assert!(said.starts_with("/r.jsonl:1: the change is of source \"other\", but source.prefix is \"shop\""), "{said}");
    world.write("r.jsonl", &good);
    for (rows, message) in [
        ("{\"id\": 1, \"name\": \"x\"}", "column t_id: column is not in the row"),
        ("{\"id\": 1, \"name\": null, \"t_id\": 1}", "column name: null in a NOT NULL column"),
        ("{\"id\": 1.5, \"name\": \"\", \"t_id\": 1}", "column id: invalid input syntax for type integer: \"1.5\""),
        ("[1]", "not a JSON object"),
    ] {
        let said = world.write("l.jsonl", &format!("{{\"id\": 7, \"name\": \"x\", \"t_id\": 1}}\n{rows}")).refusal().await;
        assert!(said.starts_with(&format!("/l.jsonl:2: {message}")), "{said}");
    }
    let said = world.write("l.jsonl", &"{\"id\": 7, \"name\": \"x\", \"t_id\": 1}\n".repeat(2)).refusal().await;
    assert_eq!(said, "/l.jsonl:2: there are two rows with (id) = (7)");
    world.write("l.jsonl", "");
    let said = world.write("s.sql", "CREATE TABLE s (\n  id int,\n  l_id in t)").refusal().await;
    assert!(said.starts_with("/s.sql:3: schema\nERROR:  syntax error at or near \"in\"\nLINE 3:   l_id in t)"), "{said}");
    let said = world.write("s.sql", &SCHEMA.replace("name text", "name point")).refusal().await;
    assert!(said.contains("column l.name does not exist") && said.contains("has the type point, which is not supported"), "{said}");
    let said = world.write("s.sql", &SCHEMA.replace("CREATE TABLE l", "CREATE UNLOGGED TABLE l")).refusal().await;
    assert!(said.contains("public.l is an unlogged table"), "{said}");
    world.write("s.sql", SCHEMA).write("p.toml", &format!("{PIPELINE}SELECT s.idd FROM s'''\n"));
    let said = world.refusal().await;
    assert!(said.contains("/p.toml:5: select.sql") && said.contains("column s.idd does not exist"), "{said}");
    let said = world.write("p.toml", &format!("{PIPELINE}SELECT s.id FROM s'''\n")).refusal().await;
    assert_eq!(said, "the SELECT joins no table l; it joins none");
    fs::remove_file(&world.files.schema).unwrap();
    assert!(world.refusal().await.starts_with("/s.sql: No such file"));
}

#[tokio::test]
async fn what_run_would_refuse_and_lookups_without_rows_are_noted() {
    let mut world = World::new("notes", &format!(r#"{{"op":"c","after":{}}}"#, row(1, "1", 3)));
    world.write("s.sql", &SCHEMA.replace("ALTER TABLE s REPLICA IDENTITY FULL;", ""));
    world.files.lookups.clear();
    let (result, out, notes) = world.eval().await;
    assert!(result.unwrap() && out.contains(r#""name": null"#), "{out}");
    assert!(notes[0].starts_with("`run` would refuse this: public.s has REPLICA IDENTITY DEFAULT"), "{notes:?}");
    assert_eq!(notes[1], "no rows of public.l are given, so none is found; --lookup public.l=ROWS.jsonl gives them");
    assert_eq!(notes.len(), 3);
}

/// Statements of every kind that says what a table looks like.
const TABLES: &str = r#"
SET check_function_bodies = false;
CREATE SCHEMA other;
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE other."Size" AS ENUM ('s', 'l');
CREATE TYPE pair AS (a int, b int);
CREATE DOMAIN small AS numeric(4, 1) NOT NULL;
CREATE DOMAIN smaller AS small CHECK (value < 10);
CREATE DOMAIN word AS varchar(9) COLLATE "C.utf8" DEFAULT 'x';
CREATE TABLE u (x int);
CREATE TABLE IF NOT EXISTS "T one" (
    a bool NOT NULL, b smallint NULL, c integer CHECK (c > 0) DEFAULT 1, d bigint UNIQUE, e real, f double precision, f2 float(20), g numeric,
    h decimal(20, 6), i numeric(5), j text COLLATE "C" NOT NULL, k character varying, l varchar(7) COLLATE "C.utf8", m char(3), n character,
    o uuid DEFAULT gen_random_uuid(), p date, q time without time zone, r time(3), s timetz(0), t timestamp, u timestamp(3) without time zone,
    v timestamp(6) with time zone DEFAULT now() NOT NULL, w interval, x json, y jsonb DEFAULT '{}'::jsonb, z bytea, aa mood, ab other."Size",
    ac inet, ad int4[], ae numeric(9, 2)[3], af smaller, ag public.word, ah mood[], ai bpchar, aj text[] COLLATE "C", ak int ARRAY,
    "Al" int GENERATED BY DEFAULT AS IDENTITY (START WITH 5), am int GENERATED ALWAYS AS (c + 1) STORED,
    bad1 point, bad2 pair, bad3 name NOT NULL, bad4 bit(3), bad5 small[], bad6 "char", bad7 varbit(5) DEFAULT '101'::varbit,
    CONSTRAINT one_key PRIMARY KEY (c, "Al") INCLUDE (b), UNIQUE (b, c) WITH (fillfactor = 70), CHECK (a OR b > 1), EXCLUDE USING btree (b WITH =),
    CONSTRAINT later UNIQUE (e) DEFERRABLE INITIALLY DEFERRED
) WITH (fillfactor = 90);
CREATE TABLE other.two (id bigserial PRIMARY KEY, n smallserial, one int REFERENCES other.two (id) MATCH FULL ON DELETE SET NULL ON UPDATE NO ACTION
    DEFERRABLE NOT NULL, i int, e text, w int UNIQUE DEFERRABLE, v int UNIQUE NOT DEFERRABLE, later int);
ALTER TABLE ONLY other.two REPLICA IDENTITY FULL, ALTER COLUMN later SET NOT NULL, ALTER i SET DEFAULT 5, ALTER n DROP NOT NULL,
    ADD COLUMN added varchar(3) NOT NULL UNIQUE, ADD COLUMN IF NOT EXISTS i int, ADD CONSTRAINT c CHECK (i > 0);
CREATE UNIQUE INDEX ON other.two (i, e);
CREATE UNIQUE INDEX two_part ON other.two (e) WHERE i > 0;
CREATE UNIQUE INDEX two_expression ON other.two USING btree (lower(e));
CREATE TABLE three (a int, b int);
ALTER TABLE three ADD CONSTRAINT three_key PRIMARY KEY (b, a);
ALTER TABLE three REPLICA IDENTITY USING INDEX three_key;
CREATE TABLE four (a int, b text DEFAULT 'CREATE TABLE (', c int NOT NULL) ;
ALTER TABLE four REPLICA IDENTITY NOTHING;
ALTER TYPE mood ADD VALUE 'Happy';
ALTER TYPE mood ADD VALUE IF NOT EXISTS 'so-so' BEFORE 'ok';
ALTER TYPE mood ADD VALUE 'fine' AFTER 'ok';
"#;

#[tokio::test]
async fn a_schema_file_says_what_postgres_says_after_running_it() {
    let url = Postgres::shared().database("LC_COLLATE 'C' LC_CTYPE 'C'", TABLES);
    let database = Database::new(&SecretUrl::new(url.as_str())).unwrap();
    let schema = ddl::read(TABLES).unwrap_or_else(|error| panic!("{}", error.render(TABLES)));
    assert_eq!(schema.catalog.tables.len(), 5);
    let name = |table: &highwater_sql::Table| TableName { schema: Some(table.schema.clone()), name: table.name.clone() };
    let names: Vec<_> = schema.catalog.tables.iter().map(name).collect();
    let mut read = catalog::read(&database, &names).await.unwrap();
    assert_eq!(read.refused, []);
    for (ours, theirs) in schema.catalog.tables.into_iter().zip(&mut read.catalog.tables) {
        // The order of keys after the first decides nothing.
        let mut ours = ours;
        ours.unique_keys.sort();
        theirs.unique_keys.sort();
        // Only a lane that can ask Postgres needs to know them.
        theirs.columns.iter_mut().for_each(|column| column.has_default = false);
        assert_eq!(ours, *theirs);
    }
    let left_out: Vec<_> = schema.unsupported.iter().map(|(table, column, _)| (table, column)).collect();
    assert_eq!(left_out, read.unsupported.iter().map(|column| (&column.table, &column.column)).collect::<Vec<_>>());
}

/// The shipped example: its expected lines are what Postgres makes of the same rows, and eval gives them.
#[tokio::test]
async fn the_example_gives_what_postgres_gives() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/orders");
    let file = |name: &str| directory.join(name);
    let text = |name: &str| fs::read_to_string(file(name)).unwrap();
    let lookups = vec![("customers".to_owned(), file("customers.jsonl"))];
    let expect = Some(file("expected.jsonl"));
    let files = Files { pipeline: file("pipeline.toml"), schema: file("schema.sql"), records: file("records.jsonl"), lookups, expect };
    let mut out = Vec::new();
    let equal = eval(&files, &mut out, false, &mut |note| panic!("{note}")).await.unwrap();
    assert!(equal, "{}", String::from_utf8(out).unwrap());

    let postgres = Postgres::shared();
    let url = postgres.database("LC_COLLATE 'C' LC_CTYPE 'C'", &text("schema.sql"));
    for row in text("customers.jsonl").lines() {
        let insert = "INSERT INTO customers OVERRIDING SYSTEM VALUE SELECT * FROM jsonb_populate_record(NULL::customers, $row$";
        postgres.psql(&url, &format!("{insert}{row}$row$)"));
    }
    let pipeline = Selection::load(&files.pipeline).unwrap();
    let select = pipeline.select_text().sql;
    let mut said = Vec::new();
    for (n, line) in text("records.jsonl").lines().enumerate() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let envelope = record.get("value").unwrap_or(&record);
        for (op, row) in [("-", &envelope["before"]), ("+", &envelope["after"])] {
            if row.is_null() {
                continue;
            }
            // Keys to customers that are not there stay out of the way: what counts is the join.
            let script = format!(
                "SET session_replication_role = replica; SET TimeZone = 'UTC'; TRUNCATE orders CASCADE;
                 INSERT INTO orders SELECT * FROM jsonb_populate_record(NULL::orders, $row${row}$row$);
                 CREATE OR REPLACE FUNCTION answer() RETURNS SETOF text LANGUAGE plpgsql AS $f$ DECLARE r record; BEGIN
                   FOR r IN {select} LOOP
                     RETURN NEXT jsonb_build_object('record', {record}, 'op', '{op}', 'row', to_jsonb(r))::text;
                   END LOOP;
                 EXCEPTION WHEN OTHERS THEN
                   RETURN NEXT jsonb_build_object('record', {record}, 'error', jsonb_build_object('sqlstate', SQLSTATE, 'message', SQLERRM))::text;
                 END $f$; SELECT answer();",
                record = n + 1
            );
            said.extend(postgres.psql(&url, &script).lines().filter(|line| !line.is_empty()).map(|line| Line::parse(line).unwrap()));
        }
    }
    let expected = expect::read(files.expect.as_ref().unwrap()).unwrap();
    assert!(said.len() > 5);
    let comparison = expect::compare(&said, &expected);
    assert!(comparison.is_equal(), "{}", comparison.render(false));
}
