//! Asks Kafka Connect how the connector behind the source is configured.
//!
//! Connect is not needed for running, so that nothing here is waited for: what cannot be verified is a warning.

use std::collections::BTreeMap;
use std::time::Duration;

use highwater_sql::Plan;
use serde::Deserialize;

use super::{Fact, connector};
use crate::config::{PipelineConfig, SecretUrl};

const ANSWER_MAX: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 16 << 20;

#[derive(Debug, Deserialize)]
struct Connector {
    info: Info,
    status: Status,
}

#[derive(Debug, Deserialize)]
struct Info {
    config: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Status {
    connector: Run,
    tasks: Vec<Run>,
}

#[derive(Debug, Deserialize)]
struct Run {
    state: String,
}

pub(super) async fn check(config: &PipelineConfig, plan: Option<&Plan>, facts: &mut Vec<Fact>) {
    let Some(url) = &config.source.connect else {
        let text = "the connector's settings were not verified: source.connect is not set";
        return facts.push(Fact::warning("connect", text, "set it to the URL of Kafka Connect's REST interface"));
    };
    let connectors = match ask(url).await {
        Ok(connectors) => connectors,
        Err(reason) => {
            let text = format!("the connector's settings were not verified: {url}: {reason}");
            return facts.push(Fact::warning("connect", text, "start Kafka Connect, or correct source.connect"));
        }
    };
    let prefix = &config.source.prefix;
    let is_source = |settings: &BTreeMap<String, String>| {
        settings.get("topic.prefix") == Some(prefix) && settings.get("connector.class").is_some_and(|class| class.contains("postgresql"))
    };
    let sources: Vec<_> = connectors.iter().filter(|(_, connector)| is_source(&connector.info.config)).collect();
    if sources.is_empty() {
        let text = format!("no Postgres connector with topic.prefix={prefix} is registered at {url}");
        return facts.push(Fact::warning("connect", text, "register it, or correct source.prefix"));
    }
    if sources.len() > 1 {
        let names: Vec<_> = sources.iter().map(|(name, _)| name.as_str()).collect();
        let text = format!("connectors {} write to the same topics (topic.prefix={prefix})", names.join(" and "));
        facts.push(Fact::failed("connect", text, "give each connector its own topic.prefix: their positions cannot be compared"));
    }
    for (name, connector) in sources {
        facts.extend(state(name, &connector.status));
        let wrong = connector::judge(config, plan, name, &connector.info.config);
        if wrong.is_empty() {
            facts.push(Fact::ok("connect", format!("connector {name}: its settings keep every value")));
        }
        facts.extend(wrong);
    }
}

async fn ask(url: &SecretUrl) -> Result<BTreeMap<String, Connector>, String> {
    // A second installation changes nothing; the first one counts.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // The URL may hold a password, which reqwest's errors would repeat.
    let told = |error: reqwest::Error| {
        let error = error.without_url();
        if error.is_timeout() { format!("no answer within {} s", ANSWER_MAX.as_secs()) } else { error.to_string() }
    };
    let client =
        reqwest::Client::builder().timeout(ANSWER_MAX).no_proxy().redirect(reqwest::redirect::Policy::none()).build().map_err(told)?;
    let address = format!("{}/connectors?expand=info&expand=status", url.expose().trim_end_matches('/'));
    let mut answer = client.get(address).send().await.map_err(told)?;
    if !answer.status().is_success() {
        return Err(format!("it answers {}", answer.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(told)? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            return Err("its answer is too long".to_owned());
        }
    }
    serde_json::from_slice(&body).map_err(|_| "its answer is not one of Kafka Connect".to_owned())
}

fn state(name: &str, status: &Status) -> Option<Fact> {
    let states = std::iter::once(&status.connector).chain(&status.tasks).map(|run| run.state.as_str());
    let wrong = states.into_iter().find(|state| *state != "RUNNING");
    let wrong = if status.tasks.is_empty() { Some(wrong.unwrap_or("without a task")) } else { wrong };
    let remedy = "look at its status and log; POST /connectors/NAME/restart?includeTasks=true starts it again";
    wrong.map(|state| Fact::warning("connect", format!("connector {name} is {state}"), remedy))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::State;
    use super::super::tests::config;
    use super::*;

    async fn serve(body: &'static str) -> SecretUrl {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let answer = axum::routing::get(move || async move { body });
        tokio::spawn(axum::serve(listener, axum::Router::new().route("/connectors", answer)).into_future());
        SecretUrl::new(url)
    }

    async fn facts(url: Option<SecretUrl>) -> Vec<(State, String)> {
        let mut config = config();
        config.source.connect = url;
        let mut facts = Vec::new();
        check(&config, None, &mut facts).await;
        facts.into_iter().map(|fact| (fact.state, fact.text)).collect()
    }

    #[tokio::test]
    async fn a_connect_that_is_not_there_is_a_warning() {
        let text = "the connector's settings were not verified: source.connect is not set";
        assert_eq!(facts(None).await, [(State::Warning, text.to_owned())]);
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let found = facts(Some(SecretUrl::new(format!("http://u:secret-word@{free}")))).await;
        let [(State::Warning, text)] = &found[..] else { panic!("{found:?}") };
        assert!(
            text.starts_with("the connector's settings were not verified: http://u:***@127.0.0.1:") && !text.contains("secret-word"),
            "{text}"
        );
        let found = facts(Some(serve("<html>").await)).await;
        assert!(found[0].1.ends_with("its answer is not one of Kafka Connect"), "{found:?}");
    }

    #[tokio::test]
    async fn the_connector_is_found_by_prefix_and_its_state_told() {
        let url = serve(
            r#"{"other":{"info":{"name":"other","config":{"connector.class":"x.postgresql.Y","topic.prefix":"q"},"tasks":[],"type":"source"},
                "status":{"name":"other","connector":{"state":"FAILED","worker_id":"w"},"tasks":[],"type":"source"}},
               "mine":{"info":{"config":{"connector.class":"io.debezium.connector.postgresql.PostgresConnector","topic.prefix":"p",
                  "plugin.name":"pgoutput","skipped.operations":"none","value.converter.replace.null.with.default":"false",
                  "value.converter":"org.apache.kafka.connect.json.JsonConverter","producer.override.enable.idempotence":"true","poll.interval.ms":"5"}},
                "status":{"connector":{"state":"RUNNING"},"tasks":[{"id":0,"state":"FAILED","trace":"secret"}]}}}"#,
        )
        .await;
        let expected = [
            (State::Warning, "connector mine is FAILED".to_owned()),
            (State::Ok, "connector mine: its settings keep every value".to_owned()),
        ];
        assert_eq!(facts(Some(url)).await, expected);
        let text = "no Postgres connector with topic.prefix=p is registered at ".to_owned();
        let found = facts(Some(serve("{}").await)).await;
        assert!(found.len() == 1 && found[0].0 == State::Warning && found[0].1.starts_with(&text), "{found:?}");
    }
}
