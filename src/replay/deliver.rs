//! Events on their way to an endpoint: filled, sent at a pace, counted.

use highwater_sql::RowError;
use tokio::signal::unix::{SignalKind, signal};

use super::pace::Pace;
use super::{Arguments, Error, group};
use crate::pipeline::checked::Checked;
use crate::sink::webhook::{Payload, Place, Webhook, WebhookConfig};
use crate::sink::{Batch, ResultRow, Selected, Sink as _};
use crate::source::Record;
use crate::source::topic::KafkaLog;

/// Refused events that are named; the others are counted.
const SHOWN_MAX: u64 = 20;

/// The webhook, and what was sent to it.
pub struct Delivery {
    webhook: Webhook<KafkaLog>,
    /// How fast.
    pub pace: Pace,
    payload: Payload,
    send: bool,
    refused: u64,
}

impl Delivery {
    /// Nothing is sent yet, and nothing ever with `--dry-run`.
    pub fn new(checked: &Checked<'_>, section: &WebhookConfig, arguments: &Arguments) -> Result<Self, Error> {
        let (config, sink) = (checked.config, arguments.sink.as_str());
        let source = &config.source;
        let log = KafkaLog::open(&source.kafka, &group(&config.name, sink), &checked.topic).map_err(Error::refused)?;
        let place = Place { pipeline: &config.name, sink, kafka: &source.kafka, prefix: &source.prefix, start: source.start };
        let webhook = Webhook::new(section, place, &checked.plan, log, checked.metrics.clone()).map_err(Error::refused)?;
        Ok(Self { webhook, pace: Pace::new(arguments.rate), payload: Payload::default(), send: !arguments.dry_run, refused: 0 })
    }

    /// The event of a change, if it is one, waits to be sent.
    pub fn add(&mut self, selected: Selected<'_>) -> Result<(), RowError> {
        self.webhook.add(&mut self.payload, selected).map_err(|failed| failed.error)
    }

    /// The same, of a row of the table.
    pub fn add_row(&mut self, record: &Record, content: &str, row: ResultRow) -> Result<(), RowError> {
        self.webhook.add_row(&mut self.payload, record, content, row)
    }

    /// What waits is to be sent now.
    pub fn is_due(&self) -> bool {
        self.payload.events() >= self.pace.chunk() || self.webhook.is_full(&self.payload)
    }

    /// Sends what waits and returns when it is delivered, however long the endpoint is away.
    pub async fn flush(&mut self) -> Result<(), Error> {
        let payload = std::mem::take(&mut self.payload);
        let events = payload.events();
        if events == 0 {
            return Ok(());
        }
        let mut refused = 0;
        if self.send {
            self.pace.wait().await;
            let written = self.webhook.write(Batch { payload, ..Batch::default() }).await.map_err(Error::refused)?;
            for rejected in &written.rejected {
                self.refuse(&rejected.record, "rejected", &rejected.reason);
            }
            refused = written.rejected.len();
        }
        self.pace.count(events - refused.min(events));
        Ok(())
    }

    /// One that cannot be delivered: told and counted, and not parked again.
    pub fn refuse(&mut self, record: &Record, class: &str, reason: &str) {
        self.refused += 1;
        if self.refused <= SHOWN_MAX {
            let key = record.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            let key: String = key.chars().take(200).collect();
            let place = if record.partition < 0 { String::new() } else { format!("{}:{} ", record.partition, record.offset) };
            eprintln!("not replayed: {place}{key}: {class}: {reason}");
        }
    }

    /// The same, of a row that cannot be computed.
    pub fn refuse_row(&mut self, record: &Record, class: &str, error: &RowError) {
        let column = error.column.as_ref().map_or_else(String::new, |column| format!("column {column}: "));
        self.refuse(record, class, &format!("{column}{}", error.message));
    }

    /// What it came to.
    pub fn summary(&self) -> String {
        let sent = self.pace.sent();
        let verb = if self.send { "were delivered" } else { "would be sent" };
        match self.refused {
            0 => format!("{sent} events {verb}"),
            refused => format!("{sent} events {verb}; {refused} dead letters were met and not replayed"),
        }
    }
}

/// Runs until it ends, or SIGINT or SIGTERM ends it.
pub async fn until_interrupted(run: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate()).map_err(Error::refused)?, signal(SignalKind::interrupt()).map_err(Error::refused)?);
    tokio::select! {
        ended = run => ended,
        _ = terminate.recv() => Err(Error::Interrupted),
        _ = interrupt.recv() => Err(Error::Interrupted),
    }
}
