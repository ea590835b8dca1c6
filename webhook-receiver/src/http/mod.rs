//! The routes, and what they share.

mod read;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::HeaderValue;
use axum::routing::{get, post};
use tokio::sync::{Semaphore, watch};

use crate::settings::Settings;
use crate::signature::Secret;
use crate::store::Store;

pub use read::{LiveJson, live_json};

/// Screens that watch at the same time.
const SCREENS_MAX: usize = 64;
/// Bytes of bodies that may be in memory at the same time, as multiples of the largest body; more wait before they are read.
const BODIES_MAX: usize = 6;
/// The unit in which those bytes are counted.
const BUDGET_UNIT_BYTES: usize = 1024;

/// What every handler can reach.
pub(crate) struct App {
    store: Store,
    secret: Secret,
    body_bytes_max: usize,
    tolerance_s: u32,
    request_timeout: Duration,
    /// Memory for bodies, in units of [`BUDGET_UNIT_BYTES`].
    budget: Semaphore,
    live: watch::Receiver<LiveJson>,
    screens: Arc<Semaphore>,
    page_policy: HeaderValue,
}

impl App {
    fn budget_units(&self, body_bytes: usize) -> u32 {
        let bytes = body_bytes.min(self.body_bytes_max);
        u32::try_from(bytes / BUDGET_UNIT_BYTES + 1).unwrap_or(u32::MAX)
    }
}

/// All routes. `live` carries what the dashboard shows and ends when the receiver stops.
pub fn router(store: Store, settings: &Settings, live: watch::Receiver<LiveJson>) -> Router {
    let body_bytes_max = usize::try_from(settings.body_bytes_max).unwrap_or(usize::MAX);
    let app = App {
        store,
        secret: settings.secret.clone(),
        body_bytes_max,
        tolerance_s: settings.tolerance_s,
        request_timeout: Duration::from_secs(settings.request_s_max.into()),
        budget: Semaphore::new((body_bytes_max / BUDGET_UNIT_BYTES + 1) * BODIES_MAX),
        live,
        screens: Arc::new(Semaphore::new(SCREENS_MAX)),
        page_policy: read::page_policy(),
    };
    Router::new()
        .route("/webhook", post(webhook::receive))
        .route("/stats", get(read::stats))
        .route("/events", get(read::events))
        .route("/export", get(read::export))
        .route("/health", get(read::health))
        .route("/", get(read::dashboard))
        .route("/events/stream", get(read::stream))
        .with_state(Arc::new(app))
}
