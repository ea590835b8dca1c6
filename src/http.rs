//! `/metrics` for Prometheus, `/health` (the process lives), `/ready` (every lane has its partitions and is within its lag).

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::metrics::{LaneMetrics, Metrics};

/// A lane is ready while it is at most this many records behind.
pub const READY_LAG_RECORDS_MAX: i64 = 10_000;

/// What the endpoints show.
#[derive(Clone)]
pub struct Status {
    metrics: Metrics,
    lanes: Arc<RwLock<BTreeMap<String, Vec<Arc<LaneMetrics>>>>>,
    waiting: Arc<RwLock<BTreeMap<String, String>>>,
}

impl Status {
    /// Nothing runs yet.
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics, lanes: Arc::default(), waiting: Arc::default() }
    }

    /// The lanes of that pipeline were started, instead of those it had before.
    pub fn set_lanes(&self, pipeline: &str, lanes: Vec<Arc<LaneMetrics>>) {
        self.lanes.write().unwrap_or_else(PoisonError::into_inner).insert(pipeline.to_owned(), lanes);
    }

    /// What the start of that pipeline waits for; none when it has started.
    pub fn set_waiting(&self, pipeline: &str, waits_for: Option<&str>) {
        let mut waiting = self.waiting.write().unwrap_or_else(PoisonError::into_inner);
        match waits_for {
            Some(what) => drop(waiting.insert(pipeline.to_owned(), what.to_owned())),
            None => drop(waiting.remove(pipeline)),
        }
    }

    fn not_ready(&self) -> Vec<String> {
        let waiting = self.waiting.read().unwrap_or_else(PoisonError::into_inner);
        let mut lines: Vec<_> = waiting.iter().map(|(pipeline, what)| format!("{pipeline}: waiting for {what}")).collect();
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        let late = lanes.values().flatten().filter(|lane| !lane.is_ready(READY_LAG_RECORDS_MAX));
        lines.extend(late.map(|lane| format!("{}/{}: not reading, or behind", lane.pipeline, lane.sink)));
        if lanes.is_empty() && lines.is_empty() {
            lines.push("no lane has started".into());
        }
        lines
    }
}

/// Serves until `shutdown`.
pub async fn serve(listener: TcpListener, status: Status, mut shutdown: watch::Receiver<bool>) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(|| async { "alive\n" }))
        .route("/ready", get(ready))
        .with_state(status);
    let stopped = async move { drop(shutdown.wait_for(|stop| *stop).await) };
    axum::serve(listener, router).with_graceful_shutdown(stopped).await
}

async fn metrics(State(status): State<Status>) -> Response {
    match status.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn ready(State(status): State<Status>) -> Response {
    let lines = status.not_ready();
    if lines.is_empty() { "ready\n".into_response() } else { (StatusCode::SERVICE_UNAVAILABLE, lines.join("\n") + "\n").into_response() }
}
