//! `highwater replay`: what a sink was told, told again.
//!
//! | sink | what happens |
//! |---|---|
//! | ranking | an epoch begins with what its window needs, or from further back; engines that run build it and swap ([`ranking`]) |
//! | webhook | the events of a range of time go out again under the same ids ([`events`]) |
//! | webhook, `--source postgres` | the rows of the table go out as snapshot events ([`rows`]) |
//!
//! A ranking is rebuilt by the engines. A webhook's events are sent by this process, beside engines that run: it reads with a client of its own, touches no
//! progress but its own ([`progress`]), and goes through the lane's decoder, verdicts, SELECT and delivery.

mod deliver;

mod events;

mod judge;

mod moment;

mod pace;

mod progress;

mod ranking;

mod rows;

mod topic;

use std::fmt::Display;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::config::SinkConfig;
use crate::{clock, config};

pub use moment::Moment;

/// What to replay.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Pipeline file.
    pipeline: PathBuf,
    /// The sink's name in the file.
    #[arg(long, default_value = "ranking")]
    sink: String,
    /// From this moment on, by the records' Kafka timestamps: RFC 3339, or a duration back from now such as 2h.
    #[arg(long, value_name = "T")]
    from: Option<Moment>,
    /// Up to this moment and without it; now, if it is left out. Webhooks only.
    #[arg(long, value_name = "T", requires = "from")]
    to: Option<Moment>,
    /// Send and change nothing: count the events of a webhook, show how a ranking would change.
    #[arg(long)]
    dry_run: bool,
    /// Where the events come from: the topic, or the table as it is now. Webhooks only.
    #[arg(long, value_enum, default_value_t = Origin::Kafka)]
    source: Origin,
    /// Events a second at most. Webhooks only.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Do not continue where the same replay was interrupted. Webhooks only.
    #[arg(long)]
    restart: bool,
}

/// Where events come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Origin {
    /// The topic's records.
    Kafka,
    /// The table's rows.
    Postgres,
}

/// Why it did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be done, with the remedy.
    #[error("{0}")]
    Refused(String),
    /// Cut off; the same call continues.
    #[error("interrupted; the same command continues where this ended")]
    Interrupted,
}

impl Error {
    fn refused(reason: impl Display) -> Self {
        Self::Refused(reason.to_string())
    }

    /// The exit code of the process.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Interrupted => 1,
            Self::Refused(_) => 2,
        }
    }
}

/// Replays into one sink of each pipeline of the file. Returns whether nothing differs, which only a ranking's `--dry-run` can deny.
pub async fn replay(arguments: &Arguments) -> Result<bool, Error> {
    let mut equal = true;
    let configs = config::load(std::slice::from_ref(&arguments.pipeline)).map_err(Error::refused)?;
    for config in &configs {
        let Some(sink) = config.sinks.iter().find(|sink| sink.name() == arguments.sink) else {
            let names: Vec<_> = config.sinks.iter().map(SinkConfig::name).collect();
            return Err(Error::Refused(format!("{} has no sink {:?}; it has {}", config.name, arguments.sink, names.join(", "))));
        };
        let now_ms = clock::unix_us() / 1000;
        equal &= match (sink, arguments.source) {
            (SinkConfig::RedisRanking(section), _) => ranking::replay(config, section, arguments, now_ms).await?,
            (SinkConfig::Webhook(section), Origin::Kafka) => events::replay(config, section, arguments, now_ms).await.map(|()| true)?,
            (SinkConfig::Webhook(section), Origin::Postgres) => rows::replay(config, section, arguments).await.map(|()| true)?,
        };
    }
    Ok(equal)
}

/// The consumer group that holds how far a replay is; nobody is ever a member of it.
fn group(pipeline: &str, sink: &str) -> String {
    format!("highwater.{pipeline}.{sink}.replay")
}
