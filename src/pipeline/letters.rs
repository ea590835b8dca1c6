//! `highwater dead-letters replay`: a lane's parts without its loop, for a command beside the engines.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};

use super::lanes::{Pipeline, group, policy};
use crate::catalog::Database;
use crate::check::watch::watch;
use crate::check::{self, State};
use crate::config::{PipelineConfig, SinkConfig};
use crate::dead_letter::replay::{Parts, Report, To, Wanted};
use crate::dead_letter::{self, DeadLetters};
use crate::decode::RecordDecoder;
use crate::lane::Select;
use crate::lookup::{Lookups, Rows};
use crate::metrics::{LaneMetrics, Metrics};
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
    let report = check::check(config).await;
    let Some(plan) = report.plan.filter(|_| report.facts.iter().all(|fact| fact.state <= State::Warning)) else {
        return Err(refused("its check is not fine; see `highwater check`".to_owned()));
    };
    let metrics = Metrics::new().map_err(|e| refused(e.to_string()))?;
    let lane = Arc::new(LaneMetrics::new(metrics.clone(), &config.name, sink));
    let database = Database::new(&config.source.postgres).map_err(|e| refused(e.to_string()))?;
    let topic = config.topic(&plan.source.schema, &plan.source.name);
    let log = KafkaLog::open(&config.source.kafka, &group(config, sink), &topic).map_err(|e| refused(e.to_string()))?;
    // Nobody asks the tables again: they were those of the SELECT a moment ago.
    let (witness, _) = watch();
    let pipeline = Pipeline { config, plan: plan.clone(), witness: witness.clone(), metrics: &metrics, drain_max: Duration::ZERO };
    let to = match section {
        SinkConfig::RedisRanking(ranking) => To::Ranking(Box::new(pipeline.ranking(ranking, log, &lane).map_err(refused)?)),
        SinkConfig::Webhook(webhook) => To::Webhook(Box::new(pipeline.webhook(webhook, sink, log).map_err(refused)?)),
    };
    // Nobody follows the changes of lookup rows, so none is kept.
    let lookups = Rows::Live(Arc::new(Lookups::new(&config.name, &plan, database, &metrics)));
    let (shared, policy) = (Handle::current(), policy(section));
    let parts = Parts {
        brokers: config.source.kafka.clone(),
        decoder: RecordDecoder::new(&plan.source_columns, &config.source.prefix),
        append_only: config.source.append_only,
        letters: DeadLetters::new(&config.source.kafka, &config.name, sink, &topic, metrics.clone()),
        select: Select { plan, lookups, policy, witness, shared, metrics: lane },
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
