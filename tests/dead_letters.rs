//! Dead letters, replayed: rows that could not be computed count once when what was wrong is mended, whoever replays them, however often.

use std::process::Command;
use std::sync::Arc;

use crate::support::database::Load;
use crate::support::scenario::{self, Scenario};
use crate::support::stack::program;
use crate::support::stage::Stage;
use crate::support::{eventually, seconds};

const LOAD: Load = Load { writers: 4, changes: 300, per_second: 150, seed: 61 };

/// Inserts alone; the SELECT divides by a price of the lookup table, and one of them is zero.
fn shares(test: &str) -> Scenario {
    let mut scenario = scenario::sales_append_only(test);
    let (source, prices) = (&scenario.source, &scenario.lookups[0]);
    scenario.select = format!(
        "SELECT s.shop, s.receipt, s.sold_at, p.valid_from::text AS since, 100 / p.price * s.quantity AS worth
         FROM {source} s INNER JOIN {prices} p ON p.region = s.region AND p.sku = s.sku WHERE p.active"
    );
    // In the window for as long as this takes.
    scenario.statements.iter_mut().for_each(|(_, statement)| *statement = statement.replace("random() * 45 - 40", "random() * 28"));
    scenario.first_rows = scenario.first_rows.replace("random() * 45 - 40", "random() * 28");
    scenario.first_rows += &format!("UPDATE {prices} SET price = 0 WHERE region = 'north' AND sku IN (1, 2, 5, 6);");
    scenario
}

/// `highwater dead-letters COMMAND PIPELINE SINK MORE...`: its exit code and what it says.
fn dead_letters(stage: &Stage, command: &str, sink: &str, more: &[&str]) -> (Option<i32>, String) {
    let run = || {
        let mut highwater = Command::new(program("highwater"));
        highwater.args(["dead-letters", command]).arg(&stage.pipeline).arg(sink).args(more).output().unwrap()
    };
    let output = tokio::task::block_in_place(run);
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

/// Rows for which the SELECT fails now.
async fn failing(stage: &Stage) -> usize {
    let (source, prices) = (&stage.scenario.source, &stage.scenario.lookups[0]);
    let query = format!("SELECT count(*) FROM {source} s JOIN {prices} p USING (region, sku) WHERE p.active AND p.price = 0");
    stage.database.value(&query).await.parse().unwrap()
}

/// The engines' own count of what is outstanding.
async fn wait_outstanding(stage: &Stage, sink: &str, count: usize) {
    for engine in &stage.engines {
        eventually(&format!("{count} dead letters of {sink} are outstanding"), seconds(60), async || {
            let sink = format!("sink=\"{sink}\"");
            let seen = engine.metric("highwater_dead_letters_outstanding", &[&sink]).await as usize;
            let oldest = engine.metric("highwater_dead_letters_oldest_timestamp_seconds", &[&sink]).await;
            if seen == count && (oldest > 1.7e9) == (count > 0) { Ok(()) } else { Err(format!("{seen}, the oldest of {oldest}")) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn what_was_parked_counts_once_when_it_is_replayed() {
    // GIVEN rows that divide by zero, of the snapshot and after it
    let mut stage = Stage::set(shares("letters")).await;
    stage.start_engines(2).await;
    stage.write_all(LOAD).await;
    let parked = failing(&stage).await;
    assert!(parked > 10, "{parked} rows fail: too few to show anything");
    let whole = Arc::clone(&stage.scenario);
    stage.scenario = Arc::new(Scenario { select: format!("{} AND p.price <> 0", whole.select), ..Scenario::clone(&whole) });
    stage.assert_ranking().await;
    let letters = stage.dead_letters("ranking", parked).await;
    assert_eq!(letters.len(), parked);
    assert!(letters.values().all(|letter| letter.headers["highwater-error-sqlstate"] == "22012"), "{letters:?}");
    wait_outstanding(&stage, "ranking", parked).await;

    // WHEN they are replayed, and still divide by zero
    for sink in ["ranking", "webhook"] {
        let (code, said) = dead_letters(&stage, "replay", sink, &[]);
        assert!(code == Some(1) && said.contains("division by zero") && said.contains("row: 0 replayed, "), "{code:?} {said}");
    }
    // THEN nothing has changed
    stage.assert_ranking().await;
    wait_outstanding(&stage, "ranking", parked).await;
    stage.note(&format!("{parked} rows are parked, and fail again"));

    // WHEN the price is mended, and they are replayed by two at once, and again, while rows come
    stage.scenario = whole;
    let (mut writers, _) = stage.write(Load { seed: 62, ..LOAD });
    let prices = &stage.scenario.lookups[0];
    stage.database.run(&format!("UPDATE {prices} SET price = 2.5 WHERE price = 0")).await;
    std::thread::scope(|scope| {
        for sink in ["ranking", "webhook", "ranking", "webhook"] {
            let (stage, program) = (&stage, program("highwater"));
            scope.spawn(move || {
                let output = Command::new(program).args(["dead-letters", "replay"]).arg(&stage.pipeline).arg(sink).output().unwrap();
                println!("  {sink}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            });
        }
    });
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    for sink in ["ranking", "webhook"] {
        // Rows that came before the engines saw the mended price are parked as well.
        eventually("nothing is outstanding", seconds(60), async || match dead_letters(&stage, "replay", sink, &[]) {
            (Some(0), said) if said == "nothing is outstanding\n" => Ok(()),
            (code, said) => Err(format!("{code:?} {said}")),
        })
        .await;
    }

    // THEN ranking and receiver are as Postgres says, and the topic and the metrics know it
    stage.assert_exact().await;
    for sink in ["ranking", "webhook"] {
        wait_outstanding(&stage, sink, 0).await;
        assert_eq!(dead_letters(&stage, "list", sink, &[]), (Some(0), "nothing is parked\n".to_owned()));
        let (_, all) = dead_letters(&stage, "list", sink, &["--all"]);
        assert!(all.contains("REPLAYED (UTC)") && all.contains("division by zero"), "{all}");
    }
    let ((partition, offset), _) = letters.first_key_value().unwrap();
    let one = format!("{partition}:{offset}");
    let (_, shown) = dead_letters(&stage, "show", "ranking", &[&one]);
    assert!(shown.contains("\nreplayed  20") && shown.contains("division by zero"), "{shown}");
    let (code, said) = dead_letters(&stage, "replay", "ranking", &[&one]);
    assert_eq!((code, said.as_str()), (Some(0), "row: 0 replayed, 0 still failing, 1 no longer outstanding\n"));
    stage.assert_ranking().await;
    stage.note("exact after every replay");

    // WHEN the ranking is rebuilt from the topic
    let rebuild = || Command::new(program("highwater")).arg("replay").arg(&stage.pipeline).status().unwrap();
    assert!(tokio::task::block_in_place(rebuild).success());
    // THEN they count in their place, and nothing is parked again
    stage.write_all(Load { changes: 100, seed: 63, ..LOAD }).await;
    stage.assert_exact().await;
    wait_outstanding(&stage, "ranking", 0).await;
    stage.strike().await;
}
