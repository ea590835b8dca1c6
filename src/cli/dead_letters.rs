//! `highwater dead-letters`: looks at what could not be delivered, and replays it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};

use super::load;
use crate::config::{self, PipelineConfig, SinkConfig};
use crate::dead_letter::list::{self, Wanted};
use crate::dead_letter::{CLASSES, replay};
use crate::pipeline::letters;
use crate::{clock, dead_letter};

/// How often a long replay says how far it is.
const SAY_EVERY: Duration = Duration::from_secs(5);

#[derive(Subcommand)]
pub enum Command {
    /// The newest, one on each line, and how many of each class.
    List {
        #[command(flatten)]
        lane: LaneName,
        /// Of this class only.
        #[arg(long, value_name = "CLASS", value_parser = PossibleValuesParser::new(CLASSES))]
        reason: Option<String>,
        /// Parked within this time only, such as 90s, 10m or 2h.
        #[arg(long, value_name = "DURATION")]
        since: Option<config::Duration>,
        /// Lines at most.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=i64::from(list::LISTED_MAX)))]
        limit: u16,
        /// Also what was replayed.
        #[arg(long)]
        all: bool,
    },
    /// One of them, whole.
    Show {
        #[command(flatten)]
        lane: LaneName,
        /// The record, as `list` shows it: partition and offset.
        #[arg(value_name = "PARTITION:OFFSET", value_parser = record)]
        record: (i32, i64),
    },
    /// Give them to the sink once more: exit code 0 when nothing is left that fails, 1 with the reasons otherwise. Twice is once.
    Replay {
        #[command(flatten)]
        lane: LaneName,
        /// These records only, as `list` shows them; all that are outstanding without one.
        #[arg(value_name = "PARTITION:OFFSET", value_parser = record)]
        records: Vec<(i32, i64)>,
        /// Of this class only.
        #[arg(long, value_name = "CLASS", value_parser = PossibleValuesParser::new(CLASSES))]
        reason: Option<String>,
        /// Parked within this time only, such as 90s, 10m or 2h.
        #[arg(long, value_name = "DURATION")]
        since: Option<config::Duration>,
    },
}

#[derive(Args)]
pub struct LaneName {
    /// Pipeline file.
    pipeline: PathBuf,
    /// The sink's name in the file; `ranking` or `webhook` if it has none.
    sink: String,
}

fn record(text: &str) -> Result<(i32, i64), String> {
    let parts = text.split_once(':').and_then(|(partition, offset)| Some((partition.parse().ok()?, offset.parse().ok()?)));
    parts.ok_or_else(|| "write PARTITION:OFFSET, such as 3:1207".to_owned())
}

/// The moment from which on entries are wanted.
fn since_ms(since: Option<config::Duration>) -> Option<i64> {
    since.map(|since| clock::unix_us() / 1000 - i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Runs one of the commands.
pub async fn run(command: Command) -> ExitCode {
    match command {
        Command::List { lane, reason, since, limit, all } => {
            look(lane, &Wanted { class: reason, since_ms: since_ms(since), record: None, all }, limit.into())
        }
        Command::Show { lane, record } => look(lane, &Wanted { record: Some(record), ..Wanted::default() }, 1),
        Command::Replay { lane, records, reason, since } => {
            replay_lane(lane, &replay::Wanted { records, class: reason, since_ms: since_ms(since) }).await
        }
    }
}

/// The pipelines of the file, each with such a sink.
fn configs(lane: LaneName) -> Result<(Vec<PipelineConfig>, String), ExitCode> {
    let configs = load(&[lane.pipeline])?;
    for config in &configs {
        if !config.sinks.iter().any(|sink| sink.name() == lane.sink) {
            let names: Vec<_> = config.sinks.iter().map(SinkConfig::name).collect();
            eprintln!("error: {} has no sink {:?}; it has {}", config.name, lane.sink, names.join(", "));
            return Err(ExitCode::from(2));
        }
    }
    Ok((configs, lane.sink))
}

fn look(lane: LaneName, wanted: &Wanted, limit: usize) -> ExitCode {
    let (configs, sink) = match configs(lane) {
        Ok(found) => found,
        Err(code) => return code,
    };
    for config in &configs {
        let topic = dead_letter::topic(&config.name, &sink);
        let listing = match list::read(&config.source.kafka, &topic, wanted) {
            Ok(listing) => listing,
            Err(error) => {
                eprintln!("error: {topic} at {}: {error}", config.source.kafka);
                return ExitCode::from(2);
            }
        };
        match (wanted.record, listing.entries.first_key_value()) {
            (None, _) => print!("{}", listing.render(limit)),
            (Some(record), Some((_, entry))) => print!("{}", entry.render(record)),
            (Some((partition, offset)), None) => {
                eprintln!("error: no record {partition}:{offset} is parked in {topic}");
                return ExitCode::from(1);
            }
        }
    }
    ExitCode::SUCCESS
}

async fn replay_lane(lane: LaneName, wanted: &replay::Wanted) -> ExitCode {
    let (configs, sink) = match configs(lane) {
        Ok(found) => found,
        Err(code) => return code,
    };
    let mut left = false;
    for config in &configs {
        let mut said = Instant::now();
        let progress = |done: usize, of: usize| {
            if done < of && said.elapsed() >= SAY_EVERY {
                eprintln!("{done} of {of}");
                said = Instant::now();
            }
        };
        match letters::replay(config, &sink, wanted, progress).await {
            Ok(report) => {
                print!("{}", report.render());
                left |= !report.is_clean();
            }
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::from(error.exit_code());
            }
        }
    }
    ExitCode::from(u8::from(left))
}
