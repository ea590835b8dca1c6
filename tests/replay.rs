//! `highwater replay` and `[sink.verify]`: what a sink lost is sent or built again, exactly; what differs is found. Expected values come from Postgres.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

use crate::support::database::Load;
use crate::support::scenario::{self, Extra};
use crate::support::stack::program;
use crate::support::stage::Stage;
use crate::support::{eventually, seconds};

const LOAD: Load = Load { writers: 4, changes: 400, per_second: 200, seed: 51 };

fn command(stage: &Stage, arguments: &[&str]) -> Command {
    let mut command = Command::new(program("highwater"));
    command.arg("replay").arg(&stage.pipeline).args(arguments);
    command
}

/// Its exit code and what it says.
fn replay(stage: &Stage, arguments: &[&str]) -> (Option<i32>, String) {
    let output = tokio::task::block_in_place(|| command(stage, arguments).output().unwrap());
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), said)
}

/// Starts it, and ends it with a signal as soon as the receiver holds that many events. Its exit code.
async fn cut_off(stage: &Stage, arguments: &[&str], stored: u64, signal: &str) -> Option<i32> {
    let mut child = command(stage, arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    stage.receiver.wait_stored(stored, seconds(60)).await;
    assert!(child.try_wait().unwrap().is_none(), "it was through before it could be cut off");
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    eventually("the replay ends", seconds(20), async || child.try_wait().unwrap().ok_or_else(|| "it runs".to_owned())).await.code()
}

/// The receiver loses everything.
async fn empty_receiver(stage: &mut Stage) {
    stage.receiver.kill();
    for entry in std::fs::read_dir(stage.directory()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("events.sqlite") {
            std::fs::remove_file(path).unwrap();
        }
    }
    stage.receiver.restart().await;
    assert_eq!(stage.receiver.stored().await, 0);
}

/// What the receiver holds: by id type, key, row before and after.
async fn received(stage: &Stage) -> BTreeMap<String, [String; 4]> {
    let of = |line: &str| {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        let fields = ["type", "subject", "before", "after"].map(|name| event[name].to_string());
        (event["id"].as_str().unwrap().to_owned(), fields)
    };
    stage.receiver.export().await.lines().map(of).collect()
}

/// Now, by the clock of Postgres.
async fn now(stage: &Stage) -> String {
    stage.database.value(r#"SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"#).await
}

/// Puts something else into the pipeline file.
fn edit(stage: &Stage, old: &str, new: &str) {
    let text = std::fs::read_to_string(&stage.pipeline).unwrap();
    assert!(text.contains(old));
    std::fs::write(&stage.pipeline, text.replace(old, new)).unwrap();
}

/// GIVEN a receiver that lost everything; WHEN a range is replayed, cut off twice and continued; THEN the receiver holds every event of the range as Postgres
/// computes it, under the ids it had, and no other event.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn a_range_is_sent_again_whole_under_the_same_ids_however_often_it_is_cut_off() {
    let mut stage = Stage::set(scenario::engagement("range")).await;
    stage.start_engines(1).await;
    stage.write_all(Load { changes: 60, ..LOAD }).await;
    stage.assert_exact().await;
    stage.begin_anew().await;
    let from = now(&stage).await;
    stage.write_all(Load { seed: 52, ..LOAD }).await;
    stage.assert_exact().await;
    let of_range = received(&stage).await.len() - stage.compared;
    let ids: BTreeSet<String> = {
        let export = stage.receiver.export().await;
        let id = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
        export.lines().skip(stage.compared).map(id).collect()
    };
    assert_eq!(ids.len(), of_range);
    let first = received(&stage).await;
    let to = now(&stage).await;
    let (source, stored) = (stage.scenario.source.clone(), stage.receiver.stored().await);
    stage.database.run(&format!("ALTER TABLE {source} DISABLE TRIGGER ledger_{source}; {}", stage.scenario.probe)).await;
    stage.receiver.wait_stored(stored + 1, seconds(30)).await;
    let probes: u64 = stage
        .database
        .value(&format!("SELECT count(*) FROM {source} WHERE xmin::text = (SELECT max(xmin::text::bigint)::text FROM {source})"))
        .await
        .parse()
        .unwrap();
    stage.receiver.wait_stored(stored + probes, seconds(30)).await;

    empty_receiver(&mut stage).await;
    let range = ["--sink", "webhook", "--from", &from, "--to", &to];
    let (code, said) = replay(&stage, &[&range[..], &["--dry-run"]].concat());
    assert!(code == Some(0) && said.contains(&format!("{of_range} events would be sent")), "{of_range}: {said}");
    assert_eq!(stage.receiver.stored().await, 0, "a dry run sent something");
    let slowly = [&range[..], &["--rate", "60"]].concat();
    assert_eq!(cut_off(&stage, &slowly, 60, "-KILL").await, None);
    assert_eq!(cut_off(&stage, &slowly, 130, "-INT").await, Some(1));
    let (code, said) = replay(&stage, &range);
    assert!(code == Some(0) && said.contains("continues where it stopped"), "{said}");
    stage.note(said.lines().last().unwrap());

    stage.scenario.assert_received(&stage.database, &stage.receiver, 0).await;
    let again = received(&stage).await;
    assert_eq!(again.keys().collect::<BTreeSet<_>>(), ids.iter().collect::<BTreeSet<_>>());
    assert!(again.iter().all(|(id, event)| first[id] == *event), "an event is another one under its id");

    // One that was finished begins anew, and sends what the receiver knows.
    let (code, said) = replay(&stage, &[&range[..], &["--rate", "100000"]].concat());
    assert!(code == Some(0) && said.contains(&format!("{of_range} events were delivered")), "{said}");
    assert_eq!(stage.receiver.stored().await, of_range as u64);
    for (arguments, reason) in [
        (&["--sink", "webhook"][..], "--from"),
        (&["--sink", "webhook", "--from", "yesterday"], "RFC 3339"),
        (&["--sink", "webhook", "--from", &to, "--to", &from], "nothing between"),
        (&["--sink", "webhook", "--from", "1h", "--source", "postgres"], "no time of its own"),
        (&["--sink", "nobody", "--from", "1h"], "no sink"),
    ] {
        let (code, said) = replay(&stage, arguments);
        assert!(code == Some(2) && said.contains(reason), "{arguments:?}: {said}");
    }
    stage.strike().await;
}

/// Every row of the table with the key that its changes have, as Postgres computes it: key, row.
async fn rows_of_the_table(stage: &Stage) -> BTreeSet<(String, String)> {
    let (source, select) = (&stage.scenario.source, &stage.scenario.select);
    let key: Vec<_> = stage.scenario.key.iter().map(|column| format!("'{column}', (t).{column}")).collect();
    let query = format!(
        "SELECT jsonb_build_object({})::text, (SELECT to_jsonb(q)::text FROM (WITH {source} AS (SELECT (t).*) {select}) q) FROM {source} t",
        key.join(", ")
    );
    let rows = stage.database.rows(&query).await;
    rows.into_iter().filter_map(|row| <[Option<String>; 2]>::try_from(row).ok()).filter_map(|[key, row]| Some((key?, row?))).collect()
}

/// The same, of the snapshot events at the receiver.
async fn rows_received(stage: &Stage) -> BTreeSet<(String, String)> {
    let lines: Vec<String> = stage.receiver.export().await.lines().map(str::to_owned).collect();
    let sql = "SELECT (line->>'subject')::jsonb::text, (line->'after')::text FROM unnest($1::text[]::jsonb[]) AS lines (line)
               WHERE line->>'type' = 'highwater.row.snapshot' AND line->'before' = 'null'";
    let rows: Vec<(String, String)> = sqlx::query_as(sql).bind(&lines).fetch_all(&stage.database.pool).await.unwrap();
    assert_eq!(rows.len(), lines.len(), "events that are no rows");
    rows.into_iter().collect()
}

/// GIVEN a table that the topic does not matter for; WHEN its rows are replayed, cut off and continued; THEN the receiver holds every row as Postgres computes it, with the
/// keys and values that records give, and under the same ids each time; a row that changed has another.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn the_rows_of_the_table_are_sent_as_records_would_bring_them_under_ids_that_stay() {
    let extra = Extra { webhook: "snapshot = true".to_owned(), ..Extra::default() };
    let mut stage = Stage::set_with(scenario::sales_left("rows"), &extra).await;
    stage.start_engines(1).await;
    stage.write_all(LOAD).await;
    let events = stage.scenario.expected_count(&stage.database).await;
    stage.receiver.wait_stored(events, seconds(60)).await;
    let expected = rows_of_the_table(&stage).await;
    assert!(expected.len() > 150, "{} rows", expected.len());
    // The last event of each key that came in a record, snapshot rows among them.
    let mut of_records = BTreeMap::new();
    let by_records = eventually("every row has come in a record", seconds(60), async || {
        of_records.clear();
        for line in stage.receiver.export().await.lines() {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            of_records.insert(event["subject"].as_str().unwrap().to_owned(), event["after"].to_string());
        }
        let rows: BTreeMap<_, _> = of_records.iter().filter(|(_, row)| *row != "null").map(|(k, v)| (k.clone(), v.clone())).collect();
        if rows.len() == expected.len() { Ok(rows) } else { Err(format!("{} of {}", rows.len(), expected.len())) }
    })
    .await;
    stage.terminate(seconds(20)).await;

    empty_receiver(&mut stage).await;
    let rows = ["--sink", "webhook", "--source", "postgres"];
    let slowly = [&rows[..], &["--rate", "60"]].concat();
    assert_eq!(cut_off(&stage, &slowly, 60, "-KILL").await, None);
    let (code, said) = replay(&stage, &rows);
    assert!(code == Some(0) && said.contains("continues where it stopped"), "{said}");
    assert!(rows_received(&stage).await == expected, "the rows differ");
    let first = received(&stage).await;
    assert_eq!(first.len(), expected.len());
    // As records bring them: the key as it is written, the values with every digit.
    let by_rows: BTreeMap<_, _> =
        first.values().map(|[_, key, _, row]| (serde_json::from_str::<String>(key).unwrap(), row.clone())).collect();
    assert!(by_rows == by_records, "rows are not as records bring them");

    empty_receiver(&mut stage).await;
    let (code, said) = replay(&stage, &[&rows[..], &["--rate", "100000"]].concat());
    assert!(code == Some(0) && said.contains(&format!("{} events were delivered", expected.len())), "{said}");
    assert!(received(&stage).await == first, "the second run is another one");

    let source = &stage.scenario.source;
    let key = "(shop, receipt) = (SELECT shop, receipt FROM CHANGED WHERE quantity > 0 LIMIT 1)".replace("CHANGED", source);
    stage.database.run(&format!("UPDATE {source} SET unit_price = unit_price + 1 WHERE {key}")).await;
    empty_receiver(&mut stage).await;
    assert_eq!(replay(&stage, &[&rows[..], &["--rate", "100000"]].concat()).0, Some(0));
    assert!(rows_received(&stage).await == rows_of_the_table(&stage).await, "the rows differ after one changed");
    let again = received(&stage).await;
    assert_eq!(again.keys().filter(|id| !first.contains_key(*id)).count(), 1);
    stage.engines.clear();
    stage.strike().await;
}

/// Puts one unit too much into one bucket of one member; which.
async fn damage(stage: &Stage, redis: &mut redis::aio::MultiplexedConnection) -> String {
    let key = &stage.scenario.ranking.as_ref().unwrap().key;
    let letter: String = redis::cmd("HGET").arg(format!("{{{key}}}:state")).arg("served").query_async(redis).await.unwrap();
    let buckets = format!("{{{key}}}:{letter}:buckets");
    let all: BTreeMap<String, String> = redis::cmd("HGETALL").arg(&buckets).query_async(redis).await.unwrap();
    // The oldest one: of the closed stretch, and far from expiring.
    let (field, sum) = all.iter().next().unwrap();
    let (amount, rows) = sum.split_once(' ').unwrap();
    let wrong = format!("{} {rows}", amount.parse::<i64>().unwrap() + 1);
    let _: i64 = redis::cmd("HSET").arg(&buckets).arg(field).arg(wrong).query_async(redis).await.unwrap();
    field.split_once(':').unwrap().1.to_owned()
}

async fn redis_of(stage: &Stage) -> redis::aio::MultiplexedConnection {
    redis::Client::open(stage.stack.redis.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

/// A window that is longer than the test.
fn lengthen_window(stage: &Stage) {
    edit(stage, "window = \"30s\"", "window = \"15m\"");
}

/// Waits until an epoch is served that is not this one, and none is built.
async fn another_epoch(stage: &Stage, redis: &mut redis::aio::MultiplexedConnection, old: &str) -> String {
    eventually("another epoch is served", seconds(60), async || {
        let key = &stage.scenario.ranking.as_ref().unwrap().key;
        let state: BTreeMap<String, String> = redis::cmd("HGETALL").arg(format!("{{{key}}}:state")).query_async(redis).await.unwrap();
        let (Some(served), None) = (state.get("served"), state.get("building")) else { return Err(format!("{state:?}")) };
        let id: String = redis::cmd("HGET").arg(format!("{{{key}}}:{served}")).arg("id").query_async(redis).await.unwrap();
        if id == old { Err(format!("{id} is served")) } else { Ok(id) }
    })
    .await
}

/// GIVEN a ranking that is exact; THEN a dry run says so; WHEN one member is damaged, in what it is made of or in what users read; THEN it names exactly that one, and a
/// replay mends it.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn a_dry_run_names_exactly_what_a_rebuild_would_change() {
    let mut stage = Stage::set(scenario::engagement("dry")).await;
    lengthen_window(&stage);
    let (code, said) = replay(&stage, &["--dry-run"]);
    assert!(code == Some(2) && said.contains("no ranking is served"), "{said}");
    stage.start_engines(1).await;
    stage.write_all(LOAD).await;
    stage.assert_ranking().await;
    let mut redis = redis_of(&stage).await;
    let first = another_epoch(&stage, &mut redis, "").await;
    let (code, said) = replay(&stage, &["--dry-run"]);
    assert!(code == Some(0) && said.contains("equal"), "{said}");

    let member = damage(&stage, &mut redis).await;
    let (code, said) = replay(&stage, &["--dry-run"]);
    assert!(code == Some(1) && said.contains("would change 1 of") && said.contains(&member) && said.contains("-0.001"), "{member}: {said}");
    let key = stage.scenario.ranking.as_ref().unwrap().key.clone();
    let _: i64 = redis::cmd("ZADD").arg(&key).arg(70).arg("nobody").query_async(&mut redis).await.unwrap();
    let (code, said) = replay(&stage, &["--dry-run"]);
    let lines: Vec<_> = said.lines().filter(|line| line.contains("  ")).collect();
    assert!(code == Some(1) && said.contains("would change 2 of"), "{said}");
    assert!(lines.iter().any(|line| line.starts_with("nobody") && line.contains("-70.000") && line.ends_with("what users read")), "{said}");
    assert!(said.find("nobody") < said.find(&member), "the largest change is not first: {said}");

    let (code, said) = replay(&stage, &[]);
    assert!(code == Some(0), "{said}");
    let second = another_epoch(&stage, &mut redis, &first).await;
    stage.assert_ranking().await;
    let (code, said) = replay(&stage, &["--dry-run"]);
    assert!(code == Some(0) && said.contains("equal"), "{said}");
    // From further back the same comes out.
    assert_eq!(replay(&stage, &["--from", "3h"]).0, Some(0));
    another_epoch(&stage, &mut redis, &second).await;
    stage.assert_ranking().await;
    for (arguments, reason) in [
        (&["--from", "1s"][..], "the ranking's window needs"),
        (&["--from", "1s", "--dry-run"], "the ranking's window needs"),
        (&["--from", "3h", "--to", "1h"], "--to is for webhooks"),
        (&["--source", "postgres"], "create it again"),
        (&["--restart"], "--restart is for webhooks"),
    ] {
        let (code, said) = replay(&stage, arguments);
        assert!(code == Some(2) && said.contains(reason), "{arguments:?}: {said}");
    }
    stage.strike().await;
}

/// GIVEN a ranking that two engines compare on a schedule; WHEN one member is damaged by one unit; THEN the metrics of both and one line of the log say so, and that it is gone after a replay.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn a_live_ranking_is_compared_with_sql_on_a_schedule() {
    let mut stage = Stage::set(scenario::engagement("schedule")).await;
    lengthen_window(&stage);
    edit(&stage, "ahead = \"30s\"\n", "ahead = \"30s\"\n[sink.verify]\nevery = \"1s\"\n");
    stage.start_engines(2).await;
    stage.write_all(LOAD).await;
    stage.wait_sent().await;
    stage.assert_ranking().await;
    let metric_of =
        async |engine: usize, name: &str| stage.engines[engine].metric(&format!("highwater_verify_{name}"), &["sink=\"ranking\""]).await;
    let metric = async |name: &str| metric_of(0, name).await;
    let differing = async |count: f64| {
        for engine in 0..2 {
            eventually(&format!("{count} members differ"), seconds(60), async || {
                let (members, differ) = (metric_of(engine, "members").await, metric_of(engine, "members_differing").await);
                if members > 5.0 && (differ - count).abs() < 0.5 { Ok(()) } else { Err(format!("{differ} of {members}")) }
            })
            .await;
        }
    };
    differing(0.0).await;
    let since = metric("finished_timestamp_seconds").await;
    let mut redis = redis_of(&stage).await;
    let first = another_epoch(&stage, &mut redis, "").await;
    let member = damage(&stage, &mut redis).await;
    differing(1.0).await;
    let largest = metric("largest_difference").await;
    assert!((largest - 0.001).abs() < 1e-9, "{largest}");
    // Found again and again, and said once.
    let found = metric("finished_timestamp_seconds").await;
    assert!(found > since);
    eventually("it is compared again", seconds(60), async || {
        let again = metric("finished_timestamp_seconds").await;
        if again > found { Ok(()) } else { Err(again.to_string()) }
    })
    .await;
    let said = |text: &str| stage.engines[0].log().lines().filter(|line| line.contains(text)).map(str::to_owned).collect::<Vec<_>>();
    let lines = said("the ranking differs from SQL");
    assert!(lines.len() == 1 && lines[0].contains(&member), "{member}: {lines:?}");
    let (code, output) = replay(&stage, &[]);
    assert_eq!(code, Some(0), "{output}");
    another_epoch(&stage, &mut redis, &first).await;
    differing(0.0).await;
    eventually("it is said that it is gone", seconds(10), async || match said("the ranking equals SQL again").len() {
        1 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
    assert!(metric("failures_total").await < 0.5);
    stage.strike().await;
}
