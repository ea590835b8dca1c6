//! Starts the lanes of each pipeline, waits, and drains.
//!
//! Servers that do not answer and topics that do not exist yet are waited for, with a log line whenever what is waited for changes; contradictions
//! end the process. Each lane has a thread of its own with a current-thread runtime: one that is stuck delays no other. A lane that stops
//! says so with its remedy and leaves `/ready`; the others go on, and the process ends when none is left.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use highwater_sql::Plan;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tracing::{error, info, info_span, warn};

use crate::backoff::Backoff;
use crate::catalog::Database;
use crate::check::{self, State};
use crate::config::{PipelineConfig, Problem, SinkConfig};
use crate::dead_letter::DeadLetters;
use crate::decode::RecordDecoder;
use crate::http::{self, Status};
use crate::lane::{Lane, Parts, Select};
use crate::lookup::{Lookups, Tail};
use crate::metrics::{LaneMetrics, Metrics};
use crate::sink::ranking::{Ranking, RankingConfig};
use crate::sink::webhook::{Place, Webhook, WebhookConfig};
use crate::sink::{self, Policy, Sink};
use crate::source::kafka::{Settings, Source};
use crate::source::topic::KafkaLog;

/// What is not in a pipeline file.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Where `/metrics`, `/health` and `/ready` are served.
    pub listen: SocketAddr,
    /// How long a drain may take.
    pub drain_max: Duration,
}

/// Why the process ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A pipeline contradicts what it is to run on.
    #[error("pipeline {pipeline}: refused\n{report}")]
    Contradiction {
        /// The pipeline's name.
        pipeline: String,
        /// What `highwater check` says.
        report: String,
    },
    /// The address to serve on cannot be had.
    #[error("cannot listen on {0}: {1}; choose another with --listen or HIGHWATER_LISTEN")]
    Listen(SocketAddr, std::io::Error),
    /// A client or thread could not be made.
    #[error("pipeline {0}: {1}")]
    Start(String, String),
    /// Every lane has stopped by itself.
    #[error("every lane has stopped; see the lines above for the remedies")]
    Stopped,
}

impl Error {
    /// The exit code of the process.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Stopped => 1,
            _ => 2,
        }
    }
}

/// Runs the pipelines until `shutdown`.
pub async fn run(configs: Vec<PipelineConfig>, options: Options, mut shutdown: watch::Receiver<bool>) -> Result<(), Error> {
    let metrics = Metrics::new().map_err(|e| Error::Start("(all)".into(), e.to_string()))?;
    let status = Status::new(metrics.clone());
    let listener = tokio::net::TcpListener::bind(options.listen).await.map_err(|e| Error::Listen(options.listen, e))?;
    let (end_http, http_ends) = watch::channel(false);
    let server = tokio::spawn(http::serve(listener, status.clone(), http_ends));
    let (end_lanes, lanes_end) = watch::channel(false);
    let mut lanes = Vec::new();
    let mut tails = Vec::new();
    let mut waiting: FuturesUnordered<_> = configs.iter().map(|config| wait_until_fine(config, &status, shutdown.clone())).collect();
    let mut result = Ok(());
    // Each starts as soon as it is fine; one that is refused ends all, in order.
    while let (Ok(()), Some(checked)) = (&result, waiting.next().await) {
        result = checked.and_then(|checked| {
            let Some((config, plan)) = checked else { return Ok(()) };
            let pipeline = Pipeline { config, plan, metrics: &metrics, status: &status, drain_max: options.drain_max };
            let (more, tail) = pipeline.start(&lanes_end).map_err(|e| Error::Start(config.name.clone(), e))?;
            lanes.extend(more);
            tails.push(tail);
            Ok(())
        });
    }
    drop(waiting);
    let stops = result.is_err() || *shutdown.borrow();
    let ended = all_ended(lanes);
    let mut ended = std::pin::pin!(ended);
    let stopped = if stops {
        None
    } else {
        tokio::select! { stopped = &mut ended => Some(stopped), _ = shutdown.wait_for(|stop| *stop) => None }
    };
    let _ = end_lanes.send(true);
    match stopped {
        Some(true) => result = Err(Error::Stopped),
        Some(false) => {}
        None => drop(ended.await),
    }
    drop(tails);
    let _ = end_http.send(true);
    let _ = tokio::time::timeout(Duration::from_secs(1), server).await;
    result
}

/// The checked plan, once nothing that can heal stands in the way; none when the process is to end before.
async fn wait_until_fine<'c>(
    config: &'c PipelineConfig,
    status: &Status,
    mut shutdown: watch::Receiver<bool>,
) -> Result<Option<(&'c PipelineConfig, Arc<Plan>)>, Error> {
    status.set_waiting(&config.name, Some("its check"));
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
    let mut waited_for = String::new();
    loop {
        let report = tokio::select! {
            report = check::check(config) => report,
            _ = shutdown.wait_for(|stop| *stop) => return Ok(None),
        };
        let waits_for = report.waiting_for();
        match (report.state(), &report.plan) {
            (State::Failed, _) => return Err(Error::Contradiction { pipeline: config.name.clone(), report: report.render(false) }),
            (State::Ok | State::Warning, Some(plan)) => {
                for warning in report.of(State::Warning) {
                    warn!(pipeline = config.name, remedy = warning.remedy, "{}: {}", warning.subject, warning.text);
                }
                if !waited_for.is_empty() {
                    info!(pipeline = config.name, "everything it waited for is there");
                }
                status.set_waiting(&config.name, None);
                return Ok(Some((config, Arc::clone(plan))));
            }
            _ if waits_for != waited_for => {
                warn!(pipeline = config.name, "waiting for {waits_for}");
                status.set_waiting(&config.name, Some(&waits_for));
                waited_for = waits_for;
            }
            _ => {}
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.wait()) => {}
            _ = shutdown.wait_for(|stop| *stop) => return Ok(None),
        }
    }
}

/// Begins a ranking anew. Engines that run find that the progress moved, and build the new epoch.
pub async fn replay(config: &PipelineConfig, sink: &str) -> Result<(), Error> {
    let refused = |reason: String| Error::Start(config.name.clone(), reason);
    let found = config.sinks.iter().find(|s| s.name() == sink);
    let Some(SinkConfig::RedisRanking(ranking)) = found else {
        return Err(refused(format!(
            "{sink:?} is not a ranking of this pipeline; a webhook is replayed by resetting the offsets of its consumer group"
        )));
    };
    let report = check::check(config).await;
    let Some(plan) = report.plan.filter(|_| report.facts.iter().all(|fact| fact.state <= State::Warning)) else {
        return Err(refused("its check is not fine; see `highwater check`".to_owned()));
    };
    let metrics = Metrics::new().map_err(|e| refused(e.to_string()))?;
    let topic = config.topic(&plan.source.schema, &plan.source.name);
    let log = KafkaLog::open(&config.source.kafka, &group(config, sink), &topic).map_err(|e| refused(e.to_string()))?;
    let lane = Arc::new(LaneMetrics::new(metrics, &config.name, sink));
    let ranking = Ranking::new(ranking, &plan, &config.select.sql, log, lane).map_err(|problems| refused(lines(&problems)))?;
    ranking.replay().await.map_err(|e| refused(e.to_string()))
}

fn policy(sink: &SinkConfig) -> Policy {
    match sink {
        SinkConfig::RedisRanking(_) => Policy::Boundaries,
        SinkConfig::Webhook(webhook) => Policy::Events { snapshot: webhook.snapshot },
    }
}

/// The consumer group of a lane.
fn group(config: &PipelineConfig, sink: &str) -> String {
    format!("highwater.{}.{sink}", config.name)
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Waits for every lane. True when one ended by itself, which it does only when going on would be wrong.
async fn all_ended(lanes: Vec<Ended>) -> bool {
    let mut stopped = false;
    for lane in lanes {
        stopped |= !matches!(lane.await, Ok(Ok(())));
    }
    stopped
}

type Ended = oneshot::Receiver<Result<(), sink::Error>>;

/// One checked pipeline about to start.
struct Pipeline<'a> {
    config: &'a PipelineConfig,
    plan: Arc<Plan>,
    metrics: &'a Metrics,
    status: &'a Status,
    drain_max: Duration,
}

impl Pipeline<'_> {
    fn start(&self, shutdown: &watch::Receiver<bool>) -> Result<(Vec<Ended>, Tail), String> {
        let config = self.config;
        let database = Database::new(&config.source.postgres).map_err(|e| e.to_string())?;
        let lookups = Arc::new(Lookups::new(&config.name, &self.plan, database, self.metrics));
        let tail = Tail::start(config, &self.plan, Arc::clone(&lookups)).map_err(|e| e.to_string())?;
        let mut lanes = Vec::new();
        for sink in &config.sinks {
            let name = sink.name();
            let group = group(config, name);
            let topic = config.topic(&self.plan.source.schema, &self.plan.source.name);
            let log = KafkaLog::open(&config.source.kafka, &group, &topic).map_err(|e| e.to_string())?;
            let metrics = Arc::new(LaneMetrics::new(self.metrics.clone(), &config.name, name));
            let select = Select {
                plan: self.plan.clone(),
                lookups: lookups.clone(),
                shared: Handle::current(),
                metrics: metrics.clone(),
                policy: policy(sink),
            };
            let lane = Unstarted { pipeline: self, name, group, topic, select: Arc::new(select), metrics: metrics.clone() };
            lanes.push(match sink {
                SinkConfig::RedisRanking(ranking) => lane.start(self.ranking(ranking, log, &metrics)?, shutdown.clone())?,
                SinkConfig::Webhook(webhook) => lane.start(self.webhook(webhook, name, log)?, shutdown.clone())?,
            });
            self.status.add_lane(metrics);
        }
        Ok((lanes, tail))
    }
}

impl Pipeline<'_> {
    fn ranking(&self, config: &RankingConfig, log: KafkaLog, metrics: &Arc<LaneMetrics>) -> Result<Ranking<KafkaLog>, String> {
        Ranking::new(config, &self.plan, &self.config.select.sql, log, metrics.clone()).map_err(|problems| lines(&problems))
    }

    fn webhook(&self, config: &WebhookConfig, sink: &str, log: KafkaLog) -> Result<Webhook<KafkaLog>, String> {
        let source = &self.config.source;
        let place = Place { pipeline: &self.config.name, sink, prefix: &source.prefix, start: source.start };
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
