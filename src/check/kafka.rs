//! The topics: are they there, and do they keep records as long as they are needed?

use std::collections::HashMap;
use std::time::Duration;

use highwater_sql::Plan;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;

use super::Fact;
use crate::config::{PipelineConfig, SinkConfig};

const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Rows up to this size pass through the stack when every limit is raised as documented.
const RECORD_BYTES: i64 = 16 << 20;

/// What a topic's configuration says, by key.
type Settings = HashMap<String, String>;

pub(super) async fn check(config: &PipelineConfig, plan: Option<&Plan>, facts: &mut Vec<Fact>) {
    let source = plan.map(|plan| config.topic(&plan.source.schema, &plan.source.name));
    let lookups = plan.map_or_else(Vec::new, |plan| plan.lookups.iter().map(|l| config.topic(&l.table.schema, &l.table.name)).collect());
    let topics: Vec<String> = source.iter().chain(&lookups).cloned().collect();
    let partitions = match partitions(&config.source.kafka, &topics).await {
        Ok(partitions) => partitions,
        Err(reason) => {
            return facts.push(Fact::waiting("kafka", format!("{}: {reason}", config.source.kafka), "start it, or correct source.kafka"));
        }
    };
    let Some(source) = source else { return facts.push(Fact::ok("kafka", format!("{} answers", config.source.kafka))) };
    match partitions.get(&source) {
        None => {
            let remedy = "register the connector and let it make its snapshot, or create the topic with as many partitions as you want lanes to share";
            facts.push(Fact::waiting("kafka", format!("topic {source} does not exist"), remedy));
        }
        Some(count) => match settings(&config.source.kafka, &source).await {
            Ok(settings) => facts.extend(judge(config, &source, *count, &settings)),
            Err(reason) => facts.push(Fact::waiting(
                "kafka",
                format!("topic {source}: {reason}"),
                "see that the broker answers, and lets this client describe topics",
            )),
        },
    }
    for topic in lookups {
        facts.push(match partitions.get(&topic) {
            Some(count) => Fact::ok("kafka", format!("topic {topic}: {count} partitions, followed for changes of cached rows")),
            None => Fact::warning(
                "kafka",
                format!("topic {topic} does not exist: no change of this table was captured yet"),
                "see that the connector's table.include.list has the table",
            ),
        });
    }
}

/// Partition counts of those topics that exist.
async fn partitions(brokers: &str, topics: &[String]) -> Result<HashMap<String, usize>, String> {
    let (client, topics) = (client(brokers), topics.to_vec());
    let ask = move || -> Result<HashMap<String, usize>, KafkaError> {
        let consumer: BaseConsumer = client.create()?;
        let metadata = consumer.fetch_metadata(None, ANSWER_MAX)?;
        let found =
            metadata.topics().iter().filter(|found| topics.iter().any(|topic| topic == found.name()) && !found.partitions().is_empty());
        Ok(found.map(|found| (found.name().to_owned(), found.partitions().len())).collect())
    };
    let answer = tokio::task::spawn_blocking(ask).await.map_err(|error| error.to_string())?;
    answer.map_err(|error| error.to_string())
}

async fn settings(brokers: &str, topic: &str) -> Result<Settings, String> {
    let admin: AdminClient<DefaultClientContext> = client(brokers).create().map_err(|error| error.to_string())?;
    let options = AdminOptions::new().request_timeout(Some(ANSWER_MAX)).operation_timeout(Some(ANSWER_MAX));
    let resources = [ResourceSpecifier::Topic(topic)];
    let answer = admin.describe_configs(&resources, &options).await.map_err(|error| error.to_string())?;
    let entries = match answer.into_iter().next() {
        Some(Ok(resource)) => resource.entries,
        Some(Err(error)) => return Err(error.to_string()),
        None => Vec::new(),
    };
    Ok(entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect())
}

fn client(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("client.id", "highwater-check").set("allow.auto.create.topics", "false");
    // Its own lines would repeat what the report says.
    config.set("log_level", "0");
    config
}

fn judge(config: &PipelineConfig, topic: &str, partitions: usize, settings: &Settings) -> Vec<Fact> {
    let mut facts = Vec::new();
    let number = |key: &str| settings.get(key).and_then(|value| value.parse::<i64>().ok());
    let retention = number("retention.ms").unwrap_or(-1);
    for sink in &config.sinks {
        let SinkConfig::RedisRanking(ranking) = sink else { continue };
        if settings.get("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
            let text = format!(
                "topic {topic} has cleanup.policy=compact: a rebuild of ranking {} would miss the changes that were compacted",
                sink.name()
            );
            facts.push(Fact::failed("kafka", text, format!("set cleanup.policy=delete on {topic}")));
        }
        let needed = i64::try_from(ranking.window.as_millis().saturating_add(ranking.ahead.as_millis())).unwrap_or(i64::MAX);
        if retention >= 0 && retention < needed {
            let text = format!(
                "topic {topic} keeps records for {retention} ms, but a rebuild of ranking {} reads back {needed} ms (window and ahead)",
                sink.name()
            );
            facts.push(Fact::failed("kafka", text, format!("set retention.ms={needed} or more on {topic}")));
        }
        if number("retention.bytes").is_some_and(|bytes| bytes >= 0) {
            let text =
                format!("topic {topic} has retention.bytes: under load it may keep less than the {needed} ms that a rebuild reads back");
            facts.push(Fact::warning("kafka", text, format!("set retention.bytes=-1 on {topic}")));
        }
    }
    if let Some(bytes) = number("max.message.bytes").filter(|bytes| *bytes < RECORD_BYTES) {
        let text = format!("topic {topic} takes records up to {bytes} bytes: a larger row stops the connector");
        facts.push(Fact::warning(
            "kafka",
            text,
            format!("set max.message.bytes={} on {topic} and the connector's producer.override.max.request.size", RECORD_BYTES + (1 << 20)),
        ));
    }
    if !facts.iter().any(|fact| fact.state == super::State::Failed) {
        let kept = if retention < 0 { "for ever".to_owned() } else { format!("for {} h", retention / 3_600_000) };
        facts.insert(0, Fact::ok("kafka", format!("topic {topic}: {partitions} partitions, records kept {kept}")));
    }
    facts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::State::{Failed, Ok, Warning};
    use super::super::tests::config;
    use super::*;

    fn states(settings: &[(&str, &str)]) -> Vec<(super::super::State, String)> {
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        judge(&config(), "p.public.t", 4, &settings).into_iter().map(|fact| (fact.state, fact.text)).collect()
    }

    #[test]
    fn a_topic_must_keep_what_a_rebuild_reads() {
        let good = ("retention.ms", "604800000");
        let size = ("max.message.bytes", "20971520");
        let kept = (Ok, "topic p.public.t: 4 partitions, records kept for 168 h".to_owned());
        assert_eq!(states(&[good, size, ("cleanup.policy", "delete")]), std::slice::from_ref(&kept));
        assert_eq!(states(&[("retention.ms", "-1"), size])[0].1, "topic p.public.t: 4 partitions, records kept for ever");
        let text = "topic p.public.t has cleanup.policy=compact: a rebuild of ranking ranking would miss the changes that were compacted";
        assert_eq!(states(&[good, size, ("cleanup.policy", "delete,compact")]), [(Failed, text.to_owned())]);
        let text =
            "topic p.public.t keeps records for 3659999 ms, but a rebuild of ranking ranking reads back 3660000 ms (window and ahead)";
        assert_eq!(states(&[("retention.ms", "3659999"), size]), [(Failed, text.to_owned())]);
        assert_eq!(states(&[("retention.ms", "3660000"), size]).len(), 1);
        let text = "topic p.public.t takes records up to 1048588 bytes: a larger row stops the connector";
        assert_eq!(states(&[good, ("max.message.bytes", "1048588")]), [kept.clone(), (Warning, text.to_owned())]);
        let text = "topic p.public.t has retention.bytes: under load it may keep less than the 3660000 ms that a rebuild reads back";
        assert_eq!(states(&[good, size, ("retention.bytes", "1")]), [kept, (Warning, text.to_owned())]);
    }

    #[tokio::test]
    async fn a_broker_that_does_not_answer_is_waited_for() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut config = config();
        config.source.kafka = free.to_string();
        let mut facts = Vec::new();
        check(&config, None, &mut facts).await;
        assert_eq!(facts.iter().map(|fact| fact.state).collect::<Vec<_>>(), [super::super::State::Waiting], "{facts:?}");
    }
}
