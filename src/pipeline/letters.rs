//! `highwater dead-letters replay`: a lane's parts without its loop, for a command beside the engines.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::checked::Checked;
use super::lanes::{Pipeline, group, policy};
use crate::config::{PipelineConfig, SinkConfig};
use crate::dead_letter::replay::{Parts, Report, To, Wanted};
use crate::dead_letter::{self, DeadLetters};
use crate::decode::RecordDecoder;
use crate::pipeline::Error;
use crate::source::topic::KafkaLog;

/// Without progress for so long, somebody should be told.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Replays dead letters of one sink of a pipeline whose check is fine.
pub async fn replay(config: &PipelineConfig, sink: &str, wanted: &Wanted, mut progress: impl FnMut(usize, usize)) -> Result<Report, Error> {
    let refused = |reason: String| Error::Start(config.name.clone(), reason);
    let Some(section) = config.sinks.iter().find(|section| section.name() == sink) else {
        return Err(refused(format!("there is no sink {sink:?}")));
    };
    let checked = Checked::new(config).await.map_err(refused)?;
    let (select, lane) = (checked.select(policy(section), sink), checked.lane(sink));
    let Checked { plan, topic, metrics, .. } = checked;
    let log = KafkaLog::open(&config.source.kafka, &group(config, sink), &topic).map_err(|e| refused(e.to_string()))?;
    let decoder = RecordDecoder::new(&plan.source_columns, &config.source.prefix);
    let pipeline = Pipeline { config, plan, witness: select.witness.clone(), metrics: &metrics, drain_max: Duration::ZERO };
    let to = match section {
        SinkConfig::RedisRanking(ranking) => To::Ranking(Box::new(pipeline.ranking(ranking, log, &lane).map_err(refused)?)),
        SinkConfig::Webhook(webhook) => To::Webhook(Box::new(pipeline.webhook(webhook, sink, log).map_err(refused)?)),
    };
    let parts = Parts {
        brokers: config.source.kafka.clone(),
        decoder,
        append_only: config.source.append_only,
        letters: DeadLetters::new(&config.source.kafka, &config.name, sink, &topic, metrics.clone()),
        select,
        topic,
        to,
    };
    let heard = Cell::new(Instant::now());
    let waiting = async {
        while heard.get().elapsed() < SILENCE_MAX {
            sleep_until(heard.get() + SILENCE_MAX).await;
        }
        eprintln!("note: {sink} or another neighbour does not answer, waiting");
        std::future::pending::<()>().await;
    };
    let replayed = dead_letter::replay::replay(parts, wanted, |done, of| {
        heard.set(Instant::now());
        progress(done, of);
    });
    tokio::select! {
        report = Box::pin(replayed) => report.map_err(|e| refused(e.to_string())),
        () = waiting => Ok(Report::default()),
    }
}
