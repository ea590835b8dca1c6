//! Tables that change while a pipeline runs: what the SELECT does not name never matters; what it names is followed, or waited for, and no
//! record is given up meanwhile.

use crate::support::database::Load;
use crate::support::receiver::Receiver;
use crate::support::scenario::{self, Scenario};
use crate::support::stage::{Directory, SECRET, Stage};
use crate::support::{eventually, seconds};

const LOAD: Load = Load { writers: 4, changes: 300, per_second: 150, seed: 51 };

/// The sales pipeline, with one more column that no writer names.
fn with_batch(mut scenario: Scenario) -> Scenario {
    scenario.schema += &format!("ALTER TABLE {} ADD COLUMN batch int DEFAULT 7;", scenario.source);
    scenario.select = scenario.select.replacen("SELECT s.shop,", "SELECT s.batch, s.shop,", 1);
    scenario
}

/// Waits until an engine says that it does not read, and why.
async fn wait_stopped(stage: &Stage, because: &str) {
    eventually("the pipeline stops", seconds(30), async || match stage.engines[0].readiness().await {
        Err(said) if said.contains(because) => Ok(()),
        said => Err(format!("{said:?}")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn columns_that_the_select_does_not_name_never_matter() {
    let mut stage = Stage::set(scenario::sales_left("unnamed")).await;
    stage.start_engines(1).await;
    let table = stage.scenario.source.clone();
    let (mut writers, written) = stage.write(LOAD);
    for (n, change) in (1..).zip([
        "ADD COLUMN extra text",
        "ALTER COLUMN extra SET DEFAULT 'x'",
        "ALTER COLUMN extra SET STATISTICS 50",
        "RENAME COLUMN extra TO more",
        "DROP COLUMN more",
    ]) {
        stage.reached(&written, LOAD.changes * n / 6).await;
        stage.database.run(&format!("ALTER TABLE {table} {change}")).await;
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    stage.assert_exact().await;
    // Once the tables were surely looked at again.
    tokio::time::sleep(seconds(11)).await;
    assert!(!stage.engines[0].log().contains("the tables changed"), "{}", stage.engines[0].log());
    assert_eq!(stage.engines[0].metric("highwater_dead_letters_total", &[]).await, 0.0);
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn a_column_that_is_widened_is_followed() {
    let mut stage = Stage::set(scenario::sales_left("widened")).await;
    stage.start_engines(2).await;
    stage.write_all(LOAD).await;
    stage.assert_exact().await;

    // WHEN int becomes bigint (without the ledger: Postgres changes no type that another table's column has)
    stage.begin_anew().await;
    let table = stage.scenario.source.clone();
    stage.scenario.close_ledger(&stage.database).await;
    stage.database.run(&format!("ALTER TABLE {table} ALTER COLUMN sku TYPE bigint")).await;
    stage.scenario.open_ledger(&stage.database).await;
    let beyond = format!("UPDATE {table} SET sku = sku + 5000000000 WHERE (shop, receipt) IN (SELECT shop, receipt FROM {table} LIMIT 40)");
    stage.database.run(&beyond).await;
    stage.write_all(Load { seed: 52, ..LOAD }).await;

    // THEN the first values beyond an int are results and no dead letters
    stage.assert_exact().await;
    stage.wait_ready().await;
    for engine in &stage.engines {
        assert_eq!(engine.metric("highwater_dead_letters_total", &[]).await, 0.0, "{}", engine.log());
    }
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn a_column_that_vanishes_stops_its_pipeline_alone_until_it_is_mended() {
    // GIVEN two pipelines in one engine, over the same table; the other does not name the column
    let mut stage = Stage::set(with_batch(scenario::sales_inner("vanished"))).await;
    let (name, table) = (stage.scenario.name.clone(), stage.scenario.source.clone());
    let beside = Directory::new(&format!("{name}-beside"));
    let other = Receiver::start(beside.path(), SECRET).await;
    let file = stage.directory().join("beside.toml");
    let select = format!("SELECT shop, receipt FROM {table}");
    let pipeline = stage.scenario.pipeline(&other.url(), SECRET, &Default::default());
    let pipeline = pipeline.replacen(&format!("name = \"{name}\""), &format!("name = \"{name}_beside\""), 1);
    std::fs::write(&file, pipeline.replace(&stage.scenario.select, &select)).unwrap();
    stage.more_pipelines.push(file);
    stage.start_engines(1).await;
    stage.write_all(LOAD).await;
    stage.assert_exact().await;

    // WHEN the column is renamed and rows go on
    stage.begin_anew().await;
    let others = other.stored().await;
    let (arrived, probes) = (stage.receiver.stored().await, 30);
    stage.database.run(&format!("ALTER TABLE {table} RENAME COLUMN batch TO lot")).await;
    let insert = |first: u32| {
        format!(
            "INSERT INTO {table} (shop, receipt, region, sku, quantity, unit_price, sold_at)
             SELECT n, 'v' || n, 'north', 1, 3, 10, now() AT TIME ZONE 'UTC' FROM generate_series({first}, {first} + {probes} - 1) n"
        )
    };
    stage.database.run(&insert(1)).await;

    // THEN that pipeline stops with the reason, before any of these rows; the other goes on
    wait_stopped(&stage, "batch").await;
    other.wait_stored(others + probes, seconds(30)).await;
    assert_eq!(stage.receiver.stored().await, arrived);
    assert!(stage.engines[0].is_running());
    assert!(stage.engines[0].log().contains("column s.batch does not exist"), "{}", stage.engines[0].log());
    assert_eq!(stage.engines[0].metric("highwater_dead_letters_total", &[]).await, 0.0);

    // AND with the SELECT mended every row arrives, none as a dead letter
    let mended = std::fs::read_to_string(&stage.pipeline).unwrap().replace("s.batch", "s.lot AS batch");
    std::fs::write(&stage.pipeline, mended).unwrap();
    let scenario = std::sync::Arc::make_mut(&mut stage.scenario);
    scenario.select = scenario.select.replace("s.batch", "s.lot AS batch");
    stage.terminate(seconds(40)).await;
    stage.engines[0].restart();
    stage.wait_ready().await;
    stage.assert_exact().await;
    assert_eq!(stage.engines[0].metric("highwater_dead_letters_total", &[]).await, 0.0);

    // WHEN it vanishes once more, and this time the table is mended
    stage.begin_anew().await;
    stage.database.run(&format!("ALTER TABLE {table} RENAME COLUMN lot TO batch")).await;
    stage.database.run(&insert(1000)).await;
    wait_stopped(&stage, "lot").await;
    stage.database.run(&format!("ALTER TABLE {table} RENAME COLUMN batch TO lot")).await;

    // THEN it goes on by itself; the rows without the column are parked with it as the reason, all others arrive
    let letters = stage.dead_letters("webhook", probes as usize).await;
    assert!(letters.values().all(|letter| letter.headers["highwater-column"] == "lot"), "{letters:?}");
    stage.begin_anew().await;
    stage.write_all(Load { seed: 53, ..LOAD }).await;
    stage.assert_exact().await;
    assert_eq!(stage.dead_letters("webhook", probes as usize).await.len(), probes as usize);
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn another_replica_identity_stops_the_pipeline_until_it_is_full_again() {
    let mut stage = Stage::set(scenario::sales_left("identity")).await;
    stage.start_engines(2).await;
    stage.write_all(LOAD).await;
    stage.assert_exact().await;

    // WHEN updates come without their old row
    stage.begin_anew().await;
    let (table, rows) = (stage.scenario.source.clone(), 20);
    stage.database.run(&format!("ALTER TABLE {table} REPLICA IDENTITY DEFAULT")).await;
    let update = format!("UPDATE {table} SET note = 'blind' WHERE (shop, receipt) IN (SELECT shop, receipt FROM {table} LIMIT {rows})");
    stage.database.run(&update).await;

    // THEN nothing of them is applied or parked while that is so
    wait_stopped(&stage, "REPLICA IDENTITY").await;
    for engine in &stage.engines {
        assert_eq!(engine.metric("highwater_dead_letters_total", &[]).await, 0.0, "{}", engine.log());
    }
    stage.database.run(&format!("ALTER TABLE {table} REPLICA IDENTITY FULL")).await;

    // AND each is parked after, and the rest is exact
    for sink in ["ranking", "webhook"] {
        let letters = stage.dead_letters(sink, rows).await;
        assert!(letters.values().all(|letter| letter.headers["highwater-error-class"] == "incomplete"), "{letters:?}");
    }
    stage.begin_anew().await;
    stage.write_all(Load { seed: 54, ..LOAD }).await;
    stage.assert_exact().await;
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn a_lookup_column_with_more_digits_is_never_rounded() {
    let mut stage = Stage::set(scenario::sales_left("digits")).await;
    stage.start_engines(1).await;
    stage.write_all(LOAD).await;
    stage.assert_exact().await;
    let prices = stage.scenario.lookups[0].clone();
    stage.database.run(&format!("ALTER TABLE {prices} ALTER COLUMN price TYPE numeric(14,6)")).await;
    // What a plan of before would make 0.1235 of.
    std::sync::Arc::make_mut(&mut stage.scenario).lookup_changes =
        vec![format!("UPDATE {prices} SET price = 0.123456 WHERE region IN ('north', 'south')")];
    stage.change_lookups().await;
    let export = stage.receiver.export().await;
    assert!(export.contains("0.123456") && !export.contains("0.1235"), "a price was rounded");
    assert_eq!(stage.engines[0].metric("highwater_dead_letters_total", &[]).await, 0.0, "{}", stage.engines[0].log());
    stage.strike().await;
}
