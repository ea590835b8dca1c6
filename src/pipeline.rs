//! Keeps each pipeline running: checks it, starts its lanes, starts them anew when its tables change, and drains.
//!
//! Servers that do not answer and topics that do not exist yet are waited for, with a log line whenever what is waited for changes; contradictions
//! at the start end the process. Once a pipeline has run, one that arises (a column dropped, another replica identity) ends its lanes before the first
//! record they cannot read, and is waited for until it is mended; other pipelines go on. A lane that stops by itself says so with its remedy and
//! leaves `/ready`; the others go on, and the process ends when none is left. A change of the tables does not start it again.

pub mod checked;

mod lanes;

pub mod letters;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use highwater_sql::Plan;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::backoff::Backoff;
use crate::catalog::Database;
use crate::check::watch::Found;
use crate::check::{self, State};
use crate::config::{PipelineConfig, SinkConfig};
use crate::dead_letter::follow::Follower;
use crate::http::{self, Status};
use crate::metrics::{LaneMetrics, Metrics};
use crate::progress::WENT_BACK_REMEDY;
use crate::sink::ranking::verify::Verified;
use crate::sink::ranking::{Ranking, RankingConfig, VerifyConfig};
use crate::source::topic::KafkaLog;
use lanes::{Ended, Past, Pipeline, Started, group, lines};

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
    let (end, ends) = watch::channel(false);
    let keep = |config| Keeper { config, metrics: &metrics, status: &status, drain_max: options.drain_max }.run(ends.clone());
    let mut running: FuturesUnordered<_> = configs.iter().map(keep).collect();
    let mut result = Ok(());
    loop {
        let ending = *end.borrow();
        tokio::select! {
            ended = running.next() => match ended {
                None => break,
                Some(Err(Error::Stopped)) if !ending => result = Err(Error::Stopped),
                // One that is refused ends all, in order.
                Some(Err(refused)) if !ending => {
                    result = Err(refused);
                    let _ = end.send(true);
                }
                Some(_) => {}
            },
            _ = shutdown.wait_for(|stop| *stop), if !ending => {
                result = Ok(());
                let _ = end.send(true);
            }
        }
    }
    let _ = end_http.send(true);
    let _ = tokio::time::timeout(Duration::from_secs(1), server).await;
    result
}

/// Keeps one pipeline running.
struct Keeper<'a> {
    config: &'a PipelineConfig,
    metrics: &'a Metrics,
    status: &'a Status,
    drain_max: Duration,
}

impl Keeper<'_> {
    /// Until `shutdown`, or until all lanes have stopped by themselves.
    async fn run(self, mut shutdown: watch::Receiver<bool>) -> Result<(), Error> {
        let config = self.config;
        let _follower = Follower::start(config, self.metrics).map_err(|e| Error::Start(config.name.clone(), e.to_string()))?;
        let (mut has_run, mut went_back) = (false, false);
        let mut pasts: Vec<Past> = config.sinks.iter().map(|_| Past::default()).collect();
        while let Some(plan) = self.wait_until_fine(has_run, shutdown.clone()).await? {
            has_run = true;
            let (witness, tables) = check::watch::watch();
            let (end, ends) = watch::channel(false);
            let pipeline = Pipeline { config, plan: plan.clone(), witness, metrics: self.metrics, drain_max: self.drain_max };
            let started = pipeline.start(&ends, &pasts).map_err(|e| Error::Start(config.name.clone(), e))?;
            let Started { lanes, metrics, tail } = started;
            self.status.set_lanes(&config.name, metrics);
            let mut ended = std::pin::pin!(all_ended(lanes));
            tokio::select! {
                _ = &mut ended => return Err(Error::Stopped),
                what = tables.until_ended(config, &plan) => match what {
                    Found::Changed(what) => warn!(pipeline = config.name, "the tables changed, the lanes start again: {what}"),
                    Found::WentBack(what) => {
                        error!(pipeline = config.name, "the lanes stop: {what}; {WENT_BACK_REMEDY}");
                        went_back = true;
                    }
                },
                _ = shutdown.wait_for(|stop| *stop) => {}
            }
            let _ = end.send(true);
            for stopped in ended.await {
                pasts[stopped].stopped = true;
            }
            // It joins its thread, which may be waiting for Kafka.
            let _ = tokio::task::spawn_blocking(move || drop(tail)).await;
            if went_back {
                return Err(Error::Stopped);
            }
        }
        Ok(())
    }

    /// The checked plan, once nothing that can heal stands in the way; none when the process is to end before. A contradiction
    /// is an error at the start, and waited for once the pipeline `has_run`.
    async fn wait_until_fine(&self, has_run: bool, mut shutdown: watch::Receiver<bool>) -> Result<Option<Arc<Plan>>, Error> {
        let (config, status) = (self.config, self.status);
        status.set_waiting(&config.name, Some("its check"));
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
        let mut waited_for = String::new();
        loop {
            // Once it has run, only the tables can have become a contradiction; servers heal within the lanes.
            let checked = async { if has_run { check::check_tables(config).await } else { check::check(config).await } };
            let report = tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop) => return Ok(None),
                report = checked => report,
            };
            let waits_for = report.waiting_for();
            match (report.state(), &report.plan) {
                (State::Failed, _) if !has_run => {
                    return Err(Error::Contradiction { pipeline: config.name.clone(), report: report.render(false) });
                }
                (State::Ok | State::Warning, Some(plan)) => {
                    for warning in report.of(State::Warning) {
                        warn!(pipeline = config.name, remedy = warning.remedy, "{}: {}", warning.subject, warning.text);
                    }
                    if !waited_for.is_empty() {
                        info!(pipeline = config.name, "everything it waited for is there");
                    }
                    status.set_waiting(&config.name, None);
                    return Ok(Some(Arc::clone(plan)));
                }
                (state, _) if waits_for != waited_for => {
                    match state {
                        State::Failed => error!(pipeline = config.name, "stopped until this is mended: {waits_for}"),
                        _ => warn!(pipeline = config.name, "waiting for {waits_for}"),
                    }
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
}

/// Waits for every lane. Returns which ones stopped by themselves.
async fn all_ended(lanes: Vec<(usize, Ended)>) -> Vec<usize> {
    let mut stopped = Vec::new();
    for (n, lane) in lanes {
        if !matches!(lane.await, Ok(Ok(()))) {
            stopped.push(n);
        }
    }
    stopped
}

/// Compares a ranking with SQL; `timeout` for one statement, if not as its section says.
pub async fn verify(config: &PipelineConfig, sink: &str, timeout: Option<Duration>) -> Result<Verified, Error> {
    let refused = |reason: String| Error::Start(config.name.clone(), reason);
    let (ranking, section) = ranking(config, sink).await?;
    let configured = section.verify.map_or(VerifyConfig::TIMEOUT_DEFAULT, |verify| verify.timeout);
    let timeout = timeout.unwrap_or(configured.get());
    let database = Database::with_timeout(&config.source.postgres, timeout).map_err(|e| refused(e.to_string()))?;
    ranking.verify(&section.key, &config.select.sql, database).await.map_err(|e| refused(e.to_string()))
}

/// A ranking of a pipeline whose check is fine, and its section; for commands beside the engines.
pub(crate) async fn ranking<'c>(config: &'c PipelineConfig, sink: &str) -> Result<(Ranking<KafkaLog>, &'c RankingConfig), Error> {
    let refused = |reason: String| Error::Start(config.name.clone(), reason);
    let found = config.sinks.iter().find(|s| s.name() == sink);
    let Some(SinkConfig::RedisRanking(section)) = found else {
        let rankings = config.sinks.iter().filter(|s| matches!(s, SinkConfig::RedisRanking(_)));
        let names: Vec<_> = rankings.map(SinkConfig::name).collect();
        return Err(refused(match names[..] {
            [] => "it has no ranking".to_owned(),
            _ => format!("{sink:?} is not a ranking of this pipeline; write --sink with one of {}", names.join(", ")),
        }));
    };
    let report = check::check(config).await;
    let Some(plan) = report.plan.filter(|_| report.facts.iter().all(|fact| fact.state <= State::Warning)) else {
        return Err(refused("its check is not fine; see `highwater check`".to_owned()));
    };
    let metrics = Metrics::new().map_err(|e| refused(e.to_string()))?;
    let topic = config.topic(&plan.source.schema, &plan.source.name);
    let log = KafkaLog::open(&config.source.kafka, &group(config, sink), &topic).map_err(|e| refused(e.to_string()))?;
    let lane = Arc::new(LaneMetrics::new(metrics, &config.name, sink));
    let ranking = Ranking::new(section, &plan, &config.select.sql, log, lane).map_err(|problems| refused(lines(&problems)))?;
    Ok((ranking, section))
}
