//! The messages are compared literally: they are what a user meets first.
#![allow(clippy::unwrap_used)]

use super::*;

const GOOD: &str = r#"
name = "orders"

[source]
kafka    = "${BROKERS:-127.0.0.1:9092}"
prefix   = "shop"
postgres = "${DATABASE_URL}"

[select]
sql = """
SELECT o.id FROM orders o
"""

[[sink]]
type   = "redis_ranking"
redis  = "redis://127.0.0.1:6379"
key    = "orders:1h"
member = "id"
score  = "amount"
time   = "at"
window = "1h"
bucket = "1m"
ahead  = "1m"

[[sink]]
type   = "webhook"
url    = "http://127.0.0.1:5001/webhook"
secret = "${SECRET}"
"#;

const SECRET: &str = "whsec_c3VwZXJzZWNyZXRzdXBlcnNlY3JldA==";

fn environment(name: &str) -> Option<String> {
    match name {
        "DATABASE_URL" => Some("postgres://user:hunter2@db:5432/shop".to_owned()),
        "SECRET" => Some(SECRET.to_owned()),
        "QUOTE" => Some("a\"\nprefix = \"b".to_owned()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<PipelineConfig, Error> {
    PipelineConfig::parse(Path::new("orders.toml"), text, &environment)
}

/// The messages for the good file with one piece replaced.
fn refused(piece: &str, with: &str) -> String {
    assert_eq!(GOOD.matches(piece).count(), 1, "{piece}");
    parse(&GOOD.replacen(piece, with, 1)).unwrap_err().to_string()
}

#[test]
fn a_good_file_is_read_whole() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.name, "orders");
    assert_eq!(config.source.kafka, "127.0.0.1:9092");
    assert_eq!(config.source.postgres.expose(), "postgres://user:hunter2@db:5432/shop");
    assert_eq!(config.source.start, Start::Earliest);
    assert!(!config.source.append_only);
    assert_eq!(config.select.sql, "SELECT o.id FROM orders o\n");
    assert_eq!(config.sinks.iter().map(SinkConfig::name).collect::<Vec<_>>(), ["ranking", "webhook"]);
    assert_eq!(config.topic("public", "orders"), "shop.public.orders");
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("c3VwZXJz"), "{shown}");
}

#[test]
fn each_mistake_has_one_message_with_line_key_and_remedy() {
    let file = |line: usize, rest: &str| format!("orders.toml:{line}: {rest}");
    for (piece, with, expected) in [
        ("name = \"orders\"", "", file(1, "name: is required and missing; add name")),
        ("name = \"orders\"", "name = 7", file(2, "name: invalid type: integer `7`; expected a string")),
        (
            "name = \"orders\"",
            "name = \"Orders!\"",
            file(
                2,
                "name: \"Orders!\" cannot be a name; use 1 to 60 of a to z, 0 to 9, - and _: it becomes part of topics and consumer groups",
            ),
        ),
        (
            "name = \"orders\"",
            "nome = \"orders\"\nname = \"o\"",
            file(2, "nome: is not a key that exists here; the keys here are name, source, select, sink"),
        ),
        (
            "prefix   = \"shop\"",
            "prefix   = \"shop\"\nbroker = \"x\"",
            file(
                7,
                "source.broker: is not a key that exists here; the keys here are kafka, prefix, postgres, connect, start, append_only, instance",
            ),
        ),
        ("prefix   = \"shop\"", "", file(4, "source.prefix: is required and missing; add prefix")),
        (
            "prefix   = \"shop\"",
            "prefix   = \"sh op\"",
            file(
                6,
                "source.prefix: \"sh op\" cannot begin the name of a topic; write the connector's topic.prefix: 1 to 100 of letters, digits, . _ and -",
            ),
        ),
        (
            "${BROKERS:-127.0.0.1:9092}",
            "a:1, b",
            file(5, "source.kafka: \" b\" is not a Kafka server; write host:port, several separated by commas"),
        ),
        (
            "${DATABASE_URL}",
            "${DB_URL}",
            file(7, "source.postgres: the environment variable DB_URL is not set; set it, or write ${DB_URL:-default}"),
        ),
        (
            "${DATABASE_URL}",
            "mysql://user:hunter2@db/shop",
            file(7, "source.postgres: is not a URL of Postgres; write postgres://user:password@host:port/database"),
        ),
        ("[select]", "start = \"newest\"\n[select]", file(9, "source.start: unknown variant `newest`; expected earliest or latest")),
        ("[select]", "connect = \"db:1\"\n[select]", file(9, "source.connect: is not an HTTP URL; write http://host:8083 or leave it out")),
        ("SELECT o.id FROM orders o", "", file(10, "select.sql: is empty; write a SELECT")),
        ("type   = \"redis_ranking\"", "", file(14, "sink.1.type: is required and missing; add type = \"redis_ranking\" or \"webhook\"")),
        (
            "type   = \"redis_ranking\"",
            "type   = \"redis\"",
            file(15, "sink.1.type: there is no sink of type \"redis\"; write \"redis_ranking\" or \"webhook\""),
        ),
        ("member = \"id\"", "", file(14, "sink.ranking.member: is required and missing; add member")),
        (
            "window = \"1h\"",
            "window = \"1 hour\"",
            file(21, "sink.ranking.window: \"1 hour\" is not a duration; write a whole number and a unit: 500ms, 10s, 10m, 2h, 7d"),
        ),
        (
            "window = \"1h\"",
            "window = 60",
            file(21, "sink.ranking.window: invalid type: integer `60`; expected a duration in quotes such as \"10s\""),
        ),
        (
            "type   = \"webhook\"",
            "type   = \"webhook\"\nname = \"ranking\"",
            file(27, "sink.ranking.name: two sinks are called \"ranking\"; give each [[sink]] its own name"),
        ),
        ("[[sink]]\ntype   = \"webhook\"", "[sink]\ntype   = \"webhook\"", file(25, "duplicate key; correct it")),
        ("[select]", "[select", file(9, "unclosed table; expected ]")),
    ] {
        assert_eq!(refused(piece, with), expected, "{piece} -> {with}");
    }
}

#[test]
fn all_problems_come_at_once_in_the_order_of_lines() {
    let text = GOOD
        .replace("\"orders\"", "\"\"")
        .replace("${DATABASE_URL}", "${A}")
        .replace("ahead  = \"1m\"", "ahead  = \"1x\"")
        .replace("${SECRET}", "${B}");
    let expected = "\
orders.toml:2: name: \"\" cannot be a name; use 1 to 60 of a to z, 0 to 9, - and _: it becomes part of topics and consumer groups
orders.toml:7: source.postgres: the environment variable A is not set; set it, or write ${A:-default}
orders.toml:23: sink.ranking.ahead: \"1x\" is not a duration; write a whole number and a unit: 500ms, 10s, 10m, 2h, 7d
orders.toml:28: sink.webhook.secret: the environment variable B is not set; set it, or write ${B:-default}";
    assert_eq!(parse(&text).unwrap_err().to_string(), expected);
}

#[test]
fn a_value_of_the_environment_cannot_become_syntax_and_is_not_repeated() {
    let message = refused("\"shop\"", "\"${QUOTE}\"");
    assert!(message.contains("cannot begin the name of a topic"), "{message}");
    let message = refused("window = \"1h\"", "window = \"${SECRET}\"");
    assert_eq!(
        message,
        "orders.toml:21: sink.ranking.window: \"${SECRET}\" is not a duration; write a whole number and a unit: 500ms, 10s, 10m, 2h, 7d"
    );
}

#[test]
fn a_file_needs_a_sink() {
    let text = &GOOD[..GOOD.find("[[sink]]").unwrap()];
    assert_eq!(parse(text).unwrap_err().to_string(), "orders.toml:1: sink: there is none; add a [[sink]] table");
}

#[test]
fn files_that_cannot_be_read_and_names_used_twice_are_refused() {
    let directory = std::env::temp_dir().join(format!("highwater-config-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let text = GOOD.replace("${DATABASE_URL}", "postgres://db/shop").replace("${SECRET}", SECRET);
    let (first, second) = (directory.join("a.toml"), directory.join("b.toml"));
    std::fs::write(&first, &text).unwrap();
    std::fs::write(&second, &text).unwrap();
    assert_eq!(load(std::slice::from_ref(&first)).unwrap().len(), 1);
    let expected =
        format!("{}:2: name: \"orders\" is also the name in {}; give each pipeline its own name", second.display(), first.display());
    assert_eq!(load(&[first, second]).unwrap_err().to_string(), expected);
    let missing = directory.join("c.toml");
    let expected = format!("{}: No such file or directory (os error 2); name a pipeline file that can be read", missing.display());
    assert_eq!(load(&[missing]).unwrap_err().to_string(), expected);
    std::fs::remove_dir_all(&directory).unwrap();
}
