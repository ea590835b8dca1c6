//! Changes to an HTTP endpoint, at least once, under ids that never change: the receiver that keeps ids has each change once.
//!
//! Events are CloudEvents 1.0 in batches ([`event`]), signed as Standard Webhooks ([`sign`]). Events of one key arrive in order (the first
//! arrival of each; a repeat can come late), different keys travel in parallel, and a truncate waits for everything before it and is waited for by
//! everything after it. [`Sink::write`] retries by itself, because an endpoint takes a part of a batch and refuses another ([`deliver`]); it
//! returns when each event of the batch is answered. An endpoint can hold no progress: Kafka's committed offsets do, with the mark in
//! their metadata, and the lane commits them.

pub mod config;

pub mod event;

pub mod sign;

pub mod deliver;

pub(crate) mod time;

mod outage;

use futures_util::future::try_join_all;
use highwater_sql::{Plan, RowError};
use tracing::warn;

pub use config::{EndpointUrl, WebhookConfig};
pub use sign::Secret;

use super::{Batch, Error, Failed, Policy, Progress, Rejected, ResultRow, Resume, Selected, Sides, Sink, Written};
use crate::config::Start;
use crate::faults::{Protection, holds};
use crate::metrics::Metrics;
use crate::progress::{Boundary, Mark};
use crate::source::{self, Log, Record};
use deliver::Endpoint;
use event::{Event, Template};

/// What the rest of the pipeline file says that a webhook needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The pipeline's name.
    pub pipeline: &'a str,
    /// The sink's name.
    pub sink: &'a str,
    /// Kafka's bootstrap servers.
    pub kafka: &'a str,
    /// Debezium's `topic.prefix`.
    pub prefix: &'a str,
    /// Where a lane without progress begins.
    pub start: Start,
}

/// The webhook sink of one lane; `L` is the topic it is fed from.
pub struct Webhook<L> {
    endpoint: Endpoint,
    template: Template,
    log: L,
    kafka: String,
    start: Start,
    snapshot: bool,
    batch_max: usize,
    batch_bytes_max: usize,
    in_flight_max: usize,
    /// How remedies name the consumer group and the topic.
    group: String,
    topic: String,
}

/// The events of one batch.
#[derive(Debug, Default)]
pub struct Payload {
    events: Vec<Event>,
    bytes: usize,
}

impl Payload {
    /// How many there are.
    pub fn events(&self) -> usize {
        self.events.len()
    }

    fn push(&mut self, event: Event) {
        self.bytes += event.json.len() + event.record.value.as_ref().map_or(0, |value| value.len());
        self.events.push(event);
    }
}

impl<L: Log> Webhook<L> {
    /// A sink for the rows of `plan`. Opens no connection; refuses a configuration that [`WebhookConfig::validate`] refuses.
    pub fn new(config: &WebhookConfig, place: Place<'_>, plan: &Plan, log: L, metrics: Metrics) -> Result<Self, Error> {
        let template = Template::new(place.pipeline, place.prefix, plan);
        let topic = format!("{}.{}.{}", place.prefix, plan.source.schema, plan.source.name);
        Self::with_template(config, place, template, topic, log, metrics)
    }

    fn with_template(
        config: &WebhookConfig,
        place: Place<'_>,
        template: Template,
        topic: String,
        log: L,
        metrics: Metrics,
    ) -> Result<Self, Error> {
        Ok(Self {
            endpoint: Endpoint::new(config, place.pipeline, place.sink, metrics)?,
            template,
            log,
            kafka: place.kafka.to_owned(),
            start: place.start,
            snapshot: config.snapshot,
            batch_max: config.batch_max,
            batch_bytes_max: config.batch_bytes_max,
            in_flight_max: config.in_flight_max,
            group: format!("highwater.{}.{}", place.pipeline, place.sink),
            topic,
        })
    }

    /// Adds a row of the table as it is, which came in no change: `content` identifies what the SELECT reads of it ([`event`]).
    pub fn add_row(&self, payload: &mut Payload, record: &Record, content: &str, row: ResultRow) -> Result<(), RowError> {
        payload.push(self.template.row_event(record, content, &row)?);
        Ok(())
    }

    /// Delivers events that are ordered by key only.
    async fn deliver(&self, events: &[Event]) -> Result<Vec<Rejected>, Error> {
        let chains = self.chains(events);
        let rejected = try_join_all(chains.iter().map(|chain| self.endpoint.deliver(chain))).await?;
        Ok(rejected.into_iter().flatten().collect())
    }

    /// Events by key, in as many chains as have a request to fill, so that a small batch is one request and one commit at the receiver.
    fn chains<'e>(&self, events: &'e [Event]) -> Vec<Vec<&'e Event>> {
        let bytes: usize = events.iter().map(|event| event.json.len()).sum();
        let requests = events.len().div_ceil(self.batch_max).max(bytes.div_ceil(self.batch_bytes_max));
        let count = requests.clamp(1, self.in_flight_max);
        let mut chains = vec![Vec::new(); count];
        for (n, event) in events.iter().enumerate() {
            // The remainder is below `count`, so it fits.
            let by_key = event.key_hash.unwrap_or(0) % count as u64;
            let chain = if holds(Protection::KeyOrder) { usize::try_from(by_key).unwrap_or(0) } else { n % count };
            chains[chain].push(event);
        }
        chains.retain(|chain| !chain.is_empty());
        chains
    }

    /// The progress of a partition that has a commit.
    fn resumed(&self, partition: i32, (next, metadata): &(i64, String), (low, high): (i64, i64)) -> Result<Progress, Error> {
        let reset = |to: &str| {
            let (kafka, group, topic) = (&self.kafka, &self.group, &self.topic);
            format!(
                "stop every engine of this pipeline and run kafka-consumer-groups --bootstrap-server {kafka} --group {group} --topic {topic}:{partition} --reset-offsets --to-{to} --execute"
            )
        };
        if *next < low {
            let lost = low - next;
            return Err(Error::Stop {
                message: format!(
                    "the retention of {} removed {lost} records of partition {partition} before they were delivered (offset {next} of {low})",
                    self.topic
                ),
                remedy: format!("raise the topic's retention; to go on without them, {}", reset("earliest")),
            });
        }
        if *next > high {
            return Err(Error::Stop {
                message: format!(
                    "{} ends at offset {high} of partition {partition}, before what was delivered ({next}): it was created anew or lost records",
                    self.topic
                ),
                remedy: format!("to begin at its start, {}", reset("earliest")),
            });
        }
        let mark = Mark::decode(metadata).unwrap_or_else(|| {
            warn!(
                group = self.group,
                partition,
                "the metadata of the committed offset cannot be read; what was sent again before it cannot be told, the receiver's ids can"
            );
            Mark::default()
        });
        Ok(Progress { next: *next, mark })
    }
}

impl<L: Log> Sink for Webhook<L> {
    type Payload = Payload;

    fn policy(&self) -> Policy {
        Policy::Events { snapshot: self.snapshot }
    }

    /// What the group committed. No commit on any partition of the topic: where the configuration says. Some: a partition without one is new
    /// and starts at its beginning.
    async fn resume(&self, partitions: &[i32]) -> Result<Resume, Error> {
        let mut committed = self.log.committed(partitions).await.map_err(retry)?;
        // Read after the commits, which therefore cannot be beyond the end.
        let watermarks = self.log.watermarks().await.map_err(retry)?;
        let all: Vec<i32> = watermarks.keys().copied().collect();
        let fresh = committed.is_empty() && self.log.committed(&all).await.map_err(retry)?.is_empty();
        let mut resume = Resume::default();
        for &partition in partitions {
            let Some(&(low, high)) = watermarks.get(&partition) else {
                return Err(Error::Retry(format!("kafka does not know partition {partition} of {} yet", self.topic)));
            };
            let progress = match committed.remove(&partition) {
                Some(commit) => self.resumed(partition, &commit, (low, high))?,
                None if fresh && self.start == Start::Latest => Progress { next: high, mark: Mark::default() },
                None => Progress { next: low, mark: Mark::default() },
            };
            resume.partitions.insert(partition, progress);
        }
        if fresh && self.start == Start::Latest {
            // For the engines beside this one: once a partition has a commit, those without one begin at their beginning.
            let others = watermarks.iter().filter(|(partition, _)| !partitions.contains(partition));
            resume.unread = others.map(|(&partition, &(_, high))| (partition, Progress { next: high, mark: Mark::default() })).collect();
        }
        Ok(resume)
    }

    fn add(&self, payload: &mut Payload, selected: Selected<'_>) -> Result<(), Failed> {
        let event = self.template.event(&selected).map_err(|error| Failed { sides: Sides::BOTH, error })?;
        if let Some(event) = event {
            payload.push(event);
        }
        Ok(())
    }

    fn is_full(&self, payload: &Payload) -> bool {
        payload.events.len() >= self.in_flight_max * self.batch_max || payload.bytes >= self.in_flight_max * self.batch_bytes_max
    }

    /// Returns when every event is delivered or refused. Retries by itself, for ever; may be dropped at any moment.
    async fn write(&self, batch: Batch<Payload>) -> Result<Written, Error> {
        let mut rejected = Vec::new();
        // An event without a key is alone in its part, and parts wait for each other.
        for part in batch.payload.events.chunk_by(|a, b| a.key_hash.is_some() && b.key_hash.is_some()) {
            rejected.extend(self.deliver(part).await?);
        }
        rejected.sort_by_key(|rejected| (rejected.record.partition, rejected.record.offset));
        Ok(Written { rejected, late: 0 })
    }

    /// Events know no boundaries ([`Policy::Events`]), so nobody calls this.
    async fn begin(&self, _: Boundary) -> Result<(), Error> {
        Err(Error::Stop {
            message: "a webhook has no epochs to begin".to_owned(),
            remedy: "report this as a defect of highwater".to_owned(),
        })
    }

    /// Nothing happens to an endpoint while no events arrive.
    async fn tick(&self) -> Result<(), Error> {
        self.endpoint.idle();
        Ok(())
    }
}

fn retry(error: source::Error) -> Error {
    Error::Retry(error.to_string())
}

#[cfg(test)]
mod tests;
