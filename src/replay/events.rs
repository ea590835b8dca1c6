//! A range of time, to a webhook: the events of the records whose Kafka timestamp is in `[from, to)`, once more, under the same ids.
//!
//! Events of one key arrive in order among themselves. Beside an engine that runs, live events go on arriving, and older ones after them: a receiver that
//! keeps the latest of a key goes by `time`, or the engines are stopped meanwhile. Lookup rows are read now, as a lane reads them.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::deliver::{Delivery, until_interrupted};
use super::judge::{Judge, Judged, Meaning};
use super::progress::{Commits, DONE, Range};
use super::topic::{self, Spans, Stretch};
use super::{Arguments, Error, group};
use crate::config::PipelineConfig;
use crate::decode::RecordDecoder;
use crate::pipeline::checked::Checked;
use crate::progress::Mark;
use crate::sink::webhook::WebhookConfig;
use crate::sink::webhook::time::rfc3339;
use crate::sink::{Policy, Selected};
use crate::source::Log as _;
use crate::source::topic::KafkaLog;

/// How often progress is committed.
const COMMIT_EVERY: Duration = Duration::from_millis(500);

/// A replay under way.
struct Run {
    range: Range,
    delivery: Delivery,
    judge: Judge,
    stretch: Stretch,
    /// Records of the whole range.
    total: i64,
    commits: Option<Commits>,
    committed: Instant,
    /// Behind what waits to be sent.
    pending: BTreeMap<i32, (i64, Mark)>,
    /// Behind what is delivered, and not committed yet.
    settled: BTreeMap<i32, (i64, Mark)>,
}

/// Where to begin.
struct Start {
    range: Range,
    spans: Spans,
    marks: BTreeMap<i32, Mark>,
    total: i64,
}

/// Replays a range.
pub async fn replay(config: &PipelineConfig, section: &WebhookConfig, arguments: &Arguments, now_ms: i64) -> Result<(), Error> {
    let range = range(arguments, now_ms)?;
    let checked = Checked::new(config).await.map_err(Error::Refused)?;
    let name = format!("{}/{}", config.name, arguments.sink);
    let group = group(&config.name, &arguments.sink);
    let log = KafkaLog::open(&config.source.kafka, &group, &checked.topic).map_err(Error::refused)?;
    let commits = (!arguments.dry_run).then(|| Commits(log.clone()));
    let start = start(&name, &log, range, arguments).await?;
    if let Some(commits) = &commits {
        let begin = |(partition, (from, _)): (&i32, &(i64, i64))| {
            (*partition, *from, start.range.encode(start.marks.get(partition).unwrap_or(&Mark::default())))
        };
        // All at once: what is found later is of one replay.
        if !commits.commit(start.spans.iter().map(begin).collect()).await {
            return Err(Error::refused("kafka does not take commits; nothing was sent"));
        }
    }
    let judge = Judge {
        decoder: RecordDecoder::new(&checked.plan.source_columns, &config.source.prefix),
        select: checked.select(Policy::Events { snapshot: section.snapshot }, &arguments.sink),
        append_only: config.source.append_only,
        boundary: None,
        marks: start.marks,
    };
    let ends: Vec<(i32, i64)> = start.spans.iter().map(|(partition, (_, until))| (*partition, *until)).collect();
    let mut run = Run {
        range: start.range,
        delivery: Delivery::new(&checked, section, arguments)?,
        judge,
        stretch: Stretch::open(&config.source.kafka, &checked.topic, start.spans)?,
        total: start.total,
        commits,
        committed: Instant::now(),
        pending: BTreeMap::new(),
        settled: BTreeMap::new(),
    };
    let ended = Box::pin(until_interrupted(run.run())).await;
    match &ended {
        Ok(()) => run.finish(ends).await,
        Err(_) => run.commit().await,
    }
    println!("{name}: {}", run.delivery.summary());
    ended
}

fn range(arguments: &Arguments, now_ms: i64) -> Result<Range, Error> {
    let Some(from) = &arguments.from else {
        return Err(Error::refused(
            "a webhook is replayed from a moment on: add --from T (RFC 3339 or a duration back from now), or --source postgres for the rows of the table",
        ));
    };
    let (from_ms, to_ms) = (from.unix_ms(now_ms), arguments.to.as_ref().map_or(now_ms, |to| to.unix_ms(now_ms)));
    if from_ms >= to_ms {
        return Err(Error::refused(format!(
            "there is nothing between {} and {}: --from must be before --to and before now",
            at(from_ms),
            at(to_ms)
        )));
    }
    let asked = arguments.to.as_ref().map_or_else(|| from.to_string(), |to| format!("{from} to {to}"));
    Ok(Range { asked, from_ms, to_ms })
}

fn at(unix_ms: i64) -> String {
    rfc3339(unix_ms.saturating_mul(1000)).unwrap_or_else(|| unix_ms.to_string())
}

/// Finds out where to begin, or to go on, and says so.
async fn start(name: &str, log: &KafkaLog, range: Range, arguments: &Arguments) -> Result<Start, Error> {
    let watermarks = log.watermarks().await.map_err(Error::refused)?;
    let partitions: Vec<i32> = watermarks.keys().copied().collect();
    let committed = log.committed(&partitions).await.map_err(Error::refused)?;
    let mut found = BTreeMap::new();
    let mut others = Vec::new();
    for (partition, (next, metadata)) in committed {
        match Range::decode(&metadata) {
            Some((stored, mark)) if stored.asked == range.asked => drop(found.insert(partition, (stored, next, mark))),
            Some((stored, _)) => others.push(stored.asked),
            None => {}
        }
    }
    let resumes = !arguments.dry_run && !arguments.restart && !found.is_empty();
    let range = found.values().next().filter(|_| resumes).map_or(range, |(stored, ..)| stored.clone());
    let mut spans = topic::spans(log, range.from_ms, range.to_ms).await.map_err(Error::refused)?;
    let (total, mut marks) = (topic::count(&spans), BTreeMap::new());
    if resumes {
        for (partition, (_, next, mark)) in found {
            let low = watermarks.get(&partition).map_or(0, |(low, _)| *low);
            if next < low {
                return Err(Error::Refused(format!(
                    "since it was interrupted the topic's retention removed {} records of partition {partition}: --restart replays what is left, --source postgres the rows",
                    low - next
                )));
            }
            if let Some(span) = spans.get_mut(&partition) {
                span.0 = next.min(span.1);
                marks.insert(partition, mark);
            }
        }
        let done = total - topic::count(&spans);
        println!(
            "{name}: continues where it stopped, {done} of {total} records from {} to {} are done",
            at(range.from_ms),
            at(range.to_ms)
        );
    } else {
        if let (Some(other), false) = (others.first(), arguments.dry_run) {
            println!("{name}: the replay of {other} was not finished; this one takes its place");
        }
        for (partition, (low, _)) in watermarks.iter().filter(|(p, (low, _))| *low > 0 && spans.get(p).is_some_and(|span| span.0 == *low)) {
            println!("{name}: partition {partition} begins at offset {low}: records before it are gone, perhaps some of this range");
        }
        println!("{name}: {total} records from {} to {}", at(range.from_ms), at(range.to_ms));
    }
    Ok(Start { range, spans, marks, total })
}

impl Run {
    async fn run(&mut self) -> Result<(), Error> {
        while let Some(records) = self.stretch.next().await? {
            let (from_ms, to_ms) = (self.range.from_ms, self.range.to_ms);
            let judged = self.judge.judge(records, |record| (from_ms..to_ms).contains(&record.timestamp_ms)).await?;
            for judged in judged {
                self.add(judged);
                if self.delivery.is_due() {
                    self.flush().await?;
                }
            }
            self.flush().await?;
        }
        Ok(())
    }

    fn add(&mut self, Judged { record, mark, meaning }: Judged) {
        match meaning {
            Meaning::Rows(change, before, after) => {
                let selected = Selected { record: &record, change: &change, before, after };
                if let Err(error) = self.delivery.add(selected) {
                    self.delivery.refuse_row(&record, "row", &error);
                }
            }
            Meaning::Dead(class, error) => self.delivery.refuse_row(&record, class, &error),
            Meaning::Nothing | Meaning::Begin(_) => {}
        }
        self.pending.insert(record.partition, (record.offset + 1, mark));
    }

    /// Delivers what waits, then takes note of it.
    async fn flush(&mut self) -> Result<(), Error> {
        self.delivery.flush().await?;
        self.settled.append(&mut self.pending);
        if self.committed.elapsed() >= COMMIT_EVERY {
            self.commit().await;
        }
        self.delivery.pace.show(self.total - self.stretch.left(), Some(self.total));
        Ok(())
    }

    async fn commit(&mut self) {
        let Some(commits) = self.commits.as_ref().filter(|_| !self.settled.is_empty()) else { return };
        let offset = |(partition, (next, mark)): (&i32, &(i64, Mark))| (*partition, *next, self.range.encode(mark));
        if commits.commit(self.settled.iter().map(offset).collect()).await {
            self.settled.clear();
        }
        self.committed = Instant::now();
    }

    /// The next call with these arguments begins anew.
    async fn finish(&mut self, ends: Vec<(i32, i64)>) {
        if let Some(commits) = &self.commits {
            commits.commit(ends.into_iter().map(|(partition, end)| (partition, end, DONE.to_owned())).collect()).await;
        }
    }
}
