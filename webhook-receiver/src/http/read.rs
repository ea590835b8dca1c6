//! Everything that reads: numbers, events, the export, the dashboard and its stream.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, WatchStream};

use super::App;
use crate::store::query::Filter;
use crate::store::{self, Store};

const PAGE: &str = include_str!("../dashboard.html");
const LIMIT_DEFAULT: u64 = 50;
/// Larger limits are taken as this one.
const LIMIT_MAX: u64 = 1000;

/// What the dashboard shows, as JSON, built once for all screens.
pub type LiveJson = Arc<str>;

/// The numbers of this moment for the dashboard.
#[must_use]
pub fn live_json(store: &Store) -> LiveJson {
    serde_json::to_string(&store.live()).unwrap_or_default().into()
}

/// `GET /stats`
pub async fn stats(State(app): State<Arc<App>>) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(app.store.stats())).into_response()
}

/// `GET /health`: 200 as long as the process serves; `storage` says whether the last transaction succeeded.
pub async fn health(State(app): State<Arc<App>>) -> Response {
    let storage = if app.store.failing() { "failing" } else { "ok" };
    Json(json!({ "status": "ok", "storage": storage })).into_response()
}

/// What `GET /events` understands; anything else is an error and not ignored.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    limit: Option<u64>,
    content_id: Option<String>,
    event_type: Option<String>,
}

/// `GET /events`: the newest first.
pub async fn events(State(app): State<Arc<App>>, query: Result<Query<EventsQuery>, QueryRejection>) -> Response {
    let Query(query) = match query {
        Ok(query) => query,
        Err(rejection) => return refuse(StatusCode::BAD_REQUEST, &rejection.body_text()),
    };
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if limit == 0 {
        return refuse(StatusCode::BAD_REQUEST, "limit is at least 1");
    }
    let filter = Filter {
        limit: u16::try_from(limit.min(LIMIT_MAX)).unwrap_or(u16::MAX),
        content_id: query.content_id,
        event_type: query.event_type,
    };
    match app.store.events(filter).await {
        Ok(body) => {
            let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
            (headers, body).into_response()
        }
        Err(error) => unreadable(&error),
    }
}

/// `GET /export`: every event, one JSON object a line, in order of first arrival.
pub async fn export(State(app): State<Arc<App>>) -> Response {
    match app.store.export().await {
        Ok(chunks) => {
            let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
            (headers, Body::from_stream(ReceiverStream::new(chunks))).into_response()
        }
        Err(error) => unreadable(&error),
    }
}

/// `GET /`
pub async fn dashboard(State(app): State<Arc<App>>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::CONTENT_SECURITY_POLICY, app.page_policy.clone()),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, PAGE).into_response()
}

/// `GET /events/stream`: server-sent events named `live`, the first at once, then with every change.
pub async fn stream(State(app): State<Arc<App>>) -> Response {
    let Ok(permit) = Arc::clone(&app.screens).try_acquire_owned() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "too many screens are watching");
    };
    let first = tokio_stream::once(live_json(&app.store));
    let live = first.chain(WatchStream::from_changes(app.live.clone())).map(move |json| {
        // The permit lives as long as the stream.
        let _watching = &permit;
        Ok::<_, Infallible>(Event::default().event("live").data(&*json))
    });
    // The second header tells nginx not to hold events back.
    let headers = [(header::CACHE_CONTROL.as_str(), "no-store"), ("x-accel-buffering", "no")];
    (headers, Sse::new(live).keep_alive(KeepAlive::default())).into_response()
}

/// Allows the page its own script and style, by hash, and its own server; nothing that an event contains can run.
pub(super) fn page_policy() -> HeaderValue {
    let hash = |tag: &str| {
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        let inner = PAGE.split_once(&open).and_then(|(_, rest)| rest.split_once(&close)).map_or("", |(inner, _)| inner);
        STANDARD.encode(Sha256::digest(inner))
    };
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'",
        hash("script"),
        hash("style"),
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "error": message }))).into_response()
}

fn unreadable(error: &store::Error) -> Response {
    tracing::warn!(%error, "cannot read events");
    refuse(StatusCode::SERVICE_UNAVAILABLE, "the events cannot be read now")
}
