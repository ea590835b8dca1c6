//! The engine, as a user runs it: the release binary and a pipeline file.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use serde_json::Value;

use super::process::{Process, free_port};
use super::stack::program;
use super::{eventually, http, seconds};

/// One engine process, on a port of its own.
pub struct Engine {
    process: Process,
    directory: PathBuf,
    name: String,
    pipelines: Vec<PathBuf>,
    port: u16,
    /// What goes wrong inside it, in the words of `src/faults.rs`; read when it starts. It is another program then.
    pub faults: String,
}

impl Engine {
    /// Starts `highwater run PIPELINE...`.
    pub fn start(directory: &Path, name: &str, pipelines: &[PathBuf]) -> Self {
        Self::start_faulty(directory, name, pipelines, "")
    }

    /// The same, with faults.
    pub fn start_faulty(directory: &Path, name: &str, pipelines: &[PathBuf], faults: &str) -> Self {
        let (port, pipelines) = (free_port(), pipelines.to_owned());
        let process = run(directory, name, &pipelines, port, faults);
        let (directory, name) = (directory.to_owned(), name.to_owned());
        Self { process, directory, name, pipelines, port, faults: faults.to_owned() }
    }

    /// SIGKILL, and started again at once.
    pub fn kill_and_restart(&mut self) {
        self.kill();
        self.restart();
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Started again, after it ended.
    pub fn restart(&mut self) {
        self.process = run(&self.directory, &self.name, &self.pipelines, self.port, &self.faults);
    }

    /// SIGTERM, and what it ended with.
    pub async fn terminate(&mut self, limit: Duration) -> (ExitStatus, Duration) {
        self.process.terminate(limit).await
    }

    /// What it ends with by itself.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        self.process.ended(limit).await
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Whether it lives.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Waits until every lane has its partitions and is within its lag.
    pub async fn wait_ready(&mut self) {
        let url = format!("http://127.0.0.1:{}/ready", self.port);
        eventually("the engine is ready", seconds(60), async || {
            assert!(self.process.is_running(), "the engine ended:\n{}", self.process.log());
            http::get(&url).await.map(drop)
        })
        .await;
    }

    /// What `/ready` says.
    pub async fn readiness(&self) -> Result<String, String> {
        http::get(&format!("http://127.0.0.1:{}/ready", self.port)).await
    }

    /// The sum of the samples of one metric whose labels hold all of `labels` (each as `name="value"`).
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = http::get(&format!("http://127.0.0.1:{}/metrics", self.port)).await.unwrap();
        let samples = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        samples.filter(|line| labels.iter().all(|label| line.contains(label))).map(value_of).sum()
    }

    /// What it has logged at warn and error, in all its lives.
    pub fn warnings(&self) -> Vec<String> {
        let bad = |line: &str| serde_json::from_str::<Value>(line).map_or(true, |line| line["level"] == "WARN" || line["level"] == "ERROR");
        self.process.log().lines().filter(|line| bad(line)).map(str::to_owned).collect()
    }

    /// Everything it has logged, in all its lives.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Resident memory.
    pub fn resident_kib(&self) -> u64 {
        self.process.resident_kib()
    }

    /// The most memory it ever held in this life; none when it does not live.
    pub fn peak_kib(&self) -> Option<u64> {
        self.process.peak_kib()
    }
}

fn value_of(sample: &str) -> f64 {
    sample.rsplit(' ').next().unwrap().parse().unwrap()
}

fn run(directory: &Path, name: &str, pipelines: &[PathBuf], port: u16, faults: &str) -> Process {
    let program = program(if faults.is_empty() { "highwater" } else { "highwater-faults" });
    let mut command = Command::new(program);
    command.env("HIGHWATER_FAULTS", faults).arg("run").args(pipelines).env("HIGHWATER_LISTEN", format!("127.0.0.1:{port}"));
    Process::start(directory, name, &mut command)
}
