//! Writes believable demo events to Postgres, at a steady rate, until told to stop.
//!
//! Every change is a transaction of its own, an INSERT, UPDATE or DELETE as an application would send it; nothing is loaded with COPY. While Postgres
//! is away it waits, with one line when the outage begins and one when it ends. The events follow from `--seed` and the rows of
//! `content` alone. It does not create tables.

mod args;
mod engagement;
mod pace;
mod postgres;
mod progress;
mod session;
mod zipf;

use args::{Args, Demo};
use clap::Parser;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Args { demo: Demo::Engagement(settings) } = Args::parse();
    let end = match stop_signal() {
        Ok(stop) => engagement::run(&settings, std::pin::pin!(stop)).await,
        Err(error) => Err(error.into()),
    };
    let Err(error) = end else {
        return ExitCode::SUCCESS;
    };
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

/// Ready at the first SIGTERM or SIGINT.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
