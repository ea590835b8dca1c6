//! The webhook receiver: the release binary with a database of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::process::{Process, free_port};
use super::stack::program;
use super::{eventually, http, seconds};

/// One receiver, on a port of its own.
pub struct Receiver {
    process: Process,
    directory: PathBuf,
    database: PathBuf,
    port: u16,
    secret: String,
}

impl Receiver {
    /// Starts it and waits until it answers.
    pub async fn start(directory: &Path, secret: &str) -> Self {
        Self::start_on(directory, &directory.join("events.sqlite"), secret).await
    }

    /// The same on that database; its log is in the directory.
    pub async fn start_on(directory: &Path, database: &Path, secret: &str) -> Self {
        let port = free_port();
        let process = run(directory, database, port, secret);
        let (directory, database, secret) = (directory.to_owned(), database.to_owned(), secret.to_owned());
        let receiver = Self { process, directory, database, port, secret };
        receiver.wait_healthy().await;
        receiver
    }

    /// Where the engine sends to.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/webhook", self.port)
    }

    /// Its port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again, on the same port and database.
    pub async fn restart(&mut self) {
        self.process = run(&self.directory, &self.database, self.port, &self.secret);
        self.wait_healthy().await;
    }

    /// Every stored event, one JSON object a line, in order of arrival.
    pub async fn export(&self) -> String {
        http::get(&format!("http://127.0.0.1:{}/export", self.port)).await.unwrap()
    }

    /// `GET /stats`.
    pub async fn stats(&self) -> Value {
        serde_json::from_str(&http::get(&format!("http://127.0.0.1:{}/stats", self.port)).await.unwrap()).unwrap()
    }

    /// Events that are stored, each once.
    pub async fn stored(&self) -> u64 {
        self.stats().await["unique"].as_u64().unwrap()
    }

    /// Waits until that many events are stored.
    pub async fn wait_stored(&self, count: u64, limit: Duration) {
        let stored = async || match self.stored().await {
            stored if stored >= count => Ok(()),
            stored => Err(format!("{stored} events")),
        };
        eventually(&format!("the receiver holds {count} events"), limit, stored).await;
    }

    async fn wait_healthy(&self) {
        let url = format!("http://127.0.0.1:{}/health", self.port);
        eventually("the receiver answers", seconds(20), async || http::get(&url).await.map(drop)).await;
    }
}

fn run(directory: &Path, database: &Path, port: u16, secret: &str) -> Process {
    let mut command = Command::new(program("webhook-receiver"));
    command.env("RECEIVER_LISTEN", format!("127.0.0.1:{port}"));
    command.env("RECEIVER_DB", database).env("WEBHOOK_SECRET", secret);
    Process::start(directory, "receiver", &mut command)
}
