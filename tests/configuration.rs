//! What is wrong is refused at start: exit code 2, and a message that names the place and the remedy.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::database::Database;
use crate::support::scenario::{self, Extra};
use crate::support::stack::{Stack, program, root};
use crate::support::stage::{Directory, SECRET, Stage};
use crate::support::{eventually, seconds};

/// Nothing listens there; what is wrong in the file itself must be found without a server.
const GOOD: &str = r#"
name = "demo"
[source]
kafka = "127.0.0.1:1"
prefix = "demo"
postgres = "postgres://u:p@127.0.0.1:1/d"
[select]
sql = "SELECT a.id, a.b FROM a"
[[sink]]
type = "redis_ranking"
redis = "redis://127.0.0.1:1"
key = "k"
member = "b"
score = "id"
time = "t"
window = "10m"
bucket = "10s"
ahead = "10m"
[[sink]]
type = "webhook"
url = "http://127.0.0.1:1/"
secret = "whsec_dGhpcyBpcyBhIHNlY3JldCBvZiB0aGUgdGVzdHM="
"#;

/// What is replaced, by what, and what the message must hold.
const WRONG: &[(&str, &str, &[&str])] = &[
    ("name = \"demo\"", "nam = \"demo\"", &["nam", "name"]),
    ("name = \"demo\"", "name = \"Not A Name\"", &["pipeline.toml:2", "Not A Name"]),
    ("name = \"demo\"", "name = ", &["pipeline.toml:2"]),
    ("kafka = \"127.0.0.1:1\"", "kafka = 9092", &["pipeline.toml:4", "source.kafka"]),
    ("kafka = \"127.0.0.1:1\"", "kafka = \"localhost\"", &["source.kafka", "host:port"]),
    ("kafka = \"127.0.0.1:1\"", "kafka = \"${NOT_SET_ANYWHERE}\"", &["NOT_SET_ANYWHERE", "not set"]),
    ("prefix = \"demo\"\n", "", &["source.prefix", "missing"]),
    ("[select]\nsql = \"SELECT a.id, a.b FROM a\"", "[select]\nsql = \"\"", &["select.sql", "empty"]),
    ("type = \"webhook\"", "type = \"webhok\"", &["webhok", "webhook"]),
    ("window = \"10m\"", "window = \"ten minutes\"", &["window"]),
    ("window = \"10m\"", "windows = \"10m\"", &["windows"]),
    ("key = \"k\"\n", "", &["key", "missing"]),
];

fn run(program: &Path, arguments: &[&str], file: &Path) -> Output {
    Command::new(program).args(arguments).arg(file).env("HIGHWATER_LISTEN", "127.0.0.1:0").output().unwrap()
}

#[test]
fn a_wrong_file_is_refused_with_its_place_and_the_remedy() {
    let directory = Directory::new("configuration");
    let file = directory.path().join("pipeline.toml");
    for (good, wrong, message) in WRONG {
        assert!(GOOD.contains(good), "{good}");
        std::fs::write(&file, GOOD.replace(good, wrong)).unwrap();
        for command in ["run", "check"] {
            let output = run(Path::new(env!("CARGO_BIN_EXE_highwater")), &[command], &file);
            let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert_eq!(output.status.code(), Some(2), "{command} with {wrong:?}: {said}");
            assert!(message.iter().all(|part| said.contains(part)), "{command} with {wrong:?} does not say {message:?}: {said}");
            assert!(!said.contains("dGhpcyBpcyBhIHNlY3JldC"), "the secret is shown: {said}");
        }
    }
    let missing = run(Path::new(env!("CARGO_BIN_EXE_highwater")), &["run"], &directory.path().join("none.toml"));
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("none.toml"));
}

/// What contradicts the database, the topic or the sinks: a change of the SELECT or the tables, and what the message must hold.
const CONTRADICTIONS: &[(&str, &str, &[&str])] = &[
    ("select", "SELECT e.id, e.nothing FROM {events} e", &["nothing"]),
    ("select", "SELECT e.id, count(*) FROM {events} e GROUP BY e.id", &["GROUP BY"]),
    ("select", "SELECT e.id, now() AS t FROM {events} e", &["now"]),
    ("select", "SELECT e.id FROM missing_{events} e", &["missing_"]),
    ("select", "SELECT e.id, e.content_id, e.event_ts, e.device AS engagement_seconds FROM {events} e", &["engagement_seconds"]),
    (
        "select",
        "SELECT e.id, c.id AS content_id, e.event_ts, e.duration_ms AS engagement_seconds FROM {events} e LEFT JOIN {content} c ON c.id = e.content_id",
        &["append_only"],
    ),
    ("select", "SELECT e.id, e.event_type || 1 + FROM {events} e", &["select"]),
    ("secret", "whsec_short", &["secret", "32"]),
    ("url", "ftp://127.0.0.1/", &["url", "http"]),
    ("tables", "ALTER TABLE {events} REPLICA IDENTITY DEFAULT", &["REPLICA IDENTITY FULL"]),
    ("tables", "ALTER TABLE {events} DROP CONSTRAINT {events}_pkey", &["key"]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn what_contradicts_the_database_is_refused() {
    for (n, (what, change, message)) in CONTRADICTIONS.iter().enumerate() {
        let mut scenario = scenario::engagement(&format!("refused{n}"));
        let (events, content) = (scenario.source.clone(), scenario.lookups[0].clone());
        let change = change.replace("{events}", &events).replace("{content}", &content);
        let stack = Stack::running();
        let database = Database::open(&stack.postgres);
        database.run(&scenario.schema).await;
        let (mut url, mut secret) = ("http://127.0.0.1:1/", SECRET);
        match *what {
            "select" => scenario.select = change.clone(),
            "url" => url = &change,
            "secret" => secret = &change,
            _ => database.run(&change).await,
        }
        for table in scenario.tables() {
            crate::support::kafka::create_topic(&stack.kafka, &format!("{}.public.{table}", scenario.name)).await;
        }
        let directory = Directory::new(&scenario.name);
        let file = directory.path().join("pipeline.toml");
        std::fs::write(&file, scenario.pipeline(url, secret, &Extra::default())).unwrap();
        let mut engine = crate::support::engine::Engine::start(directory.path(), "engine", std::slice::from_ref(&file));
        let status = engine.ended(seconds(30)).await;
        let said = engine.log();
        assert_eq!(status.code(), Some(2), "{change}: {said}");
        assert!(message.iter().all(|part| said.contains(part)), "{change} does not say {message:?}: {said}");
        database.run(&format!("DROP TABLE {events}, {content}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn check_finds_nothing_wrong_with_a_pipeline_that_runs() {
    let stage = Stage::set(scenario::engagement("check")).await;
    let output = run(&program("highwater"), &["check"], &stage.pipeline);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.lines().count() > 5, "one line per fact: {said}");
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn check_finds_nothing_wrong_with_the_shipped_pipeline() {
    let pipeline = root().join("pipelines/engagement.toml");
    let check = async || {
        let output = run(&program("highwater"), &["check"], &pipeline);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.code() == Some(0) { Ok(()) } else { Err(said) }
    };
    Stack::running();
    eventually("check finds nothing wrong", seconds(20), check).await;
}
