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
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Args {
        demo: Demo::Engagement(settings),
    } = Args::parse();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    engagement::run(&settings, std::pin::pin!(stop)).await
}
