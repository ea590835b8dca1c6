//! A ranking: begun anew by the engines, or computed here beside the served one to show what that would change.
//!
//! `--dry-run` reads the served epoch at one moment, with its floor and offsets, then the topic from where a rebuild would begin to those offsets, through the lane's decoder,
//! verdicts, SELECT and Z-set. What differs is what a rebuild would change at that moment, however far the ranking has moved on meanwhile.

use super::judge::{Judge, Meaning};
use super::topic::{Spans, Stretch};
use super::{Arguments, Error, Origin};
use crate::config::PipelineConfig;
use crate::decode::RecordDecoder;
use crate::pipeline;
use crate::pipeline::checked::Checked;
use crate::sink::ranking::epoch;
use crate::sink::ranking::rebuild::{Difference, Served};
use crate::sink::ranking::{Payload, Ranking, RankingConfig};
use crate::sink::{Policy, Selected, Sink as _};
use crate::source::Log as _;
use crate::source::topic::KafkaLog;

/// Rebuilds a ranking, or shows what that would change; then whether nothing would.
pub async fn replay(config: &PipelineConfig, section: &RankingConfig, arguments: &Arguments, now_ms: i64) -> Result<bool, Error> {
    if let Some(reason) = refusal(arguments) {
        return Err(Error::refused(reason));
    }
    let from_ms = arguments.from.as_ref().map(|from| from.unix_ms(now_ms));
    let name = format!("{}/{}", config.name, arguments.sink);
    if arguments.dry_run {
        let difference = compare(config, section, arguments, from_ms).await?;
        print!("{}", difference.render(&name));
        return Ok(difference.is_none());
    }
    let (ranking, _) = pipeline::ranking(config, &arguments.sink).await.map_err(Error::refused)?;
    ranking.replay(from_ms).await.map_err(Error::refused)?;
    println!("{name}: a new epoch begins; engines that run build it and swap when it is complete");
    Ok(true)
}

/// What makes no sense for a ranking.
fn refusal(arguments: &Arguments) -> Option<&'static str> {
    let Arguments { to, source, restart, .. } = arguments;
    match (to, source, restart) {
        (Some(_), ..) => Some(
            "--to is for webhooks: a ranking is rebuilt up to the end of the topic, or rows that were withdrawn later would stay in it; leave --to out",
        ),
        (_, Origin::Postgres, _) => Some(
            "--source postgres is for webhooks: a ranking must know from which record on changes count beside the rows, which only a snapshot in the topic says; \
             delete the connector with its stored offsets and its slot and create it again: running engines rebuild the ranking from its snapshot",
        ),
        (.., true) => Some("--restart is for webhooks: a ranking that is being rebuilt is begun anew anyway"),
        _ => None,
    }
}

/// What a rebuild would change.
async fn compare(
    config: &PipelineConfig,
    section: &RankingConfig,
    arguments: &Arguments,
    from_ms: Option<i64>,
) -> Result<Difference, Error> {
    let checked = Checked::new(config).await.map_err(Error::Refused)?;
    let (ranking, _) = pipeline::ranking(config, &arguments.sink).await.map_err(Error::refused)?;
    let served = ranking.served(&section.key).await.map_err(Error::refused)?;
    let since_ms = ranking.since_ms(served.floor_ms, from_ms).map_err(Error::refused)?;
    let log = KafkaLog::open(&config.source.kafka, &super::group(&config.name, &arguments.sink), &checked.topic).map_err(Error::refused)?;
    if log.id().await.map_err(Error::refused)? != served.topic {
        return Err(Error::refused(
            "the served ranking is of another topic of this name, which was created anew since: a running engine must adopt it first",
        ));
    }
    let spans = spans(&log, &served, since_ms).await?;
    let mut judge = Judge {
        decoder: RecordDecoder::new(&checked.plan.source_columns, &config.source.prefix),
        select: checked.select(Policy::Boundaries, &arguments.sink),
        append_only: config.source.append_only,
        boundary: served.boundary.clone().filter(|boundary| boundary.arrived_ms >= since_ms),
        marks: Default::default(),
    };
    // An epoch that meets a boundary ends there, and the next one begins with it.
    let payload = loop {
        let stretch = Stretch::open(&config.source.kafka, &checked.topic, spans.clone())?;
        judge.marks.clear();
        if let Some(payload) = rebuild(&ranking, &mut judge, stretch).await? {
            break payload;
        }
    };
    Ok(served.difference(&payload, ranking.scale()))
}

/// From the first record that a rebuild reads to the last one that the served epoch has read.
async fn spans(log: &KafkaLog, served: &Served, since_ms: i64) -> Result<Spans, Error> {
    let held = epoch::spans(log, since_ms).await.map_err(Error::refused)?;
    held.warn_of_cuts();
    let span = |(partition, next): (&i32, &i64)| (*partition, (held.partitions.get(partition).map_or(0, |(start, _)| *start), *next));
    Ok(served.next.iter().map(span).collect())
}

/// The Z-set of a stretch; nothing where a boundary was met, which is the judge's now.
async fn rebuild(ranking: &Ranking<KafkaLog>, judge: &mut Judge, mut stretch: Stretch) -> Result<Option<Payload>, Error> {
    let mut payload = Payload::default();
    while let Some(records) = stretch.next().await? {
        for judged in judge.judge(records, |_| true).await? {
            match judged.meaning {
                Meaning::Rows(change, before, after) => {
                    let selected = Selected { record: &judged.record, change: &change, before, after };
                    // A side that cannot be counted adds nothing: in a lane its record is a dead letter beside that.
                    drop(ranking.add(&mut payload, selected));
                }
                Meaning::Begin(boundary) => {
                    judge.boundary = Some(boundary);
                    return Ok(None);
                }
                Meaning::Nothing | Meaning::Dead(..) => {}
            }
        }
    }
    Ok(Some(payload))
}
