//! The `webhook` section of a pipeline file.

use std::fmt;

use highwater_sql::Plan;
use reqwest::Url;
use serde::Deserialize;

use super::sign::Secret;
use crate::config::{Duration, Problem};

const BATCH_MAX: usize = 100;
const BATCH_BYTES_MAX: usize = 1 << 20;
const IN_FLIGHT_MAX: usize = 8;
const TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_MAX_WAIT: Duration = Duration::from_secs(60);

/// A sink that sends every change as a CloudEvent, signed as Standard Webhooks, to one HTTP endpoint.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// The sink's name in metrics, logs and topics; unique in its pipeline.
    pub name: Option<String>,
    /// Where to POST: `http://` or `https://`. Redirects are not followed, proxies of the environment not used.
    pub url: EndpointUrl,
    /// The shared secret: `whsec_` and the base64 of at least 24 random bytes.
    pub secret: Secret,
    /// Events in one request at most.
    #[serde(default = "defaults::batch_max")]
    pub batch_max: usize,
    /// Bytes of one request's body at most; an event that is larger travels alone.
    #[serde(default = "defaults::batch_bytes_max")]
    pub batch_bytes_max: usize,
    /// Requests under way at most; events of one key are never in two of them.
    #[serde(default = "defaults::in_flight_max")]
    pub in_flight_max: usize,
    /// How long one request may take, from connecting to the end of the answer.
    #[serde(default = "defaults::timeout")]
    pub timeout: Duration,
    /// Snapshot rows are delivered too, as `snapshot` events.
    #[serde(default)]
    pub snapshot: bool,
    /// The longest wait between two tries; a `Retry-After` beyond it is cut to it.
    #[serde(default = "defaults::retry_max_wait")]
    pub retry_max_wait: Duration,
}

mod defaults {
    use super::Duration;

    pub fn batch_max() -> usize {
        super::BATCH_MAX
    }
    pub fn batch_bytes_max() -> usize {
        super::BATCH_BYTES_MAX
    }
    pub fn in_flight_max() -> usize {
        super::IN_FLIGHT_MAX
    }
    pub fn timeout() -> Duration {
        super::TIMEOUT
    }
    pub fn retry_max_wait() -> Duration {
        super::RETRY_MAX_WAIT
    }
}

/// The endpoint's URL. What prints it shows scheme, host and port alone: user, path and query of a webhook are often its password.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct EndpointUrl(String);

impl EndpointUrl {
    /// A URL as written.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The URL that requests go to; none if it cannot be one.
    pub fn parse(&self) -> Option<Url> {
        let url = Url::parse(&self.0).ok()?;
        (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parse() {
            Some(url) => f.write_str(&url.origin().ascii_serialization()),
            None => f.write_str("***"),
        }
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl WebhookConfig {
    /// What is wrong with the section, each with a remedy; keys are relative to it.
    pub fn validate(&self, plan: &Plan) -> Result<(), Vec<Problem>> {
        let names: Vec<&str> = plan.outputs.iter().map(|output| output.name.as_str()).collect();
        let problems = self.problems(&names);
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    fn problems(&self, outputs: &[&str]) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut add = |key: &str, message: String, remedy: &str| {
            problems.push(Problem { key: key.to_owned(), message, remedy: remedy.to_owned() });
        };
        if self.url.parse().is_none() {
            add("url", "is not an http or https URL".to_owned(), "write the whole URL, for example https://example.com/webhook");
        }
        if let Err(error) = self.secret.signer() {
            add("secret", error.to_string(), "generate one: echo \"whsec_$(openssl rand -base64 32)\", and give it to the receiver too");
        }
        for (key, value, min, max) in [
            ("batch_max", self.batch_max, 1, 10_000),
            ("batch_bytes_max", self.batch_bytes_max, 1 << 10, 64 << 20),
            ("in_flight_max", self.in_flight_max, 1, 256),
        ] {
            if !(min..=max).contains(&value) {
                add(key, format!("{value} is out of range"), &format!("choose between {min} and {max}"));
            }
        }
        for (key, value, min, max) in [
            ("timeout", self.timeout, Duration::from_millis(100), Duration::from_secs(600)),
            ("retry_max_wait", self.retry_max_wait, Duration::from_millis(100), Duration::from_secs(3600)),
        ] {
            if value < min || value > max {
                add(key, format!("{value} is out of range"), &format!("choose between {min} and {max}"));
            }
        }
        for (n, name) in outputs.iter().enumerate() {
            if outputs[..n].contains(name) {
                let message = format!("two columns of the SELECT are named {name}, and an event's row is a JSON object");
                add("", message, "give one of them another name with AS");
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SMALLEST: &str = r#"
        url = "https://user:pass-word@hooks.example.com/services/T0KEN?key=T0KEN"
        secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    "#;

    #[test]
    fn two_keys_are_enough() {
        let config: WebhookConfig = toml::from_str(SMALLEST).unwrap();
        assert_eq!((config.batch_max, config.in_flight_max, config.snapshot), (100, 8, false));
        assert_eq!((config.timeout, config.retry_max_wait), (Duration::from_secs(10), Duration::from_secs(60)));
        assert!(config.problems(&["id", "name"]).is_empty());
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error = toml::from_str::<WebhookConfig>(&format!("{SMALLEST}\nbatch_size = 3")).unwrap_err();
        assert!(error.to_string().contains("unknown field `batch_size`"), "{error}");
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_key() {
        let broken = r#"
            url = "ftp://user:pass-word@files.example.com"
            secret = "pass-word"
            batch_max = 0
            batch_bytes_max = 1
            in_flight_max = 1000
            timeout = "0s"
            retry_max_wait = "2h"
        "#;
        let config: WebhookConfig = toml::from_str(broken).unwrap();
        let problems = config.problems(&["id", "id"]);
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["url", "secret", "batch_max", "batch_bytes_max", "in_flight_max", "timeout", "retry_max_wait", ""]);
        assert!(problems.iter().all(|problem| !problem.remedy.is_empty() && !problem.message.contains("pass-word")));
    }

    #[test]
    fn no_way_of_printing_shows_a_secret() {
        let config: WebhookConfig = toml::from_str(SMALLEST).unwrap();
        let shown = format!("{config:?} {}", config.url);
        assert!(shown.contains("https://hooks.example.com"), "{shown}");
        for secret in ["pass-word", "T0KEN", "user", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert_eq!(EndpointUrl::new("pass-word").to_string(), "***");
    }
}
