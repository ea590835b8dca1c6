//! Against a real Postgres.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use highwater_sql::catalog::Column;
use highwater_sql::value::{EnumType, Type};

use super::test_server::Postgres;
use super::*;
use crate::config::SecretUrl;

fn connect(url: &str) -> Database {
    Database::new(&SecretUrl::new(url)).unwrap()
}

fn name(schema: Option<&str>, name: &str) -> TableName {
    TableName { schema: schema.map(str::to_owned), name: name.to_owned() }
}

async fn read_one(database: &Database, table: &str) -> Table {
    let reading = read(database, &[name(None, table)]).await.unwrap();
    assert_eq!(reading.refused, []);
    reading.catalog.tables.into_iter().next().unwrap()
}

#[tokio::test]
async fn every_type_is_read_with_its_modifiers() {
    let postgres = Postgres::shared();
    let database = connect(&postgres.database(
        "",
        r#"CREATE SCHEMA other;
        CREATE TYPE mood AS ENUM ('sad', 'ok', 'Happy'); CREATE TYPE other."Size" AS ENUM ('s', 'l');
        CREATE DOMAIN small AS numeric(4, 1) NOT NULL; CREATE DOMAIN smaller AS small CHECK (value < 10); CREATE DOMAIN word AS varchar(9);
        CREATE TABLE t (a bool, b int2, c int4 NOT NULL, d int8, e float4, f float8, g numeric, h numeric(20, 6), i numeric(5, -2), gone int,
            j text, k varchar, l varchar(7), m char(3), n char, o uuid, p date, q time, r time(3), s timetz(0), t timestamp, u timestamp(3),
            v timestamptz(6), w interval, x json, y jsonb, z bytea, "Aa" mood, ab other."Size", ac inet, ad int4[], ae numeric(9, 2)[],
            af smaller, ag word, ah mood[], ai bpchar,
            bad1 point, bad2 xml, bad3 money, bad4 bit(3), bad5 small[], bad6 "char", bad7 int4range, bad8 name, bad9 int2vector);
        ALTER TABLE t DROP COLUMN gone;"#,
    ));
    let reading = read(&database, &[name(None, "t"), name(Some("public"), "t")]).await.unwrap();
    let [table] = &reading.catalog.tables[..] else { panic!("{reading:?}") };
    let mood = || Type::Enum(Arc::new(EnumType { name: "mood".into(), labels: ["sad", "ok", "Happy"].map(String::from).to_vec() }));
    let size = Type::Enum(Arc::new(EnumType { name: "other.\"Size\"".into(), labels: vec!["s".into(), "l".into()] }));
    let array = |ty| Type::Array(Box::new(ty));
    let expected = [
        ("a", Type::Bool),
        ("b", Type::Int2),
        ("c", Type::Int4),
        ("d", Type::Int8),
        ("e", Type::Float4),
        ("f", Type::Float8),
        ("g", Type::Numeric(None)),
        ("h", Type::Numeric(Some((20, 6)))),
        ("i", Type::Numeric(Some((5, -2)))),
        ("j", Type::Text),
        ("k", Type::Varchar(None)),
        ("l", Type::Varchar(Some(7))),
        ("m", Type::Bpchar(Some(3))),
        ("n", Type::Bpchar(Some(1))),
        ("o", Type::Uuid),
        ("p", Type::Date),
        ("q", Type::Time(None)),
        ("r", Type::Time(Some(3))),
        ("s", Type::Timetz(Some(0))),
        ("t", Type::Timestamp(None)),
        ("u", Type::Timestamp(Some(3))),
        ("v", Type::Timestamptz(Some(6))),
        ("w", Type::Interval),
        ("x", Type::Json),
        ("y", Type::Jsonb),
        ("z", Type::Bytea),
        ("Aa", mood()),
        ("ab", size),
        ("ac", Type::Inet),
        ("ad", array(Type::Int4)),
        ("ae", array(Type::Numeric(Some((9, 2))))),
        ("af", Type::Numeric(Some((4, 1)))),
        ("ag", Type::Varchar(Some(9))),
        ("ah", array(mood())),
        ("ai", Type::Bpchar(None)),
    ];
    for (column, (name, ty)) in table.columns.iter().zip(&expected) {
        assert_eq!((column.name.as_str(), &column.ty), (*name, ty));
        assert_eq!(column.not_null, ["c", "af"].contains(name), "{name}");
    }
    assert_eq!(table.columns.len(), expected.len());
    let unsupported: Vec<_> = reading.unsupported.iter().map(|u| (u.table.as_str(), u.column.as_str(), u.ty.as_str())).collect();
    let of_t = |column, ty| ("public.t", column, ty);
    let expected = [
        of_t("bad1", "point"),
        of_t("bad2", "xml"),
        of_t("bad3", "money"),
        of_t("bad4", "bit(3)"),
        of_t("bad5", "small[]"),
        of_t("bad6", "\"char\""),
        of_t("bad7", "int4range"),
        of_t("bad8", "name"),
        of_t("bad9", "int2vector"),
    ];
    assert_eq!(unsupported, expected);
}

#[tokio::test]
async fn collations_are_judged_by_what_they_do() {
    let postgres = Postgres::shared();
    let sql = r#"CREATE TABLE t (a text, b text COLLATE "C", c varchar(3) COLLATE "POSIX", d text COLLATE "C.utf8", e text COLLATE "und-x-icu", f int, g text[]);"#;
    let judged = async |options: &str| -> (bool, Vec<bool>) {
        let database = connect(&postgres.database(options, sql));
        let reading = read(&database, &[name(None, "t")]).await.unwrap();
        let columns = reading.catalog.tables[0].columns.iter().map(|column: &Column| column.collation_is_c).collect();
        (reading.catalog.default_collation_is_c, columns)
    };
    // C.UTF-8 orders as C does and maps the case of more letters.
    assert_eq!(judged("").await, (false, vec![false, true, true, false, false, true, false]));
    assert_eq!(judged("LOCALE 'C'").await, (true, vec![true, true, true, false, false, true, true]));
    assert_eq!(judged("LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'").await, (false, vec![false, true, true, false, false, true, false]));
    assert_eq!(judged("LOCALE_PROVIDER icu ICU_LOCALE 'en' LOCALE 'C'").await, (false, vec![false, true, true, false, false, true, false]));
}

#[tokio::test]
async fn a_definition_names_the_transaction_that_made_it() {
    let database = connect(&Postgres::shared().database("", "CREATE TABLE t (a int PRIMARY KEY, b int); CREATE TABLE other (a int)"));
    let (names, source) = ([name(None, "t"), name(None, "other")], read_one(&database, "t").await);
    let defined = async || definition(&database, &names, &source).await.unwrap();
    // The number of the transaction that runs the statement.
    let run = async |sql: &'static str| -> u32 {
        let mut connection = database.connection().await.unwrap();
        let mut transaction = connection.begin().await.unwrap();
        sqlx::raw_sql(sql).execute(&mut *transaction).await.unwrap();
        let number: String = sqlx::query_scalar("SELECT pg_current_xact_id()::text").fetch_one(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
        number.parse().unwrap()
    };
    let first = defined().await;
    for sql in ["INSERT INTO t VALUES (1, 1)", "ANALYZE t", "CREATE INDEX ON other (a)", "ALTER TABLE other REPLICA IDENTITY FULL"] {
        run(sql).await;
        assert_eq!(defined().await.source_by, first.source_by, "{sql}");
    }
    for identity in ["FULL", "DEFAULT", "FULL"] {
        let by =
            run(if identity == "FULL" { "ALTER TABLE t REPLICA IDENTITY FULL" } else { "ALTER TABLE t REPLICA IDENTITY DEFAULT" }).await;
        assert_eq!(defined().await.source_by, Some(by), "{identity}");
    }
    run("ALTER TABLE other ALTER a SET DEFAULT 5").await;
    assert_ne!(defined().await.text, first.text);
    run("DROP TABLE t").await;
    assert_eq!(defined().await.source_by, None);
}

#[tokio::test]
async fn keys_are_those_that_hold_for_every_row_at_every_moment() {
    let postgres = Postgres::shared();
    let database = connect(&postgres.database(
        "",
        "CREATE TABLE t (a int, b int, c int UNIQUE, d int UNIQUE DEFERRABLE, e text, f int, PRIMARY KEY (b, a) INCLUDE (e));
         CREATE UNIQUE INDEX ON t (f) WHERE f > 0; CREATE UNIQUE INDEX ON t (lower(e)); CREATE UNIQUE INDEX ON t (e, f); CREATE INDEX ON t (f);
         CREATE TABLE none (a int); ALTER TABLE none REPLICA IDENTITY FULL;
         CREATE TABLE by_index (a int NOT NULL UNIQUE); ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_a_key;
         CREATE TABLE nothing (a int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING;",
    ));
    let table = read_one(&database, "t").await;
    assert_eq!(table.primary_key, ["b", "a"]);
    assert_eq!(table.unique_keys, [vec!["b", "a"], vec!["c"], vec!["e", "f"]]);
    assert_eq!(table.replica_identity, ReplicaIdentity::Default);
    let none = read_one(&database, "none").await;
    assert_eq!((none.primary_key.len(), none.unique_keys.len(), none.replica_identity), (0, 0, ReplicaIdentity::Full));
    assert_eq!(read_one(&database, "by_index").await.replica_identity, ReplicaIdentity::Index);
    assert_eq!(read_one(&database, "nothing").await.replica_identity, ReplicaIdentity::Nothing);
}

#[tokio::test]
async fn what_is_no_plain_table_is_refused_with_what_to_do() {
    let postgres = Postgres::shared();
    let database = connect(&postgres.database(
        "",
        "CREATE SCHEMA s; CREATE TABLE s.base (a int); CREATE VIEW v AS SELECT * FROM s.base; CREATE MATERIALIZED VIEW m AS SELECT * FROM s.base;
         CREATE TABLE p (a int) PARTITION BY LIST (a); CREATE UNLOGGED TABLE u (a int); CREATE TABLE parent (a int);
         CREATE TABLE child () INHERITS (parent);",
    ));
    let names = ["v", "m", "p", "u", "parent", "base", "Child", "child"].map(|table| name(None, table));
    let reading = read(&database, &names).await.unwrap();
    let refused: Vec<_> = reading.refused.iter().map(|refused| format!("{} {}", refused.name, refused.message)).collect();
    let expected = [
        "public.v is a view",
        "public.m is a materialized view",
        "public.p is a partitioned table",
        "public.u is an unlogged table",
        "public.parent has tables that inherit from it",
        "public.base there is no such table",
        "public.Child there is no such table",
    ];
    assert_eq!(refused, expected);
    assert_eq!(reading.catalog.tables.iter().map(|table| table.name.as_str()).collect::<Vec<_>>(), ["child"]);
    assert_eq!(read(&database, &[name(Some("s"), "base")]).await.unwrap().catalog.tables[0].schema, "s");
}

#[tokio::test]
async fn access_is_what_this_role_may_see() {
    let postgres = Postgres::shared();
    let url = postgres.database(
        "",
        "CREATE TABLE open (a int); CREATE TABLE closed (a int); CREATE TABLE rows (a int); ALTER TABLE rows ENABLE ROW LEVEL SECURITY;
         DO $$ BEGIN CREATE ROLE reader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$; GRANT SELECT ON open, rows TO reader;",
    );
    let database = connect(&url.replace("test:secret-word", "reader"));
    let reading = read(&database, &["open", "closed", "rows"].map(|table| name(None, table))).await.unwrap();
    let access = |readable, row_security| Access { readable, row_security };
    assert_eq!(reading.access, [access(true, false), access(false, false), access(true, true)]);
}

#[tokio::test]
async fn a_session_means_the_same_whatever_the_defaults_of_role_and_database() {
    let postgres = Postgres::shared();
    let url = postgres.database("", "CREATE SCHEMA app; CREATE TABLE app.t (a int);");
    let database_name = url.rsplit('/').next().unwrap();
    for setting in
        ["timezone = 'Asia/Tokyo'", "datestyle = 'German'", "intervalstyle = 'iso_8601'", "search_path = 'app'", "extra_float_digits = 0"]
    {
        postgres.psql(&url, &format!("ALTER DATABASE {database_name} SET {setting}"));
    }
    let database = connect(&url);
    let mut connection = database.connection().await.unwrap();
    let shown: String = sqlx::query_scalar(
        "SELECT concat_ws('|', timestamptz '2024-01-31 12:00:00Z', interval '1 day 2 hours', current_setting('search_path'), 0.1::float8 + 0.2::float8,
                          current_setting('application_name'), current_setting('statement_timeout'))",
    )
    .fetch_one(&mut *connection)
    .await
    .unwrap();
    assert_eq!(shown, "2024-01-31 12:00:00+00|1 day 02:00:00|public|0.30000000000000004|highwater|10s");
}

#[tokio::test]
async fn describe_names_the_columns_and_types_that_postgres_returns() {
    let postgres = Postgres::shared();
    let database = connect(&postgres.database(
        "",
        "CREATE TYPE mood AS ENUM ('sad'); CREATE DOMAIN d AS numeric(4, 1); CREATE TABLE t (a int, b d, c mood, e varchar(3), f text[], g char(2));",
    ));
    let columns =
        describe(&database, "SELECT a, b, c, e, f, g, a / 2.0, 'x', NULL AS \"Null\", a = 1 AS eq FROM t").await.unwrap().unwrap();
    let columns: Vec<_> = columns.iter().map(|column| format!("{} {}", column.name, column.ty)).collect();
    let expected = [
        "a integer",
        "b numeric",
        "c mood",
        "e character varying",
        "f text[]",
        "g character",
        "?column? numeric",
        "?column? text",
        "Null text",
        "eq boolean",
    ];
    assert_eq!(columns, expected);
}

#[tokio::test]
async fn describe_returns_the_refusal_with_its_place() {
    let postgres = Postgres::shared();
    let database = connect(&postgres.database("", "CREATE TABLE t (a int);"));
    let sql = "SELECT 'ä', a,\n       aa FROM t";
    let refusal = describe(&database, sql).await.unwrap().unwrap_err();
    let expected = "ERROR:  column \"aa\" does not exist\nLINE 2:        aa FROM t\n               ^\nHINT:  Perhaps you meant to reference the column \"t.a\".";
    assert_eq!(refusal.render(sql), expected);
    assert!(describe(&database, "SELECT a FROM t").await.unwrap().is_ok());
}

#[tokio::test]
async fn the_server_says_what_it_is() {
    let postgres = Postgres::shared();
    let server = server(&connect(&postgres.url("postgres"))).await.unwrap();
    assert!(server.version_number >= 150_000 && server.version.starts_with(&(server.version_number / 10_000).to_string()));
    assert_eq!((server.wal_level.as_str(), server.standby), ("logical", false));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_waited_for_and_one_that_says_no_is_not() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let database = connect(&format!("postgres://test:secret-word@{free}/x"));
    assert_eq!(server(&database).await.unwrap_err().to_string(), "postgres: no connection within 5 s");
    let postgres = Postgres::shared();
    let error = server(&connect(&postgres.url("nowhere"))).await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)));
    assert_eq!(error.to_string(), "postgres: database \"nowhere\" does not exist (SQLSTATE 3D000)");
    assert!(matches!(Database::new(&SecretUrl::new("postgres://a b:c@[/x")), Err(Error::Refused(_))));
}
