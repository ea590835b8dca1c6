//! `highwater`: arguments -> configuration -> telemetry -> run -> exit code.
//!
//! Exit codes: 0 after a clean end, 1 when every lane has stopped (`check`: when `run` would wait; `eval`: when the
//! result is not what was expected; `dead-letters replay`: when something is left that fails), 2 when the configuration or its
//! surroundings contradict themselves.

mod dead_letters;

use std::io::{BufWriter, ErrorKind, IsTerminal, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::sink::ranking::VerifyConfig;
use crate::telemetry::{self, LogFormat};
use crate::{check, config, eval, pipeline, replay};
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info};

/// Write the SELECT you would write in psql; Highwater keeps its result live.
#[derive(Parser)]
#[command(version, about, max_term_width = 120)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run pipelines until SIGTERM or SIGINT.
    Run(Run),
    /// Verify everything that can be verified before running; one line per fact.
    Check {
        /// Pipeline files.
        #[arg(required = true)]
        pipelines: Vec<PathBuf>,
    },
    /// Run a pipeline's SELECT over records from a file, without any server: for tests of a pipeline.
    Eval(Eval),
    /// Look at records that could not be delivered, and replay them.
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Compare a live ranking with SQL: exit code 0 when every member is equal, 1 with those that go on differing.
    Verify {
        /// Pipeline file.
        pipeline: PathBuf,
        /// The ranking's name in the file; `ranking` if it has none.
        #[arg(long, default_value = "ranking")]
        sink: String,
        /// How long one statement may take in Postgres [default: timeout of [sink.verify], or 10s]
        #[arg(long, value_name = "DURATION", value_parser = statement_limit)]
        timeout: Option<config::Duration>,
    },
    /// Tell a sink again what it was told: rebuild a ranking, or send the events of a range of time, or the table's rows, to a webhook.
    Replay(Box<replay::Arguments>),
}

#[derive(Args)]
struct Run {
    /// Pipeline files.
    #[arg(required = true)]
    pipelines: Vec<PathBuf>,
    /// Where /metrics, /health and /ready are served.
    #[arg(long, env = "HIGHWATER_LISTEN", default_value = "127.0.0.1:9464")]
    listen: SocketAddr,
    /// How long finishing may take after SIGTERM, seconds.
    #[arg(long, env = "HIGHWATER_DRAIN_SECONDS", default_value_t = 10)]
    drain_seconds: u64,
    /// How log lines look.
    #[arg(long, env = "HIGHWATER_LOG_FORMAT", value_enum, default_value_t = LogFormat::Auto)]
    log_format: LogFormat,
}

#[derive(Args)]
struct Eval {
    /// Pipeline file; its sinks and addresses are not looked at.
    pipeline: PathBuf,
    /// CREATE TABLE statements, as pg_dump --schema-only writes them.
    #[arg(long, value_name = "DDL.sql")]
    schema: PathBuf,
    /// Debezium envelopes, or Kafka records {"key": ..., "value": ...}, one on each line.
    #[arg(long, value_name = "IN.jsonl")]
    records: PathBuf,
    /// Rows of a lookup table, one JSON object on each line, as to_jsonb writes them.
    #[arg(long, value_name = "TABLE=ROWS.jsonl", value_parser = table_and_file)]
    lookup: Vec<(String, PathBuf)>,
    /// Compare with these lines; exit code 1 when they differ.
    #[arg(long, value_name = "OUT.jsonl")]
    expect: Option<PathBuf>,
}

fn table_and_file(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((table, file)) if !table.is_empty() && !file.is_empty() => Ok((table.to_owned(), file.into())),
        _ => Err("write TABLE=ROWS.jsonl".to_owned()),
    }
}

/// As `[sink.verify]` has it.
fn statement_limit(text: &str) -> Result<config::Duration, String> {
    let (min, max) = VerifyConfig::TIMEOUTS;
    let limit: config::Duration = text.parse()?;
    if limit < min || limit > max { Err(format!("choose between {min} and {max}")) } else { Ok(limit) }
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            return ExitCode::from(2);
        }
    };
    let code = match Arguments::parse().command {
        Command::Check { pipelines } => runtime.block_on(check_all(&pipelines)),
        Command::Eval(arguments) => runtime.block_on(evaluate(arguments)),
        Command::DeadLetters(command) => runtime.block_on(dead_letters::run(command)),
        Command::Verify { pipeline, sink, timeout } => runtime.block_on(verify(pipeline, &sink, timeout.map(config::Duration::get))),
        Command::Replay(arguments) => runtime.block_on(replay(&arguments)),
        Command::Run(arguments) => runtime.block_on(run(arguments)),
    };
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

fn load(paths: &[PathBuf]) -> Result<Vec<config::PipelineConfig>, ExitCode> {
    config::load(paths).map_err(|error| {
        eprintln!("error: {error}");
        ExitCode::from(2)
    })
}

async fn check_all(paths: &[PathBuf]) -> ExitCode {
    let configs = match load(paths) {
        Ok(configs) => configs,
        Err(code) => return code,
    };
    let mut code = 0;
    for config in &configs {
        let report = check::check(config).await;
        print!("{}", report.render(std::io::stdout().is_terminal()));
        code = code.max(report.exit_code());
    }
    ExitCode::from(code)
}

async fn evaluate(Eval { pipeline, schema, records, lookup: lookups, expect }: Eval) -> ExitCode {
    let files = eval::Files { pipeline, schema, records, lookups, expect };
    let mut out = BufWriter::new(std::io::stdout().lock());
    let evaluated = eval::eval(&files, &mut out, std::io::stdout().is_terminal(), &mut |note| eprintln!("note: {note}")).await;
    match evaluated.and_then(|equal| out.flush().map(|()| equal).map_err(eval::Error::Output)) {
        Ok(equal) => ExitCode::from(u8::from(!equal)),
        // Whoever reads the lines has seen enough.
        Err(eval::Error::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

async fn verify(path: PathBuf, sink: &str, timeout: Option<Duration>) -> ExitCode {
    let configs = match load(&[path]) {
        Ok(configs) => configs,
        Err(code) => return code,
    };
    let mut differ = false;
    for config in &configs {
        let found = match pipeline::verify(config, sink, timeout).await {
            Ok(found) => found,
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::from(error.exit_code());
            }
        };
        let name = format!("{}/{sink}", config.name);
        print!("{}", found.render(&name));
        differ |= !found.is_equal();
    }
    ExitCode::from(u8::from(differ))
}

async fn replay(arguments: &replay::Arguments) -> ExitCode {
    telemetry::start(LogFormat::Auto);
    match replay::replay(arguments).await {
        Ok(equal) => ExitCode::from(u8::from(!equal)),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

async fn run(arguments: Run) -> ExitCode {
    let configs = match load(&arguments.pipelines) {
        Ok(configs) => configs,
        Err(code) => return code,
    };
    telemetry::start(arguments.log_format);
    let (stop, shutdown) = watch::channel(false);
    let (mut terminate, mut interrupt) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(error), _) | (_, Err(error)) => {
            error!(%error, "signals cannot be handled");
            return ExitCode::from(2);
        }
    };
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM: draining"),
            _ = interrupt.recv() => info!("SIGINT: draining"),
        }
        let _ = stop.send(true);
        // Without a sender the receivers would see a closed channel as well.
        std::future::pending::<()>().await;
    });
    let options = pipeline::Options { listen: arguments.listen, drain_max: Duration::from_secs(arguments.drain_seconds) };
    match pipeline::run(configs, options, shutdown).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}
