//! A Debezium topic read through a consumer group: one thread owns the consumer and polls it.
//!
//! What it promises:
//!
//! * Nothing is read before the lane said from where ([`Source::start`]): offsets come from the sink, never from the group.
//! * Batches carry the generation of the start they were read under, so that the lane can tell what was still in the channel.
//! * A batch's positions are the consumer's: past control records and aborted transactions, which the lane never sees.
//! * Memory is bounded: the lane hands out credits, one for each batch in its hands. Without a credit nothing is fetched for long, but the
//!   consumer is still polled, so that a slow sink never costs the membership of the group.
//! * A partition that is taken away is given up when the lane says so ([`Source::release`]), or after `RELEASE_MAX`.
//!
//! Callbacks run inside `poll`; they only take notes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};

use crate::metrics::Metrics;
use crate::source::{Record, SOCKET_TIMEOUT_MS};

/// Batches in the lane's hands and in the channel.
const CREDITS: usize = 4;
/// Records in a batch.
const BATCH_RECORDS_MAX: usize = 2_000;
/// Bytes of keys and values in a batch; one record may exceed it alone.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// How long one poll waits: the longest that a command waits for the thread.
const POLL_WAIT: Duration = Duration::from_millis(10);
/// Without a credit for this long the partitions are paused and the consumer is polled for its callbacks.
const CREDIT_WAIT: Duration = Duration::from_secs(1);
/// How long the lane may take to finish what it has of partitions that were taken away.
const RELEASE_MAX: Duration = Duration::from_secs(20);

/// What to read and as whom.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bootstrap servers.
    pub brokers: String,
    /// Consumer group.
    pub group: String,
    /// Topic.
    pub topic: String,
    /// `group.instance.id` (KIP-345): a restart within the session timeout keeps its partitions.
    pub instance: Option<String>,
    /// For the labels of metrics.
    pub pipeline: String,
    /// For the labels of metrics.
    pub sink: String,
}

/// What happened, in order.
#[derive(Debug)]
pub enum Event {
    /// These partitions are ours now, all of them; nothing is read until [`Source::start`].
    Assigned(Vec<i32>),
    /// All partitions are taken away: finish, then [`Source::release`].
    Revoked,
    /// Records in order of offsets per partition.
    Fetched(Fetched),
    /// Reading cannot go on.
    Failed(Failure),
}

/// Why reading cannot go on.
#[derive(Debug)]
pub enum Failure {
    /// The offset to read does not exist: removed by retention, or the topic is another one.
    OutOfRange(String),
    /// Another process uses the same `group.instance.id`, or the client gave up for good.
    Fatal(String),
}

/// What one round of polling brought.
#[derive(Debug)]
pub struct Fetched {
    /// The generation of the start it was read under.
    pub generation: u64,
    /// The records.
    pub records: Vec<Record>,
    /// The next offset of each partition that moved, past records the lane does not see.
    pub positions: Vec<(i32, i64)>,
    /// As much as one batch may hold: there is probably more.
    pub full: bool,
}

enum Command {
    Start { generation: u64, offsets: Vec<(i32, i64)> },
    Commit { offsets: Vec<(i32, i64, String)>, done: Option<oneshot::Sender<KafkaResult<()>>> },
    Release,
    Credit,
    Close,
}

/// The lane's end of the consumer.
pub struct Source {
    events: mpsc::UnboundedReceiver<Event>,
    commands: Sender<Command>,
    thread: Option<JoinHandle<()>>,
}

impl Source {
    /// Joins the group.
    pub fn open(settings: Settings, metrics: Metrics) -> KafkaResult<Self> {
        let context = Context { notes: Arc::default(), settings: settings.clone(), metrics };
        let notes = Arc::clone(&context.notes);
        let consumer: BaseConsumer<Context> = client_config(&settings).create_with_context(context)?;
        consumer.subscribe(&[&settings.topic])?;
        let (commands, from_lane) = channel();
        let (to_lane, events) = mpsc::unbounded_channel();
        let poller = Poller {
            consumer,
            notes,
            to_lane,
            topic: settings.topic,
            credits: CREDITS,
            generation: 0,
            cursors: BTreeMap::new(),
            gathering: Gathering::default(),
            paused: false,
            releasing: None,
            starved: None,
        };
        let name = format!("kafka {}", settings.sink);
        let thread = std::thread::Builder::new().name(name).spawn(move || poller.run(&from_lane));
        let thread = thread.map_err(|e| KafkaError::ClientCreation(format!("no thread: {e}")))?;
        Ok(Self { events, commands, thread: Some(thread) })
    }

    /// The next event; none after the thread ended. Safe to drop while waiting.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Reads the assigned partitions from these offsets, as that generation.
    pub fn start(&self, generation: u64, offsets: Vec<(i32, i64)>) {
        self.send(Command::Start { generation, offsets });
    }

    /// One batch left the lane's hands.
    pub fn credit(&self) {
        self.send(Command::Credit);
    }

    /// Commits next offsets with metadata for the group, without waiting.
    pub fn commit(&self, offsets: Vec<(i32, i64, String)>) {
        self.send(Command::Commit { offsets, done: None });
    }

    /// Commits and waits until the broker has it.
    pub async fn commit_now(&self, offsets: Vec<(i32, i64, String)>) -> KafkaResult<()> {
        let (done, result) = oneshot::channel();
        self.send(Command::Commit { offsets, done: Some(done) });
        result.await.unwrap_or(Err(KafkaError::Canceled))
    }

    /// Gives up the partitions that were taken away.
    pub fn release(&self) {
        self.send(Command::Release);
    }

    /// Leaves the group and waits for the thread.
    pub async fn close(mut self) {
        self.send(Command::Close);
        if let Some(thread) = self.thread.take() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    fn send(&self, command: Command) {
        // An error says that the thread ended; `next` says so too.
        let _ = self.commands.send(command);
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.send(Command::Close);
    }
}

fn client_config(settings: &Settings) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &settings.brokers)
        .set("group.id", &settings.group)
        .set("client.id", format!("highwater-{}-{}", settings.pipeline, settings.sink))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("partition.assignment.strategy", "range")
        .set("session.timeout.ms", "8000")
        .set("heartbeat.interval.ms", "2000")
        .set("max.poll.interval.ms", "300000")
        .set("fetch.wait.max.ms", "100")
        .set("fetch.queue.backoff.ms", "10")
        .set("queued.max.messages.kbytes", "16384")
        .set("topic.metadata.refresh.interval.ms", "10000")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.timeout.ms", SOCKET_TIMEOUT_MS)
        .set("allow.auto.create.topics", "false")
        .set("statistics.interval.ms", "1000")
        .set_log_level(RDKafkaLogLevel::Warning);
    if let Some(instance) = &settings.instance {
        config.set("group.instance.id", format!("{instance}-{}", settings.sink));
    }
    config
}

/// What callbacks noted for the thread.
#[derive(Debug, Default)]
struct Notes {
    rebalances: VecDeque<Rebalance>,
    closing: bool,
    down_since: Option<Instant>,
    /// Partitions whose lag is shown.
    shown: BTreeSet<i32>,
}

#[derive(Debug)]
enum Rebalance {
    Assign(Vec<i32>),
    Revoke,
}

struct Context {
    notes: Arc<Mutex<Notes>>,
    settings: Settings,
    metrics: Metrics,
}

fn lock(notes: &Mutex<Notes>) -> std::sync::MutexGuard<'_, Notes> {
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Context {
    /// The lag of these partitions, where it is known, and of no others: those are other engines'.
    fn show_lag(&self, lags: BTreeMap<i32, i64>) {
        let labels = |id: &i32| [self.settings.pipeline.clone(), self.settings.sink.clone(), id.to_string()];
        for (id, lag) in lags.iter().filter(|(_, lag)| **lag >= 0) {
            self.metrics.lag.with_label_values(&labels(id)).set(*lag);
        }
        let shown = std::mem::replace(&mut lock(&self.notes).shown, lags.into_keys().collect());
        for id in shown.difference(&lock(&self.notes).shown) {
            // An error says that there was none.
            drop(self.metrics.lag.remove_label_values(&labels(id)));
        }
    }
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        let labels = [self.settings.pipeline.as_str(), &self.settings.sink, "kafka"];
        self.metrics.retries.with_label_values(&labels).inc();
        let mut notes = lock(&self.notes);
        if notes.down_since.is_none() {
            notes.down_since = Some(Instant::now());
            warn!(sink = self.settings.sink, %error, reason, "kafka does not answer, waiting");
        }
    }

    fn stats(&self, statistics: Statistics) {
        let mut notes = lock(&self.notes);
        if notes.closing {
            return;
        }
        let up = statistics.brokers.values().any(|b| b.nodeid >= 0 && b.state == "UP");
        if let Some(since) = notes.down_since.filter(|since| up && since.elapsed() > Duration::from_secs(1)) {
            notes.down_since = None;
            info!(sink = self.settings.sink, outage_ms = since.elapsed().as_millis(), "kafka answers again");
        }
        drop(notes);
        let partitions = statistics.topics.get(&self.settings.topic).map(|t| &t.partitions);
        let ours = partitions.into_iter().flatten().filter(|(id, partition)| **id >= 0 && partition.desired);
        self.show_lag(ours.map(|(id, partition)| (*id, partition.consumer_lag)).collect());
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, tpl: &mut TopicPartitionList) {
        let mut notes = lock(&self.notes);
        if notes.closing {
            let _ = consumer.unassign();
        } else if err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            notes.rebalances.push_back(Rebalance::Assign(tpl.elements().iter().map(|e| e.partition()).collect()));
        } else {
            notes.rebalances.push_back(Rebalance::Revoke);
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            // The sink has the progress, or will send the same ids again.
            debug!(sink = self.settings.sink, %error, "offsets were not committed");
        }
    }
}

/// Where a partition is read.
#[derive(Debug)]
struct Cursor {
    next: i64,
    /// The consumer's position before the last start; it may still be reported for a moment.
    stale: Option<i64>,
}

/// One record of it: partition, offset, timestamp, and where its key and value are.
type Kept = (i32, i64, i64, Option<Range<usize>>, Option<Range<usize>>);

/// The batch being gathered: bytes in one buffer, records as ranges of it.
#[derive(Default)]
struct Gathering {
    bytes: BytesMut,
    records: Vec<Kept>,
    moved: BTreeMap<i32, i64>,
}

impl Gathering {
    fn push(&mut self, message: &impl Message) {
        let mut keep = |bytes: Option<&[u8]>| {
            bytes.map(|b| {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(b);
                start..self.bytes.len()
            })
        };
        let (key, value) = (keep(message.key()), keep(message.payload()));
        let timestamp = message.timestamp().to_millis().unwrap_or(0);
        self.records.push((message.partition(), message.offset(), timestamp, key, value));
        self.moved.insert(message.partition(), message.offset() + 1);
    }

    fn is_full(&self) -> bool {
        self.records.len() >= BATCH_RECORDS_MAX || self.bytes.len() >= BATCH_BYTES_MAX
    }

    fn take(&mut self, generation: u64) -> Fetched {
        let full = self.is_full();
        let bytes = std::mem::take(&mut self.bytes).freeze();
        let slice = |range: Option<Range<usize>>| range.map(|r| bytes.slice(r));
        let records = self.records.drain(..).map(|(partition, offset, timestamp_ms, key, value)| {
            let (key, value): (Option<Bytes>, _) = (slice(key), slice(value));
            Record { partition, offset, timestamp_ms, key, value }
        });
        let records = records.collect();
        Fetched { generation, records, positions: std::mem::take(&mut self.moved).into_iter().collect(), full }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.records.clear();
        self.moved.clear();
    }
}

/// The thread that owns the consumer.
struct Poller {
    consumer: BaseConsumer<Context>,
    notes: Arc<Mutex<Notes>>,
    to_lane: mpsc::UnboundedSender<Event>,
    topic: String,
    credits: usize,
    generation: u64,
    cursors: BTreeMap<i32, Cursor>,
    gathering: Gathering,
    paused: bool,
    releasing: Option<Instant>,
    starved: Option<Instant>,
}

impl Poller {
    fn run(mut self, commands: &Receiver<Command>) {
        while self.obey(commands) {
            self.gather();
            self.see_rebalances();
            self.see_positions();
            self.hand_over();
        }
        lock(&self.notes).closing = true;
        // Dropping the consumer leaves the group; its last rebalance is answered by the callback. One that was not answered yet would
        // keep it open for ever.
        let _ = self.consumer.unassign();
        self.consumer.context().show_lag(BTreeMap::new());
    }

    /// Carries out what the lane said; waits for it when there is no credit. False: close.
    fn obey(&mut self, commands: &Receiver<Command>) -> bool {
        loop {
            let starving = self.credits == 0 && !self.paused;
            let command = if starving {
                let since = *self.starved.get_or_insert_with(Instant::now);
                match commands.recv_timeout(CREDIT_WAIT.saturating_sub(since.elapsed())) {
                    Ok(command) => command,
                    Err(RecvTimeoutError::Timeout) => {
                        self.pause(true);
                        return true;
                    }
                    Err(RecvTimeoutError::Disconnected) => return false,
                }
            } else {
                match commands.try_recv() {
                    Ok(command) => command,
                    Err(TryRecvError::Empty) => return true,
                    Err(TryRecvError::Disconnected) => return false,
                }
            };
            match command {
                Command::Close => return false,
                Command::Credit => {
                    self.credits += 1;
                    self.starved = None;
                    self.pause(false);
                }
                Command::Start { generation, offsets } => self.start(generation, &offsets),
                Command::Release => self.release(),
                Command::Commit { offsets, done } => self.commit(&offsets, done),
            }
        }
    }

    fn list(&self, offsets: impl Iterator<Item = (i32, i64)>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            // It only fails for offsets that cannot be: those are read as the first there is.
            let _ = list.add_partition_offset(&self.topic, partition, Offset::Offset(offset.max(0)));
        }
        list
    }

    fn positions(&self) -> BTreeMap<i32, i64> {
        let list = self.consumer.position().unwrap_or_default();
        list.elements().iter().filter_map(|e| Some((e.partition(), e.offset().to_raw().filter(|o| *o >= 0)?))).collect()
    }

    fn start(&mut self, generation: u64, offsets: &[(i32, i64)]) {
        if self.releasing.is_some() {
            return;
        }
        self.gathering.clear();
        self.generation = generation;
        let stale = self.positions();
        let cursor = |(p, next): &(i32, i64)| (*p, Cursor { next: *next, stale: stale.get(p).copied() });
        self.cursors = offsets.iter().map(cursor).collect();
        let list = self.list(offsets.iter().copied());
        if let Err(error) = self.consumer.assign(&list) {
            self.fail(Failure::Fatal(error.to_string()));
        }
        // A pause outlives an assignment.
        let was_paused = std::mem::replace(&mut self.paused, self.credits > 0);
        if was_paused || self.credits == 0 {
            self.pause(self.credits == 0);
        } else {
            self.paused = false;
        }
    }

    fn pause(&mut self, pause: bool) {
        if pause == self.paused || self.cursors.is_empty() && pause {
            return;
        }
        let list = self.list(self.cursors.iter().map(|(p, c)| (*p, c.next)));
        let result = if pause { self.consumer.pause(&list) } else { self.consumer.resume(&list) };
        match result {
            Ok(()) => self.paused = pause,
            Err(error) => debug!(%error, pause, "partitions were not paused or resumed"),
        }
    }

    fn release(&mut self) {
        if self.releasing.take().is_some() {
            self.pause(false);
            self.cursors.clear();
            self.gathering.clear();
            self.paused = false;
            if let Err(error) = self.consumer.unassign() {
                self.fail(Failure::Fatal(error.to_string()));
            }
        }
    }

    fn commit(&self, offsets: &[(i32, i64, String)], done: Option<oneshot::Sender<KafkaResult<()>>>) {
        let mut list = TopicPartitionList::new();
        for (partition, offset, metadata) in offsets {
            let mut element = list.add_partition(&self.topic, *partition);
            let _ = element.set_offset(Offset::Offset(*offset));
            element.set_metadata(metadata);
        }
        let mode = if done.is_some() { CommitMode::Sync } else { CommitMode::Async };
        let result = if offsets.is_empty() { Ok(()) } else { self.consumer.commit(&list, mode) };
        match (done, result) {
            (Some(done), result) => drop(done.send(result)),
            (None, Err(error)) => debug!(%error, "offsets were not committed"),
            (None, Ok(())) => {}
        }
    }

    /// Polls until nothing waits or the batch is full.
    fn gather(&mut self) {
        let mut wait = if self.gathering.records.is_empty() { POLL_WAIT } else { Duration::ZERO };
        while !self.gathering.is_full() {
            match self.consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    let Some(cursor) = self.cursors.get_mut(&message.partition()) else { continue };
                    if message.offset() >= cursor.next && self.releasing.is_none() {
                        *cursor = Cursor { next: message.offset() + 1, stale: None };
                        self.gathering.push(&message);
                    }
                }
                Some(Err(error)) => {
                    self.see_error(&error);
                    break;
                }
            }
            wait = Duration::ZERO;
        }
    }

    fn see_error(&self, error: &KafkaError) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                self.fail(Failure::OutOfRange(error.to_string()));
            }
            Some(RDKafkaErrorCode::Fatal | RDKafkaErrorCode::FencedInstanceId) => {
                let reason = self.consumer.client().fatal_error().map_or_else(|| error.to_string(), |(_, reason)| reason);
                self.fail(Failure::Fatal(reason));
            }
            // The client goes on by itself; the error callback has said so once.
            _ => debug!(%error, "kafka"),
        }
    }

    fn see_rebalances(&mut self) {
        loop {
            let Some(rebalance) = lock(&self.notes).rebalances.pop_front() else { break };
            match rebalance {
                Rebalance::Assign(partitions) => drop(self.to_lane.send(Event::Assigned(partitions))),
                Rebalance::Revoke => {
                    self.gathering.clear();
                    self.releasing = Some(Instant::now());
                    drop(self.to_lane.send(Event::Revoked));
                }
            }
        }
        if self.releasing.is_some_and(|since| since.elapsed() > RELEASE_MAX) {
            warn!("partitions are given up before the lane finished with them");
            self.release();
        }
    }

    /// Moves past offsets that hold no record for us: control records, aborted transactions.
    fn see_positions(&mut self) {
        if self.releasing.is_some() || self.gathering.is_full() || self.cursors.is_empty() {
            return;
        }
        let positions = self.positions();
        for (_, cursor) in self.cursors.iter_mut().filter(|(partition, _)| !positions.contains_key(partition)) {
            // The position of before the last start is gone.
            cursor.stale = None;
        }
        for (partition, position) in positions {
            let Some(cursor) = self.cursors.get_mut(&partition) else { continue };
            if cursor.stale == Some(position) {
                continue;
            }
            cursor.stale = None;
            if position > cursor.next {
                cursor.next = position;
                self.gathering.moved.insert(partition, position);
            }
        }
    }

    fn hand_over(&mut self) {
        if self.credits > 0 && !self.gathering.moved.is_empty() {
            self.credits -= 1;
            let _ = self.to_lane.send(Event::Fetched(self.gathering.take(self.generation)));
        }
    }

    fn fail(&self, failure: Failure) {
        let _ = self.to_lane.send(Event::Failed(failure));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_lag_of_partitions_that_went_away_is_not_shown() {
        let settings = Settings {
            brokers: "127.0.0.1:1".to_owned(),
            group: "group".to_owned(),
            topic: "topic".to_owned(),
            instance: None,
            pipeline: "p".to_owned(),
            sink: "s".to_owned(),
        };
        let metrics = Metrics::new().unwrap();
        let context = Context { notes: Arc::default(), settings, metrics: metrics.clone() };
        let shown = || {
            let text = metrics.render().unwrap();
            let lines = text.lines().filter(|line| line.starts_with("highwater_lag_records"));
            lines
                .filter_map(|line| line.split_once("partition=\"")?.1.split_once("\","))
                .map(|(id, rest)| (id.to_owned(), rest.to_owned()))
                .collect()
        };
        let labelled = |lags: &[(&str, &str)]| -> Vec<(String, String)> {
            lags.iter().map(|(id, lag)| ((*id).to_owned(), format!("pipeline=\"p\",sink=\"s\"}} {lag}"))).collect()
        };
        let show = |lags: &[(i32, i64)]| -> Vec<(String, String)> {
            context.show_lag(lags.iter().copied().collect());
            shown()
        };
        assert_eq!(show(&[(0, 20_000), (1, 7), (2, -1)]), labelled(&[("0", "20000"), ("1", "7")]));
        // Not known for a moment: as it was.
        assert_eq!(show(&[(1, -1), (2, 3)]), labelled(&[("1", "7"), ("2", "3")]));
        assert_eq!(show(&[]), labelled(&[]));
    }
}
