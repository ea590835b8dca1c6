//! The lanes of one checked pipeline, started.
//!
//! Each has a thread of its own with a current-thread runtime: one that is stuck delays no other.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use highwater_sql::Plan;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tracing::{error, info_span};

use crate::catalog::Database;
use crate::check::watch::Witness;
use crate::config::{PipelineConfig, Problem, SinkConfig};
use crate::dead_letter::DeadLetters;
use crate::decode::RecordDecoder;
use crate::lane::{Lane, Parts, Select};
use crate::lookup::{Lookups, Rows, Tail};
use crate::metrics::{LaneMetrics, Metrics};
use crate::sink::ranking::schedule::Schedule;
use crate::sink::ranking::{Ranking, RankingConfig, VerifyConfig};
use crate::sink::webhook::{Place, Webhook, WebhookConfig};
use crate::sink::{self, Policy, Sink};
use crate::source::kafka::{Settings, Source};
use crate::source::topic::KafkaLog;

pub(super) fn policy(sink: &SinkConfig) -> Policy {
    match sink {
        SinkConfig::RedisRanking(_) => Policy::Boundaries,
        SinkConfig::Webhook(webhook) => Policy::Events { snapshot: webhook.snapshot },
    }
}

/// The consumer group of a lane.
pub(super) fn group(config: &PipelineConfig, sink: &str) -> String {
    format!("highwater.{}.{sink}", config.name)
}

pub(super) fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Tells how a lane ended.
pub(super) type Ended = oneshot::Receiver<Result<(), sink::Error>>;

/// What one start of a sink's lane leaves to the next.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// It stopped by itself: whoever mended the cause starts the engine again.
    pub stopped: bool,
    /// It had an epoch: it replaces no other pipeline's any more.
    pub begun: Arc<AtomicBool>,
}

/// What runs of a pipeline.
pub(super) struct Started {
    /// By the number of the sink.
    pub lanes: Vec<(usize, Ended)>,
    pub metrics: Vec<Arc<LaneMetrics>>,
    /// Follows the lookup tables until it is dropped.
    pub tail: Tail,
}

/// One checked pipeline about to start.
pub(super) struct Pipeline<'a> {
    pub config: &'a PipelineConfig,
    pub plan: Arc<Plan>,
    pub witness: Witness,
    pub metrics: &'a Metrics,
    pub drain_max: Duration,
}

impl Pipeline<'_> {
    /// Starts every lane that did not stop by itself before; they end with `shutdown`.
    pub fn start(&self, shutdown: &watch::Receiver<bool>, pasts: &[Past]) -> Result<Started, String> {
        let config = self.config;
        let database = Database::new(&config.source.postgres).map_err(|e| e.to_string())?;
        let lookups = Arc::new(Lookups::new(&config.name, &self.plan, database, self.metrics));
        let tail = Tail::start(config, &self.plan, Arc::clone(&lookups)).map_err(|e| e.to_string())?;
        let (mut lanes, mut lane_metrics) = (Vec::new(), Vec::new());
        for (n, (sink, past)) in config.sinks.iter().zip(pasts).enumerate() {
            let name = sink.name();
            let metrics = Arc::new(LaneMetrics::new(self.metrics.clone(), &config.name, name));
            lane_metrics.push(metrics.clone());
            if past.stopped {
                continue;
            }
            let group = group(config, name);
            let topic = config.topic(&self.plan.source.schema, &self.plan.source.name);
            let log = KafkaLog::open(&config.source.kafka, &group, &topic).map_err(|e| e.to_string())?;
            let select = Select {
                plan: self.plan.clone(),
                lookups: Rows::Live(lookups.clone()),
                witness: self.witness.clone(),
                shared: Handle::current(),
                metrics: metrics.clone(),
                policy: policy(sink),
            };
            let lane = Unstarted { pipeline: self, name, group, topic, select: Arc::new(select), metrics: metrics.clone() };
            let ended = match sink {
                SinkConfig::RedisRanking(ranking) => {
                    if let Some(verify) = ranking.verify {
                        tokio::spawn(self.schedule(ranking, verify, &metrics)?.run(shutdown.clone()));
                    }
                    lane.start(self.ranking(ranking, log, &metrics)?.continuing(past.begun.clone()), shutdown.clone())?
                }
                SinkConfig::Webhook(webhook) => lane.start(self.webhook(webhook, name, log)?, shutdown.clone())?,
            };
            lanes.push((n, ended));
        }
        Ok(Started { lanes, metrics: lane_metrics, tail })
    }

    pub fn ranking(&self, config: &RankingConfig, log: KafkaLog, metrics: &Arc<LaneMetrics>) -> Result<Ranking<KafkaLog>, String> {
        Ranking::new(config, &self.plan, &self.config.select.sql, log, metrics.clone()).map_err(|problems| lines(&problems))
    }

    fn schedule(&self, config: &RankingConfig, verify: VerifyConfig, metrics: &Arc<LaneMetrics>) -> Result<Schedule, String> {
        let sql = &self.config.select.sql;
        Ok(Schedule {
            verify,
            redis: config.redis.clone(),
            key: config.key.clone(),
            layout: config.layout(&self.plan, sql).map_err(|problems| lines(&problems))?,
            sql: sql.clone(),
            postgres: self.config.source.postgres.clone(),
            metrics: metrics.clone(),
        })
    }

    pub fn webhook(&self, config: &WebhookConfig, sink: &str, log: KafkaLog) -> Result<Webhook<KafkaLog>, String> {
        let source = &self.config.source;
        let place = Place { pipeline: &self.config.name, sink, kafka: &source.kafka, prefix: &source.prefix, start: source.start };
        Webhook::new(config, place, &self.plan, log, self.metrics.clone()).map_err(|e| e.to_string())
    }
}

/// A lane without its sink.
struct Unstarted<'a> {
    pipeline: &'a Pipeline<'a>,
    name: &'a str,
    group: String,
    topic: String,
    select: Arc<Select>,
    metrics: Arc<LaneMetrics>,
}

impl Unstarted<'_> {
    /// Starts the lane's thread.
    fn start<S: Sink>(self, sink: S, shutdown: watch::Receiver<bool>) -> Result<Ended, String> {
        let config = self.pipeline.config;
        let (pipeline, sink_name) = (config.name.clone(), self.name.to_owned());
        let settings = Settings {
            brokers: config.source.kafka.clone(),
            group: self.group,
            topic: self.topic,
            instance: config.source.instance.clone(),
            pipeline: pipeline.clone(),
            sink: sink_name.clone(),
        };
        let dead_letters = DeadLetters::new(&config.source.kafka, &pipeline, &sink_name, &settings.topic, self.pipeline.metrics.clone());
        let parts = Parts {
            source: Source::open(settings, self.pipeline.metrics.clone()).map_err(|e| e.to_string())?,
            decoder: RecordDecoder::new(&self.select.plan.source_columns, &config.source.prefix),
            append_only: config.source.append_only,
            select: self.select,
            sink: Arc::new(sink),
            dead_letters: Arc::new(dead_letters),
            metrics: self.metrics,
            drain_max: self.pipeline.drain_max,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        let (ended, ends) = oneshot::channel();
        let thread = std::thread::Builder::new().name(format!("lane {sink_name}"));
        let run = move || {
            let _span = info_span!("lane", pipeline, sink = sink_name).entered();
            let result = runtime.block_on(Lane::new(parts).run(shutdown));
            if let Err(stop) = &result {
                error!("the lane stops: {stop}");
            }
            let _ = ended.send(result);
        };
        thread.spawn(run).map_err(|e| e.to_string())?;
        Ok(ends)
    }
}
