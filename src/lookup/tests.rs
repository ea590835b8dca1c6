//! Loads against a real Postgres; changes arrive by the hand of the test.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use highwater_sql::{Lookup, Type};
use sqlx::Connection as _;

use super::*;
use crate::catalog::{self, test_server::Postgres};
use crate::config::SecretUrl;

struct World {
    url: String,
    plan: Plan,
    lookups: Arc<Lookups>,
    metrics: Metrics,
    postgres: Arc<Postgres>,
}

impl World {
    async fn new(postgres: Arc<Postgres>, tables: &str, sql: &str) -> Self {
        let url = postgres.database("", tables);
        let database = Database::new(&SecretUrl::new(url.as_str())).unwrap();
        let reading = catalog::read(&database, &highwater_sql::parse::tables(sql).unwrap()).await.unwrap();
        let plan = highwater_sql::check::check(sql, &reading.catalog).unwrap_or_else(|error| panic!("{}", error.render(sql)));
        let metrics = Metrics::new().unwrap();
        let lookups = Arc::new(Lookups::new("p", &plan, database, &metrics));
        Self { url, plan, lookups, metrics, postgres }
    }

    fn lookup(&self) -> &Lookup {
        &self.plan.lookups[0]
    }

    /// A key from the texts of the key columns.
    fn key(&self, texts: &[&str]) -> LookupKey {
        let columns = &self.lookup().key_columns;
        assert_eq!(columns.len(), texts.len());
        let values: Vec<_> = columns.iter().zip(texts).map(|(column, text)| Value::from_text(&column.ty, text).unwrap()).collect();
        self.lookup().key_of(&values).unwrap()
    }

    /// The rows as text, key columns left out, separated by `|`; `-` where there is none.
    async fn rows(&self, keys: &[&[&str]]) -> Vec<String> {
        let keys: Vec<_> = keys.iter().map(|texts| self.key(texts)).collect();
        let found = self.lookups.fetch(0, &keys).await.unwrap();
        keys.iter().map(|key| self.text(&found[key])).collect()
    }

    fn text(&self, found: &Found) -> String {
        let lookup = self.lookup();
        let text = |(value, ty): (&Value, &Type)| if value.is_null() { "NULL".to_owned() } else { value.to_text(ty).into_owned() };
        match found {
            Ok(None) => "-".to_owned(),
            Ok(Some(row)) => {
                let values = row.iter().zip(&lookup.columns).filter(|(_, column)| !lookup.key_columns.contains(column));
                values.map(|(value, column)| text((value, &column.ty))).collect::<Vec<_>>().join("|")
            }
            Err(error) => format!("{} {} {:?}", error.sqlstate, error.message, error.column),
        }
    }

    fn counted(&self) -> (u64, u64, u64, u64, u64) {
        let keys = |result: &str| self.metrics.lookup_keys.with_label_values(&["p", "public.l", result]).get();
        let removed = self.metrics.lookup_removed.with_label_values(&["p", "public.l"]).get();
        let discarded = self.metrics.lookup_discarded.with_label_values(&["p", "public.l"]).get();
        (keys("hit"), keys("miss"), keys("absent"), removed, discarded)
    }
}

const BY_ID: &str = "CREATE TABLE s (id int PRIMARY KEY, l_id int); CREATE TABLE l (id int PRIMARY KEY, name text, n numeric(9, 2));
    INSERT INTO l SELECT i, 'row ' || i, i / 4.0 FROM generate_series(1, 3000) i;";
const SELECT_BY_ID: &str = "SELECT s.id, l.name, l.n FROM s LEFT JOIN l ON l.id = s.l_id";

async fn by_id() -> World {
    World::new(Postgres::shared(), BY_ID, SELECT_BY_ID).await
}

#[tokio::test]
async fn many_keys_are_loaded_and_each_has_an_answer() {
    let world = by_id().await;
    let keys: Vec<_> = (0..3003).rev().chain(7..9).map(|id: i32| world.key(&[&id.to_string()])).collect();
    let found = world.lookups.fetch(0, &keys).await.unwrap();
    assert_eq!(found.len(), 3003);
    for id in 0..3003 {
        let expected = if (1..=3000).contains(&id) { format!("row {id}|{}.{:02}", id / 4, id % 4 * 25) } else { "-".to_owned() };
        assert_eq!(world.text(&found[&world.key(&[&id.to_string()])]), expected);
    }
    assert_eq!(world.counted(), (0, 3003, 3, 0, 0));
}

#[tokio::test]
async fn a_row_is_kept_until_a_change_removes_it_and_an_absent_one_is_not_kept() {
    let world = by_id().await;
    world.lookups.follow();
    assert_eq!(world.rows(&[&["1"], &["9000"]]).await, ["row 1|0.25", "-"]);
    world.postgres.psql(&world.url, "UPDATE l SET name = 'new' WHERE id = 1; INSERT INTO l VALUES (9000, 'late', NULL)");
    assert_eq!(
        world.rows(&[&["1"], &["9000"]]).await,
        ["row 1|0.25", "late|NULL"],
        "cached until its change is read; absent ones are asked for again"
    );
    world.lookups.remove(0, &world.key(&["1"]));
    assert_eq!(world.rows(&[&["1"], &["9000"]]).await, ["new|0.25", "late|NULL"]);
    assert_eq!(world.counted(), (2, 4, 1, 1, 0));
    world.postgres.psql(&world.url, "TRUNCATE l");
    world.lookups.clear(0, "truncate");
    assert_eq!(world.rows(&[&["1"], &["9000"]]).await, ["-", "-"]);
}

#[tokio::test]
async fn before_changes_are_followed_nothing_is_kept() {
    let world = by_id().await;
    assert_eq!(world.rows(&[&["1"]]).await, ["row 1|0.25"]);
    world.postgres.psql(&world.url, "UPDATE l SET name = 'new' WHERE id = 1");
    assert_eq!(world.rows(&[&["1"]]).await, ["new|0.25"]);
}

#[tokio::test]
async fn a_load_during_which_its_key_changed_is_repeated() {
    let world = by_id().await;
    world.lookups.follow();
    let beside = Database::new(&SecretUrl::new(world.url.as_str())).unwrap();
    let mut writer = beside.connection().await.unwrap();
    let mut transaction = writer.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE l IN ACCESS EXCLUSIVE MODE").execute(&mut *transaction).await.unwrap();
    let change = async {
        // The load waits for the lock, with its keys registered.
        let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'l'::regclass";
        while sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut *transaction).await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        world.lookups.remove(0, &world.key(&["1"]));
        sqlx::raw_sql("UPDATE l SET name = 'new' WHERE id = 1").execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
    };
    let (rows, ()) = tokio::join!(world.rows(&[&["1"], &["2"]]), change);
    assert_eq!(rows, ["new|0.25", "row 2|0.50"]);
    assert_eq!(world.counted(), (0, 2, 0, 0, 1));
    assert_eq!(world.rows(&[&["1"], &["2"]]).await, ["new|0.25", "row 2|0.50"]);
    assert_eq!(world.counted(), (2, 2, 0, 0, 1), "what the second load read was kept");
}

#[tokio::test]
async fn while_postgres_is_down_cached_rows_go_on_and_the_others_wait() {
    let world = World::new(Arc::new(Postgres::start()), BY_ID, SELECT_BY_ID).await;
    world.lookups.follow();
    assert_eq!(world.rows(&[&["1"]]).await, ["row 1|0.25"]);
    world.postgres.suspend();
    assert_eq!(world.rows(&[&["1"]]).await, ["row 1|0.25"]);
    let error = world.lookups.fetch(0, &[world.key(&["1"]), world.key(&["2"])]).await.unwrap_err();
    let Error::Retry(message) = error;
    assert!(message.starts_with("postgres: ") && !message.contains("secret-word"), "{message}");
    world.postgres.resume();
    assert_eq!(world.rows(&[&["1"], &["2"]]).await, ["row 1|0.25", "row 2|0.50"]);
}

#[tokio::test]
async fn keys_of_every_kind_match_as_postgres_matches_them() {
    let tables = r#"CREATE TYPE "Mood" AS ENUM ('sad', 'ok');
        CREATE TABLE s (id int PRIMARY KEY, a "Mood", b char(4), c varchar(3), d numeric, e uuid, f timestamptz(3), g text, h bytea, i date, j bool);
        CREATE TABLE l (a "Mood", b char(4), c varchar(3), d numeric(9, 2), e uuid, f timestamptz(3), g text, h bytea, i date, j bool, "The Name" text,
                        UNIQUE (a, b, c, d, e, f, g, h, i, j));
        INSERT INTO l VALUES ('ok', 'ab', 'xyz', 1.50, '6ecd8c99-4036-403d-bf84-cf8400f67836', '2024-01-31 12:00:00.125+09', 'it''s "q", {a,b}\', '\x00ff',
                              '2024-02-29', true, 'found');"#;
    let select = r#"SELECT s.id, l."The Name" FROM s LEFT JOIN l ON l.a = s.a AND l.b = s.b AND l.c = s.c AND l.d = s.d AND l.e = s.e AND l.f = s.f
                    AND l.g = s.g AND l.h = s.h AND l.i = s.i AND l.j = s.j"#;
    let world = World::new(Postgres::shared(), tables, select).await;
    let names: Vec<_> = world.lookup().key_columns.iter().map(|column| column.name.clone()).collect();
    let texts = |change: (&str, &'static str)| -> Vec<&'static str> {
        let text = |name: &String| match name.as_str() {
            name if name == change.0 => change.1,
            "a" => "ok",
            "b" => "ab  ",
            "c" => "xyz",
            "d" => "1.5",
            "e" => "6ECD8C99-4036-403d-bf84-cf8400f67836",
            "f" => "2024-01-31 03:00:00.125+00",
            "g" => "it's \"q\", {a,b}\\",
            "h" => "\\x00FF",
            "i" => "2024-02-29",
            _ => "t",
        };
        names.iter().map(text).collect()
    };
    assert_eq!(world.rows(&[&texts(("", ""))]).await, ["found"]);
    for change in [
        ("a", "sad"),
        ("b", "abc"),
        ("c", "xy"),
        ("d", "1.51"),
        ("e", "6ecd8c99-4036-403d-bf84-cf8400f67837"),
        ("f", "2024-01-31 03:00:00.126+00"),
        ("g", "it's"),
        ("h", "\\x00"),
        ("i", "2024-03-01"),
        ("j", "f"),
    ] {
        assert_eq!(world.rows(&[&texts(change)]).await, ["-"], "{change:?}");
    }
}

#[tokio::test]
async fn rows_are_what_the_output_functions_print() {
    let tables = r#"CREATE TABLE s (id int PRIMARY KEY, k int);
        CREATE TABLE l (k int PRIMARY KEY, a bool, b float8, c numeric, d char(5), e inet, f inet, g bytea, h json, i jsonb, j int[], k2 timestamptz, l interval,
                        m date, n varchar(9));
        INSERT INTO l VALUES (1, true, 0.1::float8 + 0.2::float8, 1.500, 'ab', '10.0.0.1', '10.0.0.0/8', '\xdeadbeef', '{"b":1,  "a":2}', '{"b":1,  "a":2}', '{1,NULL,3}',
                              '2024-01-31 12:00:00.5+09', '1 day 02:00:00', 'infinity', ''), (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
                              NULL, NULL, NULL);"#;
    let select = "SELECT s.id, l.a, l.b, l.c, l.d, l.e, l.f, l.g, l.h, l.i, l.j, l.k2, l.l, l.m, l.n FROM s JOIN l ON l.k = s.k";
    let world = World::new(Postgres::shared(), tables, select).await;
    let by_output = world
        .postgres
        .psql(&world.url, "SELECT a::text, b, c, d, e, f, g, h, i, j, k2 AT TIME ZONE 'UTC' || '+00', l, m, n FROM l WHERE k = 1");
    assert_eq!(
        by_output,
        "true|0.30000000000000004|1.500|ab   |10.0.0.1|10.0.0.0/8|\\xdeadbeef|{\"b\":1,  \"a\":2}|{\"a\": 2, \"b\": 1}|{1,NULL,3}|2024-01-31 03:00:00.5+00|1 day 02:00:00|infinity|"
    );
    assert_eq!(world.rows(&[&["1"], &["2"]]).await, [by_output, ["NULL"; 14].join("|")]);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_fails_alone() {
    let world = World::new(
        Postgres::shared(),
        "CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE s (id int PRIMARY KEY, k int); CREATE TABLE l (k int PRIMARY KEY, m mood);
         INSERT INTO l VALUES (1, 'sad'), (2, NULL);",
        "SELECT s.id, l.m FROM s LEFT JOIN l ON l.k = s.k",
    )
    .await;
    world.lookups.follow();
    world.postgres.psql(&world.url, "ALTER TYPE mood ADD VALUE 'new'");
    world.postgres.psql(&world.url, "INSERT INTO l VALUES (3, 'new')");
    let expected = ["sad", "NULL", "22P02 invalid input value for enum mood: \"new\" Some(\"m\")", "-"];
    for _ in 0..2 {
        assert_eq!(world.rows(&[&["1"], &["2"], &["3"], &["4"]]).await, expected);
    }
}

#[tokio::test]
async fn a_table_that_is_altered_while_running_is_waited_for() {
    let world = by_id().await;
    world.postgres.psql(&world.url, "ALTER TABLE l RENAME TO gone");
    let error = world.lookups.fetch(0, &[world.key(&["1"])]).await.unwrap_err();
    assert_eq!(error.to_string(), "postgres: relation \"public.l\" does not exist (SQLSTATE 42P01)");
    world.postgres.psql(&world.url, "ALTER TABLE gone RENAME TO l");
    assert_eq!(world.rows(&[&["1"]]).await, ["row 1|0.25"]);
}
