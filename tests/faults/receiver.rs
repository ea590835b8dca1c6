//! The receiver dies, answers errors, is slow; a poison event ends alone in the dead letters.

use super::{Trial, seeds};
use crate::support::{scenario, seconds};

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[ignore = "needs the test stack: ./test_pipeline.sh --faults"]
async fn the_receiver_is_killed_and_away() {
    for seed in seeds() {
        let mut trial = Trial::begin("receiver killed", seed, scenario::engagement(&format!("receiver{seed}")), 2).await;
        for _ in 0..6 {
            trial.pause(100, 1_200).await;
            trial.stage.receiver.kill();
            trial.stage.receiver.restart().await;
        }
        trial.stage.receiver.kill();
        tokio::time::sleep(seconds(6)).await;
        trial.stage.receiver.restart().await;
        trial.finish().await;
    }
}
