//! One endpoint: requests that are signed, tried until they are answered, and cut in halves until what is refused is alone.
//!
//! | answer | meaning |
//! |---|---|
//! | 2xx | delivered |
//! | 400, 413, 415, 422 | something in it is refused: halves, and a single event is rejected |
//! | 410 | the endpoint is gone: stop |
//! | everything else, or none | the endpoint's fault: the same events again, for ever, with backoff, full jitter and `Retry-After` |
//!
//! The id and the body of a try never change, its timestamp and signature do. Nothing here is spawned: what drops the future of a delivery
//! ends it, with requests perhaps received and not known to be, which ids that never change make harmless.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};
use rustls::crypto::ring;

use super::config::WebhookConfig;
use super::event::{Event, request_id};
use super::outage::Outage;
use super::sign::Signer;
use crate::backoff::Backoff;
use crate::clock;
use crate::metrics::Metrics;
use crate::sink::{Error, Rejected};

const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(5);
const FIRST_WAIT_MAX: Duration = Duration::from_millis(200);
/// How much of an answer's body is read; beyond it the connection is not used again.
const ANSWER_BYTES_MAX: usize = 4096;
const REASON_CHARS_MAX: usize = 200;
const USER_AGENT: &str = concat!("highwater/", env!("CARGO_PKG_VERSION"));

/// Where events go.
pub struct Endpoint {
    client: Client,
    url: Url,
    signer: Signer,
    batch_max: usize,
    batch_bytes_max: usize,
    timeout: Duration,
    retry_max_wait: Duration,
    outage: Outage,
    metrics: Metrics,
    labels: [String; 2],
}

/// What an endpoint says about a request.
enum Answer {
    Delivered,
    Refused(String),
    Gone,
}

/// What came of one try.
enum Try {
    Answered(Answer),
    Failed { reason: String, retry_after: Option<Duration> },
}

impl Endpoint {
    /// The endpoint of a sink. Opens no connection.
    pub fn new(config: &WebhookConfig, pipeline: &str, sink: &str, metrics: Metrics) -> Result<Self, Error> {
        let stop = |message: String, remedy: &str| Error::Stop { message, remedy: remedy.to_owned() };
        let url = config.url.parse().ok_or_else(|| stop("the webhook's url is not an http or https URL".to_owned(), "correct url"))?;
        let signer = config.secret.signer().map_err(|error| stop(format!("the webhook's secret {error}"), "correct secret"))?;
        let client = client(config, &url).map_err(|error| {
            stop(format!("TLS cannot be set up: {}", root(&error)), "install the system's root certificates (package ca-certificates)")
        })?;
        Ok(Self {
            client,
            url,
            signer,
            batch_max: config.batch_max,
            batch_bytes_max: config.batch_bytes_max,
            timeout: config.timeout.get(),
            retry_max_wait: config.retry_max_wait.get(),
            outage: Outage::new(pipeline, sink, config.url.to_string(), metrics.clone()),
            metrics,
            labels: [pipeline.to_owned(), sink.to_owned()],
        })
    }

    /// Nothing is to be sent.
    pub fn idle(&self) {
        self.outage.idle();
    }

    /// Delivers events one request after the other, in order. Returns those that the endpoint refuses, each with what it said.
    pub async fn deliver(&self, events: &[&Event]) -> Result<Vec<Rejected>, Error> {
        let mut rejected = Vec::new();
        let mut rest = events;
        while !rest.is_empty() {
            let (request, later) = rest.split_at(self.request_len(rest));
            rest = later;
            // The next part to send is on top.
            let mut parts = vec![request];
            while let Some(part) = parts.pop() {
                match (self.send(part).await, part) {
                    (Answer::Delivered, _) => {}
                    (Answer::Refused(reason), [event]) => rejected.push(Rejected { record: event.record.clone(), reason }),
                    (Answer::Refused(_), _) => {
                        let (first, second) = part.split_at(part.len() / 2);
                        parts.extend([second, first]);
                    }
                    (Answer::Gone, _) => return Err(self.gone()),
                }
            }
        }
        Ok(rejected)
    }

    /// How many of the events go into one request: as many as the limits allow, and one at least.
    fn request_len(&self, events: &[&Event]) -> usize {
        let mut bytes_left = self.batch_bytes_max.saturating_sub(2);
        let fits = events.iter().take(self.batch_max).take_while(|event| match bytes_left.checked_sub(event.json.len() + 1) {
            Some(left) => {
                bytes_left = left;
                true
            }
            None => false,
        });
        fits.count().max(1)
    }

    /// Sends one request until it is answered.
    async fn send(&self, events: &[&Event]) -> Answer {
        let (id, body) = (request_id(events), body(events));
        let mut backoff = Backoff::new(FIRST_WAIT_MAX, self.retry_max_wait);
        let mut watch = self.outage.watch();
        loop {
            self.outage.rest().await;
            match self.attempt(&id, body.clone()).await {
                Try::Answered(answer) => {
                    watch.answered();
                    return answer;
                }
                Try::Failed { reason, retry_after } => {
                    watch.failed(&reason, retry_after.map(|wait| wait.min(self.retry_max_wait)));
                    tokio::time::sleep(backoff.wait()).await;
                }
            }
        }
    }

    async fn attempt(&self, id: &str, body: Bytes) -> Try {
        // A clock before 1970 signs what every receiver refuses, which is heard as an outage.
        let unix_seconds = clock::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/cloudevents-batch+json")
            .header("webhook-id", id)
            .header("webhook-timestamp", unix_seconds)
            .header("webhook-signature", self.signer.sign(id, unix_seconds, &body))
            .body(body);
        match request.send().await {
            Ok(response) => self.judge(response).await,
            Err(error) => {
                self.count("transport");
                let reason = match &error {
                    _ if error.is_timeout() => format!("no answer within {:?}", self.timeout),
                    _ if error.is_connect() => format!("cannot connect: {}", root(&error)),
                    _ => format!("the connection broke: {}", root(&error)),
                };
                Try::Failed { reason, retry_after: None }
            }
        }
    }

    async fn judge(&self, mut response: Response) -> Try {
        let status = response.status();
        let retry_after = retry_after(response.headers(), clock::now());
        // Also when nobody wants the text: only a connection whose answer was read is used again.
        let text = excerpt(&mut response).await;
        let reason = if text.is_empty() { status.to_string() } else { format!("{status}: {text}") };
        self.count(match status.as_u16() {
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        });
        match status {
            _ if status.is_success() => Try::Answered(Answer::Delivered),
            StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::UNPROCESSABLE_ENTITY => Try::Answered(Answer::Refused(reason)),
            StatusCode::GONE => Try::Answered(Answer::Gone),
            _ => Try::Failed { reason, retry_after },
        }
    }

    fn count(&self, status: &str) {
        self.metrics.webhook_requests.with_label_values(&[&self.labels[0], &self.labels[1], status]).inc();
    }

    fn gone(&self) -> Error {
        Error::Stop {
            message: format!("the webhook endpoint at {} answered 410 Gone: it wants no more events", self.url.origin().ascii_serialization()),
            remedy: "remove the sink from the pipeline, or give it the endpoint's new url; nothing that is not delivered is lost until the topic's retention ends".to_owned(),
        }
    }
}

fn client(config: &WebhookConfig, url: &Url) -> Result<Client, reqwest::Error> {
    // The default for the whole process; whoever came first has installed the same one.
    let _ = ring::default_provider().install_default();
    let timeout = config.timeout.get();
    let mut builder = Client::builder()
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(timeout.min(CONNECT_TIMEOUT_MAX))
        .timeout(timeout)
        .pool_max_idle_per_host(config.in_flight_max)
        // A far end that is gone without a word: when the first try has waited in vain, connections that were idle meanwhile are not tried one by one.
        .pool_idle_timeout(timeout)
        .user_agent(USER_AGENT);
    if url.scheme() == "http" {
        // Plain HTTP must work on a machine that has no root certificates.
        builder = builder.tls_certs_only([]);
    }
    builder.build()
}

fn body(events: &[&Event]) -> Bytes {
    let mut body = String::with_capacity(events.iter().map(|event| event.json.len() + 1).sum::<usize>() + 1);
    for (n, event) in events.iter().enumerate() {
        body.push(if n == 0 { '[' } else { ',' });
        body.push_str(&event.json);
    }
    body.push(']');
    Bytes::from(body)
}

/// What is at the bottom of an error; what lies above it repeats the URL.
fn root(error: &reqwest::Error) -> &dyn std::error::Error {
    let mut root: &dyn std::error::Error = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root
}

/// `Retry-After` of RFC 9110, section 10.2.3: seconds or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// The beginning of an answer's body as one line.
async fn excerpt(response: &mut Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < ANSWER_BYTES_MAX {
        let Ok(Some(chunk)) = response.chunk().await else { break };
        bytes.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES_MAX - bytes.len())]);
    }
    let text = String::from_utf8_lossy(&bytes);
    let line = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    line.chars().take(REASON_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        // 784,111,777 is the date below: `date -u -d 'Sun, 06 Nov 1994 08:49:37 GMT' +%s`.
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777 - 90);
        for (text, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(90)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
            ("99999999999999999999", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
