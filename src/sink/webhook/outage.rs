//! What all requests of a sink know together about an endpoint that does not take events: one alarm, one line in the log at its begin and one
//! at its end, and one wait when it names one.
//!
//! An outage begins with the first try that fails and ends when a request is answered and no other is being retried, or when nothing is left to
//! send because other engines have the partitions. A write that is dropped half way does not end it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::metrics::Metrics;

/// The outage of one endpoint, if there is one.
pub struct Outage {
    pipeline: String,
    sink: String,
    endpoint: String,
    metrics: Metrics,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Requests that failed and are being retried.
    failing: usize,
    tries: u64,
    since: Option<Instant>,
    /// Nothing was to be sent when it was last looked, and nothing was since.
    idle: bool,
    rest_until: Option<Instant>,
}

/// One request's part in it.
pub struct Watch<'a> {
    outage: &'a Outage,
    failing: bool,
}

impl Outage {
    /// No outage yet. `endpoint` is what the log calls it, without secrets.
    pub fn new(pipeline: &str, sink: &str, endpoint: String, metrics: Metrics) -> Self {
        metrics.outage.with_label_values(&[pipeline, sink]).set(0);
        Self { pipeline: pipeline.to_owned(), sink: sink.to_owned(), endpoint, metrics, state: Mutex::default() }
    }

    /// A request begins.
    pub fn watch(&self) -> Watch<'_> {
        self.state().idle = false;
        Watch { outage: self, failing: false }
    }

    /// Waits as long as the endpoint has asked for; `Retry-After` is about the endpoint, not about one request.
    pub async fn rest(&self) {
        loop {
            let until = self.state().rest_until;
            match until.filter(|until| *until > Instant::now()) {
                Some(until) => sleep_until(until).await,
                None => return,
            }
        }
    }

    /// Nothing is to be sent. Said twice, and nothing was sent in between, what was retried is others': once may be before it is read again.
    pub fn idle(&self) {
        let mut state = self.state();
        let was_idle = std::mem::replace(&mut state.idle, true);
        if was_idle && state.failing == 0 && state.since.take().is_some() {
            state.tries = 0;
            self.alarm(false);
            info!(
                pipeline = self.pipeline,
                sink = self.sink,
                endpoint = self.endpoint,
                "this engine has nothing left to send to the webhook endpoint"
            );
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alarm(&self, on: bool) {
        self.metrics.outage.with_label_values(&[&self.pipeline, &self.sink]).set(i64::from(on));
    }
}

impl Watch<'_> {
    /// A try failed, and the request will be tried again.
    pub fn failed(&mut self, reason: &str, rest: Option<Duration>) {
        let outage = self.outage;
        outage.metrics.retries.with_label_values(&[&outage.pipeline, &outage.sink, "sink"]).inc();
        let mut state = outage.state();
        state.tries += 1;
        if !self.failing {
            self.failing = true;
            state.failing += 1;
        }
        if let Some(rest) = rest {
            state.rest_until = state.rest_until.max(Some(Instant::now() + rest));
        }
        if state.since.is_none() {
            state.since = Some(Instant::now());
            outage.alarm(true);
            warn!(
                pipeline = outage.pipeline,
                sink = outage.sink,
                endpoint = outage.endpoint,
                reason,
                "the webhook endpoint does not take events; trying again until it does"
            );
        }
    }

    /// The request was answered, for good or bad.
    pub fn answered(mut self) {
        let outage = self.outage;
        let mut state = outage.state();
        if std::mem::take(&mut self.failing) {
            state.failing -= 1;
        }
        if state.failing > 0 {
            return;
        }
        if let Some(since) = state.since.take() {
            outage.alarm(false);
            let (tries, seconds) = (std::mem::take(&mut state.tries), since.elapsed().as_secs_f64());
            info!(
                pipeline = outage.pipeline,
                sink = outage.sink,
                endpoint = outage.endpoint,
                tries,
                seconds,
                "the webhook endpoint takes events again"
            );
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if self.failing {
            self.outage.state().failing -= 1;
        }
    }
}
