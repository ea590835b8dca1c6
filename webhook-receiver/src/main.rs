//! Arguments -> telemetry -> run -> exit code: 0 after SIGTERM or SIGINT, 1 when something failed, 2 for wrong settings.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use webhook_receiver::settings::{Arguments, Settings};

const WRONG_SETTINGS: u8 = 2;

fn main() -> ExitCode {
    let (address, settings) = match Arguments::parse().check() {
        Ok(checked) => checked,
        Err(error) => {
            eprintln!("error: WEBHOOK_SECRET: {error}");
            return ExitCode::from(WRONG_SETTINGS);
        }
    };
    start_log();
    match serve(address, settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Readable on a terminal, JSON for a collector; always on standard error.
fn start_log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() { log.init() } else { log.json().flatten_event(true).with_ansi(false).init() }
}

#[tokio::main]
async fn serve(address: std::net::SocketAddr, settings: Settings) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}: set RECEIVER_LISTEN to a free address"))?;
    let shutdown = async move {
        tokio::select! { _ = terminate.recv() => (), _ = interrupt.recv() => () }
    };
    webhook_receiver::run(listener, settings, shutdown).await.map_err(Into::into)
}
