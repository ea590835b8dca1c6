//! The parts against made-up answers; the whole against a real Postgres.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::*;
use crate::catalog::test_server::Postgres;

const TABLES: &str = "
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE t (id bigint PRIMARY KEY, a numeric(20, 6), b int, c int NOT NULL, d timestamp(6), e interval, f bytea, g point, l_id int, m mood, k uuid);
ALTER TABLE t REPLICA IDENTITY FULL;
CREATE TABLE l (id int PRIMARY KEY, name text COLLATE \"C\", code text COLLATE \"C\" UNIQUE);";

const SELECT: &str = "SELECT t.id, t.a, t.b, t.c, t.d, t.e, t.f, l.name AS label FROM t LEFT JOIN l ON l.id = t.l_id";

fn file(postgres: &str, sql: &str) -> String {
    format!(
        r#"
name = "p1"
[source]
kafka = "127.0.0.1:1"
prefix = "p"
postgres = "{postgres}"
[select]
sql = """
{sql}"""
[[sink]]
type = "redis_ranking"
redis = "redis://127.0.0.1:1"
key = "r"
member = "b"
score = "a"
time = "d"
window = "1h"
bucket = "1m"
ahead = "1m"
[[sink]]
type = "webhook"
url = "http://127.0.0.1:1"
secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
"#
    )
}

fn parse(text: &str) -> PipelineConfig {
    PipelineConfig::parse(Path::new("p1.toml"), text, &|_| None).unwrap()
}

/// A pipeline with a ranking of one hour and a minute ahead, and a webhook.
pub(super) fn config() -> PipelineConfig {
    parse(&file("postgres://127.0.0.1:1/x", SELECT))
}

/// The plan of [`config`], as the catalog of [`TABLES`] makes it.
pub(super) fn plan() -> Plan {
    static PLAN: std::sync::LazyLock<Plan> = std::sync::LazyLock::new(|| plan_of(TABLES, SELECT));
    PLAN.clone()
}

/// The plan of a SELECT over tables.
pub(super) fn plan_of(tables: &str, select: &str) -> Plan {
    let postgres = Postgres::shared();
    let url = crate::config::SecretUrl::new(postgres.database("", tables));
    let read = async {
        let database = Database::new(&url).unwrap();
        catalog::read(&database, &highwater_sql::parse::tables(select).unwrap()).await.unwrap().catalog
    };
    let catalog = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(read);
    highwater_sql::check::check(select, &catalog).unwrap()
}

/// The report of Postgres' part, for a SELECT and changes to the tables and the file.
async fn report(sql: &str, alter: &str, edit: impl Fn(String) -> String) -> Report {
    let postgres = Postgres::shared();
    let url = postgres.database("", &format!("{TABLES}{alter}"));
    let config = parse(&edit(file(&url, sql)));
    check_tables(&config).await
}

async fn failures(sql: &str, alter: &str, edit: impl Fn(String) -> String) -> Vec<String> {
    let report = report(sql, alter, edit).await;
    report.of(State::Failed).map(|fact| format!("{} -> {}", fact.text, fact.remedy.as_deref().unwrap())).collect()
}

#[tokio::test]
async fn a_pipeline_that_is_right_has_a_plan_and_only_good_facts() {
    let report = report(SELECT, "", |file| file).await;
    assert_eq!(report.state(), State::Ok, "{}", report.render(false));
    let texts: Vec<_> = report.facts.iter().map(|fact| fact.text.as_str()).collect();
    let expected = [
        "8 columns, types as Postgres prepares them",
        "public.t: primary key (id), REPLICA IDENTITY FULL",
        "public.l: joined by its unique (id), REPLICA IDENTITY DEFAULT",
    ];
    assert_eq!(texts[1..], expected);
    let expected = "
columns of the result
  id     bigint
  a      numeric(20,6)
  b      integer
  c      integer
  d      timestamp(6) without time zone
  e      interval
  f      bytea
  label  text                            reads a lookup
";
    assert!(report.render(false).ends_with(expected), "{}", report.render(false));
}

#[tokio::test]
async fn tables_that_cannot_be_followed_fail_with_the_statement_that_helps() {
    let same = |file: String| file;
    assert_eq!(
        failures(SELECT, "ALTER TABLE t REPLICA IDENTITY DEFAULT;", same).await,
        [
            "public.t has REPLICA IDENTITY DEFAULT: updates and deletes come without the old row -> run ALTER TABLE public.t REPLICA IDENTITY FULL, \
             or set append_only = true in [source] if rows are only inserted"
        ]
    );
    let append_only = |file: String| file.replace("[select]", "append_only = true\n[select]");
    assert_eq!(failures(SELECT, "ALTER TABLE t REPLICA IDENTITY DEFAULT;", append_only).await, [""; 0]);
    assert_eq!(
        failures(SELECT, "ALTER TABLE t DROP CONSTRAINT t_pkey;", same).await,
        ["public.t has no primary key: its changes come without a key -> add one: ALTER TABLE public.t ADD PRIMARY KEY (...)"]
    );
    let by_code = SELECT.replace("l.id = t.l_id", "l.code = t.m::text");
    assert_eq!(
        failures(&by_code, "", same).await,
        [
            "public.l is joined by (code) and has REPLICA IDENTITY DEFAULT: its changes do not say which cached row is old -> run ALTER TABLE public.l \
             REPLICA IDENTITY FULL, or join by the primary key"
        ]
    );
    assert_eq!(failures(&by_code, "ALTER TABLE l REPLICA IDENTITY FULL;", same).await, [""; 0]);
    assert_eq!(
        failures("SELECT v.id FROM v", "CREATE VIEW v AS SELECT * FROM t;", same).await,
        ["public.v is a view -> name the tables behind it: views have no change events"]
    );
}

#[tokio::test]
async fn a_select_is_refused_with_its_place_in_the_text() {
    let found = failures("SELECT t.id,\n  nothing FROM t", "", |file| file).await;
    assert_eq!(found.len(), 1);
    let begins = "p1.toml:8: select.sql\nERROR:  column \"nothing\" does not exist\nLINE 2:   nothing FROM t\n          ^";
    assert!(found[0].starts_with(begins), "{}", found[0]);
    let found = failures("SELECT t.id, t.g FROM t", "", |file| file).await;
    assert!(
        found[0].contains("column g of public.t has the type point, which is not supported -> leave the column out of the SELECT"),
        "{}",
        found[0]
    );
}

#[tokio::test]
async fn a_ranking_that_reads_a_lookup_needs_a_source_that_is_only_inserted_into() {
    let ranked_by_label = |file: String| file.replace("member = \"b\"", "member = \"label\"");
    let found = failures(SELECT, "", ranked_by_label).await;
    assert!(found.len() == 1 && found[0].starts_with("p1.toml:14: sink.ranking.member: label reads a lookup table"), "{found:?}");
    let both = |file: String| ranked_by_label(file).replace("[select]", "append_only = true\n[select]");
    assert_eq!(failures(SELECT, "", both).await, [""; 0]);
    let inner = SELECT.replace("LEFT JOIN", "JOIN");
    let found = failures(&inner, "", |file| file).await;
    assert!(found.len() == 1 && found[0].contains("sink.ranking: WHERE or an INNER JOIN reads a lookup table"), "{found:?}");
}

#[tokio::test]
async fn a_sink_that_names_what_is_not_there_is_told_with_its_line() {
    let found = failures(SELECT, "", |file| file.replace("score = \"a\"", "score = \"amount\"")).await;
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("p1.toml:15: sink.ranking.score: "), "{}", found[0]);
}

#[tokio::test]
async fn what_does_not_answer_is_waited_for_and_ends_nothing() {
    let report = check(&config()).await;
    assert_eq!(report.state(), State::Waiting, "{}", report.render(false));
    let waiting: Vec<_> = report.of(State::Waiting).map(|fact| fact.subject).collect();
    assert_eq!(waiting, ["postgres", "kafka", "redis"]);
    assert!(report.plan.is_none());
}

#[test]
fn what_the_server_is_decides() {
    let server = |version_number, wal_level: &str, standby| catalog::Server {
        version: format!("{}.1", version_number / 10_000),
        version_number,
        wal_level: wal_level.to_owned(),
        standby,
    };
    let texts = |server| server_facts(&server).into_iter().map(|fact| (fact.state, fact.text)).collect::<Vec<_>>();
    assert_eq!(texts(server(150_001, "logical", false)), [(State::Ok, "version 15.1, wal_level logical".to_owned())]);
    assert_eq!(
        texts(server(140_001, "replica", true)),
        [
            (State::Failed, "version 14.1 is too old".to_owned()),
            (State::Failed, "wal_level is replica, so Debezium cannot read changes".to_owned()),
            (State::Failed, "this is a standby: a row loaded from it may be older than a change that was already read".to_owned()),
        ]
    );
}
