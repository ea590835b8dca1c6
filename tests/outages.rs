//! A neighbour that is away: the engine waits, says so once, loses nothing, and goes on by itself.

use std::time::Duration;

use crate::support::database::Load;
use crate::support::engine::Engine;
use crate::support::stage::Stage;
use crate::support::{eventually, scenario, seconds};

/// How long a neighbour is away.
const AWAY: Duration = seconds(6);
/// Lines at warn and error for one outage: one of each lane, one of what they share, and one of the Kafka client.
const LINES_MAX: usize = 4;
const LOAD: Load = Load { writers: 4, changes: 200, per_second: 200, seed: 21 };

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Neighbour {
    Part(&'static str),
    Receiver,
}

const NEIGHBOURS: [Neighbour; 4] = [Neighbour::Part("postgres"), Neighbour::Part("redis"), Neighbour::Part("kafka"), Neighbour::Receiver];

impl Neighbour {
    fn leave(self, stage: &mut Stage) {
        match self {
            Self::Part(part) => stage.stack.stop(part),
            Self::Receiver => stage.receiver.kill(),
        }
    }

    async fn come_back(self, stage: &mut Stage) {
        match self {
            Self::Part(part) => stage.stack.start(part),
            Self::Receiver => stage.receiver.restart().await,
        }
        // Debezium gives up when Postgres goes, and is started again.
        stage.connector.wait_running().await;
    }
}

/// The engine lives through the outage; it has said that something is wrong, and not once per try.
async fn outlast(engine: &mut Engine, neighbour: Neighbour, lines_before: usize) {
    tokio::time::sleep(AWAY).await;
    assert!(engine.is_running(), "the engine ended because {neighbour:?} was away:\n{}", engine.log());
    let lines = engine.warnings().split_off(lines_before);
    assert!(lines.len() <= LINES_MAX, "{} lines about one outage of {neighbour:?}:\n{}", lines.len(), lines.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn every_neighbour_may_be_away_at_start() {
    let mut stage = Stage::set(scenario::engagement("start")).await;
    for neighbour in NEIGHBOURS {
        // GIVEN rows that nobody has read yet, and a neighbour that is away
        stage.write_all(LOAD).await;
        neighbour.leave(&mut stage);
        // WHEN an engine starts
        let lines_before = stage.engines.first().map_or(0, |engine| engine.warnings().len());
        if stage.engines.is_empty() {
            stage.start_engine();
        } else {
            stage.engines[0].restart();
        }
        let engine = &mut stage.engines[0];
        outlast(engine, neighbour, lines_before).await;
        let said = engine.warnings().len() - lines_before;
        assert!(said > 0, "nothing says that {neighbour:?} is away:\n{}", engine.log());
        // THEN it goes on when the neighbour is back
        neighbour.come_back(&mut stage).await;
        stage.wait_ready().await;
        stage.assert_exact().await;
        stage.terminate(seconds(20)).await;
    }
    stage.engines[0].restart();
    stage.wait_ready().await;
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn every_neighbour_may_go_and_come_back_under_load() {
    let mut stage = Stage::set(scenario::engagement("outage")).await;
    stage.start_engines(1).await;
    for neighbour in NEIGHBOURS {
        // Without Postgres there is nothing to read; what is on its way needs it for lookups.
        let writers = (neighbour != Neighbour::Part("postgres")).then(|| stage.write(Load { changes: 1_500, ..LOAD }).0);
        if writers.is_none() {
            stage.write_all(LOAD).await;
        }
        let lines_before = stage.engines[0].warnings().len();
        neighbour.leave(&mut stage);
        outlast(&mut stage.engines[0], neighbour, lines_before).await;
        neighbour.come_back(&mut stage).await;
        if let Some(mut writers) = writers {
            while let Some(ended) = writers.join_next().await {
                ended.unwrap();
            }
        }
        stage.wait_ready().await;
        stage.assert_exact().await;
    }
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh"]
async fn a_flushed_redis_is_filled_again() {
    let mut stage = Stage::set(scenario::engagement("flush")).await;
    stage.start_engines(2).await;
    stage.write_all(LOAD).await;
    stage.assert_exact().await;
    let mut connection = redis::Client::open(stage.stack.redis.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let key = stage.scenario.ranking.as_ref().unwrap().key.clone();
    // Every key of this ranking, and of no other test.
    let keys: Vec<String> = redis::cmd("KEYS").arg(format!("*{key}*")).query_async(&mut connection).await.unwrap();
    let _: () = redis::cmd("DEL").arg(&keys).query_async(&mut connection).await.unwrap();
    eventually("a new epoch is served", seconds(30), async || {
        let exists: bool =
            redis::cmd("EXISTS").arg(format!("{{{key}}}:state")).query_async(&mut connection).await.map_err(|e| e.to_string())?;
        exists.then_some(()).ok_or_else(|| "no state".to_owned())
    })
    .await;
    stage.write_all(Load { seed: 22, ..LOAD }).await;
    stage.assert_exact().await;
    stage.strike().await;
}
