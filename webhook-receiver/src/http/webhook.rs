//! `POST /webhook`: read, verify, parse, store, and only then answer 200.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio_stream::StreamExt;

use super::App;
use crate::rejection::Reason;
use crate::signature::{self, Headers, ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use crate::store::{Receipt, Unavailable};
use crate::{cloudevent, timestamp};

/// What is read and thrown away of a body that is too large. Closing at once would reset the connection while the client is
/// still sending, and it would see a network error, and try again, instead of the 413.
const DISCARDED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// What senders are asked to wait when the disk fails.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("5");

/// Why a request is not acknowledged, for the counters and for the sender.
struct Rejection {
    reason: Reason,
    message: String,
}

#[derive(Serialize)]
struct Refusal<'a> {
    error: &'a str,
    message: &'a str,
}

/// The handler.
pub async fn receive(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Response {
    let received = tokio::time::timeout(app.request_timeout, app.receive(&headers, body)).await;
    let rejection = match received {
        Ok(Ok(receipt)) => return Json(receipt).into_response(),
        Ok(Err(rejection)) => rejection,
        // It may still be stored a moment later; the sender tries again and is told that it is a duplicate.
        Err(_) => Rejection::new(Reason::Timeout, "the request took too long"),
    };
    app.store.rejections().count(rejection.reason, &rejection.message, timestamp::now_us());
    rejection.into_response()
}

impl App {
    async fn receive(&self, headers: &HeaderMap, body: Body) -> Result<Receipt, Rejection> {
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        let units = self.budget_units(length.unwrap_or(usize::MAX));
        // Held until the events are stored, because they are slices of the body.
        let _memory = self.budget.acquire_many(units).await.map_err(|_| Unavailable)?;
        let body = self.read(body, length).await?;
        self.verify(headers, &body)?;
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let events = cloudevent::parse_body(content_type, &body)?;
        Ok(self.store.insert(events).await?)
    }

    async fn read(&self, body: Body, length: Option<usize>) -> Result<Bytes, Rejection> {
        let (mut stream, mut discarded_bytes) = (body.into_data_stream(), 0);
        let mut is_too_large = length.is_some_and(|length| length > self.body_bytes_max);
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|_| Rejection::new(Reason::BodyIncomplete, "the body ended early"))?;
            is_too_large |= bytes.len() + chunk.len() > self.body_bytes_max;
            if !is_too_large {
                bytes.extend_from_slice(&chunk);
                continue;
            }
            bytes = Vec::new();
            discarded_bytes += chunk.len();
            if discarded_bytes > DISCARDED_BYTES_MAX {
                break;
            }
        }
        if is_too_large {
            let message = format!("the body is larger than {} bytes", self.body_bytes_max);
            return Err(Rejection { reason: Reason::BodyTooLarge, message });
        }
        Ok(bytes.into())
    }

    fn verify(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), Rejection> {
        let text = |name: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.ok_or_else(|| Rejection { reason: Reason::MissingSignature, message: format!("{name} is missing or not text") })
        };
        let signed = Headers { id: text(ID_HEADER)?, timestamp: text(TIMESTAMP_HEADER)?, signature: text(SIGNATURE_HEADER)? };
        let now_s = timestamp::now_us() / 1_000_000;
        Ok(self.secret.verify(signed, body, now_s, self.tolerance_s)?)
    }
}

impl Rejection {
    fn new(reason: Reason, message: &str) -> Self {
        Self { reason, message: message.to_owned() }
    }
}

impl From<signature::Error> for Rejection {
    fn from(error: signature::Error) -> Self {
        let reason = match error {
            signature::Error::Timestamp => Reason::BadTimestamp,
            signature::Error::Old => Reason::OldTimestamp,
            signature::Error::Future => Reason::FutureTimestamp,
            signature::Error::Signature => Reason::BadSignature,
        };
        Self { reason, message: error.to_string() }
    }
}

impl From<cloudevent::Error> for Rejection {
    fn from(error: cloudevent::Error) -> Self {
        let reason = match error {
            cloudevent::Error::Json(_) => Reason::NotJson,
            cloudevent::Error::ContentType | cloudevent::Error::CloudEvent { .. } => Reason::NotCloudEvents,
        };
        Self { reason, message: error.to_string() }
    }
}

impl From<Unavailable> for Rejection {
    fn from(error: Unavailable) -> Self {
        Self { reason: Reason::StorageUnavailable, message: error.to_string() }
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let refusal = Refusal { error: self.reason.name(), message: &self.message };
        let mut response = (self.reason.status(), Json(refusal)).into_response();
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_S);
        }
        response
    }
}
