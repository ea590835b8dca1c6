//! The servers that `test_pipeline.sh` started: where they are, and how a test takes one away.
//!
//! Only a stack that is not the developer's own (`HIGHWATER_STACK=dev`) is ever touched, and its servers only by a process that has it to itself.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::{eventually, seconds};

/// The running stack.
#[derive(Clone, Debug)]
pub struct Stack {
    /// The database of the demo, where the tests have tables of their own.
    pub postgres: String,
    /// Bootstrap servers.
    pub kafka: String,
    /// The broker's listeners for clients that come through a proxy, and where each tells them to come.
    pub kafka_proxied: Vec<(String, String)>,
    /// Connect's REST interface.
    pub connect: String,
    /// The Redis server.
    pub redis: String,
}

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where the programs under test are: built in release mode by `test_pipeline.sh`.
pub fn program(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let path = std::env::var_os("HIGHWATER_BIN").map_or_else(|| target.join("release"), PathBuf::from).join(name);
    assert!(path.exists(), "{} is not built: cargo build --release --workspace", path.display());
    path
}

impl Stack {
    /// The stack that the environment names.
    pub fn running() -> Self {
        let variable = |name: &str| {
            std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: this test needs the test stack; run ./test_pipeline.sh"))
        };
        let name = variable("HIGHWATER_STACK");
        assert_ne!(name, "dev", "the tests stop servers and must not do so to the developer's own stack");
        in_use();
        let list = |name: &str| variable(name).split(',').map(str::to_owned).collect::<Vec<_>>();
        Self {
            postgres: variable("DATABASE_URL"),
            kafka: variable("KAFKA_BROKERS"),
            kafka_proxied: list("KAFKA_PROXIED").into_iter().zip(list("KAFKA_PROXIES")).collect(),
            connect: variable("CONNECT_URL"),
            redis: variable("REDIS_URL"),
        }
    }

    /// Stops a part in good order.
    pub fn stop(&self, part: &str) {
        taken_alone();
        command(&["down", part]);
    }

    /// Starts a part and waits until it is ready.
    pub fn start(&self, part: &str) {
        command(&["up", part]);
    }

    /// The same, under settings of its own.
    pub fn start_with(&self, part: &str, settings: &[(&str, &str)]) {
        command_with(&["up", part], settings);
    }

    /// Kafka's own tool for consumer groups.
    pub fn groups(&self, arguments: &[&str]) -> String {
        command(&[&["groups"], arguments].concat())
    }

    /// Sends a signal; its process id.
    pub fn signal(&self, part: &str, name: &str) -> String {
        taken_alone();
        let status = command(&["status"]);
        let line = status.lines().find(|line| line.starts_with(part)).unwrap_or_else(|| panic!("no {part} in {status}"));
        let pid = line.split_whitespace().nth(2).filter(|pid| *pid != "-").unwrap_or_else(|| panic!("{part} does not run: {status}"));
        assert!(Command::new("kill").args([name, pid]).status().unwrap().success(), "kill {name} {pid}");
        pid.to_owned()
    }

    /// SIGKILL, and nothing after it.
    pub async fn kill(&self, part: &str) {
        let pid = self.signal(part, "-KILL");
        // A large process takes a moment to go, and its port with it.
        eventually(&format!("{part} is gone"), seconds(20), async || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z ") { Ok(()) } else { Err(stat) }
        })
        .await;
    }
}

/// A file of the stack's own to lock.
pub fn lock_file(name: &str) -> File {
    File::create(root().join(".local").join(std::env::var("HIGHWATER_STACK").unwrap()).join(name)).unwrap()
}

/// Locked by every process that uses the stack, for as long as it lives.
fn in_use() -> &'static File {
    static LOCK: OnceLock<File> = OnceLock::new();
    LOCK.get_or_init(|| {
        let lock = lock_file("in-use");
        lock.lock_shared().unwrap();
        lock
    })
}

/// No other process uses the stack from here on.
fn taken_alone() {
    assert!(in_use().try_lock().is_ok(), "other tests use this stack: this one takes servers away and must run alone");
}

/// Runs `./stack.sh`; its output.
fn command(arguments: &[&str]) -> String {
    command_with(arguments, &[])
}

fn command_with(arguments: &[&str], settings: &[(&str, &str)]) -> String {
    let run = || Command::new(root().join("stack.sh")).args(arguments).envs(settings.iter().copied()).output().unwrap();
    let output = tokio::task::block_in_place(run);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "./stack.sh {}: {text}{errors}", arguments.join(" "));
    text
}
